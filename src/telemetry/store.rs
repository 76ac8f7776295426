//! Figures of the store: how large it is, and how long it takes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics::add;
use crate::store::{Observer, Operation};

/// A page of findings should take milliseconds, a large change may take seconds.
const DURATIONS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// What is counted of the store; the clones count the same.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    errors: Family<OperationLabels, Counter>,
    is_open: Gauge,
    size: Gauge,
    pruned: Gauge,
}

impl StoreMetrics {
    /// Registers them; both operations are there from the start.
    pub fn register(registry: &mut Registry) -> Self {
        let durations: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(DURATIONS));
        let about = "Transactions of the store by what they do, waiting for their turn included";
        registry.register("store_transaction_duration_seconds", about, durations.clone());
        let metrics = Self {
            durations,
            errors: add(registry, "store_errors", "Transactions of the store that failed, by what they should do"),
            is_open: add(registry, "store_open", "Whether the store is open: 1, or 0 while that is tried again"),
            size: add(registry, "store_size_bytes", "Size of the store; what was let go of is used again"),
            pruned: add(
                registry,
                "store_last_prune_timestamp_seconds",
                "When the store last let go of what is too old, in seconds since 1970",
            ),
        };
        for operation in [Operation::Read, Operation::Write] {
            let labels = labels(operation);
            drop(metrics.durations.get_or_create(&labels));
            drop(metrics.errors.get_or_create(&labels));
        }
        metrics
    }

    /// Shows whether the store is open.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.set(is_open.into());
    }

    /// Shows the size of the store.
    pub fn set_size(&self, bytes: u64) {
        self.size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Shows that the store let go of what is too old at a time, in seconds since 1970.
    pub fn set_pruned(&self, second: i64) {
        self.pruned.inner().store(second, Ordering::Relaxed);
    }
}

impl Observer for StoreMetrics {
    fn observe(&self, operation: Operation, took: Duration, is_failed: bool) {
        let labels = labels(operation);
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if is_failed {
            self.errors.get_or_create(&labels).inc();
        }
    }
}

const fn labels(operation: Operation) -> OperationLabels {
    OperationLabels {
        operation: match operation {
            Operation::Read => "read",
            Operation::Write => "write",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn shows_how_the_store_fares() {
        let metrics = Metrics::new();
        metrics.store.observe(Operation::Write, Duration::from_millis(3), false);
        metrics.store.observe(Operation::Write, Duration::from_millis(30), true);
        metrics.store.set_size(4096);
        metrics.store.set_open(true);
        metrics.store.set_pruned(1_700_000_000);
        let text = metrics.encode();
        for line in [
            "gatepost_store_transaction_duration_seconds_bucket{le=\"0.005\",operation=\"write\"} 1",
            "gatepost_store_transaction_duration_seconds_count{operation=\"write\"} 2",
            "gatepost_store_transaction_duration_seconds_count{operation=\"read\"} 0",
            "gatepost_store_errors_total{operation=\"write\"} 1",
            "gatepost_store_errors_total{operation=\"read\"} 0",
            "gatepost_store_size_bytes 4096",
            "gatepost_store_open 1",
            "gatepost_store_last_prune_timestamp_seconds 1700000000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
