//! Counters of what rules found.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::registry::Registry;

use super::by_rule::{ByRule, OfRule, RuleLabels, RuleSeries};
use crate::admission::{Action, Exempted};
use crate::policy::{RuleId, Severity};

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

impl OfRule for ViolationLabels {
    fn rule(&self) -> &RuleId {
        &self.rule
    }

    fn with_rule(&self, rule: RuleId) -> Self {
        Self { rule, ..*self }
    }
}

/// What is counted of rules.
#[derive(Debug)]
pub struct RuleMetrics {
    violations: ByRule<ViolationLabels>,
    errors: ByRule<RuleLabels>,
    exempted: ByRule<RuleLabels>,
}

impl RuleMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry, series: &RuleSeries) -> Self {
        let violations = "Violations found at admission";
        let errors = "Rules that could not be evaluated at admission";
        let exempted = "Violations found at admission that an exemption excuses";
        Self {
            violations: ByRule::register(registry, series, "rule_violations", violations),
            errors: ByRule::register(registry, series, "rule_errors", errors),
            exempted: ByRule::register(registry, series, "rule_exempted_violations", exempted),
        }
    }

    /// Counts a violation and what was made of it.
    pub fn record_violation(&self, rule: &RuleId, severity: Severity, action: Action) {
        self.violations.count(&ViolationLabels { rule: rule.clone(), severity, action });
    }

    /// Counts a rule that could not be evaluated.
    pub fn record_error(&self, rule: &RuleId) {
        self.errors.count(&RuleLabels { rule: rule.clone() });
    }

    /// Counts violations that are excused.
    pub fn record_exempted(&self, exempted: &[Exempted]) {
        for exempt in exempted {
            self.exempted.count(&RuleLabels { rule: exempt.rule.clone() });
        }
    }

    /// Takes away the series of rules that are not in force any more.
    pub(super) fn retain(&self) {
        self.violations.retain();
        self.errors.retain();
        self.exempted.retain();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prometheus_client::encoding::text;

    use super::super::by_rule::MOST_SERIES;
    use super::*;

    struct Counted {
        registry: Registry,
        series: RuleSeries,
        metrics: RuleMetrics,
    }

    impl Counted {
        fn new() -> Self {
            let (mut registry, series) = (Registry::default(), RuleSeries::default());
            Self { metrics: RuleMetrics::register(&mut registry, &series), registry, series }
        }

        fn put_in_force(&self, rules: HashSet<RuleId>) {
            self.series.set_in_force(rules);
            self.metrics.retain();
        }

        fn lines(&self) -> Vec<String> {
            let mut encoded = String::new();
            text::encode(&mut encoded, &self.registry).unwrap();
            let mut lines: Vec<_> = encoded.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            lines.sort();
            lines
        }
    }

    fn rules(range: std::ops::Range<usize>) -> HashSet<RuleId> {
        range.map(|number| RuleId::from(format!("rule-{number}").as_str())).collect()
    }

    #[test]
    fn rules_that_stay_go_on_counting_and_others_lose_their_series() {
        let counted = Counted::new();
        counted.put_in_force(["stays", "goes"].map(RuleId::from).into());
        for rule in ["stays", "goes", "unknown"].map(RuleId::from) {
            counted.metrics.record_violation(&rule, Severity::High, Action::Deny);
            counted.metrics.record_error(&rule);
        }
        counted.put_in_force(["stays", "comes"].map(RuleId::from).into());
        counted.metrics.record_error(&"stays".into());
        counted.metrics.record_error(&"goes".into());
        assert_eq!(
            counted.lines(),
            [
                "rule_errors_total{rule=\"__other__\"} 2",
                "rule_errors_total{rule=\"stays\"} 2",
                "rule_violations_total{rule=\"__other__\",severity=\"high\",action=\"deny\"} 1",
                "rule_violations_total{rule=\"stays\",severity=\"high\",action=\"deny\"} 1",
            ]
        );
    }

    #[test]
    fn more_rules_than_there_is_room_for_are_counted_together() {
        let counted = Counted::new();
        counted.put_in_force(rules(0..2_000));
        for rule in &rules(0..2_000) {
            for action in [Action::Deny, Action::Warn, Action::Record] {
                counted.metrics.record_violation(rule, Severity::Low, action);
                counted.metrics.record_error(rule);
            }
        }
        let lines = counted.lines();
        let total = |name: &str| -> u64 {
            let of_name = lines.iter().filter(|line| line.starts_with(name));
            of_name.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        assert_eq!((total("rule_violations_total"), total("rule_errors_total")), (6_000, 6_000));
        assert_eq!(lines.len(), MOST_SERIES + 3 + 1);

        // Once they are gone there is room again.
        counted.put_in_force(rules(5_000..5_001));
        counted.metrics.record_violation(&"rule-5000".into(), Severity::Low, Action::Deny);
        assert!(counted.lines().iter().any(|line| line.contains("rule-5000")));
    }
}
