//! Keeps the serving certificate in force: looks at where it is kept, again and again, and does what is due.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::advance::{IsPublished, Lifetimes, Plan, is_urgent};
use super::directory::Directory;
use super::files::Files;
use super::own;
use super::secret::{SecretStore, Written};
use super::state::{CA_CERTIFICATE, CA_KEY, Contents, State};
use super::trust::{Trust, Unmanaged};
use super::x509::Certificate;
use super::{CertificateError, Name};
use crate::cluster::Installation;
use crate::telemetry::CertificateMetrics;
use crate::webhook::health::{Condition, Readiness};
use crate::webhook::tls::CertificateStore;

/// How often to look at files, and at the Secret.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a start waits for the Secret.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How often two replicas may get in each other's way at one look.
const ATTEMPTS: usize = 5;

/// Where the serving certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Files that somebody else keeps.
    Files(Files),
    /// Made here, kept in the data directory.
    Own(Vec<Name>),
    /// Made here, kept in the Secret of an installation.
    Shared(Vec<Name>, Installation),
}

/// What keeping certificates needs to be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the serving certificate comes from.
    pub source: Source,
    /// Where it is kept, and where `ca.crt` is for clients.
    pub data_dir: PathBuf,
    /// How long what is made lasts.
    pub lifetimes: Lifetimes,
}

/// The certificates in force, and where they are kept.
pub struct Keeper {
    source: Source,
    lifetimes: Lifetimes,
    directory: Directory,
    secret: Option<SecretStore>,
    in_force: State,
    /// Whether what is in force is what all replicas serve.
    is_agreed: bool,
    store: Arc<CertificateStore>,
    trust: Arc<Trust>,
    readiness: Arc<Readiness>,
    metrics: CertificateMetrics,
    fault: Option<String>,
}

impl Keeper {
    /// Finds or makes the certificate to serve.
    ///
    /// When the Secret cannot be had, what the data directory holds is served, or what is made there; nothing of that is
    /// published, no request is asked for, and it gives way as soon as the Secret can be read.
    pub async fn start(
        settings: Settings,
        trust: Arc<Trust>,
        readiness: Arc<Readiness>,
        metrics: CertificateMetrics,
    ) -> Result<Self, CertificateError> {
        let secret = match &settings.source {
            Source::Shared(_, installation) => Some(SecretStore::of(installation)),
            Source::Files(_) | Source::Own(_) => None,
        };
        let mut keeper = Self {
            source: settings.source,
            lifetimes: settings.lifetimes,
            directory: Directory::open(&settings.data_dir)?,
            secret,
            in_force: State::default(),
            is_agreed: false,
            store: Arc::default(),
            trust,
            readiness,
            metrics,
            fault: None,
        };
        keeper.begin().await?;
        Ok(keeper)
    }

    /// Returns the certificate in force, for every handshake.
    pub fn store(&self) -> Arc<CertificateStore> {
        self.store.clone()
    }

    /// Returns what clients must trust, as PEM.
    pub fn authorities_pem(&self) -> String {
        self.in_force.authorities_pem()
    }

    /// Looks and does what is due for as long as the process lives.
    ///
    /// Contents are compared, since a watch on a file does not see that a mounted Secret was exchanged by symbolic link.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let overlap = u64::try_from(self.lifetimes.overlap).unwrap_or(0);
        let interval = INTERVAL.min(Duration::from_millis(overlap.saturating_mul(250))).max(Duration::from_millis(100));
        while tokio::time::timeout(interval, shutdown.wait_for(|is_over| *is_over)).await.is_err() {
            let looked = self.look(Timestamp::now()).await;
            self.tell(looked);
        }
    }

    async fn begin(&mut self) -> Result<(), CertificateError> {
        let now = Timestamp::now();
        if self.secret.is_none() {
            return self.look(now).await;
        }
        let deadline = Instant::now() + START_PATIENCE;
        let error = loop {
            match self.look(Timestamp::now()).await {
                Ok(()) => return Ok(()),
                Err(CertificateError::OutOfReach { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(INTERVAL / 4).await;
                }
                Err(error) => break error,
            }
        };
        let next = self.in_directory(now)?;
        self.adopt(next)?;
        // Nor when the API server says no: a rollout whose rights are gone must not retire the replicas that it trusts.
        self.readiness.set(Condition::Certificates, false);
        self.tell(Err(error));
        Ok(())
    }

    /// Brings what is kept up to date, and takes it into force.
    async fn look(&mut self, now: Timestamp) -> Result<(), CertificateError> {
        let next = match (&self.source, &self.secret) {
            (Source::Files(files), _) => self.in_files(&files.clone(), now)?,
            (_, Some(secret)) => self.in_secret(&secret.clone(), now).await?,
            (_, None) => self.in_directory(now)?,
        };
        self.is_agreed = true;
        self.adopt(next)?;
        self.readiness.set(Condition::Certificates, true);
        Ok(())
    }

    fn in_files(&self, files: &Files, now: Timestamp) -> Result<State, CertificateError> {
        let given = files.read(self.directory.path())?;
        let in_force = self.in_force.leaf.is_some().then_some(&self.in_force);
        let is_published = |authority: &Certificate| self.is_published(authority, now);
        Ok(given.advance(in_force, &self.plan(&[], &is_published), now))
    }

    fn in_directory(&self, now: Timestamp) -> Result<State, CertificateError> {
        let is_published = |authority: &Certificate| self.is_published(authority, now);
        let in_force = self.in_force.leaf.is_some().then_some(&self.in_force);
        own::in_directory(&self.directory, in_force, &self.plan(self.names(), &is_published), now)
    }

    async fn in_secret(&self, secret: &SecretStore, now: Timestamp) -> Result<State, CertificateError> {
        let is_published = |authority: &Certificate| self.is_published(authority, now);
        let plan = self.plan(self.names(), &is_published);
        let in_force = self.is_agreed.then_some(&self.in_force);
        let place = || format!("Secret {}", secret.place());
        for _ in 0..ATTEMPTS {
            let found = secret.read().await?;
            let (kept, next) = match &found.contents {
                Some(contents) => own::next(contents, in_force, &plan, place, now)?,
                // Whoever deletes the Secret wants another authority.
                None if self.is_agreed => own::next(&Contents::new(), in_force, &plan, place, now)?,
                None => (None, self.in_directory(now)?),
            };
            if kept.as_ref() == Some(&next) {
                return Ok(next);
            }
            match secret.write(found, &next.contents()).await {
                Ok(Written::Done) => return Ok(next),
                Ok(Written::Overtaken) => {}
                Err(error) if self.may_go_ahead(&next, now) => {
                    tracing::warn!(%error, "the serving certificate was renewed and cannot be kept");
                    return Ok(next);
                }
                Err(error) => return Err(error),
            }
        }
        let cause = "other replicas were always first".to_owned();
        Err(CertificateError::OutOfReach { secret: secret.place(), cause })
    }

    /// Returns whether to serve what could not be kept: only a serving certificate, by an authority that all trust, when
    /// the one in force is about to end.
    fn may_go_ahead(&self, next: &State, now: Timestamp) -> bool {
        let certificates = |state: &State| state.authorities_pem();
        let is_urgent = self.in_force.leaf.as_ref().is_some_and(|leaf| is_urgent(leaf, now));
        self.is_agreed && is_urgent && certificates(next) == certificates(&self.in_force)
    }

    fn names(&self) -> &[Name] {
        match &self.source {
            Source::Files(_) => &[],
            Source::Own(names) | Source::Shared(names, _) => names,
        }
    }

    fn plan<'a>(&'a self, names: &'a [Name], is_published: IsPublished<'a>) -> Plan<'a> {
        Plan { names, lifetimes: self.lifetimes, is_published }
    }

    /// Returns whether every registration has held an authority for long enough.
    fn is_published(&self, authority: &Certificate, now: Timestamp) -> bool {
        match self.trust.published_since(authority.der()) {
            Ok(Some(since)) => since.as_second() + self.lifetimes.settle() <= now.as_second(),
            Ok(None) => false,
            Err(Unmanaged) => true,
        }
    }

    /// Takes into force what should be. First clients are told whom to trust, then what they issued is served.
    fn adopt(&mut self, next: State) -> Result<(), CertificateError> {
        let authorities = next.authorities_pem();
        if self.secret.is_some() && self.is_agreed {
            let mut contents = next.contents();
            contents.remove(CA_KEY);
            self.directory.write(&contents)?;
        } else {
            self.directory.write_one(CA_CERTIFICATE, &authorities)?;
        }
        if self.is_agreed {
            self.trust.set_authorities(&authorities);
        }
        if next == self.in_force {
            return Ok(());
        }
        if let Some(leaf) = &next.leaf {
            self.store.swap(leaf.chain_pem.as_bytes(), leaf.key.pem().as_bytes()).map_err(CertificateError::Made)?;
        }
        self.announce(&next);
        self.in_force = next;
        Ok(())
    }

    /// Says in log and metrics what changes.
    fn announce(&self, next: &State) {
        for authority in &next.authorities {
            let fingerprint = authority.certificate.fingerprint();
            if self.in_force.find(&authority.certificate).is_none() {
                let (ends, issues_from) = (authority.certificate.ends, authority.issues_from.unwrap_or_default());
                tracing::info!(fingerprint, %ends, %issues_from, "an authority is trusted; clients must trust ca.crt");
            }
        }
        for former in &self.in_force.authorities {
            if next.find(&former.certificate).is_none() {
                tracing::info!(fingerprint = former.certificate.fingerprint(), "an authority is trusted no more");
            }
        }
        if let Some(leaf) = next.leaf.as_ref().filter(|leaf| self.in_force.leaf.as_ref() != Some(leaf)) {
            let (fingerprint, ends) = (leaf.certificate.fingerprint(), leaf.certificate.ends);
            tracing::info!(fingerprint, %ends, "a serving certificate is in force");
        }
        let (leaf, authority) = (next.leaf.as_ref(), next.issuer(Timestamp::now()));
        if let Some((leaf, authority)) = leaf.zip(authority) {
            self.metrics.show(leaf.certificate.ends, authority.certificate.ends);
        }
        self.metrics.succeeded();
    }

    /// Says in log, metric and readiness what is wrong, once.
    fn tell(&mut self, looked: Result<(), CertificateError>) {
        let fault = looked.err().map(|error| error.to_string());
        if fault == self.fault {
            return;
        }
        if let Some(error) = &fault {
            tracing::error!(error, "certificates cannot be looked after; what is in force stays");
            self.metrics.failed();
        } else {
            tracing::info!("certificates can be looked after again");
        }
        self.readiness.note("certificates", fault.iter().cloned().collect());
        self.fault = fault;
    }
}
