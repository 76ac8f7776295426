//! One kind of report in a cluster: what stands of it, and how it is written.

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, Status};
use kube::{Api, Client, discovery};

use super::{Standing, Stands};
use crate::cluster::installation::FIELD_MANAGER;
use crate::report::policy_report::{CONTENT, Dialect, MANAGED_BY, Report};

/// What says that a namespace is about to be gone.
const TERMINATING: &str = "NamespaceTerminating";

/// A kind of report that the cluster serves.
pub(super) struct Target {
    client: Client,
    resource: ApiResource,
    kind: &'static str,
    is_namespaced: bool,
}

/// What became of a report that was to be written.
pub(super) enum Put {
    /// It stands.
    Written(Stands),
    /// Its namespace is gone, or is about to be.
    Nowhere,
    /// Its kind's definition does not take it.
    Refused(kube::Error),
}

impl Target {
    /// Looks for the kind; none when the cluster does not serve it.
    pub(super) async fn find(client: &Client, dialect: Dialect, is_namespaced: bool) -> kube::Result<Option<Self>> {
        let (group, version) = dialect.group_version();
        let kind = dialect.kind(is_namespaced);
        match discovery::pinned_kind(client, &GroupVersionKind::gvk(group, version, kind)).await {
            Ok((resource, _)) => Ok(Some(Self { client: client.clone(), resource, kind, is_namespaced })),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns our reports.
    pub(super) async fn standing(&self) -> kube::Result<Standing> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.resource);
        let (label, value) = MANAGED_BY;
        let ours = ListParams::default().labels(&format!("{label}={value}"));
        let stands = api.list_metadata(&ours).await?.items.into_iter().map(|object| {
            let metadata = object.metadata;
            let content = metadata.annotations.and_then(|mut annotations| annotations.remove(CONTENT));
            let stands =
                Stands { content: content.unwrap_or_default(), generation: metadata.generation.unwrap_or_default() };
            ((metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default()), stands)
        });
        Ok(stands.collect())
    }

    /// Writes a report; what others have put into it stays, but for what it says.
    pub(super) async fn put(&self, namespace: &str, report: &Report) -> kube::Result<Put> {
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        match self.api(namespace).patch_metadata(&report.name, &apply, &Patch::Apply(&report.object)).await {
            Ok(written) => Ok(Put::Written(Stands {
                content: report.content.clone(),
                generation: written.metadata.generation.unwrap_or_default(),
            })),
            Err(kube::Error::Api(status)) if is_nowhere(&status) => Ok(Put::Nowhere),
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(Put::Refused(kube::Error::Api(status))),
            Err(error) => Err(error),
        }
    }

    /// Deletes a report; one that is gone is as good.
    pub(super) async fn delete(&self, namespace: &str, name: &str) -> kube::Result<()> {
        match self.api(namespace).delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        if self.is_namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(self.client.clone(), &self.resource)
        }
    }
}

fn is_nowhere(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404 || causes.map(|cause| cause.reason.as_str()).any(|reason| reason == TERMINATING)
}
