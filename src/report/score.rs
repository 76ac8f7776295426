//! The score: how well a namespace or the cluster stands, from 0 to 100, by what is open there and nothing else.
//!
//! A share of what passes would rise with every new object, a bad one included, and fall when a bad one is deleted.
//! docs/api.md publishes the formula.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::policy::{RuleId, Severity};

/// The penalty that halves the score.
const HALF: f64 = 100.0;

/// How well something stands, in tenths of a point; 100 only where nothing that weighs is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u16);

impl Score {
    /// Returns the points, from 0 to 100 with one decimal.
    pub fn points(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.points())
    }
}

/// Open findings by rule and severity, as far as they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open(BTreeMap<(RuleId, Severity), u64>);

impl Open {
    /// Adds findings of a rule.
    pub fn add(&mut self, rule: &RuleId, severity: Severity, findings: u64) {
        let count = self.0.entry((rule.clone(), severity)).or_default();
        *count = count.saturating_add(findings);
    }

    /// Takes findings of a rule away.
    pub fn remove(&mut self, rule: &RuleId, severity: Severity, findings: u64) {
        if let Some(count) = self.0.get_mut(&(rule.clone(), severity)) {
            *count = count.saturating_sub(findings);
        }
    }

    /// Returns the score: 100 × 100 / (100 + penalty), rounded down to a tenth.
    ///
    /// Each rule adds its severity's weight × log2(1 + its findings) to the penalty: the first finding counts most, and
    /// each further one a little, so that a namespace of a thousand objects is not at 0 for one habit.
    pub fn score(&self) -> Score {
        let penalty: f64 =
            self.0.iter().map(|((_, severity), findings)| weight(*severity) * doublings(*findings)).sum();
        let tenths = (1000.0 * HALF / (HALF + penalty)).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
        Score(tenths as u16)
    }
}

/// What the first finding of a rule adds to the penalty.
const fn weight(severity: Severity) -> f64 {
    match severity {
        Severity::Critical => 10.0,
        Severity::High => 5.0,
        Severity::Medium => 2.0,
        Severity::Low => 1.0,
        Severity::Info => 0.0,
    }
}

fn doublings(findings: u64) -> f64 {
    (f64::from(u32::try_from(findings).unwrap_or(u32::MAX)) + 1.0).log2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(counts: &[(&str, Severity, u64)]) -> Open {
        let mut open = Open::default();
        for (rule, severity, count) in counts {
            open.add(&RuleId::from(*rule), *severity, *count);
        }
        open
    }

    #[test]
    fn the_published_formula_gives_these() {
        use Severity::{Critical, High, Info, Low, Medium};
        for (counts, tenths) in [
            (&[][..], 1000),
            (&[("a", Info, 1000)], 1000),
            (&[("a", Low, 1)], 990),
            (&[("a", Medium, 1)], 980),
            (&[("a", High, 1)], 952),
            (&[("a", Critical, 1)], 909),
            (&[("a", Critical, 1023)], 500),
            (&[("a", High, 1), ("b", High, 1)], 909),
            (&[("a", High, 2)], 926),
            (&[("a", High, 1), ("a", Low, 1)], 943),
        ] {
            assert_eq!(open(counts).score(), Score(tenths), "{counts:?}");
        }
    }

    fn finding() -> impl Strategy<Value = (u8, Severity)> {
        (0..8_u8, prop::sample::select(Severity::ALL.to_vec()))
    }

    proptest! {
        #[test]
        fn a_violation_never_raises_it_and_a_fix_never_lowers_it(
            found in prop::collection::vec(finding(), 0..200),
            next in finding(),
        ) {
            let id = |number: u8| RuleId::from(format!("rule-{number}").as_str());
            let mut open = Open::default();
            for (rule, severity) in &found {
                open.add(&id(*rule), *severity, 1);
            }
            let before = open.score();
            open.add(&id(next.0), next.1, 1);
            prop_assert!(open.score() <= before);
            open.remove(&id(next.0), next.1, 1);
            prop_assert_eq!(open.score(), before);
            for (rule, severity) in &found {
                let before = open.score();
                open.remove(&id(*rule), *severity, 1);
                prop_assert!(open.score() >= before);
            }
            prop_assert_eq!(open.score(), Score(1000));
        }
    }
}
