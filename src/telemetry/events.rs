//! Figures of the Events that are written into the cluster.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    Written,
    /// The API server did not take it.
    Failed,
    /// It was not written because there were too many.
    LeftOut,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Written, Self::Failed, Self::LeftOut];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Failed => "failed",
            Self::LeftOut => "left_out",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What is counted of Events; the clones count the same.
#[derive(Debug, Clone)]
pub struct EventMetrics(Family<OutcomeLabels, Counter>);

impl EventMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self(add(registry, "events", "Events about new findings by what became of them"));
        for outcome in Outcome::ALL {
            metrics.count(outcome, 0);
        }
        metrics
    }

    /// Counts Events.
    pub fn count(&self, outcome: Outcome, events: u64) {
        self.0.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc_by(events);
    }

    /// Returns how many there were.
    #[cfg(test)]
    pub fn counted(&self, outcome: Outcome) -> u64 {
        self.0.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).get()
    }
}
