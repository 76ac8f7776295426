//! Argo CD's Applications as far as they concern what is found: how their last sync went.
//!
//! They are listed when somebody asks, and remembered for some seconds: Argo CD writes their status so often that a watch
//! of them would cost more than all who look.

pub mod holding;
pub mod source;
pub mod sync;

use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::core::Object;
use kube::{Api, Client};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::source::{Source, WrittenSources};
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
    /// Where it comes from.
    pub sources: Vec<Source>,
    /// Its last sync, where Gatepost denied something of it.
    pub failed_sync: Option<FailedSync>,
    /// The syncs that it knows of.
    pub syncs: Vec<Sync>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(flatten)]
    written: WrittenSources,
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
    sync: Compared,
    health: Word,
    operation_state: Option<OperationState>,
    history: Vec<Deployed>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Word {
    status: String,
}

/// How the cluster compared with what was read, and which commits that was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Compared {
    status: String,
    revision: String,
    revisions: Vec<String>,
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
    let Compared { status: sync, revision, revisions } = status.sync;
    Application {
        sources: listed.spec.written.told(&if revisions.is_empty() { vec![revision] } else { revisions }),
        failed_sync,
        syncs: Sync::all(operation, &status.history),
        namespace,
        name,
        project: listed.spec.project,
        destination: listed.spec.destination.namespace,
        sync,
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn sources(spec: &Json, sync: &Json) -> Vec<String> {
        let application = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": "shop", "namespace": "argocd"},
            "spec": spec,
            "status": {"sync": sync, "health": {"status": "Healthy"}},
        });
        let read = read(serde_json::from_value(application).unwrap());
        let line = |source: &Source| {
            let Source { repository, path, chart, wanted, revision } = source;
            format!("{repository} path={path} chart={chart} wanted={wanted} is={revision}")
        };
        read.sources.iter().map(line).collect()
    }

    #[test]
    fn an_application_tells_of_the_repository_path_and_revision_that_it_comes_from() {
        let spec = json!({
            "project": "default",
            "source": {"repoURL": "https://git.example/shop.git", "path": "deploy/prod", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
        });
        let sync = json!({"status": "Synced", "revision": "0f5cc2e7aa10", "comparedTo": {"source": {}}});
        assert_eq!(
            sources(&spec, &sync),
            ["https://git.example/shop.git path=deploy/prod chart= wanted=main is=0f5cc2e7aa10"]
        );
    }

    #[test]
    fn a_chart_and_each_of_several_sources_has_its_own_revision() {
        let chart =
            json!({"source": {"repoURL": "https://charts.example", "chart": "redis", "targetRevision": "18.x"}});
        let sync = json!({"status": "Synced", "revision": "18.1.6"});
        assert_eq!(sources(&chart, &sync), ["https://charts.example path= chart=redis wanted=18.x is=18.1.6"]);
        let several = json!({"sources": [
            {"repoURL": "https://charts.example", "chart": "redis", "targetRevision": "18.1.6",
             "helm": {"valueFiles": ["$values/redis/values.yaml"]}},
            {"repoURL": "git@git.example:team/values.git", "targetRevision": "HEAD", "ref": "values"},
        ]});
        let sync = json!({"status": "OutOfSync", "revisions": ["18.1.6", "aa10cc2e7f50"]});
        assert_eq!(
            sources(&several, &sync),
            [
                "https://charts.example path= chart=redis wanted=18.1.6 is=18.1.6",
                "git@git.example:team/values.git path= chart= wanted=HEAD is=aa10cc2e7f50",
            ]
        );
    }

    #[test]
    fn what_is_not_synced_yet_has_no_revision_and_nobody_reads_a_password() {
        let spec = json!({"source": {"repoURL": "https://bot:s3cret@git.example/shop.git", "path": "."}});
        assert_eq!(
            sources(&spec, &json!({})),
            ["https://git.example/shop.git path=. chart= wanted= is="],
            "whoever reads findings need not read the repository"
        );
        let hydrated = json!({"sourceHydrator": {
            "drySource": {"repoURL": "https://git.example/shop.git", "path": "apps/shop", "targetRevision": "main"},
            "syncSource": {"targetBranch": "env/prod", "path": "shop"},
        }});
        assert_eq!(
            sources(&hydrated, &json!({})),
            ["https://git.example/shop.git path=apps/shop chart= wanted=main is="]
        );
    }
}
