//! Reports that stand in a cluster as objects: PolicyReport of `wgpolicyk8s.io`, Report of `openreports.io`.
//!
//! One object for each finding, or for each resource, would fill etcd; one for a namespace can grow beyond what etcd
//! takes. So a namespace's results are shared out by their fingerprints among as few objects as hold them, the gravest
//! first when there are too many. The summaries together count everything.

mod result;

use serde_json::{Map, Value as Json, json};

use super::finding::{Finding, digest};
use super::result::Verdict;
use crate::admission::Action;

/// Results of one object, at most.
const MOST_RESULTS: usize = 500;
/// How many of them an object should hold, so that chance does not bring it beyond [`MOST_RESULTS`].
const USUAL_RESULTS: usize = 400;
/// Bytes that the results of one object may take: etcd refuses 1.5 MB.
const MOST_BYTES: usize = 1 << 20;
/// Objects of one namespace, at most.
const MOST_OBJECTS: usize = 16;
/// Results of one namespace that are written, at most.
pub const MOST_WRITTEN: usize = USUAL_RESULTS * MOST_OBJECTS;

/// The label that says whose the objects are.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "gatepost");
/// The annotation by which it is seen that an object says what it should.
pub const CONTENT: &str = "gatepost.dev/content";
/// The annotation that says how many results of a namespace are only counted.
pub const LEFT_OUT: &str = "gatepost.dev/results-left-out";
/// What results name as their source.
const SOURCE: &str = "gatepost";

/// In which API's words is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `wgpolicyk8s.io/v1alpha2`: PolicyReport and ClusterPolicyReport.
    WgPolicy,
    /// `openreports.io/v1alpha1`: Report and ClusterReport.
    OpenReports,
}

impl Dialect {
    /// Returns group and version.
    pub const fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::WgPolicy => ("wgpolicyk8s.io", "v1alpha2"),
            Self::OpenReports => ("openreports.io", "v1alpha1"),
        }
    }

    /// Returns the kind for what is in a namespace, or outside any.
    pub const fn kind(self, is_namespaced: bool) -> &'static str {
        match (self, is_namespaced) {
            (Self::WgPolicy, true) => "PolicyReport",
            (Self::WgPolicy, false) => "ClusterPolicyReport",
            (Self::OpenReports, true) => "Report",
            (Self::OpenReports, false) => "ClusterReport",
        }
    }
}

/// The severities that a definition lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severities {
    /// All of ours.
    All,
    /// `high`, `medium` and `low`: older definitions of `wgpolicyk8s.io` have no others. The property `severity` says
    /// what it is.
    Three,
}

/// What is counted of a namespace. Passes and skips are (rule, object) pairs, the others findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Nothing is wrong.
    pub pass: u64,
    /// Findings that are denied.
    pub fail: u64,
    /// Findings that are warned of, or only recorded.
    pub warn: u64,
    /// Findings of rules that could not be evaluated.
    pub error: u64,
    /// Not judged, or excused.
    pub skip: u64,
}

impl Counts {
    /// Counts findings of one kind.
    pub fn add(&mut self, result: Verdict, action: Action, findings: u64) {
        let count = match (result, action) {
            (Verdict::Error, _) => &mut self.error,
            (_, Action::Deny) => &mut self.fail,
            (_, Action::Warn | Action::Record) => &mut self.warn,
        };
        *count = count.saturating_add(findings);
    }

    fn minus(self, other: Self) -> Self {
        Self {
            pass: self.pass.saturating_sub(other.pass),
            fail: self.fail.saturating_sub(other.fail),
            warn: self.warn.saturating_sub(other.warn),
            error: self.error.saturating_sub(other.error),
            skip: self.skip.saturating_sub(other.skip),
        }
    }

    const fn findings(self) -> u64 {
        self.fail.saturating_add(self.warn).saturating_add(self.error)
    }

    fn summary(self) -> Json {
        json!({"pass": self.pass, "fail": self.fail, "warn": self.warn, "error": self.error, "skip": self.skip})
    }
}

/// Everything that is reported of a namespace, or of what is in none.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The namespace, empty for objects outside any.
    pub namespace: &'a str,
    /// Open findings, the gravest first; what is beyond [`MOST_WRITTEN`] need not be there.
    pub findings: &'a [Finding],
    /// How many of everything there are.
    pub counts: Counts,
}

/// An object as it should stand in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// What its annotation [`CONTENT`] says.
    pub content: String,
    /// All of it.
    pub object: Json,
    /// Findings that no object of the namespace tells; 0 but for the first.
    pub left_out: u64,
}

/// Results of one object, as they are gathered.
#[derive(Default)]
struct Shard {
    results: Vec<Json>,
    bytes: usize,
    counts: Counts,
}

/// Returns the objects that tell of a namespace, one at least. The same picture gives the same objects.
pub fn reports(picture: Picture<'_>, dialect: Dialect, severities: Severities) -> Vec<Report> {
    let findings = picture.findings.get(..MOST_WRITTEN).unwrap_or(picture.findings);
    let objects = findings.len().div_ceil(USUAL_RESULTS).max(1).next_power_of_two();
    let mut shards: Vec<Shard> = std::iter::repeat_with(Shard::default).take(objects).collect();
    for finding in findings {
        if let Some(shard) = shards.get_mut(place(finding, objects)) {
            shard.take_in(finding, dialect, severities);
        }
    }
    let told = shards.iter().fold(Counts::default(), |told, shard| Counts {
        fail: told.fail.saturating_add(shard.counts.fail),
        warn: told.warn.saturating_add(shard.counts.warn),
        error: told.error.saturating_add(shard.counts.error),
        ..told
    });
    // What no result tells is counted in the first, so that the summaries add up.
    let mut rest = picture.counts.minus(told);
    let finished = shards.into_iter().enumerate().map(|(number, shard)| {
        let untold = std::mem::take(&mut rest);
        let counts = Counts {
            pass: untold.pass,
            fail: shard.counts.fail.saturating_add(untold.fail),
            warn: shard.counts.warn.saturating_add(untold.warn),
            error: shard.counts.error.saturating_add(untold.error),
            skip: untold.skip,
        };
        let name = if number == 0 { "gatepost".to_owned() } else { format!("gatepost-{}", number.saturating_add(1)) };
        finish(name, picture.namespace, dialect, (counts, shard.results, untold.findings()))
    });
    finished.collect()
}

impl Shard {
    /// Takes a finding in, unless the object is full.
    fn take_in(&mut self, finding: &Finding, dialect: Dialect, severities: Severities) {
        let result = result::of(finding, dialect, severities);
        let bytes = self.bytes.saturating_add(result.to_string().len());
        if self.results.len() < MOST_RESULTS && bytes <= MOST_BYTES {
            self.results.push(result);
            self.bytes = bytes;
            self.counts.add(finding.result, finding.action, 1);
        }
    }
}

/// Returns which object tells a finding: always the same one, as long as there are as many.
fn place(finding: &Finding, objects: usize) -> usize {
    let digits = finding.id.0.get(..8).unwrap_or_default();
    usize::from_str_radix(digits, 16).unwrap_or_default().checked_rem(objects).unwrap_or_default()
}

fn finish(
    name: String,
    namespace: &str,
    dialect: Dialect,
    (counts, results, left_out): (Counts, Vec<Json>, u64),
) -> Report {
    let (group, version) = dialect.group_version();
    let is_namespaced = !namespace.is_empty();
    let mut object = fields([
        ("apiVersion", format!("{group}/{version}").into()),
        ("kind", dialect.kind(is_namespaced).into()),
        ("summary", counts.summary()),
        ("results", results.into()),
    ]);
    if dialect == Dialect::OpenReports {
        object.insert("source".into(), SOURCE.into());
    }
    let mut annotations = Map::new();
    if left_out > 0 {
        annotations.insert(LEFT_OUT.into(), left_out.to_string().into());
    }
    let content = digest(&[&name, namespace, &json!([object, annotations]).to_string()]);
    annotations.insert(CONTENT.into(), content.clone().into());
    let labels = fields([(MANAGED_BY.0, MANAGED_BY.1.into())]);
    let mut metadata =
        fields([("name", name.clone().into()), ("labels", labels.into()), ("annotations", annotations.into())]);
    if is_namespaced {
        metadata.insert("namespace".into(), namespace.into());
    }
    object.insert("metadata".into(), metadata.into());
    Report { name, content, object: object.into(), left_out }
}

fn fields<const N: usize>(fields: [(&str, Json); N]) -> Map<String, Json> {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
