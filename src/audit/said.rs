//! What an audit says of one object, as findings follow from it.

use std::collections::{BTreeSet, HashSet};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::memory::Counted;
use crate::engine::review::{LAST_APPLIED, masked};
use crate::engine::value::ObjectBuilder;
use crate::engine::{Fields as _, Path, Value};
use crate::policy::{ExemptionNote, RuleId};
use crate::report::finding::{Content, Look, Observation, place};
use crate::report::redact::Redactor;
use crate::report::{ScanEntry, Summary, Verdict};

/// What changes by itself in an object's metadata.
const CHANGING: [&str; 3] = ["managedFields", "resourceVersion", "generation"];

/// What was said of one object.
#[derive(Debug)]
pub struct Said {
    /// What findings follow from.
    pub look: Look,
    /// The object as it was judged, where something was found, excused or not.
    pub content: Option<Content>,
    /// Rules that were asked.
    pub asked: BTreeSet<RuleId>,
    /// The results as a scan has them, without passes.
    pub entries: Vec<ScanEntry>,
    /// Their count.
    pub summary: Summary,
    /// The same by policy.
    pub outcome: Vec<Counted>,
    /// Whether rules were evaluated, and not only an exemption's end taken into account.
    pub is_evaluated: bool,
}

/// Returns what a result says is wrong; passes and skips say nothing.
pub(super) fn observed(entry: &ScanEntry, object: &Value) -> Option<Observation> {
    matches!(entry.result, Verdict::Fail | Verdict::Error).then(|| observation(entry, object, entry.result))
}

/// Returns what exemptions excuse, each with what is told of the exemption.
pub(super) fn excused(entries: &[ScanEntry], object: &Value) -> Vec<(Observation, ExemptionNote)> {
    let excused = entries.iter().filter_map(|entry| Some((entry, entry.exemption.as_ref()?)));
    let observed = excused.map(|(entry, by)| {
        // Only a rule that could not be evaluated names no place.
        let result = if entry.path.is_some() { Verdict::Fail } else { Verdict::Error };
        (observation(entry, object, result), by.clone())
    });
    observed.collect()
}

fn observation(entry: &ScanEntry, object: &Value, result: Verdict) -> Observation {
    Observation {
        rule: entry.rule.clone(),
        place: entry.path.as_ref().map(|path| place(path, object)).unwrap_or_default(),
        result,
        severity: entry.severity,
        category: entry.category.clone(),
        policies: entry.policies.iter().map(ToString::to_string).collect(),
        action: entry.action.unwrap_or(crate::admission::decide::Action::Record),
        path: entry.path.as_ref().map(Path::to_string).unwrap_or_default(),
        message: entry.message.clone().unwrap_or_default(),
    }
}

/// Returns the rules that said pass or fail and nothing else.
pub(super) fn answered(entries: &[ScanEntry]) -> Vec<RuleId> {
    let unclear = entries.iter().filter(|entry| matches!(entry.result, Verdict::Error | Verdict::Skip));
    let unclear: HashSet<&RuleId> = unclear.map(|entry| &entry.rule).collect();
    let rules: BTreeSet<&RuleId> = entries.iter().map(|entry| &entry.rule).collect();
    rules.into_iter().filter(|rule| !unclear.contains(rule)).cloned().collect()
}

/// Returns the worst that each rule said, for each policy that asks for it.
pub(super) fn outcome(entries: &[ScanEntry]) -> Vec<Counted> {
    let mut outcome: Vec<Counted> = Vec::new();
    for entry in entries {
        for policy in &entry.policies {
            outcome.push((policy.clone(), entry.rule.clone(), entry.result));
        }
    }
    outcome.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)).then(b.2.cmp(&a.2)));
    outcome.dedup_by(|next, kept| next.0 == kept.0 && next.1 == kept.1);
    outcome
}

/// Returns the object as it is kept: redacted, and without what changes by itself.
pub(super) fn content(object: &Value) -> Content {
    let redactor = Redactor::of(object);
    let object = match object.text("kind") {
        Some("Secret") => masked(object),
        _ => object.clone(),
    };
    let annotations = |annotations: &Value| ObjectBuilder::from_value(annotations).without(LAST_APPLIED).build();
    let metadata = |metadata: &Value| {
        let kept = CHANGING.iter().fold(ObjectBuilder::from_value(metadata), |kept, key| kept.without(key));
        kept.set_some(&"annotations".into(), metadata.field("annotations").map(annotations)).build()
    };
    let kept = ObjectBuilder::from_value(&object).without("status");
    let kept = kept.set_some(&"metadata".into(), object.field("metadata").map(metadata)).build();
    let text = redactor.redact(serde_json::to_string(&kept).unwrap_or_default());
    let digest = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    Content { digest, text }
}
