//! How rules stand in some namespaces: what the last audit counted, what is open, and since when nothing is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::policy::RuleId;
use crate::report::suggest::RuleStanding;
use crate::store::{Audit, Filter, FindingSort, OpenChange, PageQuery, Store, Stored, TimeSort};

/// How far back is looked, at least.
const WINDOW_DAYS: u32 = 30;
/// Audits that are read at a time.
const PAGE: usize = 1000;
/// Objects that are named of a rule.
const NAMED: usize = 10;
/// Findings of Namespaces themselves that are read.
const OF_NAMESPACES: usize = 1000;

/// How rules stand, and by which audit.
#[derive(Debug)]
pub struct Standings {
    /// The last audit that ended; none where none did.
    pub audit: Option<Audit>,
    /// By rule.
    pub rules: BTreeMap<RuleId, RuleStanding>,
}

/// What is looked at.
pub struct Looked<'a> {
    /// Where everything is kept.
    pub store: &'a dyn Store,
    /// Narrows what is read, such as to what the reader may see.
    pub filter: Filter,
    /// Which namespaces count.
    pub is_meant: &'a (dyn Fn(&str) -> bool + Sync),
    /// The rules that are looked at.
    pub rules: &'a BTreeSet<RuleId>,
    /// Returns the rules that something asks for in a namespace, given the policies that an audit counted there.
    pub asked: &'a (dyn Fn(&str, &BTreeSet<String>) -> BTreeSet<RuleId> + Sync),
    /// Findings up to which the objects of a rule are named.
    pub few: u64,
    /// For how many days nothing must have been open.
    pub days: u32,
    /// Now.
    pub now: Timestamp,
}

impl Looked<'_> {
    /// Reads how rules stand.
    pub async fn standings(&self) -> Stored<Standings> {
        let audits = self.audits().await?;
        let has_ended = |audit: &&Audit| audit.state.is_through();
        let Some(last) = audits.iter().find(has_ended) else {
            return Ok(Standings { audit: None, rules: BTreeMap::new() });
        };
        let mut rules: BTreeMap<RuleId, RuleStanding> = BTreeMap::new();
        self.count(last, &mut rules).await?;
        let of_namespaces = self.open(&mut rules).await?;
        self.name(&mut rules, &of_namespaces).await?;
        self.date(&audits, last, &mut rules).await?;
        Ok(Standings { audit: Some(last.clone()), rules })
    }

    /// Returns the audits of the window, the newest first; at least the last one.
    async fn audits(&self) -> Stored<Vec<Audit>> {
        let days = i64::from(self.days.max(WINDOW_DAYS));
        let since = self.now.checked_sub(SignedDuration::from_hours(days.saturating_mul(24))).ok();
        let mut found: Vec<Audit> = Vec::new();
        let mut cursor = None;
        loop {
            let asked = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor, limit: PAGE };
            let page = self.store.audits(&asked).await?;
            let is_before = |audit: &Audit| since.is_some_and(|since| audit.started < since);
            let ends_here = page.items.iter().any(is_before);
            // The first one before the window says how things stood when it began.
            let keep = page.items.iter().position(is_before).map_or(page.items.len(), |at| at.saturating_add(1));
            found.extend(page.items.into_iter().take(keep));
            cursor = page.next;
            if ends_here || cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// Adds what an audit counted; of several policies that ask for a rule, what the one says that looked at most.
    async fn count(&self, audit: &Audit, rules: &mut BTreeMap<RuleId, RuleStanding>) -> Stored<()> {
        let mut most: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        let mut policies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for count in self.store.counts(audit.id).await? {
            if self.counts(&count.namespace) {
                policies.entry(count.namespace.clone()).or_default().insert(count.policy);
                let known = most.entry((count.rule, count.namespace)).or_default();
                *known = (*known).max((count.passed, count.exempt));
            }
        }
        for ((rule, _), (passed, exempt)) in most {
            let standing = rules.entry(rule.as_str().into()).or_default();
            standing.passed = standing.passed.saturating_add(passed);
            standing.exempt = standing.exempt.saturating_add(exempt);
        }
        for (namespace, policies) in &policies {
            let asked = (self.asked)(namespace, policies);
            for rule in self.rules.difference(&asked) {
                let standing = rules.entry(rule.clone()).or_default();
                standing.unjudged = standing.unjudged.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Adds what is open; returns the findings of Namespaces themselves, which are judged by their own labels.
    async fn open(&self, rules: &mut BTreeMap<RuleId, RuleStanding>) -> Stored<Vec<(RuleId, String)>> {
        let filter = Filter { state: vec!["open".into()], ..self.filter.clone() };
        let mut add = |rule: &RuleId, findings: u64| {
            let standing = rules.entry(rule.clone()).or_default();
            standing.findings = standing.findings.saturating_add(findings);
        };
        for count in self.store.open_counts(&filter).await? {
            if self.counts(&count.namespace) {
                add(&count.rule, count.findings);
            }
        }
        let filter = Filter { kind: vec!["Namespace".into()], ..filter };
        let asked = PageQuery { filter, sort: FindingSort::Object, cursor: None, limit: OF_NAMESPACES };
        let found = self.store.findings(&asked).await?.items.into_iter();
        let found =
            found.filter(|finding| finding.object.namespace.is_empty() && (self.is_meant)(&finding.object.name));
        let found: Vec<_> = found.map(|finding| (finding.rule, format!("Namespace/{}", finding.object.name))).collect();
        for (rule, _) in &found {
            add(rule, 1);
        }
        Ok(found)
    }

    /// Names the objects of rules with few findings.
    async fn name(&self, rules: &mut BTreeMap<RuleId, RuleStanding>, of_namespaces: &[(RuleId, String)]) -> Stored<()> {
        let is_few = |standing: &RuleStanding| (1..=self.few).contains(&standing.findings);
        for (rule, standing) in rules.iter_mut().filter(|(_, standing)| is_few(standing)) {
            let filter = Filter { state: vec!["open".into()], rule: vec![rule.to_string()], ..self.filter.clone() };
            let asked = PageQuery { filter, sort: FindingSort::Object, cursor: None, limit: PAGE };
            let found = self.store.findings(&asked).await?.items.into_iter();
            let found = found.filter(|finding| self.counts(&finding.object.namespace));
            let named = found.map(|finding| {
                let object = finding.object;
                format!("{} {}/{}", object.namespace, object.kind, object.name)
            });
            let own = of_namespaces.iter().filter(|(broken, _)| broken == rule).map(|(_, name)| name.clone());
            standing.left = named.chain(own).collect();
            standing.left.dedup();
            standing.left.truncate(NAMED);
        }
        Ok(())
    }

    /// Says since when nothing is open, where nothing is: not before the rule was judged for the first time.
    async fn date(&self, audits: &[Audit], last: &Audit, rules: &mut BTreeMap<RuleId, RuleStanding>) -> Stored<()> {
        let Some(first) = audits.iter().rev().find(|audit| audit.finished.is_some()) else { return Ok(()) };
        let ended: HashMap<i64, Timestamp> =
            audits.iter().filter_map(|audit| Some((audit.id, audit.finished?))).collect();
        let judged = self.store.counts(first.id).await?.into_iter();
        let judged = judged.filter(|count| self.counts(&count.namespace) && count.passed.max(count.failed) > 0);
        let judged: Vec<RuleId> = judged.map(|count| count.rule.as_str().into()).collect();
        let mut changes = self.store.history(&self.filter, first.id, last.id).await?.changes;
        changes.retain(|change| self.counts(&change.namespace));
        let cleaned = clean_since(first.id, &changes);
        for (rule, standing) in rules.iter_mut().filter(|(_, standing)| standing.findings == 0) {
            let at = match cleaned.get(rule) {
                Some(at) => *at,
                None => judged.contains(rule).then_some(first.id),
            };
            standing.clean_since = at.and_then(|audit| ended.get(&audit).copied());
        }
        Ok(())
    }

    fn counts(&self, namespace: &str) -> bool {
        !namespace.is_empty() && (self.is_meant)(namespace)
    }
}

/// Returns the audit from which on nothing of a rule was open any more; none where something is. A rule of which nothing
/// was ever open is left out.
fn clean_since(first: i64, changes: &[OpenChange]) -> BTreeMap<RuleId, Option<i64>> {
    let mut open: BTreeMap<&RuleId, HashMap<(&str, &str, crate::policy::Severity), u64>> = BTreeMap::new();
    let mut since: BTreeMap<RuleId, Option<i64>> = BTreeMap::new();
    for change in changes {
        let of_rule = open.entry(&change.rule).or_default();
        let before: u64 = of_rule.values().sum();
        of_rule.insert((&change.cluster, &change.namespace, change.severity), change.open);
        let after: u64 = of_rule.values().sum();
        if after > 0 {
            since.insert(change.rule.clone(), None);
        } else if before > 0 || change.opened > 0 || change.audit == first {
            // What came and went between two audits was open, too.
            since.insert(change.rule.clone(), Some(change.audit));
        }
    }
    since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Severity;

    fn change(audit: i64, namespace: &str, rule: &str, open: u64) -> OpenChange {
        OpenChange {
            audit,
            cluster: String::new(),
            namespace: namespace.into(),
            rule: rule.into(),
            severity: Severity::High,
            open,
            opened: 0,
            fixed: 0,
        }
    }

    #[test]
    fn a_rule_is_clean_since_its_last_finding_went() {
        let changes = [
            change(1, "a", "x", 2),
            change(1, "b", "x", 1),
            change(2, "a", "x", 0),
            change(3, "c", "y", 1),
            change(4, "b", "x", 0),
            change(5, "c", "z", 1),
            change(6, "c", "y", 0),
            change(7, "c", "y", 1),
        ];
        let since = clean_since(1, &changes);
        let of = |rule: &str| since.get(&RuleId::from(rule)).copied();
        assert_eq!(of("x"), Some(Some(4)), "the last of both namespaces");
        assert_eq!((of("y"), of("z"), of("never")), (Some(None), Some(None), None));
    }
}
