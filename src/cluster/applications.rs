//! Argo CD's Applications as far as they concern what is found: how their last sync went.
//!
//! They are listed when somebody asks, and remembered for some seconds: Argo CD writes their status so often that a watch
//! of them would cost more than all who look.

pub mod holding;
pub mod sync;

use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::core::Object;
use kube::{Api, Client};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::sync::{Deployed, FailedSync, OperationState, Sync, SyncPolicy};
use super::inventory::find;

/// How long what was listed is good enough.
const FRESH: Duration = Duration::from_secs(10);
/// Applications of a page: each may weigh some hundred kilobytes.
const PAGE: u32 = 100;
/// Where Argo CD runs, unless somebody chose otherwise.
const HOME: &str = "argocd";

/// An Application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its AppProject.
    pub project: String,
    /// Where what names no namespace goes.
    pub destination: String,
    /// `Synced`, `OutOfSync` or `Unknown`; empty before it was first compared.
    pub sync: String,
    /// `Healthy`, `Degraded`, …; empty where nobody knows.
    pub health: String,
    /// Its last sync, where Gatepost denied something of it.
    pub failed_sync: Option<FailedSync>,
    /// The syncs that it knows of.
    pub syncs: Vec<Sync>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    project: String,
    destination: Destination,
    sync_policy: SyncPolicy,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Destination {
    namespace: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    sync: Word,
    health: Word,
    operation_state: Option<OperationState>,
    history: Vec<Deployed>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Word {
    status: String,
}

type Listed = Object<Spec, Status>;

/// Asks the API server for Applications; needs `list` on `applications.argoproj.io`.
pub struct Applications {
    client: Client,
    known: Mutex<Option<(Instant, Arc<Vec<Application>>)>>,
}

impl std::fmt::Debug for Applications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applications").finish_non_exhaustive()
    }
}

impl Applications {
    /// Builds it; nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Returns all Applications in the order of their names; none in a cluster without Argo CD. Whoever asks at the same
    /// time shares one list.
    pub async fn all(&self) -> kube::Result<Arc<Vec<Application>>> {
        let mut known = self.known.lock().await;
        if let Some((_, applications)) = known.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
            return Ok(applications.clone());
        }
        let applications = Arc::new(self.list().await?);
        *known = Some((Instant::now(), applications.clone()));
        Ok(applications)
    }

    async fn list(&self) -> kube::Result<Vec<Application>> {
        let Some(resource) = find(&self.client, "argoproj.io", "Application").await? else { return Ok(Vec::new()) };
        let api: Api<Listed> = Api::all_with(self.client.clone(), &resource);
        let mut params = ListParams::default().limit(PAGE);
        let mut applications = Vec::new();
        loop {
            let page = api.list(&params).await?;
            applications.extend(page.items.into_iter().map(read));
            let next = page.metadata.continue_.filter(|next| !next.is_empty());
            let Some(next) = next else { break };
            params = params.continue_token(&next);
        }
        applications.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(applications)
    }
}

#[cfg(test)]
impl Application {
    /// Reads one of this metadata and status.
    #[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
    pub(crate) fn of(metadata: &serde_json::Value, status: &serde_json::Value) -> Self {
        let object = serde_json::json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": metadata, "spec": {}, "status": status});
        read(serde_json::from_value(object).unwrap())
    }
}

fn read(listed: Listed) -> Application {
    let (namespace, name) = (listed.metadata.namespace.unwrap_or_default(), listed.metadata.name.unwrap_or_default());
    let status = listed.status.unwrap_or_default();
    let operation = status.operation_state.as_ref();
    let failed_sync = operation.and_then(|state| state.failed(&namespace, &name, &listed.spec.sync_policy));
    Application {
        failed_sync,
        syncs: Sync::all(operation, &status.history),
        namespace,
        name,
        project: listed.spec.project,
        destination: listed.spec.destination.namespace,
        sync: status.sync.status,
        health: status.health.status,
    }
}

/// Returns the Application that an object names. One that names no namespace means Argo CD's own: of several of that
/// name the one in `argocd`, else the first.
pub fn named<'a>(all: &'a [Application], namespace: &str, name: &str) -> Option<&'a Application> {
    let mut of_name = all.iter().filter(|application| application.name == name);
    if namespace.is_empty() {
        of_name.clone().find(|application| application.namespace == HOME).or_else(|| of_name.next())
    } else {
        of_name.find(|application| application.namespace == namespace)
    }
}
