//! The cluster that is judged: connecting to it, and what is watched of it.

pub mod access;
mod after_audits;
pub mod applications;
pub mod doctor;
pub mod events;
pub mod exemptions;
pub mod identity;
pub mod installation;
pub mod inventory;
pub mod modes;
pub mod namespaces;
pub mod registration;
pub mod reports;
pub mod tunnel;
pub mod uninstall;
pub mod version;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

pub use access::Access;
pub use installation::Installation;
pub use inventory::InventoryWatch;
pub use namespaces::Namespaces;

/// How long the API server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that was named but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or makes no sense.
    #[error("kubeconfig {path}")]
    Kubeconfig {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        cause: kube::config::KubeconfigError,
    },
    /// The ServiceAccount that the Pod should have is not there.
    #[error("the Pod's ServiceAccount")]
    ServiceAccount(#[source] kube::config::InClusterError),
    /// No client can be made of the configuration.
    #[error("Kubernetes client")]
    Client(#[source] kube::Error),
}

/// Connects by a kubeconfig, or in a Pod by its ServiceAccount; neither means that there is no cluster, and none is
/// looked for elsewhere.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Option<Client>, ConnectError> {
    let Some(config) = config(kubeconfig).await? else { return Ok(None) };
    Client::try_from(config).map(Some).map_err(ConnectError::Client)
}

/// Connects as [`connect`] does, for whoever tries again by itself: else what does not answer is tried for minutes, 15
/// times for each try.
pub async fn connect_to_list(kubeconfig: Option<&Path>) -> Result<Option<Client>, ConnectError> {
    let Some(mut config) = config(kubeconfig).await? else { return Ok(None) };
    config.default_retry = false;
    Client::try_from(config).map(Some).map_err(ConnectError::Client)
}

/// Returns where the cluster is, and who we are there.
async fn config(kubeconfig: Option<&Path>) -> Result<Option<Config>, ConnectError> {
    if kubeconfig.is_some() {
        return from_kubeconfig(kubeconfig, None).await.map(Some);
    }
    if !is_in_pod() {
        return Ok(None);
    }
    let mut config = Config::incluster().map_err(ConnectError::ServiceAccount)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Some(config))
}

/// Reads where the cluster of a context is, and who we are there: from a file, or from where kubectl looks.
async fn from_kubeconfig(path: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let place = || path.map_or_else(|| "(KUBECONFIG, or ~/.kube/config)".to_owned(), |path| path.display().to_string());
    let fail = |cause| ConnectError::Kubeconfig { path: place(), cause };
    let kubeconfig = path.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(fail)?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(fail)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}

/// Returns whether this process runs in a Pod that has a ServiceAccount.
pub fn is_in_pod() -> bool {
    let token = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && token.exists()
}
