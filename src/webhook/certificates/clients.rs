//! The authorities of clients, in a file that is read again when it changes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::CertificateError;
use crate::telemetry::CertificateMetrics;
use crate::webhook::health::Readiness;
use crate::webhook::tls::{CertificateStore, Tls};

/// How often to look at the file.
const INTERVAL: Duration = Duration::from_secs(2);

/// The file of `--client-ca`, and what was in it.
pub struct ClientAuthorities {
    path: PathBuf,
    pem: Vec<u8>,
}

impl ClientAuthorities {
    /// Reads the file, and sets TLS up so that only clients of these authorities are served.
    pub fn read(path: PathBuf, store: Arc<CertificateStore>) -> Result<(Self, Arc<Tls>), CertificateError> {
        let pem = fs::read(&path).map_err(|cause| CertificateError::Read { path: path.clone(), cause })?;
        let tls = Tls::new(store, Some(&pem));
        let tls = tls.map_err(|cause| CertificateError::Invalid { path: path.clone(), cause })?;
        Ok((Self { path, pem }, tls))
    }

    /// Takes what the file says into force for as long as the process lives; what cannot be used changes nothing.
    pub async fn run(
        mut self,
        tls: Arc<Tls>,
        readiness: Arc<Readiness>,
        metrics: CertificateMetrics,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut fault = None;
        while tokio::time::timeout(INTERVAL, shutdown.wait_for(|is_over| *is_over)).await.is_err() {
            let looked = self.look(&tls);
            if matches!(looked, Ok(true)) {
                tracing::info!(path = %self.path.display(), "other authorities of clients are in force");
                metrics.succeeded();
            }
            let found = looked.err().map(|error| error.to_string());
            if found == fault {
                continue;
            }
            if let Some(error) = &found {
                tracing::error!(error, "the authorities of clients cannot be read; those in force stay");
                metrics.failed();
            }
            readiness.note("client-ca", found.iter().cloned().collect());
            fault = found;
        }
    }

    /// Returns whether the file has changed.
    fn look(&mut self, tls: &Tls) -> Result<bool, CertificateError> {
        let pem = fs::read(&self.path).map_err(|cause| CertificateError::Read { path: self.path.clone(), cause })?;
        if pem == self.pem {
            return Ok(false);
        }
        let set = tls.set_client_authorities(&pem);
        set.map_err(|cause| CertificateError::Invalid { path: self.path.clone(), cause })?;
        self.pem = pem;
        Ok(true)
    }
}
