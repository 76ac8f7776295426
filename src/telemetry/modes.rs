//! Counters of changes of modes, of who was asked about them, and of break-glass.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;
use crate::policy::Mode;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    from: &'static str,
    to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    result: &'static str,
}

/// What the cluster's roles said of a requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reviewed {
    /// They may.
    Allowed,
    /// They may not.
    Denied,
    /// There was no answer.
    Error,
}

impl Reviewed {
    const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Error];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }
}

/// What is counted of modes.
#[derive(Debug, Clone, Default)]
pub struct ModeMetrics {
    changes: Family<ChangeLabels, Counter>,
    reviews: Family<ReviewLabels, Counter>,
    /// Namespace writes that were refused because they weaken modes or break glass.
    pub changes_refused: Counter,
    /// Requests admitted under break-glass that would have been denied.
    pub break_glass_admissions: Counter,
    /// Namespaces in which glass is broken now.
    pub break_glass_namespaces: Gauge,
    /// Requests admitted under break-glass that could not be written to the list.
    pub break_glass_unrecorded: Counter,
}

impl ModeMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            changes: add(
                registry,
                "mode_changes",
                "Admitted Namespace writes that change the strongest mode, or keep it",
            ),
            reviews: add(
                registry,
                "access_reviews",
                "SubjectAccessReviews of requesters who weaken modes or break glass",
            ),
            changes_refused: add(registry, "mode_changes_refused", "Namespace writes refused to one who may not"),
            break_glass_admissions: add(
                registry,
                "break_glass_admissions",
                "Requests admitted only because glass is broken in their namespace",
            ),
            break_glass_namespaces: add(registry, "break_glass_namespaces", "Namespaces in which glass is broken"),
            break_glass_unrecorded: add(
                registry,
                "break_glass_unrecorded",
                "Requests admitted under break-glass that are missing in the list, for example because the disk is full",
            ),
        };
        // From the start, so that the first change is an increase.
        let strongest = [None, Some(Mode::Audit), Some(Mode::Warn), Some(Mode::Enforce)];
        for (from, to) in strongest.into_iter().flat_map(|from| strongest.map(|to| (from, to))) {
            drop(metrics.changes.get_or_create(&labels(from, to)));
        }
        for result in Reviewed::ALL {
            drop(metrics.reviews.get_or_create(&ReviewLabels { result: result.as_str() }));
        }
        metrics
    }

    /// Counts a Namespace write that changes modes, by the strongest mode before and after.
    pub fn record_change(&self, (from, to): (Option<Mode>, Option<Mode>)) {
        self.changes.get_or_create(&labels(from, to)).inc();
    }

    /// Counts an answer of the cluster's roles.
    pub fn record_review(&self, result: Reviewed) {
        self.reviews.get_or_create(&ReviewLabels { result: result.as_str() }).inc();
    }
}

fn labels(from: Option<Mode>, to: Option<Mode>) -> ChangeLabels {
    let word = |mode: Option<Mode>| mode.map_or("off", Mode::as_str);
    ChangeLabels { from: word(from), to: word(to) }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_metric_has_its_name_and_labels() {
        let mut registry = Registry::with_prefix("gatepost");
        let metrics = ModeMetrics::register(&mut registry);
        metrics.record_change((Some(Mode::Enforce), None));
        metrics.record_review(Reviewed::Denied);
        metrics.break_glass_namespaces.set(2);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        for line in [
            "gatepost_mode_changes_total{from=\"enforce\",to=\"off\"} 1",
            "gatepost_mode_changes_total{from=\"warn\",to=\"enforce\"} 0",
            "gatepost_mode_changes_refused_total 0",
            "gatepost_access_reviews_total{result=\"denied\"} 1",
            "gatepost_access_reviews_total{result=\"error\"} 0",
            "gatepost_break_glass_admissions_total 0",
            "gatepost_break_glass_namespaces 2",
            "gatepost_break_glass_unrecorded_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
