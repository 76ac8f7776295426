//! Many requests at once, past kubectl: one process a request would be the load.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::runtime::Runtime;

use super::objects::Object;

/// How many requests of a steady load are under way at any time.
const WORKERS: usize = 8;

/// Sends dry-run creations of Deployments.
pub struct Sender {
    runtime: Runtime,
    client: Client,
}

impl Sender {
    /// Connects with a kubeconfig.
    pub fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let client = runtime.block_on(async {
            let config =
                Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default())
                    .await?;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// Sends all at once and returns the failures in the same order, `None` for what was admitted.
    pub fn send_at_once(&self, namespace: &str, deployments: &[Object]) -> Vec<Option<Failure>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let sent: Vec<_> =
            deployments.iter().map(|object| self.runtime.spawn(create(api.clone(), typed(object)))).collect();
        sent.into_iter().map(|sent| self.runtime.block_on(sent).expect("a request")).collect()
    }

    /// Creates objects of any kinds, many at once, and returns what went wrong.
    pub fn create_all(&self, objects: &[Object]) -> Vec<String> {
        let many = futures::stream::iter(objects.iter().cloned()).map(|object| {
            let client = self.client.clone();
            async move { create_any(client, object).await.err().map(|error| error.to_string()) }
        });
        let faults = many.buffer_unordered(WORKERS).filter_map(std::future::ready).collect();
        self.runtime.block_on(faults)
    }

    /// Sends the same Deployment again and again until it is told to stop.
    pub fn send_steadily(self, namespace: &str, deployment: &Object) -> SteadyLoad {
        let load = SteadyLoad { sender: self, sent: Arc::default(), stopped: Arc::default() };
        let api: Api<Deployment> = Api::namespaced(load.sender.client.clone(), namespace);
        for _ in 0..WORKERS {
            let (api, deployment) = (api.clone(), typed(deployment));
            let (sent, stopped) = (Arc::clone(&load.sent), Arc::clone(&load.stopped));
            load.sender.runtime.spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let failure = create(api.clone(), deployment.clone()).await;
                    sent.lock().unwrap_or_else(PoisonError::into_inner).push(Sent { started, failure });
                }
            });
        }
        load
    }
}

/// What the API server said instead of yes.
#[derive(Debug, Clone)]
pub struct Failure {
    pub code: u16,
    pub message: String,
}

async fn create_any(client: Client, object: Object) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object.0)?;
    let types = object.types.clone().context("a kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let namespace = object.metadata.namespace.as_deref().context("a namespace")?;
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn create(api: Api<Deployment>, deployment: Deployment) -> Option<Failure> {
    let dry_run = PostParams { dry_run: true, field_manager: None };
    match api.create(&dry_run, &deployment).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(Failure { code: status.code, message: status.message.clone() }),
        Err(error) => Some(Failure { code: 0, message: error.to_string() }),
    }
}

fn typed(object: &Object) -> Deployment {
    serde_json::from_value(object.0.clone()).expect("a Deployment")
}

/// One request of a steady load.
#[derive(Debug, Clone)]
pub struct Sent {
    pub started: Instant,
    pub failure: Option<Failure>,
}

/// Requests that go on in the background; dropping it ends them.
pub struct SteadyLoad {
    sender: Sender,
    sent: Arc<Mutex<Vec<Sent>>>,
    stopped: Arc<AtomicBool>,
}

impl SteadyLoad {
    /// Returns the answered requests that were started after a moment.
    pub fn since(&self, moment: Instant) -> Vec<Sent> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|sent| sent.started > moment).cloned().collect()
    }
}

impl Drop for SteadyLoad {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
