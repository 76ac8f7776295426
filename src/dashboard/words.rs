//! Numbers and times as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns a number with its thousands apart: `1,240`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len().saturating_add(digits.len() / 3));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with what it counts: `1 finding`, `1,240 findings`.
pub fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// Returns a number, marked where it is at least so many: `≥ 1,240`.
pub fn at_least(number: &str, is_partial: bool) -> String {
    if is_partial { format!("≥ {number}") } else { number.to_owned() }
}

/// A moment, as it is read and as machines read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// RFC 3339.
    pub iso: String,
    /// `2026-11-26 15:04 UTC`.
    pub full: String,
    /// `3 min ago`.
    pub words: String,
}

impl When {
    /// Words a moment as seen from now.
    pub fn new(moment: Timestamp, now: Timestamp) -> Self {
        let civil = moment.to_zoned(TimeZone::UTC);
        Self {
            iso: moment.to_string(),
            full: civil.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            words: words(moment, now),
        }
    }
}

fn words(moment: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(moment.as_second());
    match seconds {
        ..0 => moment.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M").to_string(),
        0..45 => "just now".to_owned(),
        45..5400 => format!("{} min ago", (seconds.saturating_add(30) / 60).max(1)),
        5400..172_800 => format!("{} h ago", seconds.saturating_add(1800) / 3600),
        172_800..5_184_000 => format!("{} days ago", seconds / 86_400),
        _ => moment.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string(),
    }
}

/// Returns how long something took: `4 s`, `3 min 5 s`.
pub fn took(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = to.as_millisecond().saturating_sub(from.as_millisecond()).max(0);
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1000),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), expected);
        }
        assert_eq!(count(1, "finding", "findings"), "1 finding");
    }

    #[test]
    fn moments_are_told_as_they_are_felt() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        for (seconds, expected) in [
            (-60, "2026-11-26 12:01"),
            (0, "just now"),
            (44, "just now"),
            (60, "1 min ago"),
            (3600, "60 min ago"),
            (7200, "2 h ago"),
            (172_800, "2 days ago"),
            (8_640_000, "2026-08-18"),
        ] {
            let moment = Timestamp::from_second(now.as_second() - seconds).unwrap();
            assert_eq!(When::new(moment, now).words, expected, "{seconds}");
        }
        assert_eq!(took(now, Timestamp::from_millisecond(now.as_millisecond() + 3210).unwrap()), "3.2 s");
    }
}
