//! Figures of reloads: whether what is on disk is in force.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// It is in force.
    Applied,
    /// It is not, and what was in force stays.
    Refused,
}

impl Reloaded {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// What is counted of reloads.
#[derive(Debug)]
pub struct ReloadMetrics {
    results: Family<ResultLabels, Counter>,
    last_success: Gauge,
    failed: Gauge,
}

impl ReloadMetrics {
    /// Registers them; both results are there from the start, at 0.
    pub fn register(registry: &mut Registry) -> Self {
        let success = "When what is on disk came into force the last time, in seconds since 1970";
        let failed = "1 while policies or configuration on disk are refused, and others are in force";
        let metrics = Self {
            results: add(registry, "reloads", "Changes of policies and configuration by what became of them"),
            last_success: add(registry, "reload_last_success_timestamp_seconds", success),
            failed: add(registry, "reload_failed", failed),
        };
        for result in [Reloaded::Applied, Reloaded::Refused] {
            drop(metrics.results.get_or_create(&ResultLabels { result: result.as_str() }));
        }
        metrics
    }

    /// Counts a change.
    pub fn count(&self, result: Reloaded) {
        self.results.get_or_create(&ResultLabels { result: result.as_str() }).inc();
    }

    /// Says that what is on disk came into force at a time, in seconds since 1970.
    pub fn set_success(&self, second: i64) {
        self.last_success.inner().store(second, Ordering::Relaxed);
        self.failed.set(0);
    }

    /// Says whether what is on disk is refused.
    pub fn set_failed(&self, is_refused: bool) {
        self.failed.set(i64::from(is_refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn shows_what_became_of_changes() {
        let metrics = Metrics::new();
        metrics.reloads.count(Reloaded::Refused);
        metrics.reloads.set_failed(true);
        let text = metrics.encode();
        for line in [
            "gatepost_reloads_total{result=\"applied\"} 0",
            "gatepost_reloads_total{result=\"refused\"} 1",
            "gatepost_reload_failed 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        metrics.reloads.set_success(1_700_000_000);
        let text = metrics.encode();
        for line in ["gatepost_reload_last_success_timestamp_seconds 1700000000", "gatepost_reload_failed 0"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
