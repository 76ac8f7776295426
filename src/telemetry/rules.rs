//! Counters of what rules found. A rule's name is a label here only, and only while the rule is in force.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::metrics::add;
use crate::admission::Action;
use crate::policy::{RuleId, Severity};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RuleLabels {
    pub(super) rule: RuleId,
}

impl EncodeLabelSet for RuleLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("rule", self.rule.as_str()).encode(encoder.encode_label())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ViolationLabels {
    rule: RuleId,
    severity: Severity,
    action: Action,
}

impl EncodeLabelSet for ViolationLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("rule", self.rule.as_str()).encode(encoder.encode_label())?;
        ("severity", self.severity.as_str()).encode(encoder.encode_label())?;
        ("action", self.action.as_str()).encode(encoder.encode_label())
    }
}

/// What is counted of rules.
#[derive(Debug)]
pub struct RuleMetrics {
    violations: Family<ViolationLabels, Counter>,
    errors: Family<RuleLabels, Counter>,
}

impl RuleMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            violations: add(registry, "rule_violations", "Violations found at admission"),
            errors: add(registry, "rule_errors", "Rules that could not be evaluated at admission"),
        }
    }

    /// Counts a violation and what was made of it.
    pub fn record_violation(&self, rule: &RuleId, severity: Severity, action: Action) {
        self.violations.get_or_create(&ViolationLabels { rule: rule.clone(), severity, action }).inc();
    }

    /// Counts a rule that could not be evaluated.
    pub fn record_error(&self, rule: &RuleId) {
        self.errors.get_or_create(&RuleLabels { rule: rule.clone() }).inc();
    }

    /// Forgets every rule: those of a new bundle begin anew.
    pub fn clear(&self) {
        self.violations.clear();
        self.errors.clear();
    }
}
