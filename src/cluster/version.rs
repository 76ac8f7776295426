//! Which release of Kubernetes the API server is: asked at the start, and again and again, for it is upgraded while we run.

use std::time::Duration;

use kube::Client;
use tokio::sync::oneshot;

use crate::policy::KubernetesVersion;

/// How often it is asked.
const EVERY: Duration = Duration::from_mins(5);
/// How soon it is asked again after it gave no answer.
const RETRY: Duration = Duration::from_secs(5);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for as long as the process runs, and hands each answer to `take`; what is returned tells of the first one.
pub fn follow(client: Client, take: impl Fn(KubernetesVersion) + Send + 'static) -> oneshot::Receiver<()> {
    let (told, first) = oneshot::channel();
    tokio::spawn(async move {
        let mut told = Some(told);
        loop {
            let pause = match ask(&client).await {
                Ok(version) => {
                    take(version);
                    // Nobody may wait for it.
                    let _ = told.take().map(|told| told.send(()));
                    EVERY
                }
                Err(cause) => {
                    tracing::warn!(%cause, "the API server does not say its version, trying again");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    });
    first
}

async fn ask(client: &Client) -> Result<KubernetesVersion, String> {
    let answer = tokio::time::timeout(PATIENCE, client.apiserver_version()).await;
    let said = answer.map_err(|_| "no answer came in time".to_owned())?.map_err(|error| error.to_string())?;
    KubernetesVersion::of_server(&said.git_version).ok_or_else(|| format!("\"{}\" is no version", said.git_version))
}
