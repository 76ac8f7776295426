//! Open findings of the namespaces that a reader sees, by rule, severity and action, and the score that follows.

use std::collections::{BTreeMap, BTreeSet};

use super::caveats::unless_away;
use super::nothing::Nothing;
use super::standing::last_audit;
use crate::admission::Action;
use crate::policy::RuleId;
use crate::report::Score;
use crate::report::score::Open;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Filter, OpenCount};

/// What is open, by namespace.
#[derive(Debug, Default)]
pub struct Counts {
    open: BTreeMap<String, Vec<OpenCount>>,
    judged: BTreeSet<String>,
}

impl Counts {
    /// Counts what a filter leaves; says why nothing is known where no audit has ended, and neither where there is no store
    /// or it does not answer.
    pub async fn read(state: &ApiState, filter: &Filter) -> Result<(Option<Nothing>, Option<Self>), Problem> {
        let Some(kept) = &state.kept else { return Ok((None, None)) };
        Ok(unless_away(Self::look(state, kept, filter).await)?.unwrap_or_default())
    }

    async fn look(state: &ApiState, kept: &Kept, filter: &Filter) -> Result<(Option<Nothing>, Option<Self>), Problem> {
        if let Err(nothing) = last_audit(state, kept).await? {
            return Ok((Some(nothing), None));
        }
        let mut open: BTreeMap<String, Vec<OpenCount>> = BTreeMap::new();
        for count in kept.store.open_counts(filter).await? {
            open.entry(count.namespace.clone()).or_default().push(count);
        }
        let judged = kept.store.judged_namespaces().await?.into_iter().collect();
        Ok((None, Some(Self { open, judged })))
    }

    fn of(&self, namespace: &str) -> &[OpenCount] {
        self.open.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    fn by<K: Ord>(&self, namespace: &str, key: impl Fn(&OpenCount) -> K) -> BTreeMap<K, u64> {
        self.of(namespace).iter().fold(BTreeMap::new(), |mut sums, count| {
            let sum = sums.entry(key(count)).or_default();
            *sum = sum.saturating_add(count.findings);
            sums
        })
    }

    /// Returns how many there are of each severity.
    pub fn severities(&self, namespace: &str) -> BTreeMap<String, u64> {
        self.by(namespace, |count| count.severity.to_string())
    }

    /// Returns how many there are of each rule, most first.
    pub fn rules(&self, namespace: &str) -> Vec<(String, u64)> {
        let mut rules: Vec<_> = self.by(namespace, |count| count.rule.to_string()).into_iter().collect();
        rules.sort_by(|(x, a), (y, b)| b.cmp(a).then_with(|| x.cmp(y)));
        rules
    }

    /// Returns how many are denied.
    pub fn denied(&self, namespace: &str) -> u64 {
        self.by(namespace, |count| count.action == Action::Deny).get(&true).copied().unwrap_or_default()
    }

    /// Returns how many findings some rules have, and how many of the rules have any.
    pub fn ahead(&self, namespace: &str, rules: &BTreeSet<RuleId>) -> (u64, usize) {
        let found = self.by(namespace, |count| count.rule.clone()).into_iter().filter(|(rule, _)| rules.contains(rule));
        found.fold((0, 0), |(findings, rules), (_, count)| (count.saturating_add(findings), rules.saturating_add(1)))
    }

    /// Returns whether the last audit judged anything there.
    pub fn is_judged(&self, namespace: &str) -> bool {
        self.judged.contains(namespace) || self.open.contains_key(namespace)
    }

    /// Returns how well the namespace stands; none where nothing was judged.
    pub fn score(&self, namespace: &str) -> Option<Score> {
        let mut open = Open::default();
        for OpenCount { rule, severity, findings, .. } in self.of(namespace) {
            open.add(rule, *severity, *findings);
        }
        self.is_judged(namespace).then(|| open.score())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Severity;

    #[test]
    fn a_namespace_where_nothing_was_judged_has_no_score() {
        let open = |namespace: &str, rule: &str, action, findings| OpenCount {
            namespace: namespace.into(),
            rule: rule.into(),
            severity: Severity::High,
            action,
            findings,
        };
        let shop = vec![
            open("shop", "a", Action::Deny, 2),
            open("shop", "a", Action::Warn, 1),
            open("shop", "b", Action::Warn, 5),
        ];
        let counts = Counts { open: BTreeMap::from([("shop".into(), shop)]), judged: BTreeSet::from(["bank".into()]) };
        assert_eq!((counts.denied("shop"), counts.rules("shop")), (2, vec![("b".into(), 5), ("a".into(), 3)]));
        assert_eq!(counts.ahead("shop", &BTreeSet::from([RuleId::from("a"), "c".into()])), (3, 1));
        assert_eq!(counts.score("bank").map(Score::points), Some(100.0));
        assert!(counts.score("shop").is_some_and(|score| score.points() < 100.0));
        assert_eq!(counts.score("new"), None);
    }
}
