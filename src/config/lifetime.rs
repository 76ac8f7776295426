//! How long something lasts, as people write it: `10y`, `365d`, `20m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Unit, civil};

/// The longest; no certificate can name a year beyond 9999.
const LONGEST_YEARS: i64 = 1000;

/// A length of time of a second at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    text: String,
    seconds: i64,
}

impl Lifetime {
    /// Returns it in seconds; a year is one of 365 days.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

impl FromStr for Lifetime {
    type Err = String;

    /// Reads `10y`, `365d`, `1h 30m`, or ISO 8601 such as `P10Y`.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("\"{text}\" is no length of time such as 10y, 365d, 12h or 20m");
        let span: Span = text.parse().map_err(|_| fault())?;
        // Years and months need a place in the calendar; this one is followed by a year without a leap day.
        let start = SpanRelativeTo::from(civil::date(2025, 1, 1));
        let years = i64::from(span.get_years());
        let rest = span.years(0).total((Unit::Second, start)).map_err(|_| fault())?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range right after")]
        let seconds = years.saturating_mul(365 * 24 * 60 * 60).saturating_add(rest as i64);
        if !(1..=LONGEST_YEARS * 365 * 24 * 60 * 60).contains(&seconds) {
            return Err(format!("\"{text}\" is not between a second and {LONGEST_YEARS} years"));
        }
        Ok(Self { text: text.to_owned(), seconds })
    }
}

/// How often something happens, or that it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interval {
    /// It does not happen.
    Off,
    /// It happens this often.
    Every(Lifetime),
}

impl Interval {
    /// Returns the time from one to the next; none when it does not happen.
    pub fn every(&self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Every(time) => Some(Duration::from_secs(time.seconds().unsigned_abs())),
        }
    }
}

impl FromStr for Interval {
    type Err = String;

    /// Reads `off`, or a length of time.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::Every).map_err(|fault: String| format!("{fault}, nor off"))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(time) => time.fmt(f),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Interval, Lifetime};

    #[test]
    fn an_interval_is_a_length_of_time_or_off() {
        let every = |text: &str| text.parse::<Interval>().map(|interval| interval.every().map(|time| time.as_secs()));
        assert_eq!(every("off"), Ok(None));
        assert_eq!(every("10m"), Ok(Some(600)));
        for wrong in ["none", "0", "", "Off"] {
            assert!(every(wrong).is_err_and(|fault| fault.ends_with("nor off")), "{wrong}");
        }
    }

    #[test]
    fn reads_lengths_of_time_as_people_write_them() {
        const DAY: i64 = 24 * 60 * 60;
        for (text, expected) in [
            ("10y", Some(3650 * DAY)),
            ("1y 1d", Some(366 * DAY)),
            ("365d", Some(365 * DAY)),
            ("2 weeks", Some(14 * DAY)),
            ("20m", Some(1200)),
            ("1h 30m", Some(5400)),
            ("45s", Some(45)),
            ("P1D", Some(DAY)),
            ("0s", None),
            ("1ms", None),
            ("-1d", None),
            ("10", None),
            ("", None),
            ("soon", None),
            ("10000y", None),
        ] {
            assert_eq!(text.parse::<Lifetime>().ok().map(|lifetime| lifetime.seconds()), expected, "{text}");
        }
    }
}
