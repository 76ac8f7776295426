//! Counters of mutation requests, and of what rules set.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::by_rule::{ByRule, RuleLabels, RuleSeries};
use super::metrics::add;
use crate::policy::RuleId;

/// Upper bounds in seconds: the API server waits for 2 s.
const DURATIONS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 2.0];

/// What became of a request's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutated {
    /// Something was set.
    Patched,
    /// There was nothing to set.
    Unchanged,
    /// Something went wrong, and the object is as it was.
    Error,
}

impl Mutated {
    const ALL: [Self; 3] = [Self::Patched, Self::Unchanged, Self::Error];

    /// Returns the word of logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Unchanged => "unchanged",
            Self::Error => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// What is counted of mutation.
#[derive(Debug)]
pub struct MutationMetrics {
    requests: Family<ResultLabels, Counter>,
    duration: Histogram,
    patches: ByRule<RuleLabels>,
    errors: ByRule<RuleLabels>,
}

impl MutationMetrics {
    /// Registers them; each result is there from the start, at 0.
    pub fn register(registry: &mut Registry, series: &RuleSeries) -> Self {
        let requests: Family<ResultLabels, Counter> =
            add(registry, "mutation_requests", "Mutation requests by what became of their objects");
        for result in Mutated::ALL {
            drop(requests.get_or_create(&ResultLabels { result: result.as_str() }));
        }
        let duration = Histogram::new(DURATIONS);
        let help = "Time from a mutation request's last byte to its answer";
        registry.register_with_unit("mutation_request_duration", help, Unit::Seconds, duration.clone());
        let patches = "Objects in which a rule's patches set something";
        let errors = "Objects for which a rule's patches were left out";
        Self {
            requests,
            duration,
            patches: ByRule::register(registry, series, "mutation_patches", patches),
            errors: ByRule::register(registry, series, "mutation_errors", errors),
        }
    }

    /// Counts a request that was answered, and the time that it took.
    pub fn record(&self, mutated: Mutated, took: Duration) {
        self.requests.get_or_create(&ResultLabels { result: mutated.as_str() }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts an object in which a rule set something.
    pub fn record_patch(&self, rule: &RuleId) {
        self.patches.count(&RuleLabels { rule: rule.clone() });
    }

    /// Counts an object for which a rule was left out.
    pub fn record_error(&self, rule: &RuleId) {
        self.errors.count(&RuleLabels { rule: rule.clone() });
    }

    /// Takes away the series of rules that are not in force any more.
    pub(super) fn retain(&self) {
        self.patches.retain();
        self.errors.retain();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn results_are_there_from_the_start_and_rules_only_while_they_are_in_force() {
        let metrics = Metrics::new();
        metrics.set_bundle("sha256:ab", ["mends", "fails"].map(RuleId::from).iter(), 1);
        metrics.mutation.record(Mutated::Patched, Duration::from_micros(300));
        metrics.mutation.record_patch(&"mends".into());
        metrics.mutation.record_error(&"fails".into());
        let text = metrics.encode();
        for line in [
            "gatepost_mutation_requests_total{result=\"patched\"} 1",
            "gatepost_mutation_requests_total{result=\"unchanged\"} 0",
            "gatepost_mutation_requests_total{result=\"error\"} 0",
            "gatepost_mutation_request_duration_seconds_bucket{le=\"0.0005\"} 1",
            "gatepost_mutation_patches_total{rule=\"mends\"} 1",
            "gatepost_mutation_errors_total{rule=\"fails\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        metrics.set_bundle("sha256:cd", ["other".into()].iter(), 1);
        let text = metrics.encode();
        assert!(!text.contains("mends") && !text.contains("fails"), "{text}");
    }
}
