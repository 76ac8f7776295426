//! Puts the parts together: one process that listens, watches and answers.

mod files;
mod manifests;
mod start;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::ConnectError;
use crate::config::{Config, ConfigError};
use crate::engine::{Catalogue, CatalogueError};
use crate::webhook::certificates::CertificateError;
use crate::webhook::tls::TlsError;

pub use start::serve;

/// Everything that serving needs to be told.
#[derive(Debug)]
pub struct Settings {
    /// Where the API server asks, over TLS.
    pub listen_webhook: SocketAddr,
    /// Where the API answers.
    pub listen_http: SocketAddr,
    /// Where health and metrics are.
    pub listen_metrics: SocketAddr,
    /// Certificate chain and key, both PEM files; with none, an own authority makes them.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Further names in a certificate that is made.
    pub certificate_names: Vec<String>,
    /// Authorities of the clients that are served; none serves all.
    pub client_ca: Option<PathBuf>,
    /// Name that a client's certificate must bear.
    pub client_name: Option<String>,
    /// The configuration.
    pub config: Config,
    /// Where certificates and addresses are kept.
    pub data_dir: PathBuf,
    /// Every rule and policy.
    pub catalogue: Catalogue,
    /// The cluster; none, and not in a Pod, means that there is none.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace that Gatepost is installed in.
    pub namespace: Option<String>,
    /// Manifests that stand in for a cluster.
    pub manifests: Option<PathBuf>,
    /// Judge objects that controllers make of judged templates.
    pub judge_owned: bool,
    /// Time that one rule may take for one object.
    pub rule_timeout: Duration,
    /// Instructions that one rule may take for one object.
    pub rule_instructions: usize,
    /// Largest body that is judged, in bytes.
    pub max_body: usize,
    /// Threads that evaluate; none means one a core.
    pub workers: Option<NonZeroUsize>,
    /// Requests that may wait for a thread.
    pub queue: usize,
    /// How long to go on answering after the signal to stop.
    pub shutdown_delay: Duration,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The rules or policies are faulty.
    #[error(transparent)]
    Policies(#[from] CatalogueError),
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no certificate to serve.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up.
    #[error("TLS: {flag}{cause}")]
    Tls {
        /// The flag that is at fault, if one is.
        flag: &'static str,
        /// Why.
        cause: TlsError,
    },
    /// An address is taken, or not ours.
    #[error("{flag} {address}: {cause}")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The cluster that was named cannot be used.
    #[error("cluster")]
    OutOfReach(#[from] ConnectError),
    /// Manifests that stand in for a cluster cannot be read; every fault is named.
    #[error("--manifests: {0}")]
    Manifests(String),
    /// No threads can be started, or no signal be waited for.
    #[error("{0}")]
    System(std::io::Error),
}
