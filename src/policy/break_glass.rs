//! Break-glass: for a few hours, and for an incident, what a namespace enforces only warns.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::namespace::NamespaceMeta;

/// Annotation: the incident for which glass is broken.
pub const BREAK_GLASS: &str = "gatepost.dev/break-glass";
/// Annotation: the instant at which it ends.
pub const BREAK_GLASS_UNTIL: &str = "gatepost.dev/break-glass-until";
/// An end further ahead than this does not count.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(4);
/// Longest name of an incident, in characters.
const INCIDENT_LENGTH: usize = 100;

/// An incident for which enforce only warns, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// The incident, as people call it.
    pub incident: Arc<str>,
    /// The instant from which enforce denies again.
    pub until: Timestamp,
}

impl fmt::Display for BreakGlass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "break-glass {} until {}", self.incident, self.until)
    }
}

/// Why a namespace's break-glass annotations do nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BreakGlassFault {
    /// The incident stands alone.
    #[error("annotation {BREAK_GLASS} does not count without {BREAK_GLASS_UNTIL}, an RFC 3339 instant")]
    NoEnd,
    /// The end stands alone.
    #[error("annotation {BREAK_GLASS_UNTIL} does not count without {BREAK_GLASS}, which names the incident")]
    NoIncident,
    /// The incident is no name.
    #[error("annotation {BREAK_GLASS}: {0}")]
    Incident(&'static str),
    /// The end cannot be read.
    #[error("annotation {BREAK_GLASS_UNTIL}: \"{0}\" is not an RFC 3339 instant such as 2026-12-01T08:30:00Z")]
    Unreadable(String),
    /// The end lies too far ahead.
    #[error("annotation {BREAK_GLASS_UNTIL}: {0} is more than 4 hours ahead, so it does not count")]
    TooFar(Timestamp),
    /// It is over.
    #[error("{0} is over, enforce denies again; remove both of its annotations")]
    Over(BreakGlass),
}

impl BreakGlass {
    /// Reads a namespace's annotations, whatever the time.
    pub fn read(namespace: &NamespaceMeta) -> Result<Option<Self>, BreakGlassFault> {
        let incident = namespace.annotations.get(BREAK_GLASS);
        let until = namespace.annotations.get(BREAK_GLASS_UNTIL);
        let (incident, until) = match (incident, until) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(BreakGlassFault::NoEnd),
            (None, Some(_)) => return Err(BreakGlassFault::NoIncident),
            (Some(incident), Some(until)) => (incident.trim(), until),
        };
        if incident.is_empty() {
            return Err(BreakGlassFault::Incident("it names no incident"));
        }
        if incident.chars().count() > INCIDENT_LENGTH || incident.chars().any(char::is_control) {
            return Err(BreakGlassFault::Incident("the incident is longer than 100 characters, or not one line"));
        }
        let until = instant(until).ok_or_else(|| BreakGlassFault::Unreadable(until.clone()))?;
        Ok(Some(Self { incident: incident.into(), until }))
    }

    /// Returns what holds now; an error says why annotations that stand there do nothing.
    pub fn active(namespace: &NamespaceMeta, now: Timestamp) -> Result<Option<Self>, BreakGlassFault> {
        Self::read(namespace)?.map(|glass| glass.in_time(now)).transpose()
    }

    /// Returns what a Namespace write begins that was not allowed before: another incident, or a later end. Ending it,
    /// or ending it earlier, is nothing; what the write leaves as it was is not looked at.
    pub fn brought_in(
        new: &NamespaceMeta,
        old: Option<&NamespaceMeta>,
        now: Timestamp,
    ) -> Result<Option<Self>, BreakGlassFault> {
        let texts = |meta: &NamespaceMeta| {
            [BREAK_GLASS, BREAK_GLASS_UNTIL].map(|annotation| meta.annotations.get(annotation).cloned())
        };
        if old.is_some_and(|old| texts(old) == texts(new)) {
            return Ok(None);
        }
        let Some(glass) = Self::active(new, now)? else { return Ok(None) };
        let before = old.and_then(|old| Self::active(old, now).ok().flatten());
        let is_within = before.is_some_and(|before| before.incident == glass.incident && glass.until <= before.until);
        Ok((!is_within).then_some(glass))
    }

    fn in_time(self, now: Timestamp) -> Result<Self, BreakGlassFault> {
        if self.until <= now {
            return Err(BreakGlassFault::Over(self));
        }
        if self.until.duration_since(now) > LONGEST {
            return Err(BreakGlassFault::TooFar(self.until));
        }
        Ok(self)
    }
}

/// Reads an RFC 3339 instant and nothing else: the library's own form is wider, and a time that people read otherwise
/// than the program ends at the wrong moment.
fn instant(text: &str) -> Option<Timestamp> {
    let shape = [(4, "-"), (7, "-"), (10, "Tt"), (13, ":"), (16, ":")];
    let has_shape = shape.into_iter().all(|(at, any)| text.get(at..=at).is_some_and(|found| any.contains(found)));
    let offset = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let has_offset = matches!(offset, "Z" | "z") || (offset.len() == 6 && offset.get(3..4) == Some(":"));
    if has_shape && has_offset { text.parse().ok() } else { None }
}
