//! Taking Gatepost out of a cluster: the registration first, since an API server must not wait for what is gone.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Preconditions};
use kube::{Api, Resource, ResourceExt};

use super::Installation;
use super::installation::NAME;
use super::registration::Configuration;
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

/// A configuration that has our name and is not ours; it was left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whom it asks: `Service other/gatepost`, or a URL.
    pub asks: Vec<String>,
}

/// What became of the webhook configurations named `gatepost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registrations {
    /// Those that asked this installation, and no longer do.
    pub removed: Vec<Removed>,
    /// Those that ask somebody else.
    pub foreign: Vec<Foreign>,
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

/// Removes both webhook configurations, if they are ours: another installation may have given its own the same name.
pub async fn remove_registration(installation: &Installation, dry_run: bool) -> kube::Result<Registrations> {
    let Installation { client, namespace } = installation;
    let mut found = Registrations::default();
    remove::<ValidatingWebhookConfiguration>(&Api::all(client.clone()), namespace, dry_run, &mut found).await?;
    remove::<MutatingWebhookConfiguration>(&Api::all(client.clone()), namespace, dry_run, &mut found).await?;
    Ok(found)
}

async fn remove<K: Configuration>(
    api: &Api<K>,
    namespace: &str,
    dry_run: bool,
    registrations: &mut Registrations,
) -> kube::Result<()> {
    let Some(found) = api.get_opt(NAME).await? else { return Ok(()) };
    let (kind, name) = (K::kind(&()).into_owned(), NAME.to_owned());
    if !is_ours(&found, namespace) {
        registrations.foreign.push(Foreign { kind, name, asks: asks(&found) });
        return Ok(());
    }
    // Another one that came under the same name meanwhile is not the one that was looked at.
    let preconditions = Some(Preconditions { uid: found.uid(), resource_version: None });
    match api.delete(NAME, &DeleteParams { dry_run, preconditions, ..DeleteParams::default() }).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error),
    }
    registrations.removed.push(Removed { kind, name, applied_by: applied_by(&found) });
    Ok(())
}

/// Returns whether a configuration asks the Service of this namespace. One that asks nobody, as `registration: self`
/// writes it while only probes are sent, is ours if it goes with the namespace.
fn is_ours(found: &impl Configuration, namespace: &str) -> bool {
    let entries = found.entries();
    let belongs = |owner: &OwnerReference| owner.kind == "Namespace" && owner.name == namespace;
    entries.iter().any(|entry| entry.asks_service(NAME, namespace))
        || (entries.is_empty() && found.owner_references().iter().any(belongs))
}

/// Returns whom a configuration asks, each once.
fn asks(found: &impl Configuration) -> Vec<String> {
    let asked = found.entries().into_iter().filter_map(|entry| match entry.client_config.service {
        Some(service) => Some(format!("Service {}/{}", service.namespace, service.name)),
        None => entry.client_config.url,
    });
    let mut asked: Vec<String> = asked.collect();
    asked.dedup();
    asked
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::get;
    use kube::Client;
    use kube::api::ObjectMeta;

    use super::super::registration::Wanted;
    use super::*;

    /// Has the registrations of one namespace removed for another; returns what became of them, and the deletions.
    async fn uninstall(theirs: &str, ours: &str) -> (Registrations, usize) {
        let metadata = ObjectMeta { name: Some(NAME.into()), uid: Some("u".into()), ..ObjectMeta::default() };
        let wanted = Wanted::shipped(theirs);
        let validating = ValidatingWebhookConfiguration::new(metadata.clone(), wanted.validating());
        let mutating = MutatingWebhookConfiguration::new(metadata, wanted.mutating());
        let deletions = Arc::new(AtomicUsize::default());
        let one = |object: String| {
            let deletions = deletions.clone();
            get(async move || object).delete(async move || {
                deletions.fetch_add(1, Ordering::Relaxed);
                r#"{"kind": "Status", "apiVersion": "v1", "status": "Success"}"#
            })
        };
        let group = "/apis/admissionregistration.k8s.io/v1";
        let router = Router::new()
            .route(
                &format!("{group}/validatingwebhookconfigurations/gatepost"),
                one(serde_json::to_string(&validating).unwrap()),
            )
            .route(
                &format!("{group}/mutatingwebhookconfigurations/gatepost"),
                one(serde_json::to_string(&mutating).unwrap()),
            );
        let installation = Installation { client: Client::new(router, "default"), namespace: ours.into() };
        let became = remove_registration(&installation, false).await.unwrap();
        (became, deletions.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn only_what_asks_this_installation_is_removed() {
        let (became, deletions) = uninstall("gatepost", "gatepost").await;
        assert_eq!((became.removed.len(), became.foreign.len(), deletions), (2, 0, 2), "{became:?}");
        let (became, deletions) = uninstall("other", "gatepost").await;
        assert_eq!((became.removed.len(), became.foreign.len(), deletions), (0, 2, 0), "{became:?}");
        assert_eq!(became.foreign[0].asks, ["Service other/gatepost"]);
    }

    #[test]
    fn what_asks_nobody_is_ours_if_it_goes_with_the_namespace() {
        let of = |namespace: &str| {
            let owner =
                OwnerReference { kind: "Namespace".into(), name: namespace.into(), ..OwnerReference::default() };
            let metadata = ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() };
            is_ours(&MutatingWebhookConfiguration::new(metadata, Vec::new()), "gatepost")
        };
        assert!(of("gatepost"));
        assert!(!of("other"));
    }

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
