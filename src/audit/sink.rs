//! Where what an audit finds goes: the store, or somebody's screen.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::owner::digest;
use super::said::Said;
use crate::engine::Bundle;
use crate::report::finding::{CloseReason, Finding, ObjectKey, State};
use crate::report::lifecycle::{Standing, changed};
use crate::store::{Changes, Store, Stored};

/// Objects that are closed at a time.
const BATCH: usize = 500;

/// How many findings something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Opened, reopened included.
    pub opened: u64,
    /// Closed as fixed.
    pub fixed: u64,
    /// Closed for another reason.
    pub closed: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.opened = self.opened.saturating_add(other.opened);
        self.fixed = self.fixed.saturating_add(other.fixed);
        self.closed = self.closed.saturating_add(other.closed);
    }
}

/// Which objects of a kind are there; they are told by their digests.
#[derive(Debug, Clone, Copy)]
pub enum Present<'a> {
    /// These and no others.
    Only(&'a HashSet<u128>),
    /// In these namespaces these and no others; of the rest nothing is known.
    Within(&'a HashSet<String>, &'a HashSet<u128>),
    /// All that there were before but these.
    AllBut(&'a HashSet<u128>),
}

impl Present<'_> {
    /// Returns whether an object is known to be gone.
    pub fn lacks(&self, object: &ObjectKey) -> bool {
        match self {
            Self::Only(seen) => !seen.contains(&digest(object)),
            Self::AllBut(gone) => gone.contains(&digest(object)),
            Self::Within(namespaces, seen) => namespaces.contains(&object.namespace) && !seen.contains(&digest(object)),
        }
    }
}

/// Takes in what an audit finds.
#[async_trait]
pub trait Sink: Send {
    /// Takes in what was said of a page's objects, whole or not at all.
    async fn page(&mut self, page: Vec<Said>) -> Stored<Tally>;

    /// A kind was listed: what is not present is gone.
    async fn listed(&mut self, group: &str, kind: &str, present: Present<'_>) -> Stored<Tally>;

    /// These kinds are all that the cluster serves, and these all that rules look at; both as `(group, kind)`.
    async fn served(&mut self, served: &HashSet<(String, String)>, wanted: &HashSet<(String, String)>)
    -> Stored<Tally>;
}

/// Keeps findings.
#[derive(Debug)]
pub struct StoreSink {
    /// Where.
    pub store: Arc<dyn Store>,
    /// The cluster's name.
    pub cluster: String,
    /// What is in force.
    pub bundle: Arc<Bundle>,
    /// Returns the time.
    pub now: fn() -> Timestamp,
}

#[async_trait]
impl Sink for StoreSink {
    async fn page(&mut self, page: Vec<Said>) -> Stored<Tally> {
        if page.is_empty() {
            return Ok(Tally::default());
        }
        let objects: Vec<ObjectKey> = page.iter().map(|said| said.look.object.clone()).collect();
        let mut stored: BTreeMap<ObjectKey, Vec<Finding>> = BTreeMap::new();
        for finding in self.store.findings_of(&objects).await? {
            stored.entry(finding.object.clone()).or_default().push(finding);
        }
        let (mut changes, mut tally, now) = (Changes::default(), Tally::default(), (self.now)());
        for said in page {
            let known = stored.get(&said.look.object).map(Vec::as_slice).unwrap_or_default();
            let standing = |rule: &_| match () {
                () if said.asked.contains(rule) => Standing::Asked,
                () if self.bundle.rules().contains_key(rule) => Standing::NotAsked,
                () => Standing::Off,
            };
            let after = changed(&said.look, known, standing, now);
            tally += Tally { opened: after.opened, fixed: after.fixed, closed: after.closed };
            changes.contents.extend(said.content.filter(|_| !after.put.is_empty()));
            changes.put.extend(after.put);
            changes.close.extend(after.close);
        }
        self.write(changes, now).await?;
        Ok(tally)
    }

    async fn listed(&mut self, group: &str, kind: &str, present: Present<'_>) -> Stored<Tally> {
        self.close(group, kind, |object| present.lacks(object), |_| CloseReason::Deleted).await
    }

    async fn served(
        &mut self,
        served: &HashSet<(String, String)>,
        wanted: &HashSet<(String, String)>,
    ) -> Stored<Tally> {
        let mut tally = Tally::default();
        for kind in self.store.kinds_with_findings(&self.cluster).await? {
            if wanted.contains(&kind) {
                continue;
            }
            let (is_served, bundle) = (served.contains(&kind), self.bundle.clone());
            let reason = move |finding: &Finding| match () {
                () if !is_served => CloseReason::Deleted,
                () if bundle.rules().contains_key(&finding.rule) => CloseReason::OutOfScope,
                () => CloseReason::RuleOff,
            };
            tally += self.close(&kind.0, &kind.1, |_| true, reason).await?;
        }
        Ok(tally)
    }
}

impl StoreSink {
    /// Closes everything that stands: nothing is audited under this cluster's name any more.
    pub async fn retire(&mut self) -> Stored<Tally> {
        let mut tally = Tally::default();
        for (group, kind) in self.store.kinds_with_findings(&self.cluster).await? {
            tally += self.close(&group, &kind, |_| true, |_| CloseReason::OutOfScope).await?;
        }
        Ok(tally)
    }

    /// Closes what stands, excused or not, of those objects of a kind that are chosen.
    async fn close(
        &self,
        group: &str,
        kind: &str,
        is_chosen: impl Fn(&ObjectKey) -> bool + Send + Sync,
        reason: impl Fn(&Finding) -> CloseReason + Send + Sync,
    ) -> Stored<Tally> {
        let (mut tally, mut after) = (Tally::default(), None);
        loop {
            let page = self.store.objects_with_findings(&self.cluster, group, kind, after.as_ref(), BATCH).await?;
            let Some(last) = page.last().cloned() else { return Ok(tally) };
            let chosen: Vec<ObjectKey> = page.into_iter().filter(|object| is_chosen(object)).collect();
            if !chosen.is_empty() {
                let findings = self.store.findings_of(&chosen).await?;
                let standing = findings.iter().filter(|finding| finding.stands());
                let close: Vec<_> = standing.map(|finding| (finding.id.clone(), reason(finding))).collect();
                // What was excused was counted when it was.
                let open = findings.iter().filter(|finding| finding.state == State::Open);
                tally.closed = tally.closed.saturating_add(count(open.count()));
                self.write(Changes { close, ..Changes::default() }, (self.now)()).await?;
            }
            after = Some(last);
        }
    }

    async fn write(&self, changes: Changes, now: Timestamp) -> Stored<()> {
        if changes.put.is_empty() && changes.close.is_empty() {
            return Ok(());
        }
        self.store.change(&self.cluster, changes, now).await
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
