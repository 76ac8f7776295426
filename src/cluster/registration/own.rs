//! `registration: self`: Gatepost writes the configurations whole.
//!
//! First only an entry for probes. When a probe has arrived, the rest; when probes no longer arrive, and only where the
//! API server lets requests go on without an answer, the rest goes again, so that nobody waits for what does not come.
//! What somebody deleted stays deleted.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::FailurePolicy;
use super::authorities::Authorities;
use super::entry::{Configuration, Entry};
use super::keeper::{Given, Keeper, Note, Report};
use super::kept::{Kept, Seen};
use super::probe::{self, Probe};
use super::reach::{Advice, Reach};
use super::said;
use super::state::State;
use super::wanted::{CLUSTER, NAMESPACED, PROBE, Wanted};
use super::whole::{Found, Whole};
use crate::telemetry::registration::{Probed, Standing};

/// Between probes that arrive; each process has its own, so that replicas do not all ask at once.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
const PROBE_JITTER_SECONDS: u8 = 10;

/// What is known with `registration: self`.
pub struct Own {
    /// What is remembered in the cluster.
    pub(super) state: Seen<ConfigMap>,
    /// What probes said.
    pub(super) reach: Reach,
    /// How much is to be registered, where that is not what is live.
    target: Option<Extent>,
}

/// How much is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Only probes.
    Probe,
    /// Everything.
    Full,
}

impl Own {
    /// Starts without any knowledge.
    pub(super) fn new() -> Self {
        let mut byte = [0];
        // Without random numbers all replicas probe at the same interval: no harm.
        let _ = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut byte);
        let jitter = Duration::from_secs(byte.first().map_or(0, |byte| u64::from(byte % PROBE_JITTER_SECONDS)));
        Self { state: Seen::Unknown, reach: Reach::new(Instant::now(), PROBE_INTERVAL + jitter), target: None }
    }

    /// Returns what is remembered, as far as that is known.
    pub(super) fn remembered(&self) -> State {
        State::of(self.state.present())
    }
}

/// Returns how much a configuration asks about.
fn extent(entries: &[Entry]) -> Extent {
    let is_full = entries.iter().any(|entry| entry.name == NAMESPACED || entry.name == CLUSTER);
    if is_full { Extent::Full } else { Extent::Probe }
}

/// Returns the entries of the validating configuration.
fn validating(wanted: &Wanted, extent: Extent) -> Vec<Entry> {
    let full = if extent == Extent::Full { wanted.validating() } else { Vec::new() };
    full.into_iter().chain([wanted.probe()]).collect()
}

/// Returns the entries of the mutating configuration.
fn mutating(wanted: &Wanted, extent: Extent) -> Vec<Entry> {
    if extent == Extent::Full { wanted.mutating() } else { Vec::new() }
}

impl Keeper {
    /// Writes the configurations, and sends the probes that say how much to write.
    pub(super) async fn keep_whole(&mut self, ours: &Authorities, report: &mut Report) {
        if matches!(self.own.state, Seen::Unknown) || ours.is_empty() {
            return;
        }
        let owner = match owner(&self.given).await {
            Ok(owner) => owner,
            Err(error) => {
                let namespace = &self.given.installation.namespace;
                return report
                    .notes
                    .push(Note::minor(format!("Namespace {namespace} cannot be read: {}", said(&error))));
            }
        };
        let Some(owner) = owner else {
            report.standing = Standing::Absent;
            return report.notes.push(Note::minor("Gatepost's Namespace goes, so nothing is registered any more"));
        };
        self.probe_if_due().await;
        let wanted = self.given.wanted(&self.deletions);
        let live = self.validating.seen.present().map(Configuration::entries).unwrap_or_default();
        let extent = self.own.target.unwrap_or_else(|| extent(&live));
        let whole = Whole { given: &self.given, owner: &owner, ours, wanted: &wanted, extent };
        let first = whole.keep(&mut self.own, &mut self.validating, validating, true, report).await;
        self.own.target = self.own.target.filter(|_| first == Found::There && self.live_extent() != Some(extent));
        report.standing = self.standing(first);
        if first == Found::There {
            // Nothing is mended where nothing is judged.
            let may_make = report.standing == Standing::Registered;
            whole.keep(&mut self.own, &mut self.mutating, mutating, may_make, report).await;
        }
        self.tell_reach(report);
    }

    /// Leaves everything as it is, and shows how far the API server asks.
    pub(super) fn leave_whole(&self, report: &mut Report) {
        let is_deleted =
            self.own.remembered().record(&Kept::<ValidatingWebhookConfiguration>::kind()).deleted.is_some();
        let first = match &self.validating.seen {
            Seen::Present(_) => Found::There,
            Seen::Absent if is_deleted => Found::Deleted,
            Seen::Absent | Seen::Unknown => Found::Unknown,
        };
        report.standing = self.standing(first);
    }

    fn standing(&self, first: Found) -> Standing {
        match (first, self.live_extent()) {
            (Found::Deleted, _) => Standing::Paused,
            (Found::There, Some(Extent::Full)) => Standing::Registered,
            (Found::There, Some(Extent::Probe)) => Standing::ProbeOnly,
            _ if matches!(self.validating.seen, Seen::Unknown) => Standing::Unknown,
            _ => Standing::Absent,
        }
    }

    /// Returns how much the live configuration asks about; none if there is none.
    pub(super) fn live_extent(&self) -> Option<Extent> {
        self.validating.seen.present().map(|live| extent(&live.entries()))
    }

    /// Sends a probe when it is time, and decides what follows.
    async fn probe_if_due(&mut self) {
        let entries = self.validating.entries(&self.given.installation.namespace);
        if !entries.iter().any(|entry| entry.name == PROBE) {
            return self.own.reach.wait(Instant::now());
        }
        if Instant::now() < self.own.reach.next {
            return;
        }
        let probe = probe::send(&self.given.installation).await;
        let probed = match &probe {
            Probe::Arrived => Probed::Arrived,
            Probe::Unreachable(..) => Probed::Unreachable,
            Probe::Unclear(_) => Probed::Unclear,
        };
        self.given.metrics.registration.record_probe(probed);
        let is_unreachable = matches!(probe, Probe::Unreachable(..));
        let is_open = entries
            .iter()
            .filter(|entry| entry.name != PROBE)
            .all(|entry| entry.failure_policy.as_deref() == Some(FailurePolicy::Ignore.as_str()));
        match (self.own.reach.take(probe, Instant::now()), extent(&entries)) {
            (Advice::Widen, Extent::Probe) => self.own.target = Some(Extent::Full),
            (Advice::Widen, Extent::Full) => self.own.target = None,
            // Where the API server refuses what is not judged, less would be registered than somebody asked for.
            (Advice::Narrow, Extent::Full) if is_open && self.given.failure_policy == FailurePolicy::Ignore => {
                self.own.target = Some(Extent::Probe);
                self.own.reach.narrowed(Instant::now());
            }
            // What was to be widened, and could not be written yet, is to wait for the next one that arrives.
            (Advice::Narrow | Advice::Stay, Extent::Probe) if is_unreachable => self.own.target = None,
            (Advice::Narrow | Advice::Stay, _) => {}
        }
    }

    /// Adds what probes say of the way here.
    fn tell_reach(&self, report: &mut Report) {
        let is_full = report.standing == Standing::Registered;
        if let Some((obstacle, message)) = &self.own.reach.obstacle {
            let then = match (is_full, self.given.failure_policy) {
                (false, _) => "only probes are registered, and nothing is judged until one arrives",
                (true, FailurePolicy::Ignore) => "requests go unjudged",
                (true, FailurePolicy::Fail) => "requests are refused, as failurePolicy is Fail",
            };
            let says = format!("{}; {then}. The API server says: {message}", obstacle.explain(&self.given.place()));
            report.notes.push(Note::grave(says));
        } else if let (false, Some(why)) = (is_full, &self.own.reach.unclear) {
            report.notes.push(Note::minor(format!("only probes are registered, and none arrived so far: {why}")));
        }
    }
}

/// Returns what makes a configuration go with Gatepost's Namespace; none if that goes already.
async fn owner(given: &Given) -> kube::Result<Option<OwnerReference>> {
    let namespaces: Api<Namespace> = Api::all(given.installation.client.clone());
    let found = namespaces.get_opt(&given.installation.namespace).await?;
    let stays = found.filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    Ok(stays.and_then(|namespace| {
        Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: namespace.name_any(),
            uid: namespace.uid()?,
            ..OwnerReference::default()
        })
    }))
}
