//! Objects to send: each constructor gives one that every policy is content with, `with` puts one thing wrong.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Where a workload's first container stands.
pub const CONTAINER: &str = "/spec/template/spec/containers/0";

/// A Kubernetes object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Value);

impl Object {
    /// Sets the value at a JSON pointer, making the objects on the way.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let keys = pointer.trim_start_matches('/').split('/');
        *keys.fold(&mut self.0, |place, key| child(place, key)) = value.into();
        self
    }

    /// Removes the value at a JSON pointer, if there is one.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Self {
        if let Some((parent, key)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = self.0.pointer_mut(parent)
        {
            parent.remove(key);
        }
        self
    }

    /// Returns the text at a JSON pointer, empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

fn child<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    match place {
        Value::Array(items) => {
            let index = key.parse().unwrap_or(items.len());
            items.resize(items.len().max(index + 1), Value::Null);
            &mut items[index]
        }
        Value::Object(fields) => fields.entry(key.replace("~1", "/")).or_insert(Value::Null),
        scalar => {
            *scalar = Value::Object(Map::new());
            child(scalar, key)
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns a YAML stream of objects.
pub fn documents<'a>(objects: impl IntoIterator<Item = &'a Object>) -> String {
    objects.into_iter().fold(String::new(), |stream, object| stream + "---\n" + &object.to_string() + "\n")
}

/// Returns a Deployment `name` with one container, `app`.
pub fn deployment(name: &str) -> Object {
    workload("apps/v1", "Deployment", name).with("/spec/replicas", 2)
}

/// Returns a Deployment that breaks `container-image-tag` (high), which is in `recommended` and not in `baseline`.
pub fn untagged(name: &str) -> Object {
    deployment(name).with(&format!("{CONTAINER}/image"), "nginx")
}

/// Returns a Deployment that breaks `container-privileged`, which is in `baseline`.
pub fn privileged(name: &str) -> Object {
    deployment(name).with(&format!("{CONTAINER}/securityContext/privileged"), true)
}

/// Returns a workload with a selector and a pod template.
pub fn workload(api_version: &str, kind: &str, name: &str) -> Object {
    let labels = json!({"app": name});
    Object(json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container("app")]}},
        },
    }))
}

/// Returns a Pod `name` with one container, `app`.
pub fn pod(name: &str) -> Object {
    Object(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container("app")]},
    }))
}

/// Returns a CronJob that never runs, and does not say how late a run may start (`cronjob-starting-deadline`).
pub fn cron_job(name: &str) -> Object {
    let pods = json!({"spec": {"restartPolicy": "Never", "containers": [container("app")]}});
    Object(json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": "0 0 31 2 *", "jobTemplate": {"spec": {"template": pods}}},
    }))
}

/// Returns a container with a tag, requests, limits and probes.
pub fn container(name: &str) -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": 80}});
    let resources = json!({"cpu": "10m", "memory": "16Mi"});
    json!({
        "name": name,
        "image": "nginx:1.27.3",
        "resources": {"requests": resources, "limits": resources},
        "livenessProbe": probe,
        "readinessProbe": probe,
    })
}

/// Returns a Namespace.
pub fn namespace(name: &str) -> Object {
    Object(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {}, "annotations": {}}}),
    )
}

/// Returns a ConfigMap with one entry.
pub fn config_map(name: &str, key: &str, value: &str) -> Object {
    Object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: value}}))
}

/// Reads a YAML stream of objects.
pub fn read(stream: &str) -> Vec<Object> {
    let documents = stream.split("\n---\n");
    documents.map(|document| serde_saphyr::from_str(document).expect("an object in YAML")).collect()
}

/// Returns an exemption of either kind from the rules that [`privileged`] and [`untagged`] break.
pub fn exemption(kind: &str, name: &str, namespace: &str, expires: &str) -> Object {
    Object(json!({
        "apiVersion": "gatepost.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "rules": ["container-privileged", "container-image-tag"], "match": {"namespaces": [namespace]},
            "reason": "for the test", "owner": "team-a", "expires": expires,
        },
    }))
}
