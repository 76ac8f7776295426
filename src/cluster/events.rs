//! What audits find anew, as Events at the objects and at the Applications of Argo CD that deliver them: few, for etcd
//! keeps each for an hour.
//!
//! What they say is worked out in [`crate::report::event`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::after_audits::{self, AfterAudit};
use super::applications::holding::holding;
use crate::report::event::{Broken, by_object, of_application, of_first, of_rest};
use crate::store::{Audit, Facet, Filter, FindingSort, PageQuery, Store, Stored, TimeSort};
use crate::telemetry::events::{EventMetrics, Outcome};

/// Events that are written in a second, at most.
const RATE: u32 = 5;
/// Findings that are read of an audit, the gravest.
const READ: usize = 1000;
/// Audits that are looked through for the one before.
const AUDITS: usize = 100;
/// Events that fail one after the other before no more are tried: our rights do not suffice, or there are too many already.
const PATIENCE: u32 = 5;

/// Who says it, as Events tell.
const REPORTER: &str = "gatepost.dev/audit";
/// What Events about findings have as their reason, and those about how much there is.
const VIOLATION: &str = "PolicyViolation";
const SUMMARY: &str = "PolicyViolations";

/// Under which name the store keeps up to when Events have been written: no target of notifications has a slash.
fn target(cluster: &str) -> String {
    format!("events/{cluster}")
}

/// The event that is kept there.
const TOLD: &str = "found";

/// What the writer of Events is given.
pub struct Given {
    /// The cluster.
    pub client: Client,
    /// Its name.
    pub cluster: String,
    /// Where findings are kept.
    pub store: Arc<dyn Store>,
    /// The namespace that Gatepost is installed in, where there is one: what is about no object in particular is told there.
    pub home: Option<String>,
    /// Events of an audit, at most.
    pub most: usize,
    /// Where they are counted.
    pub metrics: EventMetrics,
}

/// Writes Events, as long as the process lives.
pub struct Writer {
    given: Given,
    pace: Interval,
}

/// An Event to be written.
#[derive(Debug)]
struct Wanted {
    regarding: ObjectReference,
    is_warning: bool,
    reason: &'static str,
    note: String,
}

impl Wanted {
    /// Returns a name that the same Event about what came in after the same time has too, so that it is written once.
    fn name(&self, cluster: &str, after: Option<Timestamp>) -> String {
        let Self { regarding: object, note, .. } = self;
        let words = [&object.kind, &object.namespace, &object.name, &object.uid].map(Option::as_deref);
        let after = after.map(|after| after.to_string());
        let mut hash = Sha256::new();
        for word in words.into_iter().chain([Some(note.as_str()), Some(cluster), after.as_deref()]) {
            hash.update(word.unwrap_or_default());
            hash.update([0]);
        }
        // Not the object's name: names of roles have colons, which those of Events may not.
        format!("gatepost-{}", HEXLOWER.encode(hash.finalize().get(..16).unwrap_or_default()))
    }
}

/// What came of an audit.
#[derive(Debug, Default)]
struct Tally {
    written: u64,
    failed: u64,
    left_out: u64,
    /// Why the first of those that failed did.
    cause: Option<String>,
}

impl AfterAudit for Writer {
    async fn after(&mut self, audit: &Audit) {
        let written = self.write(audit).await;
        self.tell(audit, written);
    }
}

impl Writer {
    /// Prepares it.
    pub fn new(given: Given) -> Self {
        let mut pace = interval(Duration::from_secs(1) / RATE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { given, pace }
    }

    /// Writes after each audit, until the process stops.
    pub fn start(self, audits: broadcast::Receiver<Arc<Audit>>, stopped: watch::Receiver<bool>) {
        after_audits::start(self, audits, stopped);
    }

    /// Writes what came since the audit before; of the very first one only how much that is.
    async fn write(&mut self, audit: &Audit) -> Stored<Tally> {
        let until = audit.finished.unwrap_or(audit.started);
        let target = target(&self.given.cluster);
        // What came in is told once, whichever process found it: one that ends before it has told it leaves it to the next.
        let after = match self.given.store.notified(&target).await?.remove(TOLD) {
            Some(told) => Some(told),
            None => self.before(audit).await?,
        };
        let filter = Filter {
            cluster: vec![self.given.cluster.clone()],
            state: vec!["open".into()],
            action: vec!["deny".into(), "warn".into()],
            result: vec!["fail".into()],
            came: after.map(|after| (after, until)),
            ..Filter::default()
        };
        let counts = self.given.store.facet(&filter, Facet::Severity, 10).await?;
        let all = counts.iter().fold(0, |sum: u64, (_, findings)| sum.saturating_add(*findings));
        let (mut tally, mut wanted) = (Tally::default(), Vec::new());
        if all > 0 && after.is_none() {
            wanted.extend(self.summary(of_first(all), false));
        } else if all > 0 {
            let asked = PageQuery { filter, sort: FindingSort::Severity, cursor: None, limit: READ };
            let broken = by_object(self.given.store.findings(&asked).await?.items);
            wanted = self.at_applications(&broken, &mut tally).await;
            wanted.extend(broken.iter().map(at_object));
            tally.left_out = count(wanted.len().saturating_sub(self.given.most));
            wanted.truncate(self.given.most);
            // The objects come last, so those without an Event are the last of them.
            let left = usize::try_from(tally.left_out).unwrap_or(usize::MAX).min(broken.len());
            let told = broken.iter().take(broken.len().saturating_sub(left)).map(Broken::count);
            let rest = all.saturating_sub(told.fold(0, u64::saturating_add));
            if rest > 0 {
                wanted.extend(self.summary(of_rest(rest, self.given.most), true));
            }
        }
        self.put_all(wanted, after, &mut tally).await;
        self.given.store.set_notified(&target, TOLD, until).await?;
        Ok(tally)
    }

    /// Returns when the audit before ended that went through; none where there is no other.
    async fn before(&self, audit: &Audit) -> Stored<Option<Timestamp>> {
        let filter = Filter {
            cluster: vec![self.given.cluster.clone()],
            state: vec!["complete".into(), "partial".into()],
            ..Filter::default()
        };
        let asked = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: AUDITS };
        let audits = self.given.store.audits(&asked).await?.items;
        Ok(audits.into_iter().find(|other| other.id < audit.id).and_then(|other| other.finished))
    }

    /// Returns an Event for each Application that delivers one of the objects.
    async fn at_applications(&self, broken: &[Broken], tally: &mut Tally) -> Vec<Wanted> {
        let key = |(number, broken): (usize, &Broken)| {
            let object = &broken.object;
            ((object.group.clone(), object.kind.clone(), object.namespace.clone(), object.name.clone()), number)
        };
        let objects: BTreeMap<_, usize> = broken.iter().enumerate().map(key).collect();
        let holding = match holding(&self.given.client, &objects).await {
            Ok(holding) => holding,
            Err(error) => {
                tally.cause = Some(format!("Applications cannot be listed: {error}"));
                Vec::new()
            }
        };
        let of_one = |holding: super::applications::holding::Holding| {
            let objects: Vec<&Broken> = holding.objects.iter().filter_map(|number| broken.get(*number)).collect();
            Wanted {
                regarding: ObjectReference {
                    api_version: Some(holding.api_version),
                    kind: Some("Application".into()),
                    namespace: Some(holding.namespace),
                    name: Some(holding.name),
                    uid: Some(holding.uid),
                    ..ObjectReference::default()
                },
                is_warning: true,
                reason: VIOLATION,
                note: of_application(&objects),
            }
        };
        holding.into_iter().map(of_one).collect()
    }

    /// Returns an Event about the whole, at the namespace that Gatepost is installed in.
    fn summary(&self, note: String, is_warning: bool) -> Option<Wanted> {
        let home = self.given.home.clone()?;
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Namespace".into()),
            namespace: Some(home.clone()),
            name: Some(home),
            ..ObjectReference::default()
        };
        Some(Wanted { regarding, is_warning, reason: SUMMARY, note })
    }

    async fn put_all(&mut self, wanted: Vec<Wanted>, after: Option<Timestamp>, tally: &mut Tally) {
        let mut in_a_row = 0_u32;
        for one in wanted {
            if in_a_row >= PATIENCE {
                tally.failed = tally.failed.saturating_add(1);
                continue;
            }
            self.pace.tick().await;
            match self.put(one, after).await {
                Ok(()) => {
                    tally.written = tally.written.saturating_add(1);
                    in_a_row = 0;
                }
                Err(error) => {
                    tally.failed = tally.failed.saturating_add(1);
                    in_a_row = in_a_row.saturating_add(1);
                    tally.cause.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }

    /// Writes an Event about what came in after a time.
    async fn put(&self, wanted: Wanted, after: Option<Timestamp>) -> kube::Result<()> {
        let name = wanted.name(&self.given.cluster, after);
        let Wanted { regarding, is_warning, reason, note } = wanted;
        let now = Timestamp::now();
        // What is in no namespace has its Events in this one.
        let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".into());
        let event = Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() },
            action: Some("Audit".into()),
            reason: Some(reason.into()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            note: Some(note),
            reporting_controller: Some(REPORTER.into()),
            reporting_instance: Some("gatepost".into()),
            type_: Some(if is_warning { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.given.client.clone(), &namespace);
        match api.create(&PostParams::default(), &event).await {
            // Whoever was here before wrote it, and ended before it could remember that.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Says what came of an audit.
    fn tell(&self, audit: &Audit, written: Stored<Tally>) {
        let metrics = &self.given.metrics;
        match written {
            Ok(Tally { written, failed, left_out, cause }) => {
                metrics.count(Outcome::Written, written);
                metrics.count(Outcome::Failed, failed);
                metrics.count(Outcome::LeftOut, left_out);
                if let Some(cause) = cause {
                    tracing::warn!(audit = audit.id, failed, %cause, "not all Events about new findings were written");
                }
                tracing::debug!(audit = audit.id, written, failed, left_out, "Events about new findings were written");
            }
            Err(error) => tracing::warn!(audit = audit.id, %error, "the store does not say what is new, so no Events"),
        }
    }
}

fn at_object(broken: &Broken) -> Wanted {
    let object = &broken.object;
    let is_some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Wanted {
        regarding: ObjectReference {
            api_version: is_some(&broken.api_version),
            kind: is_some(&object.kind),
            namespace: is_some(&object.namespace),
            name: is_some(&object.name),
            uid: is_some(&broken.uid),
            ..ObjectReference::default()
        },
        is_warning: true,
        reason: VIOLATION,
        note: broken.note(),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
