//! What is asked of a store, and what it answers beside the records themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::admission::Action;
use crate::policy::{RuleId, Severity};
use crate::report::finding::{Application, ObjectKey};

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Decisions before this go.
    pub decisions_before: Timestamp,
    /// Findings closed, audits ended, counts and checks made before this go.
    pub history_before: Timestamp,
}

/// What a list is narrowed to: within one field any of the values, and all of the fields that have some.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Clusters.
    pub cluster: Vec<String>,
    /// Namespaces.
    pub namespace: Vec<String>,
    /// Namespaces that the reader may see, as exact names; none: all. Checked beside `namespace`.
    pub visible: Option<Vec<String>>,
    /// Applications, by name.
    pub application: Vec<String>,
    /// What delivers the objects, beyond its name: its kind, and the namespaces that findings may say it is in.
    pub deliverer: Option<(String, Vec<String>)>,
    /// Rules, by id.
    pub rule: Vec<String>,
    /// Policies.
    pub policy: Vec<String>,
    /// Severities.
    pub severity: Vec<String>,
    /// Kinds.
    pub kind: Vec<String>,
    /// Names of objects.
    pub name: Vec<String>,
    /// `open` and `closed`, and reasons for closing; for audits and checks their states.
    pub state: Vec<String>,
    /// What the mode makes of it: `deny`, `warn`, `record`.
    pub action: Vec<String>,
    /// What rules said: `fail`, `error`.
    pub result: Vec<String>,
    /// Top owners as `Kind/name`.
    pub owner: Vec<String>,
    /// Sources of checks.
    pub source: Vec<String>,
    /// First seen, judged or begun at or after.
    pub since: Option<Timestamp>,
    /// Findings that were opened, or decisions that were taken in, after the first and up to the second of these times.
    pub came: Option<(Timestamp, Timestamp)>,
    /// Words that stand in name, rule, message or path, in any case.
    pub text: Option<String>,
}

impl Filter {
    /// Returns the part by which values of a facet are chosen; none where nothing narrows by it.
    pub const fn part(&mut self, facet: Facet) -> Option<&mut Vec<String>> {
        match facet {
            Facet::Severity => Some(&mut self.severity),
            Facet::Namespace => Some(&mut self.namespace),
            Facet::Rule => Some(&mut self.rule),
            Facet::Kind => Some(&mut self.kind),
            Facet::Application => Some(&mut self.application),
            Facet::State => Some(&mut self.state),
            Facet::Action => Some(&mut self.action),
            Facet::Owner => Some(&mut self.owner),
            Facet::Category => None,
        }
    }

    /// Returns the filter as if nobody had chosen a value of the facet: the others are what could be chosen instead.
    #[must_use]
    pub fn without(&self, facet: Facet) -> Self {
        let mut filter = self.clone();
        if let Some(values) = filter.part(facet) {
            values.clear();
        }
        filter
    }
}

/// What a page of what happened is ordered by; ties are broken by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeSort {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
}

/// What a page of objects is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResourceSort {
    /// Group and kind, namespace, name.
    #[default]
    Object,
    /// Most open findings first.
    Findings,
}

/// What a page of findings is ordered by; ties are broken by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FindingSort {
    /// Gravest first.
    #[default]
    Severity,
    /// Newest first.
    FirstSeen,
    /// Oldest first.
    Oldest,
    /// Namespace, kind, name.
    Object,
    /// Rule, and the gravest first within one.
    Rule,
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery<S> {
    /// What it is narrowed to.
    pub filter: Filter,
    /// What it is ordered by.
    pub sort: S,
    /// Where it goes on, as an earlier page said.
    pub cursor: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What it holds.
    pub items: Vec<T>,
    /// Where the next one goes on; none when this is the last.
    pub next: Option<String>,
}

/// What findings are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Severity.
    Severity,
    /// Namespace.
    Namespace,
    /// Rule.
    Rule,
    /// Kind.
    Kind,
    /// Application.
    Application,
    /// Topic.
    Category,
    /// State.
    State,
    /// Action.
    Action,
    /// Top owner.
    Owner,
}

/// An object that has findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCount {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectKey,
    /// Open findings by severity.
    pub open: BTreeMap<String, u64>,
}

/// What delivers objects, with how many open findings they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationCount {
    /// As the objects name it.
    pub application: Application,
    /// Open findings by severity.
    pub open: BTreeMap<String, u64>,
    /// Those of them that are denied.
    pub denied: u64,
    /// Those that are warned of.
    pub warned: u64,
}

/// How many findings are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCount {
    /// The namespace, empty for objects outside any.
    pub namespace: String,
    /// The rule.
    pub rule: RuleId,
    /// Severity.
    pub severity: Severity,
    /// What the namespace's modes make of them.
    pub action: Action,
    /// How many.
    pub findings: u64,
}

/// How many findings of a rule were open in a namespace when an audit had ended, where that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChange {
    /// The audit.
    pub audit: i64,
    /// The cluster.
    pub cluster: String,
    /// The namespace, empty for objects outside any.
    pub namespace: String,
    /// The rule.
    pub rule: RuleId,
    /// Severity.
    pub severity: Severity,
    /// Open ones.
    pub open: u64,
    /// Those of them that came since the audit before, reopened ones included.
    pub opened: u64,
    /// Those that were fixed since.
    pub fixed: u64,
}

/// How open findings changed from audit to audit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The first audit that is known to have judged anything; none if none did.
    pub judged_from: Option<i64>,
    /// Changes in the order of audits. Those of the first audit that was asked for hold everything that was open after it.
    pub changes: Vec<OpenChange>,
}
