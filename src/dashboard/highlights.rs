//! What the first page names one by one: the last requests that were denied, and the objects with the gravest findings.

use std::collections::BTreeMap;

use super::decisions::Row as DecisionRow;
use super::resources;
use super::shell::Visit;
use crate::policy::Severity;
use crate::report::finding::{Finding, ObjectKey};
use crate::scan::Kept;
use crate::store::{Filter, FindingSort, PageQuery, Stored, TimeSort};

/// Denials and objects that are named.
const NAMED: usize = 5;
/// Findings, the gravest first, of which objects are made.
const LOOKED_AT: usize = 200;

/// What is named.
#[derive(Default)]
pub struct Highlights {
    /// Requests that were denied, the last first.
    pub denials: Vec<DecisionRow>,
    /// Objects, the worst first.
    pub objects: Vec<Worst>,
}

/// An object with grave findings.
#[derive(Debug, PartialEq, Eq)]
pub struct Worst {
    /// `Kind/name`.
    pub label: String,
    /// The namespace, empty outside any.
    pub namespace: String,
    /// Its page.
    pub href: String,
    /// The gravest severity.
    pub severity: &'static str,
    /// `2 critical, 1 high`.
    pub words: String,
}

impl Highlights {
    /// Reads them; `told` narrows findings, and what decisions are seen.
    pub async fn read(kept: &Kept, told: &Filter, visit: &Visit) -> Stored<Self> {
        let denied = Filter { state: vec!["denied".into()], visible: told.visible.clone(), ..Filter::default() };
        let asked = PageQuery { filter: denied, sort: TimeSort::Newest, cursor: None, limit: NAMED };
        let denials = kept.store.decisions(&asked).await?.items;
        let asked = PageQuery { filter: told.clone(), sort: FindingSort::Severity, cursor: None, limit: LOOKED_AT };
        let found = kept.store.findings(&asked).await?.items;
        Ok(Self {
            denials: denials.iter().map(|decision| DecisionRow::of(decision, visit)).collect(),
            objects: worst(&found),
        })
    }
}

/// Returns the objects that have the gravest findings, and of those with equally grave ones those that have most.
fn worst(found: &[Finding]) -> Vec<Worst> {
    let mut objects: BTreeMap<&ObjectKey, BTreeMap<Severity, u64>> = BTreeMap::new();
    for finding in found {
        let number = objects.entry(&finding.object).or_default().entry(finding.severity).or_default();
        *number = number.saturating_add(1);
    }
    let gravity = |counts: &BTreeMap<Severity, u64>| -> Vec<u64> {
        Severity::ALL.into_iter().rev().map(|severity| counts.get(&severity).copied().unwrap_or_default()).collect()
    };
    let mut objects: Vec<_> = objects.into_iter().collect();
    objects.sort_by_key(|(_, counts)| std::cmp::Reverse(gravity(counts)));
    let named = objects.into_iter().take(NAMED).map(|(object, counts)| {
        let words: Vec<String> = counts.iter().rev().map(|(severity, number)| format!("{number} {severity}")).collect();
        Worst {
            label: format!("{}/{}", object.kind, object.name),
            namespace: object.namespace.clone(),
            href: resources::href(object),
            severity: counts.keys().next_back().map_or("info", |severity| severity.as_str()),
            words: words.join(", "),
        }
    });
    named.collect()
}
