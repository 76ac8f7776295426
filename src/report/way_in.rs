//! How a violation came into a namespace that denies it, where no decision says who brought it in.
//!
//! Said is only what something shows; everything else is unknown.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// How a violation came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// It was there before it was denied.
    BeforeEnforcement,
    /// Nobody was there to deny it.
    WhileAway,
    /// An exemption excused it then.
    Exempt,
    /// The API server did not ask about it.
    NotRegistered,
    /// Nothing shows it.
    Unknown,
}

/// A way, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayIn {
    /// The way.
    pub way: Way,
    /// What shows it, in words.
    pub why: String,
}

/// Since when something is denied, as audits have seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The last audit that saw it otherwise began then; none where no audit did.
    pub not_before: Option<Timestamp>,
    /// The first audit that saw it so ended then.
    pub since: Timestamp,
}

/// A time in which nobody answered the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// The process that answers started then.
    Started(Timestamp),
    /// Nothing was heard of any webhook in between.
    Unheard {
        /// When the last one was heard of.
        from: Timestamp,
        /// When the next one began to answer; now where none did.
        to: Timestamp,
    },
}

/// What is known.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'e> {
    /// When an audit found it first.
    pub found: Timestamp,
    /// After when it came: the object is from then, or an audit that looked by the same rules did not find it.
    pub after: Option<Timestamp>,
    /// Whether it was closed in between, so that these times are of another time that it came.
    pub came_back: bool,
    /// Why the API server never asks about the object.
    pub unasked: Option<&'e str>,
    /// When the registration was made that stands.
    pub registered: Option<Timestamp>,
    /// The date from which the namespace denies.
    pub from: Option<Timestamp>,
    /// Since when it is denied.
    pub denied: Option<Denied>,
    /// An exemption that excused it until shortly before it was found.
    pub exemption: Option<&'e str>,
    /// An exemption that excused it when it was found, and has ended since.
    pub ended: Option<&'e str>,
    /// When nobody answered requests in between.
    pub away: Option<Away>,
}

impl Evidence<'_> {
    /// Returns how it came in.
    pub fn way_in(&self) -> WayIn {
        let of = |way, why: String| WayIn { way, why };
        if let Some(why) = self.unasked {
            return of(Way::NotRegistered, why.to_owned());
        }
        if let Some(exemption) = self.ended {
            let why = format!("{exemption} excused it when it was found, on {}, and has ended since", day(self.found));
            return of(Way::Exempt, why);
        }
        if self.came_back {
            return of(Way::Unknown, "it came back after it was closed, and nothing says how".into());
        }
        let found = day(self.found);
        if let Some(from) = self.from.filter(|from| *from > self.found) {
            return of(Way::BeforeEnforcement, format!("found on {found}; the namespace denies from {} on", day(from)));
        }
        if let Some(seen) = self.denied.and_then(|denied| denied.not_before).filter(|seen| *seen >= self.found) {
            let why = format!("found on {found}; the audit of {} still saw that it was not denied", day(seen));
            return of(Way::BeforeEnforcement, why);
        }
        if let Some(made) = self.registered.filter(|made| *made > self.found) {
            return of(
                Way::NotRegistered,
                format!("found on {found}; the registration that stands was made on {}", day(made)),
            );
        }
        if let Some(exemption) = self.exemption {
            return of(Way::Exempt, format!("{exemption} excused it, and had ended when it was found, on {found}"));
        }
        // Only what came when it was denied already can have come because nobody was there.
        let denied_then = self.denied.zip(self.after).is_some_and(|(denied, after)| denied.since <= after);
        match (denied_then, self.after, self.away) {
            (true, Some(after), Some(away)) => {
                let nobody = match away {
                    Away::Started(at) => format!("Gatepost started in between, on {}", day(at)),
                    Away::Unheard { from, to } => {
                        format!("no webhook was heard of between {} and {}", day(from), day(to))
                    }
                };
                of(Way::WhileAway, format!("it came between {} and {found}, and {nobody}", day(after)))
            }
            (_, Some(after), _) => {
                of(Way::Unknown, format!("it came between {} and {found}; nothing shows how", day(after)))
            }
            (_, None, _) => of(Way::Unknown, format!("it came before {found}; nothing shows when, or how")),
        }
    }
}

fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn at(hour: u8) -> Timestamp {
        format!("2026-11-20T{hour:02}:00:00Z").parse().unwrap()
    }

    #[test]
    fn only_what_something_shows_is_said() {
        let found = Evidence { found: at(10), after: Some(at(9)), ..Evidence::default() };
        let unheard = Some(Away::Unheard { from: at(9), to: at(10) });
        let denied = |not_before: Option<u8>, since| Some(Denied { not_before: not_before.map(at), since: at(since) });
        for (evidence, way, words) in [
            (found.clone(), Way::Unknown, "between 2026-11-20 09:00 UTC and 2026-11-20 10:00 UTC; nothing shows how"),
            (Evidence { after: None, ..found.clone() }, Way::Unknown, "before 2026-11-20 10:00 UTC"),
            (Evidence { denied: denied(Some(10), 12), ..found.clone() }, Way::BeforeEnforcement, "10:00 UTC still saw"),
            (Evidence { denied: denied(Some(9), 12), ..found.clone() }, Way::Unknown, ""),
            (Evidence { denied: denied(None, 12), ..found.clone() }, Way::Unknown, ""),
            (Evidence { from: Some(at(11)), ..found.clone() }, Way::BeforeEnforcement, "denies from 2026-11-20 11:00"),
            (Evidence { from: Some(at(10)), ..found.clone() }, Way::Unknown, ""),
            (
                Evidence { registered: Some(at(11)), ..found.clone() },
                Way::NotRegistered,
                "was made on 2026-11-20 11:00",
            ),
            (Evidence { registered: Some(at(1)), ..found.clone() }, Way::Unknown, ""),
            (Evidence { unasked: Some("it is kube-system"), ..found.clone() }, Way::NotRegistered, "it is kube-system"),
            (
                Evidence { exemption: Some("Exemption shop/x"), ..found.clone() },
                Way::Exempt,
                "Exemption shop/x excused it",
            ),
            (
                Evidence { ended: Some("Exemption shop/x"), came_back: true, ..found.clone() },
                Way::Exempt,
                "excused it when it was found, on 2026-11-20 10:00 UTC, and has ended since",
            ),
            (
                Evidence { denied: denied(None, 8), away: Some(Away::Started(at(9))), ..found.clone() },
                Way::WhileAway,
                "started in between, on 2026-11-20 09:00 UTC",
            ),
            (
                Evidence { denied: denied(None, 8), away: unheard, ..found.clone() },
                Way::WhileAway,
                "no webhook was heard of between 2026-11-20 09:00 UTC and 2026-11-20 10:00 UTC",
            ),
            (Evidence { denied: denied(None, 8), ..found.clone() }, Way::Unknown, ""),
            (Evidence { denied: denied(None, 12), away: unheard, ..found.clone() }, Way::Unknown, ""),
            (
                Evidence { denied: denied(Some(11), 12), came_back: true, ..found.clone() },
                Way::Unknown,
                "came back after it was closed",
            ),
        ] {
            let told = evidence.way_in();
            assert!(told.way == way && told.why.contains(words), "{evidence:?}: {told:?}");
        }
    }
}
