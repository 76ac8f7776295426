//! What audits found, as objects in the cluster: reports of each namespace, written when an audit has ended, and only
//! where they do not say yet what is so.
//!
//! What they say is worked out in [`crate::report::policy_report`].

mod pictures;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::pictures::Pictures;
use self::target::{Put, Target};
use super::after_audits::{self, AfterAudit};
use crate::report::policy_report::{Dialect, Picture, Report, Severities, reports};
use crate::store::{Audit, Store, StoreError};
use crate::telemetry::reports::{Outcome, ReportMetrics};

/// Why reports were not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// The store does not say what they should tell.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API server does not say what stands.
    #[error(transparent)]
    Cluster(#[from] kube::Error),
}

/// Namespace, empty for what is in none, and name of a report.
type Key = (String, String);

/// What is known of a report that stands: what it says that it tells, and how often it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Stands {
    content: String,
    generation: i64,
}

/// Reports that stand in the cluster.
type Standing = BTreeMap<Key, Stands>;

/// What the writer of reports is given.
pub struct Given {
    /// The cluster.
    pub client: Client,
    /// Its name.
    pub cluster: String,
    /// Where findings are kept.
    pub store: Arc<dyn Store>,
    /// In which API's words.
    pub dialect: Dialect,
    /// Reports that are written in a second, at most.
    pub qps: u32,
    /// Where it is counted.
    pub metrics: ReportMetrics,
    /// Is told what keeps reports from being written, a line each; none when nothing does.
    pub note: Box<dyn Fn(Vec<String>) + Send + Sync>,
}

/// Writes reports, as long as the process lives.
pub struct Writer {
    given: Given,
    pace: Interval,
    /// Kinds whose definitions do not take all severities.
    narrow: BTreeSet<&'static str>,
    /// What stood when the last audit had been written down.
    after: Standing,
    /// How many objects that audit had read; none where something is left to do.
    settled: Option<u64>,
    /// What was last told that keeps reports from being written.
    noted: Option<String>,
}

/// What writing down an audit came to.
#[derive(Debug, Default)]
struct Tally {
    written: u64,
    unchanged: u64,
    deleted: u64,
    failed: u64,
    left_out: u64,
    /// Why the first of those that failed did.
    cause: Option<String>,
}

impl Tally {
    fn fail(&mut self, error: &kube::Error) {
        self.failed = self.failed.saturating_add(1);
        self.cause.get_or_insert_with(|| error.to_string());
    }
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
        let mut pace = interval(Duration::from_secs(1) / given.qps.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { given, pace, narrow: BTreeSet::new(), after: Standing::new(), settled: None, noted: None }
    }

    /// Writes after each audit, until the process stops.
    pub fn start(self, audits: broadcast::Receiver<Arc<Audit>>, stopped: watch::Receiver<bool>) {
        after_audits::start(self, audits, stopped);
    }

    /// Writes what is not so yet; nothing where the cluster does not know the kinds.
    async fn write(&mut self, audit: &Audit) -> Result<Option<Tally>, WriteError> {
        let (client, dialect) = (&self.given.client, self.given.dialect);
        let outside = Target::find(client, dialect, false).await?;
        let inside = Target::find(client, dialect, true).await?;
        let Some(targets) = outside.zip(inside).map(|(outside, inside)| [outside, inside]) else { return Ok(None) };
        let mut before = Standing::new();
        for target in &targets {
            before.append(&mut target.standing().await?);
        }
        let mut tally = Tally::default();
        let is_as_it_was = [audit.evaluated, audit.opened, audit.fixed, audit.closed] == [0; 4];
        if is_as_it_was && self.settled == Some(audit.objects) && before == self.after {
            tally.unchanged = u64::try_from(before.len()).unwrap_or(u64::MAX);
            return Ok(Some(tally));
        }
        self.settled = None;
        let mut after = Standing::new();
        let (store, cluster) = (self.given.store.clone(), self.given.cluster.clone());
        let pictures = Pictures::take(&*store, &cluster, audit.id).await?;
        for (namespace, counts) in pictures.namespaces() {
            let findings = pictures.findings(namespace).await?;
            let picture = Picture { namespace, findings: &findings, counts };
            let [outside, inside] = &targets;
            let target = if namespace.is_empty() { outside } else { inside };
            self.put_all(target, picture, (&before, &mut after), &mut tally).await;
        }
        self.delete_others(&targets, (&before, &after), &mut tally).await;
        self.after = after;
        self.settled = (tally.failed == 0).then_some(audit.objects);
        Ok(Some(tally))
    }

    /// Puts the reports of a namespace where they do not stand yet.
    async fn put_all(
        &mut self,
        target: &Target,
        picture: Picture<'_>,
        (before, after): (&Standing, &mut Standing),
        tally: &mut Tally,
    ) {
        let wanted = reports(picture, self.given.dialect, self.severities(target));
        for report in &wanted {
            let key = (picture.namespace.to_owned(), report.name.clone());
            let stands = before.get(&key);
            if let Some(stands) = stands.filter(|stands| self.says(&key, stands, report)) {
                tally.unchanged = tally.unchanged.saturating_add(1);
                after.insert(key, stands.clone());
                continue;
            }
            self.pace.tick().await;
            match target.put(picture.namespace, report).await {
                Ok(Put::Written(stands)) => {
                    tally.written = tally.written.saturating_add(1);
                    after.insert(key, stands);
                }
                Ok(Put::Nowhere) => return,
                Ok(Put::Refused(_)) if self.severities(target) == Severities::All => {
                    self.narrow.insert(target.kind());
                    return Box::pin(self.put_all(target, picture, (before, after), tally)).await;
                }
                Ok(Put::Refused(error)) | Err(error) => {
                    tally.fail(&error);
                    // What stood goes on standing.
                    after.extend(stands.map(|stands| (key, stands.clone())));
                }
            }
        }
        tally.left_out = wanted.iter().fold(tally.left_out, |sum, report| sum.saturating_add(report.left_out));
    }

    /// Returns whether a report says what it should. Somebody may have changed it since it was written, which shows as
    /// long as this process has seen it before.
    fn says(&self, key: &Key, stands: &Stands, report: &Report) -> bool {
        let is_untouched = self.after.get(key).is_none_or(|after| after.generation == stands.generation);
        stands.content == report.content && is_untouched
    }

    fn severities(&self, target: &Target) -> Severities {
        if self.narrow.contains(target.kind()) { Severities::Three } else { Severities::All }
    }

    /// Deletes what no namespace needs any more.
    async fn delete_others(
        &mut self,
        targets: &[Target; 2],
        (before, after): (&Standing, &Standing),
        tally: &mut Tally,
    ) {
        let [outside, inside] = targets;
        for (namespace, name) in before.keys().filter(|key| !after.contains_key(*key)) {
            self.pace.tick().await;
            let target = if namespace.is_empty() { outside } else { inside };
            match target.delete(namespace, name).await {
                Ok(()) => tally.deleted = tally.deleted.saturating_add(1),
                Err(error) => tally.fail(&error),
            }
        }
    }

    /// Says what writing an audit down came to.
    fn tell(&mut self, audit: &Audit, written: Result<Option<Tally>, WriteError>) {
        let metrics = &self.given.metrics;
        let dialect = self.given.dialect;
        let (group, version) = dialect.group_version();
        metrics.set_served(!matches!(written, Ok(None)));
        let note = match written {
            Ok(Some(tally)) => {
                metrics.count(Outcome::Written, tally.written);
                metrics.count(Outcome::Unchanged, tally.unchanged);
                metrics.count(Outcome::Deleted, tally.deleted);
                metrics.count(Outcome::Failed, tally.failed);
                metrics.set_left_out(tally.left_out);
                let (written, unchanged, deleted, failed) =
                    (tally.written, tally.unchanged, tally.deleted, tally.failed);
                tracing::info!(audit = audit.id, written, unchanged, deleted, failed, "policy reports were written");
                tally.cause.map(|cause| format!("{failed} policy reports could not be written: {cause}"))
            }
            Ok(None) => {
                let (inside, outside) = (dialect.kind(true), dialect.kind(false));
                Some(format!(
                    "the cluster does not know {inside} and {outside} of {group}/{version}: install their \
                     CustomResourceDefinitions, or set policyReports to off"
                ))
            }
            Err(error) => {
                metrics.count(Outcome::Failed, 1);
                Some(format!("policy reports could not be written: {error}"))
            }
        };
        if self.noted == note {
            return;
        }
        if let Some(cause) = &note {
            tracing::warn!(audit = audit.id, %cause, "policy reports are not all written; each audit tries again");
        }
        (self.given.note)(note.iter().cloned().collect());
        self.noted = note;
    }
}
