//! Puts the parts together: one process that listens, watches and answers.

mod audit;
pub mod bundle;
pub mod certificates;
mod descriptors;
mod events;
mod exemptions;
mod files;
mod folder;
mod in_use;
mod keep;
mod load;
mod manifests;
mod notify;
mod outbox;
mod registration;
mod reload;
mod reports;
mod start;
mod turn;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cluster::ConnectError;
use crate::config::{Layers, Read};
use crate::store::StoreError;
use crate::webhook::certificates::CertificateError;
use crate::webhook::tls::TlsError;

pub use load::LoadError;
pub use start::serve;

/// Everything that serving needs to be told.
#[derive(Debug)]
pub struct Given {
    /// Where settings, configuration and policies come from, now and at every reload.
    pub layers: Layers,
    /// What they say at the start.
    pub read: Read,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Policies or configuration are faulty.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no certificate to serve.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(TlsError),
    /// Certificates of these lifetimes cannot take turns.
    #[error("{0}")]
    Lifetimes(String),
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
    /// The database's URL is faulty.
    #[error("--database-url: {0}")]
    Database(String),
    /// What is to be kept cannot be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reports cannot be sent to the scanner as it was named.
    #[error("--scanner: {0}")]
    Scanner(String),
    /// No threads can be started, or no signal be waited for.
    #[error("{0}")]
    System(std::io::Error),
}
