//! Whose an object is: its top owner, and what delivers it to the cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use crate::admission::Controllers;
use crate::policy::GroupVersionKind;
use crate::policy::exemption::Subject;
use crate::report::finding::Application;

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

/// The top owners of workloads that were listed, by the workload's uid.
pub type Owners = HashMap<String, Arc<str>>;

/// How an object stands to its owners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    /// The top owner as `Kind/name`, empty where there is none.
    pub top: String,
    /// The kind of the listed owner whose template it was made of: its rules have been told there.
    pub told_at: Option<GroupVersionKind>,
}

impl Meta {
    /// Returns whose an object is. An owner excuses only when an object of that uid was listed in this pass, of a kind
    /// whose controller makes such objects: a reference alone proves nothing.
    pub fn owned(&self, kind: &GroupVersionKind, owners: &Owners, controllers: &Controllers) -> Owned {
        let references = self.owner_references.as_deref().unwrap_or_default();
        let controller = references.iter().find(|reference| reference.controller == Some(true));
        let Some(reference) = controller.or_else(|| references.first()) else { return Owned::default() };
        let top = owners.get(&reference.uid);
        let is_made_of_templates =
            matches!((&*kind.group, &*kind.kind), ("", "Pod") | ("apps", "ReplicaSet") | ("batch", "Job"));
        let owner = GroupVersionKind::of(&reference.api_version, &reference.kind);
        let group = if owner.group.is_empty() { "core" } else { &owner.group };
        let has_controller = controllers.0.contains_key(&format!("{group}/{}", owner.kind));
        let is_told = is_made_of_templates && controller.is_some() && top.is_some() && has_controller;
        Owned {
            top: top.map_or_else(|| format!("{}/{}", reference.kind, reference.name), ToString::to_string),
            told_at: is_told.then_some(owner),
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
    pub fn application(&self) -> Option<Application> {
        let text = |map: &Option<BTreeMap<String, Option<String>>>, key: &str| {
            let text = map.as_ref()?.get(key)?.as_deref()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let label = |key: &str| text(&self.labels, key);
        let annotation = |key: &str| text(&self.annotations, key);
        let flux = |kind: &str, prefix: &str| {
            let name = label(&format!("{prefix}.toolkit.fluxcd.io/name"))?;
            let namespace = label(&format!("{prefix}.toolkit.fluxcd.io/namespace")).unwrap_or_default();
            Some(Application { kind: kind.into(), namespace, name })
        };
        annotation("argocd.argoproj.io/tracking-id")
            .and_then(|id| argo(&id))
            .or_else(|| flux("Kustomization", "kustomize"))
            .or_else(|| flux("HelmRelease", "helm"))
            .or_else(|| {
                let name = annotation("meta.helm.sh/release-name")?;
                let namespace = annotation("meta.helm.sh/release-namespace").unwrap_or_default();
                Some(Application { kind: "Release".into(), namespace, name })
            })
    }
}

/// Reads a tracking id: `app:group/kind:namespace/name`, the app with its namespace as `namespace_app`.
fn argo(id: &str) -> Option<Application> {
    let (app, rest) = id.split_once(':')?;
    rest.contains(':').then_some(())?;
    let (namespace, name) = app.split_once('_').unwrap_or(("", app));
    (!name.is_empty()).then(|| Application {
        kind: "Application".into(),
        namespace: namespace.into(),
        name: name.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn meta(json: serde_json::Value) -> Meta {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn knows_what_delivers_an_object() {
        let argo = "argocd.argoproj.io/tracking-id";
        let table = [
            (serde_json::json!({"annotations": {argo: "shop:apps/Deployment:shop/web"}}), "Application//shop"),
            (serde_json::json!({"annotations": {argo: "team_shop:/Service:shop/web"}}), "Application/team/shop"),
            (serde_json::json!({"annotations": {argo: "nonsense"}}), ""),
            (
                serde_json::json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps",
                                              "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}),
                "Kustomization/flux-system/apps",
            ),
            (serde_json::json!({"labels": {"helm.toolkit.fluxcd.io/name": "redis"}}), "HelmRelease//redis"),
            (serde_json::json!({"annotations": {"meta.helm.sh/release-name": "redis"}}), "Release//redis"),
            (serde_json::json!({"labels": {"app.kubernetes.io/instance": "redis"}}), ""),
            (serde_json::json!({}), ""),
        ];
        for (json, expected) in table {
            let found = meta(json.clone()).application();
            let told = found.map(|app| format!("{}/{}/{}", app.kind, app.namespace, app.name)).unwrap_or_default();
            assert_eq!(told, expected, "{json}");
        }
    }

    #[test]
    fn tells_a_pod_at_its_deployment_only_when_the_owner_was_listed() {
        let owners = Owners::from([("rs-1".to_owned(), Arc::from("Deployment/web"))]);
        let pod = |uid: &str, controller: bool, kind: &str| {
            meta(serde_json::json!({"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": kind, "name": "web-1", "uid": uid, "controller": controller}]}))
        };
        let of = |meta: &Meta, kind: &str| {
            let owned = meta.owned(&GroupVersionKind::of("v1", kind), &owners, &Controllers::default());
            (owned.top, owned.told_at.map(|kind| kind.kind).unwrap_or_default())
        };
        let told = |top: &str, at: &str| (top.to_owned(), at.to_owned());
        assert_eq!(of(&pod("rs-1", true, "ReplicaSet"), "Pod"), told("Deployment/web", "ReplicaSet"));
        assert_eq!(of(&pod("forged", true, "ReplicaSet"), "Pod"), told("ReplicaSet/web-1", ""));
        assert_eq!(of(&pod("rs-1", false, "ReplicaSet"), "Pod"), told("Deployment/web", ""));
        assert_eq!(of(&pod("rs-1", true, "Thing"), "Pod"), told("Deployment/web", ""));
        assert_eq!(of(&pod("rs-1", true, "ReplicaSet"), "ConfigMap"), told("Deployment/web", ""));
        assert_eq!(of(&Meta::default(), "Pod"), told("", ""));
    }
}
