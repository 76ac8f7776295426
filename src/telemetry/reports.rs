//! Figures of the reports that are written into the cluster.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// What became of a report when an audit had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    Written,
    /// It said already what is so.
    Unchanged,
    /// Nothing needs it any more.
    Deleted,
    /// It could not be written or deleted.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Written, Self::Unchanged, Self::Deleted, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What is counted of reports; the clones count the same.
#[derive(Debug, Clone)]
pub struct ReportMetrics {
    reports: Family<OutcomeLabels, Counter>,
    left_out: Gauge,
    served: Gauge,
}

impl ReportMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let reports = "Policy reports by what became of them when an audit had ended";
        let left_out = "Findings that policy reports count and do not tell, because there are too many";
        let served = "Whether the cluster knows the kinds of policy reports that it is asked to keep";
        let metrics = Self {
            reports: add(registry, "policy_reports", reports),
            left_out: add(registry, "policy_report_results_left_out", left_out),
            served: add(registry, "policy_reports_served", served),
        };
        for outcome in Outcome::ALL {
            metrics.count(outcome, 0);
        }
        metrics
    }

    /// Counts reports.
    pub fn count(&self, outcome: Outcome, reports: u64) {
        self.reports.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc_by(reports);
    }

    /// Shows how many findings are only counted.
    pub fn set_left_out(&self, findings: u64) {
        self.left_out.set(i64::try_from(findings).unwrap_or(i64::MAX));
    }

    /// Shows whether the cluster knows the kinds.
    pub fn set_served(&self, is_served: bool) {
        self.served.set(i64::from(is_served));
    }
}
