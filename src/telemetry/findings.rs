//! Figures of audits: what stands open, and how fresh that is.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;
use crate::admission::Action;
use crate::policy::Severity;
use crate::store::Audit;

/// What is shown of audits and findings; the clones show the same.
#[derive(Debug, Clone)]
pub struct FindingMetrics {
    open: Family<OpenLabels, Gauge>,
    changes: Family<ChangeLabels, Gauge>,
    interval: Gauge,
    turn: Gauge,
    finished: Gauge,
    took: Gauge<f64, AtomicU64>,
    objects: Gauge,
    evaluated: Gauge,
    unread: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    severity: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    change: &'static str,
}

impl FindingMetrics {
    /// Registers them; every severity and action is there from the start.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            open: add(
                registry,
                "findings_open",
                "Open findings by severity and by what their namespaces' modes make of them",
            ),
            changes: add(
                registry,
                "audit_findings",
                "Findings that the last audit opened, found fixed, or closed otherwise",
            ),
            interval: add(registry, "audit_interval_seconds", "From one audit to the next; 0: none begins by itself"),
            turn: add(registry, "audit_turn", "Whether this process audits: 1, or 0 while another with its store does"),
            finished: add(
                registry,
                "audit_last_finished_timestamp_seconds",
                "When the last audit ended that nobody stopped, in seconds since 1970; 0: none yet",
            ),
            took: add(registry, "audit_last_duration_seconds", "How long the last audit took"),
            objects: add(registry, "audit_objects", "Objects that the last audit read"),
            evaluated: add(
                registry,
                "audit_evaluated_objects",
                "Objects that the last audit judged; the others had not changed",
            ),
            unread: add(registry, "audit_unread_kinds", "Kinds that the last audit could not read"),
        };
        metrics.set_open(&[]);
        for change in ["opened", "fixed", "closed"] {
            drop(metrics.changes.get_or_create(&ChangeLabels { change }));
        }
        metrics
    }

    /// Shows whether it is this process that audits.
    pub fn set_turn(&self, has_turn: bool) {
        self.turn.set(has_turn.into());
    }

    /// Shows how many findings are open, each with severity and action; all others are none.
    pub fn set_open(&self, counts: &[(String, String, u64)]) {
        for severity in Severity::ALL.map(Severity::as_str) {
            for action in [Action::Record, Action::Warn, Action::Deny].map(Action::as_str) {
                let of = |(found, made, _): &&(String, String, u64)| found == severity && made == action;
                let findings = counts.iter().filter(of).map(|(_, _, findings)| findings).sum();
                self.open.get_or_create(&OpenLabels { severity, action }).set(number(findings));
            }
        }
    }

    /// Shows how often audits begin.
    pub fn set_interval(&self, interval: Option<Duration>) {
        self.interval.set(number(interval.map_or(0, |interval| interval.as_secs())));
    }

    /// Shows an audit that has ended.
    pub fn set_audit(&self, audit: &Audit) {
        let Some(finished) = audit.finished else { return };
        self.finished.set(finished.as_second());
        self.took.set(finished.duration_since(audit.started).as_secs_f64().max(0.0));
        self.objects.set(number(audit.objects));
        self.evaluated.set(number(audit.evaluated));
        self.unread.set(number(audit.unread.len() as u64));
        for (change, findings) in [("opened", audit.opened), ("fixed", audit.fixed), ("closed", audit.closed)] {
            self.changes.get_or_create(&ChangeLabels { change }).set(number(findings));
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::{AuditState, Trigger};
    use crate::telemetry::Metrics;

    #[test]
    fn shows_what_is_open_and_how_fresh_that_is() {
        let metrics = Metrics::new();
        let open = [("high", "warn", 3), ("high", "deny", 1), ("low", "record", 7)];
        let open = open.map(|(severity, action, findings)| (severity.to_owned(), action.to_owned(), findings));
        metrics.findings.set_open(&open);
        metrics.findings.set_open(&open[..2]);
        metrics.findings.set_interval(Some(Duration::from_mins(10)));
        let audit = Audit {
            id: 4,
            cluster: String::new(),
            trigger: Trigger::Schedule,
            state: AuditState::Partial,
            started: "2026-05-01T08:00:00Z".parse().unwrap(),
            finished: Some("2026-05-01T08:00:02.5Z".parse().unwrap()),
            policies: String::new(),
            objects: 90,
            evaluated: 2,
            opened: 5,
            fixed: 1,
            closed: 0,
            unread: BTreeMap::from([("core/Secret".into(), "forbidden".into())]),
        };
        metrics.findings.set_audit(&audit);
        metrics.findings.set_audit(&Audit { finished: None, objects: 1, ..audit });
        let text = metrics.encode();
        for line in [
            "gatepost_findings_open{severity=\"high\",action=\"warn\"} 3",
            "gatepost_findings_open{severity=\"high\",action=\"deny\"} 1",
            "gatepost_findings_open{severity=\"low\",action=\"record\"} 0",
            "gatepost_audit_findings{change=\"opened\"} 5",
            "gatepost_audit_findings{change=\"fixed\"} 1",
            "gatepost_audit_interval_seconds 600",
            "gatepost_audit_last_finished_timestamp_seconds 1777622402",
            "gatepost_audit_last_duration_seconds 2.5",
            "gatepost_audit_objects 90",
            "gatepost_audit_evaluated_objects 2",
            "gatepost_audit_unread_kinds 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
