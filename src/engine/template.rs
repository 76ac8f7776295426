//! Finding pod templates and their containers in an object of any kind.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::image;
use super::rego::Value;
use super::value::{Fields, ObjectBuilder, Path};
use crate::policy::GroupVersionKind;

/// Deepest nesting at which a pod template of an unknown kind is looked for.
const DEPTH: usize = 12;

/// The lists of a pod's spec that hold containers.
pub const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// A pod template, or a Pod itself.
#[derive(Debug, Clone)]
pub struct PodTemplate {
    /// Where it stands; the mapping that holds `metadata` and `spec`.
    pub path: Path,
    /// That mapping.
    pub template: Value,
    /// Whether its Pods end by themselves: kinds of jobs, and restartPolicy Never or OnFailure.
    pub runs_to_completion: bool,
}

/// Returns an object's pod templates: those of the built-in workload kinds, and in other API groups every mapping
/// under a key that ends in `template` and has a list `spec.containers`.
pub fn templates(gvk: &GroupVersionKind, object: &Value) -> Vec<PodTemplate> {
    let keys: &[&str] = match gvk.kind.as_str() {
        _ if !gvk.is_built_in_workload() => &[],
        "Pod" => return vec![template(gvk, Path::default(), object)],
        "CronJob" => &["spec", "jobTemplate", "spec", "template"],
        _ => &["spec", "template"],
    };
    if gvk.group.is_empty() && gvk.kind == "PodTemplate" {
        let found = object.field("template").map(|value| template(gvk, Path::of_keys(&["template"]), value));
        return found.into_iter().collect();
    }
    if !keys.is_empty() {
        return object.at(keys).map(|value| template(gvk, Path::of_keys(keys), value)).into_iter().collect();
    }
    let mut found = Vec::new();
    if !gvk.is_built_in_group() {
        search(gvk, object, &Path::default(), DEPTH, &mut found);
    }
    found
}

fn template(gvk: &GroupVersionKind, path: Path, value: &Value) -> PodTemplate {
    let restart = value.at(&["spec", "restartPolicy"]).and_then(Fields::as_text);
    // Job and CronJob, and what others call so: PyTorchJob, ScaledJob, JobSet.
    let is_job = gvk.kind.ends_with("Job") || gvk.kind.ends_with("JobSet");
    let runs_to_completion = matches!(restart, Some("Never" | "OnFailure")) || (is_job && restart != Some("Always"));
    PodTemplate { path, template: value.clone(), runs_to_completion }
}

fn search(gvk: &GroupVersionKind, value: &Value, path: &Path, depth: usize, found: &mut Vec<PodTemplate>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (key, child) in value.entries() {
        let holds_containers = matches!(child.at(&["spec", "containers"]), Some(Value::Array(_)));
        if holds_containers && key.to_ascii_lowercase().ends_with("template") {
            found.push(template(gvk, path.key(key), child));
        } else if matches!(child, Value::Object(_) | Value::Array(_)) {
            search(gvk, child, &path.key(key), depth, found);
        }
    }
    for (index, item) in value.items().enumerate() {
        search(gvk, item, &path.index(index), depth, found);
    }
}

/// Keys of the derived input, made once.
struct Keys {
    list: Value,
    name: Value,
    path: Value,
    template: Value,
    sidecar: Value,
    image: Value,
    container: Value,
    takes_resources: Value,
    requests: Value,
    limits: Value,
    takes_probes: Value,
    probes: Value,
    metadata: Value,
    spec: Value,
    runs_to_completion: Value,
    given: Value,
    valid: Value,
    registry: Value,
    repository: Value,
    tag: Value,
    digest: Value,
    lists: [Value; 3],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    list: "list".into(),
    name: "name".into(),
    path: "path".into(),
    template: "template".into(),
    sidecar: "sidecar".into(),
    image: "image".into(),
    container: "container".into(),
    takes_resources: "takesResources".into(),
    requests: "requests".into(),
    limits: "limits".into(),
    takes_probes: "takesProbes".into(),
    probes: "probes".into(),
    metadata: "metadata".into(),
    spec: "spec".into(),
    runs_to_completion: "runsToCompletion".into(),
    given: "given".into(),
    valid: "valid".into(),
    registry: "registry".into(),
    repository: "repository".into(),
    tag: "tag".into(),
    digest: "digest".into(),
    lists: CONTAINER_LISTS.map(Value::from),
});

/// Returns `input.podTemplates`.
pub fn templates_value(templates: &[PodTemplate]) -> Value {
    let keys = &*KEYS;
    let one = |found: &PodTemplate| {
        ObjectBuilder::default()
            .set(&keys.path, found.path.to_value())
            .set_some(&keys.metadata, found.template.field("metadata").cloned())
            .set_some(&keys.spec, found.template.field("spec").cloned())
            .set(&keys.runs_to_completion, found.runs_to_completion)
            .build()
    };
    Value::from(templates.iter().map(one).collect::<Vec<_>>())
}

/// Returns `input.containers`: every container of every template, each with its list and its path, and with what holds
/// for it when the Pod's own values and the API server's defaulting are taken into account.
pub fn containers_value(templates: &[PodTemplate]) -> Value {
    let keys = &*KEYS;
    let mut containers = Vec::new();
    for (template_index, found) in templates.iter().enumerate() {
        let Some(spec) = found.template.field("spec") else { continue };
        let mut base = match found.path.to_value() {
            Value::Array(items) => items.to_vec(),
            _ => Vec::new(),
        };
        base.push(keys.spec.clone());
        let pod_resources = spec.field("resources");
        for list in &keys.lists {
            let Some(items) = list.as_text().and_then(|list| spec.field(list)) else { continue };
            for (index, container) in items.items().enumerate() {
                let mut path = base.clone();
                path.extend([list.clone(), Value::from(index)]);
                let sidecar = *list == keys.lists[1] && container.text("restartPolicy") == Some("Always");
                let takes_resources = *list != keys.lists[2];
                let takes_probes = (sidecar || *list == keys.lists[0]) && !found.runs_to_completion;
                let (requests, limits) = amounts(container.field("resources"), pod_resources);
                containers.push(
                    ObjectBuilder::default()
                        .set(&keys.list, list.clone())
                        .set_some(&keys.name, container.field("name").cloned())
                        .set(&keys.path, path)
                        .set(&keys.template, template_index)
                        .set(&keys.sidecar, sidecar)
                        .set_some(&keys.image, container.field("image").map(image_value))
                        .set(&keys.container, container.clone())
                        .set(&keys.takes_resources, takes_resources)
                        .set(&keys.requests, requests)
                        .set(&keys.limits, limits)
                        .set(&keys.takes_probes, takes_probes)
                        .set(&keys.probes, probes(container))
                        .build(),
                );
            }
        }
    }
    Value::from(containers)
}

/// Returns requests and limits that hold for a container: its own, and those of the whole Pod, which its containers
/// share. A limit without a request is one too: the API server copies it.
fn amounts(own: Option<&Value>, pod: Option<&Value>) -> (Value, Value) {
    let of = |key: &str, mut found: BTreeMap<Value, Value>| {
        for values in [pod, own].into_iter().flatten().filter_map(|resources| resources.field(key)) {
            let amounts = values.entries().filter(|(_, amount)| is_amount(amount));
            found.extend(amounts.map(|(name, amount)| (Value::String(name.clone()), amount.clone())));
        }
        found
    };
    let limits = of("limits", BTreeMap::new());
    (Value::from(of("requests", limits.clone())), Value::from(limits))
}

fn is_amount(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        other => matches!(other, Value::Number(_)),
    }
}

/// Returns the probes that a container has; an empty mapping is none.
fn probes(container: &Value) -> Value {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].iter().filter_map(|name| {
        let probe = container.field(name)?;
        probe.entries().next().is_some().then(|| (Value::from(*name), probe.clone()))
    });
    Value::from(probes.collect::<BTreeMap<_, _>>())
}

fn image_value(given: &Value) -> Value {
    let keys = &*KEYS;
    let value = ObjectBuilder::default().set(&keys.given, given.clone());
    match given.as_text().and_then(image::parse) {
        None => value.set(&keys.valid, false).build(),
        Some(reference) => value
            .set(&keys.valid, true)
            .set_some(&keys.registry, reference.registry)
            .set(&keys.repository, reference.repository)
            .set_some(&keys.tag, reference.tag)
            .set_some(&keys.digest, reference.digest)
            .build(),
    }
}

/// Returns `input.strings`: every text of an object, each with its path.
pub fn strings_value(object: &Value) -> Value {
    let mut found = Vec::new();
    collect_strings(object, &mut Vec::new(), &mut found);
    Value::from(found)
}

fn collect_strings(value: &Value, path: &mut Vec<Value>, found: &mut Vec<Value>) {
    static VALUE: LazyLock<Value> = LazyLock::new(|| "value".into());
    if let Value::String(_) = value {
        let place = Value::from(path.clone());
        found.push(ObjectBuilder::default().set(&KEYS.path, place).set(&VALUE, value.clone()).build());
    }
    for (key, child) in value.entries() {
        path.push(Value::String(key.clone()));
        collect_strings(child, path, found);
        path.pop();
    }
    for (index, child) in value.items().enumerate() {
        path.push(Value::from(index));
        collect_strings(child, path, found);
        path.pop();
    }
}
