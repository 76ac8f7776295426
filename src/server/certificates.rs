//! The webhook's certificates: from the settings to what serves.

use std::sync::Arc;

use tokio::sync::watch;

use super::ServeError;
use crate::cluster::Installation;
use crate::config::Settings;
use crate::telemetry::CertificateMetrics;
use crate::webhook::certificates::{self, ClientAuthorities, Files, Keeper, Lifetimes, Source, Trust, names};
use crate::webhook::health::Readiness;
use crate::webhook::tls::Tls;

/// What serves, and what keeps it in force.
pub struct Certificates {
    /// The server's side of TLS.
    pub tls: Arc<Tls>,
    /// The same certificate, for listeners whose clients show tokens and not certificates.
    pub tls_for_tokens: Arc<Tls>,
    /// What clients must trust, for whoever registers the webhook.
    pub trust: Arc<Trust>,
    keeper: Keeper,
    clients: Option<ClientAuthorities>,
    readiness: Arc<Readiness>,
    metrics: CertificateMetrics,
}

impl Certificates {
    /// Finds or makes the certificate to serve, and reads the authorities of clients.
    pub async fn start(
        settings: &Settings,
        installation: Option<Installation>,
        readiness: Arc<Readiness>,
        metrics: CertificateMetrics,
    ) -> Result<Self, ServeError> {
        let trust = Arc::new(Trust::default());
        let kept = certificates::Settings {
            source: source(settings, installation)?,
            data_dir: settings.data_dir.clone(),
            lifetimes: lifetimes(settings)?,
        };
        let keeper = Keeper::start(kept, trust.clone(), readiness.clone(), metrics.clone()).await?;
        let (clients, tls) = match settings.client_ca.clone() {
            Some(path) => {
                let (clients, tls) = ClientAuthorities::read(path, keeper.store())?;
                (Some(clients), tls)
            }
            None => (None, Tls::new(keeper.store(), None).map_err(ServeError::Tls)?),
        };
        let tls_for_tokens = Tls::new(keeper.store(), None).map_err(ServeError::Tls)?;
        Ok(Self { tls, tls_for_tokens, trust, keeper, clients, readiness, metrics })
    }

    /// Returns what clients must trust now, as PEM.
    pub fn authorities_pem(&self) -> String {
        self.keeper.authorities_pem()
    }

    /// Keeps all of it in force until the process ends.
    pub fn keep(self, shutdown: &watch::Receiver<bool>) {
        if let Some(clients) = self.clients {
            tokio::spawn(clients.run(self.tls, self.readiness, self.metrics, shutdown.clone()));
        }
        tokio::spawn(self.keeper.run(shutdown.clone()));
    }
}

/// Returns how long what is made lasts.
pub fn lifetimes(settings: &Settings) -> Result<Lifetimes, ServeError> {
    let (authority, leaf) = (&settings.ca_lifetime, &settings.tls_lifetime);
    let overlap = settings.ca_overlap.as_ref();
    Lifetimes::new(authority.seconds(), leaf.seconds(), overlap.map(crate::config::Lifetime::seconds))
        .map_err(|fault| ServeError::Lifetimes(fault.to_owned()))
}

fn source(settings: &Settings, installation: Option<Installation>) -> Result<Source, ServeError> {
    if let Some((certificate, key)) = settings.certificate() {
        return Ok(Source::Files(Files { certificate, key }));
    }
    let names = names(settings.namespace.as_deref(), &settings.tls_name)?;
    Ok(match installation {
        Some(installation) => Source::Shared(names, installation),
        None => Source::Own(names),
    })
}
