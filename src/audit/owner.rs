//! Whose an object is: its top owner, and what it is made like.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::delivered::{Applications, Marks};
use super::likeness::{Likeness, Parts};
use crate::admission::Controllers;
use crate::policy::GroupVersionKind;
use crate::policy::exemption::Subject;
use crate::report::finding::{Application, ObjectKey};

/// The part of an object's metadata that an audit needs before it reads the whole.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Its name.
    pub name: String,
    /// Its namespace, empty outside any.
    pub namespace: String,
    /// Its uid, empty in files.
    pub uid: String,
    /// Its version, empty in files.
    pub resource_version: String,
    /// What it belongs to.
    pub owner_references: Option<Vec<Reference>>,
    labels: Option<BTreeMap<String, Option<String>>>,
    annotations: Option<BTreeMap<String, Option<String>>>,
}

/// An entry of `ownerReferences`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    controller: Option<bool>,
}

/// A workload that was listed, for what says that it belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Stands for the object.
    pub digest: u128,
    /// Its own top owner as `Kind/name`, or itself.
    pub top: Arc<str>,
    /// The parts of its template.
    pub template: Arc<[u64]>,
}

/// Workloads that were listed, by uid.
pub type Owners = HashMap<String, Owner>;

/// How an object stands to its owners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    /// The top owner as `Kind/name`, empty where there is none.
    pub top: String,
    /// The kind of the listed owner whose template it was made of: its rules have been told there.
    pub told_at: Option<GroupVersionKind>,
    /// How much of it is as that template says.
    pub likeness: Likeness,
}

impl Meta {
    /// Returns whose an object is. An owner counts only when it was listed with this kind, name and uid, and excuses only
    /// what is like its template, of a kind whose controller makes such objects: a reference alone proves nothing.
    pub fn owned(&self, key: &ObjectKey, object: &str, owners: &Owners, controllers: &Controllers) -> Owned {
        let references = self.owner_references.as_deref().unwrap_or_default();
        let controller = references.iter().find(|reference| reference.controller == Some(true));
        let Some(reference) = controller.or_else(|| references.first()) else { return Owned::default() };
        let owner = GroupVersionKind::of(&reference.api_version, &reference.kind);
        let listed = owners.get(&reference.uid).filter(|known| {
            let named = ObjectKey {
                group: owner.group.clone(),
                kind: owner.kind.clone(),
                name: reference.name.clone(),
                ..key.clone()
            };
            known.digest == digest(&named)
        });
        let Some(known) = listed else {
            return Owned { top: format!("{}/{}", reference.kind, reference.name), ..Owned::default() };
        };
        let is_pod = key.group.is_empty() && key.kind == "Pod";
        let is_made_of_templates =
            is_pod || matches!((&*key.group, &*key.kind), ("apps", "ReplicaSet") | ("batch", "Job"));
        let group = if owner.group.is_empty() { "core" } else { &owner.group };
        let has_controller = controllers.0.contains_key(&format!("{group}/{}", owner.kind));
        let is_told = is_made_of_templates && controller.is_some() && has_controller;
        let parts = is_told.then(|| Parts::read(object, is_pod)).flatten();
        Owned {
            top: known.top.to_string(),
            told_at: parts.is_some().then_some(owner),
            likeness: parts.map(|parts| parts.like(&known.template)).unwrap_or_default(),
        }
    }

    /// Returns what exemptions are matched with; any kind counts as one that may hold a pod template.
    pub fn subject(&self, kind: &GroupVersionKind) -> Subject<'_> {
        let namespace = if kind.is_namespace() { &self.name } else { &self.namespace };
        let labels = self.labels.iter().flatten();
        Subject {
            kind: kind.clone(),
            has_template: true,
            namespace: Some(namespace.as_str()).filter(|name| !name.is_empty()),
            name: &self.name,
            labels: labels.filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?))).collect(),
            user: None,
        }
    }

    /// Returns what delivers the object, by the marks of Argo CD, Flux and Helm.
    pub fn application(&self, known: &Applications) -> Option<Application> {
        let text = |map: &Option<BTreeMap<String, Option<String>>>, key: &str| map.as_ref()?.get(key)?.clone();
        let is_owned = self.owner_references.as_ref().is_some_and(|references| !references.is_empty());
        let marks = Marks {
            label: &|key| text(&self.labels, key),
            annotation: &|key| text(&self.annotations, key),
            put_in: (!is_owned).then_some(self.namespace.as_str()),
        };
        marks.application(known)
    }
}

/// Returns the number that stands for an object.
pub fn digest(key: &ObjectKey) -> u128 {
    u128::from_str_radix(&key.digest(), 16).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn meta(json: serde_json::Value) -> Meta {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_an_owner_made_tells_no_release_by_its_labels() {
        let labels = serde_json::json!({"app.kubernetes.io/instance": "redis", "app.kubernetes.io/managed-by": "Helm"});
        let made = serde_json::json!([{"kind": "ReplicaSet", "name": "redis-1"}]);
        let table = [
            (serde_json::json!({"namespace": "data", "labels": labels}), Some("data/redis")),
            (serde_json::json!({"namespace": "data", "labels": labels, "ownerReferences": made}), None),
        ];
        for (json, expected) in table {
            let found = meta(json).application(&Applications::default());
            let told = found.map(|app| format!("{}/{}", app.namespace, app.name));
            assert_eq!(told.as_deref(), expected);
        }
    }

    #[test]
    fn an_owner_excuses_only_what_it_made() {
        let spec = serde_json::json!({"containers": [{"name": "app", "image": "nginx:1"}]});
        let of = |kind: &str, name: &str| {
            let kind = GroupVersionKind::of(if kind == "Pod" || kind == "ConfigMap" { "v1" } else { "apps/v1" }, kind);
            ObjectKey {
                group: kind.group,
                kind: kind.kind,
                namespace: "shop".into(),
                name: name.into(),
                ..ObjectKey::default()
            }
        };
        let set = serde_json::json!({"spec": {"template": {"spec": spec}}}).to_string();
        let template = Parts::read(&set, false).unwrap().hashes().into();
        let owner = Owner { digest: digest(&of("ReplicaSet", "web-1")), top: "Deployment/web".into(), template };
        let owners = Owners::from([("rs-1".to_owned(), owner)]);
        let judged = |uid: &str, (owner, name): (&str, &str), controller: bool, kind: &str, image: &str| {
            let json = serde_json::json!({
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner, "name": name, "uid": uid, "controller": controller}]});
            let pod = serde_json::json!({"spec": {"containers": [{"name": "app", "image": image}]}}).to_string();
            let found = meta(json).owned(&of(kind, "web-1-x"), &pod, &owners, &Controllers::default());
            (found.top.clone(), found.told_at.is_some() && found.likeness == Likeness::Whole)
        };
        let (web, other) = (("ReplicaSet", "web-1"), ("ReplicaSet", "other"));
        let table = [
            ("made by it", judged("rs-1", web, true, "Pod", "nginx:1"), ("Deployment/web", true)),
            ("unlike its template", judged("rs-1", web, true, "Pod", "evil"), ("Deployment/web", false)),
            ("another uid", judged("forged", web, true, "Pod", "nginx:1"), ("ReplicaSet/web-1", false)),
            ("another name", judged("rs-1", other, true, "Pod", "nginx:1"), ("ReplicaSet/other", false)),
            (
                "another kind",
                judged("rs-1", ("StatefulSet", "web-1"), true, "Pod", "nginx:1"),
                ("StatefulSet/web-1", false),
            ),
            ("no controller", judged("rs-1", web, false, "Pod", "nginx:1"), ("Deployment/web", false)),
            ("no Pod", judged("rs-1", web, true, "ConfigMap", "nginx:1"), ("Deployment/web", false)),
        ];
        for (case, (top, is_excused), expected) in table {
            assert_eq!((&*top, is_excused), expected, "{case}");
        }
        let alone = Meta::default().owned(&of("Pod", "alone"), "{}", &owners, &Controllers::default());
        assert_eq!(alone, Owned::default());
    }
}
