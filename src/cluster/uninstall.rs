//! Taking Gatepost out of a cluster: the registration first, since an API server must not wait for what is gone.

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::Installation;
use super::installation::NAME;
use crate::policy::modes::PREFIX;

/// A configuration that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What applies it again, as far as its labels and annotations tell: `Argo CD Application gatepost`.
    pub applied_by: Option<String>,
}

/// What else is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Names of ClusterRoles of ours.
    pub cluster_roles: Vec<String>,
    /// Names of ClusterRoleBindings of ours.
    pub cluster_role_bindings: Vec<String>,
    /// Whether the namespace is there.
    pub has_namespace: bool,
    /// How many namespaces carry labels of ours.
    pub labelled_namespaces: usize,
}

impl Left {
    /// Returns the commands that remove it.
    pub fn commands(&self, namespace: &str) -> Vec<String> {
        let mut commands = Vec::new();
        if self.has_namespace {
            commands.push(format!("kubectl delete namespace {namespace}"));
        }
        for (kind, names) in [("clusterrolebinding", &self.cluster_role_bindings), ("clusterrole", &self.cluster_roles)]
        {
            if !names.is_empty() {
                commands.push(format!("kubectl delete {kind} {}", names.join(" ")));
            }
        }
        if commands.is_empty() {
            commands.push("nothing".to_owned());
        }
        commands
    }
}

/// Removes both webhook configurations, if they are ours.
pub async fn remove_registration(installation: &Installation, dry_run: bool) -> kube::Result<Vec<Removed>> {
    let client = &installation.client;
    let mut removed = Vec::new();
    removed.extend(remove::<ValidatingWebhookConfiguration>(&Api::all(client.clone()), dry_run).await?);
    removed.extend(remove::<MutatingWebhookConfiguration>(&Api::all(client.clone()), dry_run).await?);
    Ok(removed)
}

async fn remove<K>(api: &Api<K>, dry_run: bool) -> kube::Result<Option<Removed>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let Some(found) = api.get_opt(NAME).await? else { return Ok(None) };
    // Another one that came under the same name meanwhile is not the one that was looked at.
    let preconditions = Some(Preconditions { uid: found.uid(), resource_version: None });
    match api.delete(NAME, &DeleteParams { dry_run, preconditions, ..DeleteParams::default() }).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error),
    }
    Ok(Some(Removed { kind: K::kind(&()).into_owned(), name: NAME.to_owned(), applied_by: applied_by(&found) }))
}

/// Tells who applies an object from Git, by what Argo CD, Flux and Helm write on it.
fn applied_by(object: &impl Resource) -> Option<String> {
    let (labels, annotations) = (object.labels(), object.annotations());
    let tracked = annotations.get("argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
    if let Some(application) = tracked {
        return Some(format!("the Argo CD Application {application}"));
    }
    if let Some(name) = labels.get("kustomize.toolkit.fluxcd.io/name") {
        return Some(format!("the Flux Kustomization {name}"));
    }
    if let Some(name) = labels.get("helm.toolkit.fluxcd.io/name") {
        return Some(format!("the Flux HelmRelease {name}"));
    }
    annotations.get("meta.helm.sh/release-name").map(|name| format!("the Helm release {name}"))
}

/// Looks what else there is of Gatepost; what cannot be read is left out.
pub async fn left(installation: &Installation) -> Left {
    let client = &installation.client;
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/name={NAME}"));
    let roles = Api::<ClusterRole>::all(client.clone()).list_metadata(&ours).await;
    let bindings = Api::<ClusterRoleBinding>::all(client.clone()).list_metadata(&ours).await;
    let namespaces = Api::<Namespace>::all(client.clone()).list_metadata(&ListParams::default()).await;
    let namespaces = namespaces.map(|list| list.items).unwrap_or_default();
    let is_labelled =
        |namespace: &&PartialObjectMeta<Namespace>| namespace.labels().keys().any(|key| key.starts_with(PREFIX));
    Left {
        cluster_roles: roles.map(|list| names(&list.items)).unwrap_or_default(),
        cluster_role_bindings: bindings.map(|list| names(&list.items)).unwrap_or_default(),
        has_namespace: namespaces.iter().any(|namespace| namespace.name_any() == installation.namespace),
        labelled_namespaces: namespaces.iter().filter(is_labelled).count(),
    }
}

fn names<K: Resource<DynamicType = ()>>(objects: &[PartialObjectMeta<K>]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_brings_it_back() {
        let of = |annotation: &str, value: &str| {
            let mut found = ValidatingWebhookConfiguration::default();
            found.annotations_mut().insert(annotation.to_owned(), value.to_owned());
            applied_by(&found)
        };
        let id = "gatepost:admissionregistration.k8s.io/ValidatingWebhookConfiguration:/gatepost";
        assert_eq!(of("argocd.argoproj.io/tracking-id", id).unwrap(), "the Argo CD Application gatepost");
        assert_eq!(of("meta.helm.sh/release-name", "gate").unwrap(), "the Helm release gate");
        assert_eq!(of("other", "x"), None);
    }

    #[test]
    fn names_commands_for_what_is_there() {
        let left = Left { cluster_roles: vec!["a".into(), "b".into()], has_namespace: true, ..Left::default() };
        assert_eq!(left.commands("gp"), ["kubectl delete namespace gp", "kubectl delete clusterrole a b"]);
        assert_eq!(Left::default().commands("gp"), ["nothing"]);
    }
}
