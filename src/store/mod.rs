//! What Gatepost remembers: findings, audits, decisions, checks and tokens, in SQLite or PostgreSQL.
//!
//! One trait; both implementations pass the same tests. It stores what it is told: what opens and closes a finding is
//! decided in [`crate::report`], who may read what in the API.

mod audits;
mod change;
mod counts;
mod database;
mod enforced;
mod findings;
mod history;
mod mode_changes;
mod notified;
mod observe;
pub mod open;
mod postgres;
mod prune;
mod reports;
mod schema;
mod select;
mod session;
mod sqlite;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::items_after_statements,
    reason = "a failing test is what it is for"
)]
mod tests;
mod tokens;
pub mod url;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use mode_changes::{ModeChanged, ModeKeys};
pub use observe::{Observer, Operation};
pub use open::{Address, Remote, open, open_observed};
pub use url::DatabaseUrl;

use crate::admission::Action;
use crate::policy::{RuleId, Severity};
use crate::report::finding::{Application, CloseReason, Content, Finding, Fingerprint, ObjectKey};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by a newer Gatepost.
    #[error("the store has schema version {found}, and this Gatepost knows up to {known}: use the newer one again")]
    Newer {
        /// The store's version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A cursor that this store did not give.
    #[error("the cursor is not one of this list's: begin again without it")]
    Cursor,
    /// Its database does not answer for now.
    #[error("the database does not answer: {cause}")]
    Away {
        /// Why.
        cause: String,
    },
    /// It cannot be opened, read or written.
    #[error("{context}: {cause}")]
    Failed {
        /// What was being done.
        context: &'static str,
        /// What the database says.
        cause: String,
    },
}

/// Shorthand for everything that a store answers.
pub type Stored<T> = Result<T, StoreError>;

/// What began an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// The process started.
    Start,
    /// Its turn came.
    Schedule,
    /// Somebody asked.
    Request,
    /// Manifests changed.
    Change,
}

/// How far an audit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuditState {
    /// It goes on.
    Running,
    /// It looked at everything that it may read.
    Complete,
    /// Something could not be read; that closed nothing.
    Partial,
    /// Somebody stopped it.
    Cancelled,
    /// Its process ended before it did.
    Abandoned,
}

impl AuditState {
    /// Returns whether an audit went through, though something may not have been read.
    pub const fn is_through(self) -> bool {
        matches!(self, Self::Complete | Self::Partial)
    }
}

/// One pass over a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Its number, counted from 1.
    pub id: i64,
    /// The cluster.
    pub cluster: String,
    /// What began it.
    pub trigger: Trigger,
    /// How far it has come.
    pub state: AuditState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Digest of rules and policies.
    pub policies: String,
    /// Objects that were read.
    pub objects: u64,
    /// Objects that were evaluated; the others had not changed.
    pub evaluated: u64,
    /// Findings that were opened, reopened included.
    pub opened: u64,
    /// Findings that were closed because they were fixed.
    pub fixed: u64,
    /// Findings that were closed for another reason.
    pub closed: u64,
    /// Kinds, as `group/Kind`, or parts of them that could not be read, each with the reason.
    pub unread: BTreeMap<String, String>,
}

/// How often a rule of a policy gave which answer in a namespace, in one audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleCount {
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// The namespace, empty for objects outside any.
    pub namespace: String,
    /// Objects without a violation.
    pub passed: u64,
    /// Objects with one or more.
    pub failed: u64,
    /// Objects that could not be judged, errors included.
    pub skipped: u64,
    /// Objects that an exemption excuses.
    pub exempt: u64,
}

/// A policy that a namespace enforces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Enforcing {
    /// The namespace, empty for what is outside any.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The least severity that is denied, empty where all are.
    pub severity: String,
}

/// Since when a policy is enforced, as audits have seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnforcedSince {
    /// The policy.
    pub policy: String,
    /// The least severity that is denied, empty where all are.
    pub severity: String,
    /// The last audit that saw it otherwise began then; none where no audit did.
    pub not_before: Option<Timestamp>,
    /// The first audit that saw it so ended then.
    pub since: Timestamp,
}

/// A part of the cluster that an audit looked at completely.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Covered {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace; none where all of them were read.
    pub namespace: Option<String>,
}

/// What a look changes; written whole or not at all.
#[derive(Debug, Default)]
pub struct Changes {
    /// Findings that are new, reopened, or otherwise than they were stored; by their id.
    pub put: Vec<Finding>,
    /// Findings that do not stand any more.
    pub close: Vec<(Fingerprint, CloseReason)>,
    /// Objects that these findings show.
    pub contents: Vec<Content>,
}

/// What a violation or failure told in a decision was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionResult {
    /// The rule.
    pub rule: String,
    /// The policy whose grant told it.
    pub policy: String,
    /// Severity.
    pub severity: String,
    /// `fail` or `error`.
    pub result: String,
    /// `deny`, `warn` or `record`.
    pub action: String,
    /// JSON Pointer.
    #[serde(default)]
    pub path: String,
    /// The place by names, for the finding's fingerprint.
    #[serde(default)]
    pub place: String,
    /// What is wrong, redacted.
    #[serde(default)]
    pub message: String,
}

/// What admission answered to one AdmissionReview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// The review's uid.
    pub uid: String,
    /// When it was answered.
    pub time: Timestamp,
    /// The cluster; filled in from the batch.
    #[serde(default)]
    pub cluster: String,
    /// CREATE, UPDATE, DELETE.
    pub operation: String,
    /// Group of the object.
    #[serde(default)]
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Its namespace, empty outside any.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// Whether the client proved to be the API server.
    pub verified: bool,
    /// Whether it was only a trial.
    pub dry_run: bool,
    /// Whether it went on.
    pub allowed: bool,
    /// Why, as in the log: `judged`, `no-rule`, ….
    pub reason: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The incident of broken glass under which it was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
    /// What was told.
    #[serde(default)]
    pub results: Vec<DecisionResult>,
    /// What a write to a Namespace changes of its modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SlotChange>,
}

/// What a write to a Namespace changes of one of its modes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotChange {
    /// `enforce`, `warn`, `audit`, or another part of the modes.
    pub slot: String,
    /// What held before, in words: `off`, `baseline (high and above)`.
    pub from: String,
    /// What holds from then on.
    pub to: String,
    /// Whether something that was denied is denied no more.
    pub weakens: bool,
}

/// A judgement of a set of objects somewhere else: a CI job, a laptop, another cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// Its number; given by the store.
    #[serde(default)]
    pub id: i64,
    /// When.
    pub time: Timestamp,
    /// The cluster or place that was judged.
    #[serde(default)]
    pub cluster: String,
    /// Label of who judged, for example `ci/shop`.
    pub source: String,
    /// The commit that was judged.
    #[serde(default)]
    pub commit: String,
    /// Digest of rules and policies.
    pub policies: String,
    /// Whether nothing at or above the threshold was found.
    pub passed: bool,
    /// (rule, object) pairs: objects, pass, fail, error, skip, exempt.
    pub summary: BTreeMap<String, u64>,
    /// Violations by severity.
    #[serde(default)]
    pub violations: BTreeMap<String, u64>,
    /// The results as a ScanResult has them, at most 1,000.
    #[serde(default)]
    pub results: Vec<serde_json::Value>,
}

/// What one report brings; stored whole or not at all, and once for each key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// `gatepost.dev/v1`.
    pub api_version: String,
    /// `Report`.
    pub kind: String,
    /// Tells batches of a source apart: the same key again changes nothing.
    pub key: String,
    /// The cluster that it is about, empty for the receiver's own.
    #[serde(default)]
    pub cluster: String,
    /// Who reports: `webhook/NAME`, `ci/NAME`, `cli/NAME`.
    pub source: String,
    /// The commit that was judged.
    #[serde(default)]
    pub commit: String,
    /// Decisions of admission.
    #[serde(default)]
    pub decisions: Vec<Decision>,
    /// Judgements of files.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is stored.
    Stored,
    /// It was there before.
    Known,
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

/// A token for the API; of its secret only the hash is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The public part of the token, by which it is found.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Hexadecimal SHA-256 of the whole token.
    #[serde(skip)]
    pub hash: String,
    /// `read`, `report`, `write`, `admin`.
    pub scopes: Vec<String>,
    /// Globs of the namespaces that it may see; none: all.
    pub namespaces: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Decisions before this go.
    pub decisions_before: Timestamp,
    /// Findings closed, audits ended, counts and checks made before this go.
    pub history_before: Timestamp,
}

/// Everything that is kept.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Begins an audit; those of the cluster that still run are abandoned.
    async fn begin_audit(&self, cluster: &str, trigger: Trigger, policies: &str, now: Timestamp) -> Stored<Audit>;

    /// Returns every finding, open or closed, of these objects.
    async fn findings_of(&self, objects: &[ObjectKey]) -> Stored<Vec<Finding>>;

    /// Writes what looks at objects change, in one transaction.
    async fn change(&self, cluster: &str, changes: Changes, now: Timestamp) -> Stored<()>;

    /// Returns objects of a kind with open findings in ascending order, after one of them, at most `limit`.
    async fn objects_with_findings(
        &self,
        cluster: &str,
        group: &str,
        kind: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Stored<Vec<ObjectKey>>;

    /// Returns the `(group, kind)` pairs of a cluster that have open findings.
    async fn kinds_with_findings(&self, cluster: &str) -> Stored<Vec<(String, String)>>;

    /// Ends an audit: its figures, what it covered (from which `last_seen` of open findings follows), and its counts.
    async fn end_audit(&self, audit: &Audit, covered: &[Covered], counts: &[RuleCount]) -> Stored<()>;

    /// Returns audits, the newest first.
    async fn audits(&self, query: &PageQuery<()>) -> Stored<Page<Audit>>;

    /// Returns the counts of an audit.
    async fn counts(&self, audit: i64) -> Stored<Vec<RuleCount>>;

    /// Returns one audit.
    async fn audit(&self, id: i64) -> Stored<Option<Audit>>;

    /// Returns how open findings changed after one audit and up to another, and how they stood after the first; of a
    /// filter, clusters and namespaces count.
    async fn history(&self, filter: &Filter, from: i64, to: i64) -> Stored<History>;

    /// Returns how many findings are open; of a filter, everything counts that [`Store::facet`] need not count rows for.
    async fn open_counts(&self, filter: &Filter) -> Stored<Vec<OpenCount>>;

    /// Returns the namespaces, the empty one for objects outside any, in which the last audit judged something.
    async fn judged_namespaces(&self) -> Stored<Vec<String>>;

    /// Returns a page of findings.
    async fn findings(&self, query: &PageQuery<FindingSort>) -> Stored<Page<Finding>>;

    /// Returns one finding.
    async fn finding(&self, id: &Fingerprint) -> Stored<Option<Finding>>;

    /// Returns an object as it was judged.
    async fn content(&self, digest: &str) -> Stored<Option<String>>;

    /// Returns how many findings there are for each value of a facet, most first, at most `limit` values.
    async fn facet(&self, filter: &Filter, facet: Facet, limit: usize) -> Stored<Vec<(String, u64)>>;

    /// Returns how many findings there are for each pair of values of two facets, most first, at most `limit` pairs.
    async fn cross(&self, filter: &Filter, facets: [Facet; 2], limit: usize) -> Stored<Vec<(String, String, u64)>>;

    /// Returns objects with open findings, in ascending order.
    async fn resources(&self, query: &PageQuery<()>) -> Stored<Page<ResourceCount>>;

    /// Returns what delivers objects with open findings, in ascending order.
    async fn applications(&self, filter: &Filter) -> Stored<Vec<ApplicationCount>>;

    /// Takes in a report; who brought an open finding in follows from its decisions.
    async fn take_in(&self, batch: &Batch) -> Stored<Taken>;

    /// Returns decisions, the newest first.
    async fn decisions(&self, query: &PageQuery<()>) -> Stored<Page<Decision>>;

    /// Returns one decision.
    async fn decision(&self, uid: &str) -> Stored<Option<Decision>>;

    /// Returns checks without their results, the newest first.
    async fn checks(&self, query: &PageQuery<()>) -> Stored<Page<Check>>;

    /// Returns one check.
    async fn check(&self, id: i64) -> Stored<Option<Check>>;

    /// Returns the audits that began up to a time, the newest first, at most `limit`.
    async fn audits_until(&self, cluster: &str, time: Timestamp, limit: usize) -> Stored<Vec<Audit>>;

    /// Notes everything that an audit which has ended saw enforced in its cluster.
    async fn note_enforcing(&self, audit: &Audit, enforcing: &[Enforcing]) -> Stored<()>;

    /// Returns since when a namespace, or what is in none, enforces what it enforces.
    async fn enforced_since(&self, cluster: &str, namespace: &str) -> Stored<Vec<EnforcedSince>>;

    /// Returns up to when a target of notifications has been told, by event.
    async fn notified(&self, target: &str) -> Stored<BTreeMap<String, Timestamp>>;

    /// Remembers that a target has been told of an event up to a time.
    async fn set_notified(&self, target: &str, event: &str, through: Timestamp) -> Stored<()>;

    /// Remembers a change of modes; its number is given here.
    async fn put_mode_change(&self, change: &ModeChanged) -> Stored<()>;

    /// Returns changes of modes, the newest first.
    async fn mode_changes(&self, query: &PageQuery<()>) -> Stored<Page<ModeChanged>>;

    /// Returns one change of modes.
    async fn mode_change(&self, id: i64) -> Stored<Option<ModeChanged>>;

    /// Keeps a token.
    async fn put_token(&self, token: &Token) -> Stored<()>;

    /// Returns every token, the newest first.
    async fn tokens(&self) -> Stored<Vec<Token>>;

    /// Returns the token of an id.
    async fn token(&self, id: &str) -> Stored<Option<Token>>;

    /// Takes a token away; returns whether there was one.
    async fn revoke(&self, id: &str) -> Stored<bool>;

    /// Lets go of what is too old, in steps that leave others as much of the store as they take.
    async fn prune(&self, retention: Retention) -> Stored<()>;

    /// Returns how many bytes it takes.
    async fn size(&self) -> Stored<u64>;

    /// Returns whether it answers.
    async fn ping(&self) -> Stored<()>;
}
