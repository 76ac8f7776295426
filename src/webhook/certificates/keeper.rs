//! Keeps the serving certificate in force: looks at where it is kept, again and again, and does what is due.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::advance::{IsPublished, Lifetimes, Plan, is_urgent};
use super::files::Files;
use super::kept::{Kept, Share};
use super::own;
use super::secret::{SecretStore, Written};
use super::state::{Contents, State};
use super::takeover::leaf_to_serve;
use super::trust::{Trust, Unmanaged};
use super::x509::{Certificate, Leaf};
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
    kept: Kept,
    secret: Option<SecretStore>,
    /// Who is trusted, and what is served.
    in_force: State,
    /// The serving certificate that is to follow the one in force, once clients accept it.
    next_leaf: Option<Leaf>,
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
            kept: Kept::open(&settings.data_dir)?,
            secret,
            in_force: State::default(),
            next_leaf: None,
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
            self.tell(&looked);
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
                // Whoever starts must be able to write.
                Err(error @ CertificateError::Write { .. }) => return Err(error),
                Err(error) => break error,
            }
        };
        let (next, share) = self.in_directory(now)?;
        self.adopt(next, share, now)?;
        // Nor when the API server says no: a rollout whose rights are gone must not retire the replicas that it trusts.
        self.readiness.set(Condition::Certificates, false);
        self.tell(&Err(error));
        Ok(())
    }

    /// Brings what is kept up to date, and takes it into force; also what cannot be written here, which is an error
    /// nevertheless.
    pub(super) async fn look(&mut self, now: Timestamp) -> Result<(), CertificateError> {
        let (next, share) = match self.find(now).await {
            Ok(found) => found,
            Err(error) => {
                // What waits to be served does not wait for this.
                if let Some(leaf) = self.next_leaf.clone() {
                    self.serve(State { leaf: Some(leaf), ..self.in_force.clone() }, now)?;
                }
                return Err(error);
            }
        };
        self.is_agreed = true;
        let adopted = self.adopt(next, share, now);
        self.readiness.set(Condition::Certificates, self.in_force.leaf.is_some());
        adopted
    }

    /// Returns what should be, and how much of it is to be in the data directory.
    async fn find(&self, now: Timestamp) -> Result<(State, Share), CertificateError> {
        match (&self.source, &self.secret) {
            (Source::Files(files), _) => Ok((self.in_files(files, now)?, Share::Authorities)),
            (_, Some(secret)) => Ok((self.in_secret(secret, now).await?, Share::WithoutAuthorityKeys)),
            (_, None) => self.in_directory(now),
        }
    }

    fn in_files(&self, files: &Files, now: Timestamp) -> Result<State, CertificateError> {
        let given = files.read(self.kept.path())?;
        let in_force = self.in_force.leaf.is_some().then_some(&self.in_force);
        let is_published = |authority: &Certificate| self.is_published(authority, now);
        Ok(given.advance(in_force, &self.plan(&[], &is_published), now))
    }

    fn in_directory(&self, now: Timestamp) -> Result<(State, Share), CertificateError> {
        let is_published = |authority: &Certificate| self.is_published(authority, now);
        let in_force = self.in_force.leaf.is_some().then_some(&self.in_force);
        self.kept.next(in_force, &self.plan(self.names(), &is_published), now)
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
                None => (None, self.in_directory(now)?.0),
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

    /// Returns whether every registration and `ca.crt` have held an authority for long enough.
    fn is_published(&self, authority: &Certificate, now: Timestamp) -> bool {
        let is_settled = |since: Timestamp| since.as_second() + self.lifetimes.settle() <= now.as_second();
        let is_registered = match self.trust.published_since(authority.der()) {
            Ok(since) => since.is_some_and(is_settled),
            Err(Unmanaged) => true,
        };
        is_registered && self.kept.published_since(authority).is_some_and(is_settled)
    }

    /// Takes into force what should be. First clients are told whom to trust, then what they issued is served; what
    /// cannot be written keeps nothing from being served, and is an error after that.
    fn adopt(&mut self, next: State, share: Share, now: Timestamp) -> Result<(), CertificateError> {
        let written = self.kept.write(&next, share, now);
        if self.is_agreed {
            self.trust.set_authorities(&next.authorities_pem());
        }
        self.serve(next, now)?;
        written
    }

    /// Serves what should be served.
    fn serve(&mut self, next: State, now: Timestamp) -> Result<(), CertificateError> {
        let next = self.hold_back(next, now);
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

    /// Returns what should be, with the serving certificate in force as long as clients do not accept the next one.
    fn hold_back(&mut self, next: State, now: Timestamp) -> State {
        if matches!(self.source, Source::Files(_)) {
            // Whoever keeps them decides; what is read from them has waited already.
            return next;
        }
        let is_published = |authority: &Certificate| self.is_published(authority, now);
        let plan = self.plan(self.names(), &is_published);
        let leaf = leaf_to_serve(&next, self.in_force.leaf.as_ref(), &plan, now);
        let next_leaf = next.leaf.clone().filter(|kept| leaf.as_ref() != Some(kept));
        if let Some(waits) = next_leaf.as_ref().filter(|leaf| self.next_leaf.as_ref() != Some(leaf)) {
            let fingerprint = waits.certificate.fingerprint();
            tracing::info!(fingerprint, "a serving certificate waits until clients trust its authority");
        }
        self.next_leaf = next_leaf;
        State { leaf, ..next }
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
    fn tell(&mut self, looked: &Result<(), CertificateError>) {
        let fault = looked.as_ref().err().map(ToString::to_string);
        if fault == self.fault {
            return;
        }
        match looked {
            Ok(()) => tracing::info!("certificates can be looked after again"),
            Err(error @ CertificateError::Write { .. }) => {
                tracing::error!(%error, "certificates cannot be written; what is due is served all the same");
                self.metrics.failed();
            }
            Err(error) => {
                tracing::error!(%error, "certificates cannot be looked after; what is in force stays");
                self.metrics.failed();
            }
        }
        self.readiness.note("certificates", fault.iter().cloned().collect());
        self.fault = fault;
    }
}
