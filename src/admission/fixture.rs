//! A rule's fixtures as reviews: how `pass*.yaml` and `fail*.yaml` are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::request::namespace_meta;
use super::{Envelope, EnvelopeError};
use crate::engine::review::{Inventory, kind_of};
use crate::engine::{EvalError, Fields, Review, Value};
use crate::policy::kubernetes_version::UnknownVersion;
use crate::policy::{Fixture, NamespaceMeta, Rule};

/// What a fixture begins with that is meant for one release of Kubernetes.
const VERSION: &str = "# kubernetesVersion:";

/// A fixture that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// It is no YAML.
    #[error("{0}")]
    Yaml(String),
    /// Its first line names no release.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// It holds an AdmissionReview that is none.
    #[error(transparent)]
    Review(#[from] EnvelopeError),
    /// The object in its AdmissionReview cannot be read.
    #[error("{0}")]
    Object(String),
}

/// Returns the reviews that a fixture stands for. Objects of kinds that the rule looks up, and Namespaces, are what is
/// known beside the others; an AdmissionReview stands for its request; everything else is an object in a file. A first line
/// `# kubernetesVersion: 1.21` says which release they are meant for.
pub fn reviews(rule: &Rule, text: &str) -> Result<Vec<Review>, FixtureError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| FixtureError::Yaml(error.without_snippet().to_string()))?;
    let mut inventory: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut namespaces = BTreeMap::new();
    let mut subjects = Vec::new();
    for document in documents {
        let kind = kind_of(&document);
        let key = format!("{}/{}", if kind.group.is_empty() { "core" } else { &kind.group }, kind.kind);
        if rule.inventory.contains(&key) {
            inventory.entry(key).or_default().push(document);
        } else if kind.is_namespace() && !rule.kinds.iter().any(|wanted| wanted.matches(&kind, false)) {
            let meta = namespace_meta(&document);
            namespaces.insert(meta.name.clone(), Arc::new(meta));
        } else {
            subjects.push(document);
        }
    }
    let inventory: Inventory = inventory.into_iter().map(|(kind, objects)| (kind, Value::from(objects))).collect();
    let kubernetes_version = text.strip_prefix(VERSION).and_then(|rest| rest.lines().next());
    let kubernetes_version = kubernetes_version.map(str::parse).transpose()?;
    let of = |subject| Ok(Review { kubernetes_version, ..review(subject, &namespaces, &inventory)? });
    subjects.into_iter().map(of).collect()
}

/// Returns the reviews that all fixtures of a rule stand for; the error names the file.
pub fn examples(rule: &Rule) -> Result<Vec<Review>, String> {
    let of = |fixture: &Fixture| {
        reviews(rule, &fixture.source.text).map_err(|error| format!("{}: {error}", fixture.source.file))
    };
    Ok(rule.fixtures.iter().map(of).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn review(
    subject: Value,
    namespaces: &BTreeMap<String, Arc<NamespaceMeta>>,
    inventory: &Inventory,
) -> Result<Review, FixtureError> {
    let namespace = |name: Option<&str>| name.and_then(|name| namespaces.get(name).cloned());
    // An AdmissionReview without a request to judge is a file like any other.
    if kind_of(&subject).kind != "AdmissionReview" || subject.at(&["request", "operation"]).is_none() {
        let found = namespace(subject.at(&["metadata", "namespace"]).and_then(Fields::as_text));
        return Ok(Review::of_file(subject, found, inventory.clone()));
    }
    let body = serde_json::to_vec(&subject).map_err(|error| FixtureError::Yaml(error.to_string()))?;
    let envelope = Envelope::decode(&body, None)?;
    let read = |object: Result<Value, EvalError>| object.map_err(|error| FixtureError::Object(error.to_string()));
    let (object, old_object) = (read(envelope.object())?, read(envelope.old_object())?);
    Ok(envelope.review(object, old_object, namespace(envelope.judging_namespace()), inventory.clone()))
}
