//! A way from this machine to a Gatepost in the cluster, by the API server: what `kubectl port-forward` does, without a
//! port that everybody on this machine could use.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use rustls::pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use self::certificate::client_config;
use super::{ConnectError, from_kubeconfig};

mod bearer;
mod certificate;

pub use bearer::{Bearer, NoBearer};

/// The Pods that show the dashboard, as the shipped manifests label them.
const SCANNER: &str = "app.kubernetes.io/name=gatepost,app.kubernetes.io/component=scanner";
/// The name of their port, and its number where no port has that name.
const PORT: (&str, u16) = ("http", 8080);
/// How long the way may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no way to a Gatepost.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// There is nothing to connect to.
    #[error(
        "no Pod in namespace {namespace} is a Gatepost that shows a dashboard ({SCANNER}); is it installed there? \
         --namespace names another one"
    )]
    NoPod {
        /// Where it was looked for.
        namespace: String,
    },
    /// It is there, but does not work.
    #[error("Pod {name} in namespace {namespace} is not ready: kubectl -n {namespace} describe pod {name} says why")]
    NotReady {
        /// Where it is.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server says no, or nothing.
    #[error("{what}: {cause}")]
    ApiServer {
        /// What was asked.
        what: &'static str,
        /// What it said.
        #[source]
        cause: Box<kube::Error>,
    },
    /// The Pod was reached, and does not speak as Gatepost does.
    #[error("Gatepost in the Pod does not answer: {0}")]
    Stream(#[from] io::Error),
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Late,
}

/// Reads where the cluster is, and who we are there, as kubectl does.
pub async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    from_kubeconfig(kubeconfig, context).await
}

/// The way to whichever Pod is ready when a connection begins.
#[derive(Clone)]
pub struct Tunnel {
    pods: Api<Pod>,
    namespace: String,
    tls: Arc<rustls::ClientConfig>,
}

impl Tunnel {
    /// Names the namespace that Gatepost is installed in; nothing is asked yet.
    pub fn new(client: Client, namespace: &str) -> Result<Self, rustls::Error> {
        let pods = Api::namespaced(client, namespace);
        Ok(Self { pods, namespace: namespace.to_owned(), tls: Arc::new(client_config()?) })
    }

    /// Returns what sends requests through it.
    pub fn client<B>(&self) -> HttpClient<Self, B>
    where
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
    {
        HttpClient::builder(TokioExecutor::new()).build(self.clone())
    }

    /// Opens one connection.
    pub async fn open(&self) -> Result<Stream, NoWay> {
        tokio::time::timeout(PATIENCE, self.opened()).await.unwrap_or(Err(NoWay::Late))
    }

    async fn opened(&self) -> Result<Stream, NoWay> {
        let (name, port) = self.pod().await?;
        let fail = |cause| NoWay::ApiServer { what: "the API server opens no way to the Pod", cause: Box::new(cause) };
        let mut forwarder = self.pods.portforward(&name, &[port]).await.map_err(fail)?;
        let stream = forwarder.take_stream(port).ok_or(io::ErrorKind::NotConnected).map_err(io::Error::from)?;
        // The certificate names the Service and this machine, and no Pod; see `certificate` for who vouches for it.
        let server = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(server, stream).await?;
        Ok(Stream(TokioIo::new(stream)))
    }

    /// Returns name and port of a Pod that is ready; a rollout may have replaced the one of before.
    async fn pod(&self) -> Result<(String, u16), NoWay> {
        let fail = |cause| NoWay::ApiServer { what: "the Pods of Gatepost cannot be listed", cause: Box::new(cause) };
        let pods = self.pods.list(&ListParams::default().labels(SCANNER)).await.map_err(fail)?.items;
        let pods: Vec<&Pod> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        let named = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
        match (pods.iter().find(|pod| is_ready(pod)), pods.first()) {
            (Some(pod), _) => Ok((named(pod), port(pod))),
            (None, Some(pod)) => Err(NoWay::NotReady { namespace: self.namespace.clone(), name: named(pod) }),
            (None, None) => Err(NoWay::NoPod { namespace: self.namespace.clone() }),
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn port(pod: &Pod) -> u16 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|port| port.name.as_deref() == Some(PORT.0));
    named.and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(PORT.1)
}

/// A connection to the Pod.
pub struct Stream(TokioIo<TlsStream<DuplexStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Service<Uri> for Tunnel {
    type Response = Stream;
    type Error = NoWay;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, NoWay>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoWay>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let tunnel = self.clone();
        Box::pin(async move { tunnel.open().await })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::*;

    /// Returns a tunnel in a cluster with these Pods.
    fn among(pods: &Value) -> Tunnel {
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods});
        let router = Router::new().fallback(async move || Json(list));
        Tunnel::new(Client::new(router, "default"), "gatepost").unwrap()
    }

    fn pod(name: &str, ready: &str, ports: &Value) -> Value {
        json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "gatepost", "ports": ports}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    #[tokio::test]
    async fn goes_to_a_pod_that_is_ready_by_the_port_that_is_meant() {
        let ports = json!([{"name": "metrics", "containerPort": 9090}, {"name": "http", "containerPort": 8085}]);
        let mut going = pod("going", "True", &json!([]));
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let found = among(&json!([going, pod("a", "False", &json!([])), pod("b", "True", &ports)])).pod().await;
        assert_eq!(found.unwrap(), ("b".to_owned(), 8085));
        let found = among(&json!([pod("c", "True", &json!([]))])).pod().await;
        assert_eq!(found.unwrap(), ("c".to_owned(), 8080));
        let said = among(&json!([pod("a", "False", &json!([]))])).pod().await.unwrap_err().to_string();
        assert!(said.contains("Pod a in namespace gatepost is not ready"), "{said}");
        let said = among(&json!([])).pod().await.unwrap_err().to_string();
        assert!(said.contains("--namespace names another one"), "{said}");
    }
}
