//! Keeps the registration as it should be for as long as the process lives.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use super::authorities::Authorities;
use super::compare::missing_deletions;
use super::deletions::{self, Deletions};
use super::entry::Entry;
use super::kept::{KeepError, Kept, Seen};
use super::obstacle::Place;
use super::own::{Extent, Own};
use super::wanted::{Address, Wanted};
use super::{FailurePolicy, Registration, said, state};
use crate::cluster::Installation;
use crate::cluster::installation::NAME;
use crate::policy::kinds::KindSelector;
use crate::telemetry::Metrics;
use crate::telemetry::registration::Standing;

/// How often to look although nothing was heard of.
const TICK: Duration = Duration::from_secs(10);
/// How often to look again which resources the cluster serves.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// How long after its start a process should have heard of what is registered.
const HEARD_BY: Duration = Duration::from_secs(30);

const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

/// What is worth knowing of the registration, to be shown beside readiness; empty when all is well.
pub type Notes = Vec<Note>;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether requests go unjudged or are refused because of it.
    pub is_grave: bool,
    /// What is wrong and how to mend it.
    pub says: String,
}

impl Note {
    /// Returns a note about something that opens or blocks the gate.
    pub fn grave(says: impl Into<String>) -> Self {
        Self { is_grave: true, says: says.into() }
    }

    /// Returns a note about something that somebody should look at.
    pub fn minor(says: impl Into<String>) -> Self {
        Self { is_grave: false, says: says.into() }
    }
}

/// What the keeper is given.
pub struct Given {
    /// Where Gatepost is installed.
    pub installation: Installation,
    /// Who writes what.
    pub registration: Registration,
    /// Port of the Service.
    pub service_port: i32,
    /// Port on which this process listens.
    pub pod_port: u16,
    /// What is written with [`Registration::Own`].
    pub failure_policy: FailurePolicy,
    /// Kinds whose deletion rules in force ask about.
    pub deletion_kinds: Box<dyn Fn() -> Vec<KindSelector> + Send + Sync>,
    /// Is told which authorities every entry of ours holds, in PEM, each time that was looked at.
    pub published: Box<dyn Fn(&str) + Send + Sync>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl Given {
    /// Returns what should be registered, without a CA bundle.
    pub(super) fn wanted(&self, deletions: &Deletions) -> Wanted {
        let namespace = self.installation.namespace.clone();
        Wanted {
            address: Address::Service { namespace, port: self.service_port },
            failure_policy: self.failure_policy,
            ca_bundle: None,
            deleted: deletions.deleted.clone(),
        }
    }

    /// Returns where the API server must reach this process.
    pub(super) fn place(&self) -> Place {
        Place {
            namespace: self.installation.namespace.clone(),
            service_port: self.service_port,
            pod_port: self.pod_port,
        }
    }
}

/// What one look came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub standing: Standing,
    pub notes: Notes,
}

impl Report {
    /// Adds what went wrong with a write; who was overtaken looks again when the watch tells of it.
    pub(super) fn add(&mut self, error: &KeepError) {
        if matches!(error, KeepError::Overtaken { .. }) {
            tracing::debug!(%error, "somebody else was faster");
        } else {
            self.notes.push(Note::minor(error.to_string()));
        }
    }
}

/// The task that keeps the registration.
pub struct Keeper {
    pub(super) given: Given,
    pub(super) validating: Kept<ValidatingWebhookConfiguration>,
    pub(super) mutating: Kept<MutatingWebhookConfiguration>,
    pub(super) own: Own,
    pub(super) deletions: Deletions,
    kinds: Vec<KindSelector>,
    resolved: Option<Instant>,
    started: Instant,
    notes: watch::Sender<Notes>,
}

impl Keeper {
    /// Prepares it; the receiver gets what is worth knowing whenever it changes.
    pub fn new(given: Given) -> (Self, watch::Receiver<Notes>) {
        let (notes, told) = watch::channel(Notes::new());
        let client = given.installation.client.clone();
        given.metrics.registration.show_self(given.registration == Registration::Own);
        let keeper = Self {
            validating: Kept::new(&client),
            mutating: Kept::new(&client),
            own: Own::new(),
            deletions: Deletions::default(),
            kinds: Vec::new(),
            resolved: None,
            started: Instant::now(),
            notes,
            given,
        };
        (keeper, told)
    }

    /// Keeps the registration until it is told to stop. `trusted` holds what clients must trust now, in PEM, as soon
    /// as that is known; a change of `in_force` makes it look again.
    pub async fn run(
        mut self,
        mut trusted: watch::Receiver<Option<Arc<str>>>,
        mut in_force: watch::Receiver<()>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut validating = pin!(follow(self.validating.api.clone(), NAME));
        let mut mutating = pin!(follow(self.mutating.api.clone(), NAME));
        let mut state = match self.given.registration {
            Registration::Own => follow(state::api(&self.given.installation), state::STATE).boxed(),
            Registration::Manifest | Registration::None => stream::pending().boxed(),
        };
        loop {
            let next = self.next_look();
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                Some(event) = validating.next() => self.validating.seen.take(VALIDATING, event),
                Some(event) = mutating.next() => self.mutating.seen.take(MUTATING, event),
                Some(event) = state.next() => self.own.take_state(event),
                () = changed(&mut trusted) => {}
                () = changed(&mut in_force) => {}
                () = tokio::time::sleep_until(next) => {}
            }
            let ours = Authorities::parse(trusted.borrow().as_deref().unwrap_or_default().as_bytes());
            self.look(&ours).await;
        }
    }

    fn next_look(&self) -> Instant {
        let tick = Instant::now() + TICK;
        if self.given.registration == Registration::Own { tick.min(self.own.reach.next) } else { tick }
    }

    async fn look(&mut self, ours: &Authorities) {
        let mut report = Report::default();
        self.resolve_deletions(&mut report).await;
        match self.given.registration {
            Registration::Manifest => self.keep_bundles(ours, &mut report).await,
            // As long as it is not known what to ask about on DELETE, what an earlier process wrote is not narrowed.
            Registration::Own if self.resolved.is_none() => self.leave_whole(&mut report),
            Registration::Own => self.keep_whole(ours, &mut report).await,
            Registration::None => {}
        }
        self.tell_unknown(&mut report);
        self.show(ours, &report);
        self.tell(report.notes);
    }

    /// Finds out how the cluster serves the kinds whose deletion rules ask about: when these changed, and then now and
    /// again, since kinds come and go.
    async fn resolve_deletions(&mut self, report: &mut Report) {
        let kinds = (self.given.deletion_kinds)();
        let depend_on_the_cluster = deletions::depend_on_the_cluster(&kinds);
        let is_due = |resolved: Instant| depend_on_the_cluster && resolved.elapsed() > LOOK_AGAIN;
        if kinds != self.kinds || self.resolved.is_none_or(is_due) {
            match deletions::resolve(&self.given.installation.client, &kinds).await {
                Ok(found) => (self.deletions, self.kinds, self.resolved) = (found, kinds, Some(Instant::now())),
                Err(error) => report.notes.push(self.unresolved(&error)),
            }
        }
        if !self.deletions.unknown.is_empty() {
            let says = format!(
                "rules ask about DELETE of {}, which the cluster does not serve",
                self.deletions.unknown.join(", ")
            );
            report.notes.push(Note::minor(says));
        }
    }

    fn unresolved(&self, error: &kube::Error) -> Note {
        let says = format!("kinds to ask about on DELETE cannot be looked up: {}", said(error));
        match self.given.registration {
            Registration::Own if self.resolved.is_none() => {
                let says = format!("{says}; until they are, the registration stays as it is");
                Note { is_grave: self.live_extent() != Some(Extent::Full), says }
            }
            _ => Note::minor(says),
        }
    }

    /// Returns the kinds of configuration of which nothing has been heard.
    fn unknown(&self) -> impl Iterator<Item = &'static str> {
        let validating = matches!(self.validating.seen, Seen::Unknown).then_some(VALIDATING);
        let mutating = matches!(self.mutating.seen, Seen::Unknown).then_some(MUTATING);
        validating.into_iter().chain(mutating)
    }

    /// Tells of what should have been heard of by now.
    fn tell_unknown(&self, report: &mut Report) {
        if self.started.elapsed() > HEARD_BY {
            let note = |kind| {
                let says = format!(
                    "{kind} {NAME} cannot be watched, so what it says is not known and no new authority issues: see \
                     the log; get, list and watch are needed"
                );
                Note::minor(says)
            };
            report.notes.extend(self.unknown().map(note));
        }
    }

    /// Shows what is live now in the metrics, and adds to what is worth knowing.
    fn show(&self, ours: &Authorities, report: &Report) {
        let namespace = &self.given.installation.namespace;
        let entries = self.validating.entries(namespace);
        let all: Vec<Entry> = entries.iter().cloned().chain(self.mutating.entries(namespace)).collect();
        let is_unknown = self.unknown().next().is_some();
        let held = match all.as_slice() {
            // What nobody could look at may lack any authority.
            _ if is_unknown => Authorities::default(),
            // Where nothing is registered, nobody has to hear of a new authority first.
            [] => ours.clone(),
            all => Authorities::common(all),
        };
        (self.given.published)(&held.to_pem());
        let trusts = |entry: &Entry| ours.missing_in(&Authorities::parse(entry.ca_bundle())) == 0;
        let ca_matches = !entries.is_empty() && !ours.is_empty() && all.iter().all(trusts);
        let missing = missing_deletions(&entries, &self.given.wanted(&self.deletions).validating());
        self.given.metrics.registration.show(report.standing);
        self.given.metrics.registration.show_live(ca_matches, missing);
    }

    /// Logs what is new, and what is over, and hands all of it on.
    fn tell(&self, notes: Notes) {
        self.notes.send_if_modified(|told| {
            for Note { is_grave, says } in notes.iter().filter(|note| !told.contains(note)) {
                if *is_grave {
                    tracing::error!(note = %says, "the registration is not as it should be");
                } else {
                    tracing::warn!(note = %says, "the registration is not as it should be");
                }
            }
            let is_changed = *told != notes;
            if is_changed && notes.is_empty() {
                tracing::info!("the registration is as it should be");
            }
            *told = notes;
            is_changed
        });
    }
}

/// Watches one object by its name, so that the right to do so can be given for that name only.
fn follow<K>(api: Api<K>, name: &str) -> impl Stream<Item = watcher::Result<Option<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    watch_object(api, name).default_backoff()
}

/// Waits for the next change; for ever when nobody is left to make one.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Takes in a watched ConfigMap.
impl Own {
    fn take_state(&mut self, event: watcher::Result<Option<ConfigMap>>) {
        self.state.take("ConfigMap", event);
    }
}
