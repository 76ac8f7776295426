//! Figures of notifications. Targets are those of the configuration, and go with them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    target: String,
}

/// What is counted; the clones count the same.
#[derive(Debug, Clone)]
pub struct NotificationMetrics {
    delivered: Family<TargetLabels, Counter>,
    failures: Family<TargetLabels, Counter>,
    dropped: Family<TargetLabels, Counter>,
    dropped_findings: Family<TargetLabels, Counter>,
    waiting: Family<TargetLabels, Gauge>,
    last: Family<TargetLabels, Gauge>,
    targets: Arc<Mutex<BTreeSet<String>>>,
}

impl NotificationMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            delivered: add(registry, "notifications_delivered", "Notifications that a target took"),
            failures: add(registry, "notification_failures", "Attempts to reach a target that failed"),
            dropped: add(registry, "notifications_dropped", "Notifications that a target did not take for too long"),
            dropped_findings: add(
                registry,
                "notifications_dropped_findings",
                "Findings that notifications told of which a target did not take for too long",
            ),
            waiting: add(registry, "notifications_waiting", "Notifications that wait to be sent again"),
            last: add(
                registry,
                "notification_last_delivery_timestamp_seconds",
                "When a target last took a notification, in seconds since 1970; 0 while it has taken none",
            ),
            targets: Arc::default(),
        }
    }

    /// Shows these targets and no others.
    pub fn keep<'n>(&self, targets: impl Iterator<Item = &'n str>) {
        let targets: BTreeSet<String> = targets.map(str::to_owned).collect();
        let mut known = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        for target in known.difference(&targets) {
            let labels = labels(target);
            self.delivered.remove(&labels);
            self.failures.remove(&labels);
            self.dropped.remove(&labels);
            self.dropped_findings.remove(&labels);
            self.waiting.remove(&labels);
            self.last.remove(&labels);
        }
        for target in targets.difference(&known) {
            let labels = labels(target);
            drop(self.delivered.get_or_create(&labels));
            drop(self.failures.get_or_create(&labels));
            drop(self.dropped.get_or_create(&labels));
            drop(self.dropped_findings.get_or_create(&labels));
            drop(self.waiting.get_or_create(&labels));
            drop(self.last.get_or_create(&labels));
        }
        *known = targets;
    }

    /// A target took a notification at a time, in seconds since 1970.
    pub fn delivered(&self, target: &str, second: i64) {
        self.delivered.get_or_create(&labels(target)).inc();
        self.last.get_or_create(&labels(target)).inner().store(second, Ordering::Relaxed);
    }

    /// An attempt failed.
    pub fn failed(&self, target: &str) {
        self.failures.get_or_create(&labels(target)).inc();
    }

    /// A notification was let go of.
    pub fn dropped(&self, target: &str, findings: u64) {
        self.dropped.get_or_create(&labels(target)).inc();
        self.dropped_findings.get_or_create(&labels(target)).inc_by(findings);
    }

    /// So many wait.
    pub fn waiting(&self, target: &str, notifications: usize) {
        self.waiting.get_or_create(&labels(target)).set(super::metrics::count(notifications));
    }
}

fn labels(target: &str) -> TargetLabels {
    TargetLabels { target: target.to_owned() }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Metrics;

    #[test]
    fn targets_are_shown_as_long_as_there_are_any() {
        let metrics = Metrics::new();
        metrics.notifications.keep(["chat", "soc"].into_iter());
        metrics.notifications.delivered("chat", 1_700_000_000);
        metrics.notifications.dropped("soc", 12);
        let text = metrics.encode();
        for line in [
            "gatepost_notifications_delivered_total{target=\"chat\"} 1",
            "gatepost_notification_failures_total{target=\"chat\"} 0",
            "gatepost_notifications_dropped_total{target=\"soc\"} 1",
            "gatepost_notifications_dropped_findings_total{target=\"soc\"} 12",
            "gatepost_notifications_waiting{target=\"soc\"} 0",
            "gatepost_notification_last_delivery_timestamp_seconds{target=\"chat\"} 1700000000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        metrics.notifications.keep(["chat"].into_iter());
        assert!(!metrics.encode().contains("target=\"soc\""));
    }
}
