//! Telling whether an UPDATE changes anything that can be judged.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::engine::value::ObjectBuilder;
use crate::engine::{Fields as _, Value};
use crate::policy::GroupVersionKind;

/// Metadata that others keep: the API server, controllers, garbage collection, deletion.
const KEPT_BY_OTHERS: [&str; 7] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "finalizers",
    "ownerReferences",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Annotations by which Argo CD asks itself to look again.
const ARGO_CD_REQUESTS: [&str; 2] = ["argocd.argoproj.io/refresh", "argocd.argoproj.io/hydrate"];

/// Returns whether two states of an object differ only in what nobody judges: status, bookkeeping, finalizers and
/// deletion, and of an Argo CD Application its running operation and its requests to itself.
///
/// Argo CD writes status as an update of the whole object; everything else counts, for many kinds have no `spec`.
pub fn is_unchanged(kind: &GroupVersionKind, object: &Value, old_object: &Value) -> bool {
    if object == old_object {
        return true;
    }
    let is_application = kind.group == "argoproj.io" && kind.kind == "Application";
    judged_part(object, is_application) == judged_part(old_object, is_application)
}

/// The fields of an object, and those of its metadata, each with its text.
pub type JudgedText<'a> = [BTreeMap<String, &'a str>; 2];

/// Returns the fields of an object's text, and apart from them those of its metadata, without what nobody judges.
pub fn judged_text(text: &str) -> Option<JudgedText<'_>> {
    let mut object = fields(text)?;
    let mut metadata = fields(object.remove("metadata")?)?;
    object.remove("status");
    metadata.retain(|key, _| !KEPT_BY_OTHERS.contains(&key.as_str()));
    Some([object, metadata])
}

fn fields(text: &str) -> Option<BTreeMap<String, &str>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    Some(fields.into_iter().map(|(key, raw)| (key, raw.get())).collect())
}

fn judged_part(object: &Value, is_application: bool) -> Value {
    let mut part = ObjectBuilder::from_value(object).without("status");
    if is_application {
        part = part.without("operation");
    }
    let Some(metadata) = object.field("metadata") else { return part.build() };
    let mut kept = KEPT_BY_OTHERS.iter().fold(ObjectBuilder::from_value(metadata), |kept, key| kept.without(key));
    for key in ["annotations", "labels", "creationTimestamp"] {
        // Absent, null and empty are the same to the API server.
        if metadata.field(key).is_some_and(|value| *value == Value::Null || *value == Value::new_object()) {
            kept = kept.without(key);
        }
    }
    if let Some(annotations) = metadata.field("annotations").filter(|_| is_application) {
        let rest = ARGO_CD_REQUESTS
            .iter()
            .fold(ObjectBuilder::from_value(annotations), |rest, annotation| rest.without(annotation));
        kept = match rest.build() {
            rest if rest.entries().next().is_none() => kept.without("annotations"),
            rest => kept.set(&Value::from("annotations"), rest),
        };
    }
    part.set(&Value::from("metadata"), kept.build()).build()
}
