//! A violation kept over time: what tells it from others, what is known of it, and how one look at an object changes it.

use std::fmt::{self, Write as _};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::result::Verdict;
use crate::admission::decide::Action;
use crate::engine::pointer::escaped;
use crate::engine::{Fields as _, Path, Segment, Value};
use crate::policy::{ExemptionNote, RuleId, Severity};

/// Tells a finding from every other: 32 hexadecimal digits over cluster, group, kind, namespace, name, rule and place.
///
/// Versions, messages, uids and times are not part of it, so it outlives audits and new releases of the object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// Works it out; `place` is what [`place`] returns.
    pub fn new(object: &ObjectKey, rule: &RuleId, place: &str) -> Self {
        Self(digest(&[
            &object.cluster,
            &object.group,
            &object.kind,
            &object.namespace,
            &object.name,
            rule.as_str(),
            place,
        ]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which object, whatever version it is read in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    /// The cluster's name.
    pub cluster: String,
    /// The API group, empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace, empty for objects outside any.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Returns 32 hexadecimal digits that stand for the object.
    pub fn digest(&self) -> String {
        digest(&[&self.cluster, &self.group, &self.kind, &self.namespace, &self.name])
    }
}

/// Returns 32 hexadecimal digits that stand for some texts.
///
/// Each part goes in with its length, so that `a` + `bc` is not `ab` + `c`.
pub(super) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    HEXLOWER.encode(hash.finalize().get(..16).unwrap_or_default())
}

/// Returns a path as text with list items by their `name` where they have one: `/spec/containers/[app]/image`.
///
/// So a finding stays the same one when a container is added before it.
pub fn place(path: &Path, object: &Value) -> String {
    let mut text = String::new();
    let mut at = Some(object);
    for segment in &path.0 {
        text.push('/');
        at = match segment {
            Segment::Key(key) => {
                text.push_str(&escaped(key));
                at.and_then(|value| value.field(key))
            }
            Segment::Index(index) => {
                let item = usize::try_from(*index).ok().and_then(|index| at?.items().nth(index));
                let _ = match item.and_then(|item| item.text("name")) {
                    Some(name) => write!(text, "[{}]", escaped(name)),
                    None => write!(text, "{index}"),
                };
                item
            }
        };
    }
    text
}

/// Whether something still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The last look at the object found it.
    Open,
    /// It is gone, for a [`CloseReason`].
    Closed,
}

/// Why a finding does not stand any more; only [`CloseReason::Fixed`] counts as fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloseReason {
    /// The object is there, was judged by the rule, and nothing is wrong at this place.
    Fixed,
    /// The object is gone.
    Deleted,
    /// An exemption excuses it; see [`Finding::is_excused`].
    Exempt,
    /// No rule of this name is in force.
    RuleOff,
    /// The rule is in force, but no policy that judges here asks for it.
    OutOfScope,
}

/// What delivers an object to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// `Application` (Argo CD), `Kustomization` or `HelmRelease` (Flux), or `Release` (Helm).
    pub kind: String,
    /// Its namespace, empty where the object does not tell.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Application {
    /// The kind of Argo CD's.
    pub const ARGO: &str = "Application";
}

/// Who brought a violation in, as far as decisions tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BroughtIn {
    /// The decision's uid.
    pub decision: String,
    /// The user of the request.
    pub user: String,
    /// When.
    pub time: Timestamp,
    /// The Application of Argo CD that was synced then, where one that delivers the object was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Application>,
    /// What was synced: a commit, or the version of a chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// One thing that a look at an object found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The rule.
    pub rule: RuleId,
    /// The place, by names: see [`place`].
    pub place: String,
    /// `fail`, or `error` where the rule could not be evaluated.
    pub result: Verdict,
    /// The strongest severity of the policies that ask for it.
    pub severity: Severity,
    /// The rule's topic.
    pub category: String,
    /// The policies that ask for it.
    pub policies: Vec<String>,
    /// What the namespace's modes make of it.
    pub action: Action,
    /// The place in the object as a JSON Pointer; empty where it is about the whole.
    pub path: String,
    /// What is wrong, redacted.
    pub message: String,
}

/// One look at one object: everything that the rules in scope said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The object.
    pub object: ObjectKey,
    /// Its group and version as judged.
    pub api_version: String,
    /// Its uid, empty in files.
    pub uid: String,
    /// Its top owner as `Kind/name`, empty where it has none.
    pub owner: String,
    /// What delivers it.
    pub application: Option<Application>,
    /// Digest of the object as judged, redacted; see [`Content`].
    pub content: String,
    /// Rules that were evaluated and gave an answer, pass or fail.
    pub evaluated: Vec<RuleId>,
    /// Rules that do not judge the object as it is now, and said so.
    pub skipped: Vec<RuleId>,
    /// What they found.
    pub found: Vec<Observation>,
    /// What they found besides, each with the exemption that excuses it.
    pub exempt: Vec<(Observation, ExemptionNote)>,
}

/// An object as it was judged, redacted; kept once however many findings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Hexadecimal SHA-256 over the text.
    pub digest: String,
    /// The object as JSON.
    pub text: String,
}

/// A violation kept over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its fingerprint.
    pub id: Fingerprint,
    /// The object.
    #[serde(skip)]
    pub object: ObjectKey,
    /// The object's group and version when it was last judged.
    pub api_version: String,
    /// The object's uid.
    pub uid: String,
    /// The object's top owner as `Kind/name`.
    pub owner: String,
    /// What delivers the object.
    pub application: Option<Application>,
    /// Digest of the object as judged.
    pub content: String,
    /// The rule.
    pub rule: RuleId,
    /// The place, by names.
    pub place: String,
    /// `fail` or `error`.
    pub result: Verdict,
    /// Severity.
    pub severity: Severity,
    /// The rule's topic.
    pub category: String,
    /// The policies that ask for it.
    pub policies: Vec<String>,
    /// What the namespace's modes make of it.
    pub action: Action,
    /// The place as a JSON Pointer.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// Whether it stands.
    pub state: State,
    /// Why it does not.
    pub closed_because: Option<CloseReason>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// For an open one, the last complete look over its kind and namespace; for a closed one, the last that found it.
    pub last_seen: Timestamp,
    /// How often it came back after it was closed.
    pub reopened: u32,
    /// Who brought it in, where a decision tells.
    pub brought_in: Option<BroughtIn>,
    /// What excused it when it was last seen; none of what is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exemption: Option<ExemptionNote>,
}

impl Finding {
    /// Returns whether it stands, but for an exemption: closed now, and open from the exemption's end.
    pub fn is_excused(&self) -> bool {
        self.closed_because == Some(CloseReason::Exempt) && self.exemption.is_some()
    }

    /// Returns whether what it says is still so, excused or not.
    pub fn stands(&self) -> bool {
        self.state == State::Open || self.is_excused()
    }
}
