//! What of a decision is kept, and how much it weighs when there is not room for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::admission::decide::{Decided, Told};
use crate::admission::speak::clip;
use crate::admission::{Action, Decision, Envelope, Exempted, Reason, What};
use crate::policy::ModeChange;
use crate::store;
use crate::webhook::record::Record;

/// Results of one decision that are kept; the audit finds the others.
const RESULTS: usize = 200;
/// Characters of a message, a path or a name that are kept.
const TEXT: usize = 500;
/// Bytes of a place that are kept.
const LONGEST_PLACE: usize = 2000;

/// How much a decision weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weight {
    /// It was allowed, and there was nothing to say: it goes first.
    Clean,
    /// Something was found, excused or not, denied, changed, or let in under broken glass.
    Violation,
}

impl Weight {
    /// Every weight, what goes first before what goes last.
    pub const ALL: [Self; 2] = [Self::Clean, Self::Violation];

    /// Returns the word of metrics and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Violation => "violation",
        }
    }
}

/// A decision that is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// How much it weighs.
    pub weight: Weight,
    /// What is kept of it.
    pub decision: store::Decision,
}

impl Entry {
    /// Returns what is kept of an answer; nothing of a trial, nor of what was not judged.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        let Record { envelope, decision, verified, took, .. } = record;
        if !Self::is_due(envelope, decision) {
            return None;
        }
        let matters = matters(decision);
        let mut kept = kept(envelope, decision, *verified, *took);
        kept.results = results(&decision.told, &decision.exempted);
        Some(Self { weight: if matters { Weight::Violation } else { Weight::Clean }, decision: kept })
    }

    /// Returns whether anything is kept of an answer.
    pub fn is_due(envelope: &Envelope, decision: &Decision) -> bool {
        let is_judged = match decision.reason {
            Reason::SubResource | Reason::Unchanged => false,
            Reason::NoRule => matters(decision),
            Reason::Judged | Reason::NamespaceFault | Reason::NotAuthorized => true,
        };
        is_judged && !envelope.dry_run
    }

    /// Returns the same decision with what was found after the answer, and only that; none where that is nothing.
    pub fn with_found(&self, Decided { told, exempted }: &Decided) -> Option<Self> {
        let decision =
            store::Decision { results: results(told, exempted), changes: Vec::new(), ..self.decision.clone() };
        (!decision.results.is_empty()).then_some(Self { weight: Weight::Violation, decision })
    }

    /// Returns about how many bytes it takes while it waits.
    pub fn size(&self) -> usize {
        let results = self.decision.results.iter().map(|result| 200 + result.message.len() + 2 * result.path.len());
        500 + results.sum::<usize>()
    }
}

fn matters(decision: &Decision) -> bool {
    let changes = decision.write.as_ref().is_some_and(|write| !write.changes.is_empty() || write.break_glass.is_some());
    !decision.allowed || !decision.told.is_empty() || !decision.exempted.is_empty() || changes
}

fn kept(envelope: &Envelope, decision: &Decision, verified: bool, took: Duration) -> store::Decision {
    store::Decision {
        uid: envelope.uid.clone(),
        time: Timestamp::now(),
        cluster: String::new(),
        operation: envelope.operation().as_str().to_owned(),
        group: envelope.kind.group.clone(),
        kind: envelope.kind.kind.clone(),
        // A Namespace's request carries its own name; the object itself is in none.
        namespace: if envelope.kind.is_namespace() { String::new() } else { envelope.namespace.clone() },
        name: decision.name().to_owned(),
        user: clip(envelope.user_name(), TEXT),
        verified,
        dry_run: false,
        allowed: decision.allowed,
        reason: decision.reason.as_str().to_owned(),
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        break_glass: decision.under_break_glass().map(|(glass, _)| glass.incident.to_string()),
        results: Vec::new(),
        changes: decision.write.iter().flat_map(|write| &write.changes).map(changed).collect(),
    }
}

fn changed(change: &ModeChange) -> store::SlotChange {
    store::SlotChange {
        slot: change.part.as_str().to_owned(),
        from: clip(&change.from, TEXT),
        to: clip(&change.to, TEXT),
        weakens: change.weakens(),
    }
}

fn results(told: &[Told], exempted: &[Exempted]) -> Vec<store::DecisionResult> {
    told.iter().map(result).chain(exempted.iter().map(exempt)).take(RESULTS).collect()
}

fn exempt(exempted: &Exempted) -> store::DecisionResult {
    let path = exempted.path.as_ref().map(ToString::to_string).unwrap_or_default();
    store::DecisionResult {
        rule: exempted.rule.to_string(),
        policy: exempted.policy.to_string(),
        severity: exempted.severity.as_str().to_owned(),
        result: "exempt".to_owned(),
        action: Action::Record.as_str().to_owned(),
        path: clip(&path, TEXT),
        place: place(&exempted.place),
        message: clip(&exempted.message, TEXT),
        exemption: clip(&exempted.by.name.to_string(), TEXT),
    }
}

/// Returns a place that is not too long: cut short it would be another place.
fn place(place: &str) -> String {
    if place.len() <= LONGEST_PLACE { place.to_owned() } else { String::new() }
}

fn result(told: &Told) -> store::DecisionResult {
    let (result, path, message) = match &told.what {
        What::Violation(violation) => ("fail", violation.path.to_string(), violation.message.clone()),
        What::Error(error) => ("error", String::new(), error.to_string()),
    };
    store::DecisionResult {
        rule: told.rule.to_string(),
        policy: told.policy.to_string(),
        severity: told.severity.as_str().to_owned(),
        result: result.to_owned(),
        action: told.action.as_str().to_owned(),
        path: clip(&path, TEXT),
        place: place(&told.place),
        message: clip(&message, TEXT),
        exemption: String::new(),
    }
}

/// Lets through a few of what is all alike: so many at once, and then one each interval.
#[derive(Debug)]
pub struct Sampler {
    start: Instant,
    interval: Duration,
    burst: u32,
    /// When the allowance would be whole again, in microseconds since the start.
    whole_at: AtomicU64,
}

impl Sampler {
    /// Begins with the whole allowance.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { start: Instant::now(), interval, burst, whole_at: AtomicU64::new(0) }
    }

    /// Returns whether the next may go.
    pub fn takes(&self) -> bool {
        self.takes_at(self.start.elapsed())
    }

    fn takes_at(&self, since_start: Duration) -> bool {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (now, interval) = (micros(since_start), micros(self.interval));
        let most = now.saturating_add(interval.saturating_mul(self.burst.into()));
        let take = |whole_at: u64| Some(whole_at.max(now).saturating_add(interval)).filter(|next| *next <= most);
        self.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_lets_a_burst_through_and_then_one_each_interval() {
        let sampler = Sampler::new(3, Duration::from_secs(1));
        let taken = |at: &[u64]| at.iter().filter(|at| sampler.takes_at(Duration::from_millis(**at))).count();
        assert_eq!(taken(&[0, 0, 0, 0, 10]), 3, "a burst");
        assert_eq!(taken(&[1000, 1001, 1999]), 1, "one a second");
        assert_eq!(taken(&[60_000; 10]), 3, "the burst comes back");
    }
}
