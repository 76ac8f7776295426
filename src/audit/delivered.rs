//! What delivers an object to the cluster, by the marks that Argo CD, Flux and Helm leave on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::INSTANCE_LABEL as INSTANCE;
use crate::report::finding::Application;

/// The label that says who made an object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Argo CD's Applications that are there: a label means one of these, and invents none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applications {
    label: String,
    /// The namespaces of those of a name.
    named: BTreeMap<String, BTreeSet<String>>,
}

impl Default for Applications {
    fn default() -> Self {
        Self { label: INSTANCE.to_owned(), named: BTreeMap::new() }
    }
}

impl Applications {
    /// Takes the label by which Argo CD tracks, and each Application's namespace and name.
    pub fn new(label: &str, all: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (namespace, name) in all {
            named.entry(name).or_default().insert(namespace);
        }
        Self { label: label.to_owned(), named }
    }

    /// Returns the Application that a label's value means.
    fn labelled(&self, value: &str) -> Option<Application> {
        let found = argo(value)?;
        let namespaces = self.named.get(&found.name)?;
        (found.namespace.is_empty() || namespaces.contains(&found.namespace)).then_some(found)
    }
}

/// The labels and annotations of an object, and where Helm put it.
pub struct Marks<'a> {
    /// Returns a label.
    pub label: &'a dyn Fn(&str) -> Option<String>,
    /// Returns an annotation.
    pub annotation: &'a dyn Fn(&str) -> Option<String>,
    /// Its namespace; none where another object made it, whose template its labels are of.
    pub put_in: Option<&'a str>,
}

impl std::fmt::Debug for Marks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").field("put_in", &self.put_in).finish_non_exhaustive()
    }
}

impl Marks<'_> {
    /// Returns what delivers the object.
    ///
    /// Annotations and Flux's labels say it. A mere instance label is Argo CD's where there is such an Application: charts
    /// that Argo CD renders call themselves Helm's, too. Else it is the release of what Helm made.
    pub fn application(&self, known: &Applications) -> Option<Application> {
        self.argo_by_annotation()
            .or_else(|| self.flux("Kustomization", "kustomize"))
            .or_else(|| self.flux("HelmRelease", "helm"))
            .or_else(|| self.release_by_annotation())
            .or_else(|| known.labelled(&self.label(&known.label)?))
            .or_else(|| self.release_by_label())
    }

    fn label(&self, key: &str) -> Option<String> {
        (self.label)(key).filter(|text| !text.is_empty())
    }

    fn annotation(&self, key: &str) -> Option<String> {
        (self.annotation)(key).filter(|text| !text.is_empty())
    }

    /// Reads a tracking id: `app:group/kind:namespace/name`.
    fn argo_by_annotation(&self) -> Option<Application> {
        let id = self.annotation("argocd.argoproj.io/tracking-id")?;
        let (app, rest) = id.split_once(':')?;
        rest.contains(':').then(|| argo(app)).flatten()
    }

    fn flux(&self, kind: &str, prefix: &str) -> Option<Application> {
        let name = self.label(&format!("{prefix}.toolkit.fluxcd.io/name"))?;
        let namespace = self.label(&format!("{prefix}.toolkit.fluxcd.io/namespace")).unwrap_or_default();
        Some(Application { kind: kind.into(), namespace, name })
    }

    fn release_by_annotation(&self) -> Option<Application> {
        let name = self.annotation("meta.helm.sh/release-name")?;
        let namespace = self.annotation("meta.helm.sh/release-namespace").unwrap_or_default();
        Some(Application { kind: "Release".into(), namespace, name })
    }

    fn release_by_label(&self) -> Option<Application> {
        let namespace = self.put_in?.to_owned();
        self.label(MANAGED_BY).filter(|by| by == "Helm")?;
        Some(Application { kind: "Release".into(), namespace, name: self.label(INSTANCE)? })
    }
}

/// Returns what delivers a Namespace of these labels and annotations.
pub fn delivered_by(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    known: &Applications,
) -> Option<Application> {
    let marks = Marks {
        label: &|key| labels.get(key).cloned(),
        annotation: &|key| annotations.get(key).cloned(),
        put_in: Some(""),
    };
    marks.application(known)
}

/// Reads the name that Argo CD gives an Application in its marks: `app`, or `namespace_app` outside its own namespace.
fn argo(app: &str) -> Option<Application> {
    let (namespace, name) = app.split_once('_').unwrap_or(("", app));
    (!name.is_empty()).then(|| Application {
        kind: Application::ARGO.into(),
        namespace: namespace.into(),
        name: name.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// Returns what delivers an object, where these Applications are there.
    fn told(object: &Json, put_in: Option<&str>, label: &str) -> String {
        let all = [("argocd", "shop"), ("team", "till")].map(|(space, name)| (space.to_owned(), name.to_owned()));
        let text = |of: &str, key: &str| object[of][key].as_str().map(str::to_owned);
        let marks = Marks { label: &|key| text("labels", key), annotation: &|key| text("annotations", key), put_in };
        let found = marks.application(&Applications::new(label, all));
        found.map(|app| format!("{}/{}/{}", app.kind, app.namespace, app.name)).unwrap_or_default()
    }

    #[test]
    fn annotations_and_labels_of_flux_say_what_delivers_an_object() {
        let argo = "argocd.argoproj.io/tracking-id";
        let flux = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"});
        let helm = json!({"meta.helm.sh/release-name": "redis", "meta.helm.sh/release-namespace": "data"});
        for (object, expected) in [
            (json!({"annotations": {argo: "other:apps/Deployment:shop/web"}}), "Application//other"),
            (json!({"annotations": {argo: "team_other:/Service:shop/web"}}), "Application/team/other"),
            (json!({"annotations": {argo: "nonsense"}}), ""),
            (json!({"labels": flux}), "Kustomization/flux/apps"),
            (json!({"labels": {"helm.toolkit.fluxcd.io/name": "redis"}}), "HelmRelease//redis"),
            (json!({"annotations": helm}), "Release/data/redis"),
            (json!({"annotations": helm, "labels": {INSTANCE: "shop"}}), "Release/data/redis"),
            (json!({"annotations": {"meta.helm.sh/release-name": "redis"}}), "Release//redis"),
            (json!({}), ""),
        ] {
            assert_eq!(told(&object, Some("data"), INSTANCE), expected, "{object}");
        }
    }

    #[test]
    fn an_instance_label_names_an_application_that_is_there_or_a_release() {
        let own = "argocd.argoproj.io/instance";
        let by = |name: &str, by: &str| json!({"labels": {INSTANCE: name, MANAGED_BY: by}});
        for (object, put_in, label, expected) in [
            (json!({"labels": {INSTANCE: "shop"}}), Some("a"), INSTANCE, "Application//shop"),
            (json!({"labels": {INSTANCE: "shop"}}), None, INSTANCE, "Application//shop"),
            (json!({"labels": {INSTANCE: "team_till"}}), Some("a"), INSTANCE, "Application/team/till"),
            (json!({"labels": {INSTANCE: "other_till"}}), Some("a"), INSTANCE, ""),
            (json!({"labels": {INSTANCE: "nobody"}}), Some("a"), INSTANCE, ""),
            (json!({"labels": {INSTANCE: "shop"}}), Some("a"), own, ""),
            (json!({"labels": {own: "shop"}}), Some("a"), own, "Application//shop"),
            (by("shop", "Helm"), Some("a"), INSTANCE, "Application//shop"),
            (by("redis", "Helm"), Some("a"), INSTANCE, "Release/a/redis"),
            (by("redis", "Helm"), Some(""), own, "Release//redis"),
            (by("redis", "Helm"), None, INSTANCE, ""),
            (by("redis", "somebody"), Some("a"), INSTANCE, ""),
        ] {
            assert_eq!(told(&object, put_in, label), expected, "{object} by {label}");
        }
    }
}
