//! What is to be told of each namespace, from the store.

use std::collections::BTreeMap;

use crate::admission::Action;
use crate::report::Verdict;
use crate::report::finding::Finding;
use crate::report::policy_report::{Counts, MOST_WRITTEN};
use crate::store::{Facet, Filter, FindingSort, PageQuery, Store, Stored};

/// Findings that are read at a time.
const PAGE: usize = 1000;
/// More pairs of namespace and action than any cluster has.
const MOST_PAIRS: usize = 1 << 20;

/// Namespaces and what is counted in them, as an audit left it.
pub(super) struct Pictures<'a> {
    store: &'a dyn Store,
    cluster: &'a str,
    counts: BTreeMap<String, Counts>,
}

impl<'a> Pictures<'a> {
    /// Counts; findings are read when it is a namespace's turn.
    pub(super) async fn take(store: &'a dyn Store, cluster: &'a str, audit: i64) -> Stored<Self> {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for (namespace, (pass, skip)) in unfailing(store, audit).await? {
            counts.insert(namespace, Counts { pass, skip, ..Counts::default() });
        }
        let open = Filter { cluster: vec![cluster.to_owned()], state: vec!["open".into()], ..Filter::default() };
        for count in store.open_counts(&open).await? {
            counts.entry(count.namespace).or_default().add(Verdict::Fail, count.action, count.findings);
        }
        let errors = Filter { result: vec![Verdict::Error.as_str().into()], ..open };
        for (namespace, action, findings) in store.cross(&errors, [Facet::Namespace, Facet::Action], MOST_PAIRS).await?
        {
            let counts = counts.entry(namespace).or_default();
            let counted = if action == Action::Deny.as_str() { &mut counts.fail } else { &mut counts.warn };
            *counted = counted.saturating_sub(findings);
            counts.error = counts.error.saturating_add(findings);
            // An audit counts what could not be evaluated among what was not judged.
            counts.skip = counts.skip.saturating_sub(findings);
        }
        Ok(Self { store, cluster, counts })
    }

    /// Returns each namespace, the empty one for objects outside any, with what is counted there.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.counts.iter().map(|(namespace, counts)| (namespace.as_str(), *counts))
    }

    /// Returns the gravest open findings of a namespace, as many as reports hold.
    pub(super) async fn findings(&self, namespace: &str) -> Stored<Vec<Finding>> {
        let filter = Filter {
            cluster: vec![self.cluster.to_owned()],
            namespace: vec![namespace.to_owned()],
            state: vec!["open".into()],
            ..Filter::default()
        };
        let mut query = PageQuery { filter, sort: FindingSort::Severity, cursor: None, limit: PAGE };
        let mut findings = Vec::new();
        loop {
            let page = self.store.findings(&query).await?;
            findings.extend(page.items);
            query.cursor = page.next;
            if query.cursor.is_none() || findings.len() >= MOST_WRITTEN {
                findings.truncate(MOST_WRITTEN);
                return Ok(findings);
            }
        }
    }
}

/// Returns for each namespace how many (rule, object) pairs passed, and how many were excused or not judged. What several
/// policies ask for counts once.
async fn unfailing(store: &dyn Store, audit: i64) -> Stored<BTreeMap<String, (u64, u64)>> {
    let mut by_rule: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for count in store.counts(audit).await? {
        let (passed, skipped) = by_rule.entry((count.namespace, count.rule)).or_default();
        *passed = count.passed.max(*passed);
        *skipped = count.skipped.saturating_add(count.exempt).max(*skipped);
    }
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for ((namespace, _), (passed, skipped)) in by_rule {
        let sum = sums.entry(namespace).or_default();
        *sum = (sum.0.saturating_add(passed), sum.1.saturating_add(skipped));
    }
    Ok(sums)
}
