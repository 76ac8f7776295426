//! What is kept: audits and what they counted, decisions, checks, tokens.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::finding::{Application, CloseReason, Content, Finding, Fingerprint, ObjectKey};

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

/// A finding of what an Application of Argo CD delivers, of which nobody has looked by which sync it was brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsynced {
    /// The finding.
    pub finding: Fingerprint,
    /// What delivers its object.
    pub application: Application,
    /// When somebody brought it in.
    pub time: Timestamp,
}

/// The sync that brought a finding in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroughtBySync {
    /// Whose it was.
    pub application: Application,
    /// What was synced: a commit, or the version of a chart.
    pub revision: String,
}

/// How often a rule gave which answer in an audit, in all namespaces that are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSum {
    /// The rule.
    pub rule: String,
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

/// A process that answers requests, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Since when.
    pub since: Timestamp,
    /// When it was last heard of.
    pub heard: Timestamp,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionResult {
    /// The rule.
    pub rule: String,
    /// The policy whose grant told it.
    pub policy: String,
    /// Severity.
    pub severity: String,
    /// `fail`, `error`, or `exempt`.
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
    /// What excuses it: an exemption's kind and name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exemption: String,
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

impl Decision {
    /// Returns the object that it was about. A Namespace's request carries its own name as the namespace, and it is in none.
    pub fn object(&self) -> ObjectKey {
        let is_namespace = self.kind == "Namespace" && self.group.is_empty();
        ObjectKey {
            cluster: self.cluster.clone(),
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: if is_namespace { String::new() } else { self.namespace.clone() },
            name: self.name.clone(),
        }
    }
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

/// Whose turn it is to do what only one of several processes may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who has it.
    pub holder: String,
    /// How often it has been taken, or taken again: it is another number as long as its holder lives.
    pub taken: i64,
}
