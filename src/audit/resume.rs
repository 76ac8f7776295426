//! Going on from what was followed since the last audit: only what changed is read.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde::Deserialize;

use super::follow::{Changes, Followed};
use super::judge::version;
use super::kinds::Listed;
use super::list::{Extent, PageError};
use super::memory::{NamespaceId, OfKind};
use super::owner::digest;
use super::pass::{Ended, Gathered, Pass};
use super::reading::ListEnd;
use super::scope::{Where, World};
use super::sink::{Present, Sink};
use super::sweep::Sweep;
use crate::report::finding::ObjectKey;
use crate::store::Stored;

/// Objects that are read one by one, however few there are.
const FEW: usize = 50;
/// Of this many objects, or namespaces, one may have changed; else all are listed.
const SHARE: usize = 5;
/// Objects, and bytes of them, that are judged at a time.
const BATCH: usize = 200;
const BATCH_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
struct Named {
    metadata: Head,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
}

impl<S: Sink> Pass<'_, S> {
    /// Reads what changed of a kind; none where that is not known, or too much for one by one.
    pub(super) async fn resume(
        &mut self,
        listed: &Listed,
        world: &Arc<World>,
        gathered: &mut Gathered,
    ) -> Stored<Option<Ended>> {
        let (group, kind) = (listed.kind.group.as_str(), listed.kind.kind.as_str());
        let followed = self.memory.unfollow(group, kind);
        let known = self.memory.of_kind(group, kind);
        let basis = Some(self.basis());
        if !self.follows(listed) || known.basis != basis {
            return Ok(None);
        }
        let stale = self.stale(listed, &known, world, gathered);
        let taken = followed.and_then(|followed| Some((followed.take()?, followed)));
        let taken = match taken {
            Some(taken) => Some(taken),
            None => self.compare(listed, &known).await,
        };
        let Some((mut changes, followed)) = taken else { return Ok(None) };
        let ended = known.held.iter().filter(|(_, held)| held.until.is_some_and(|end| end <= world.now));
        let ended = ended.filter(|(digest, _)| !changes.gone.contains(*digest));
        let ended: Vec<_> = ended.map(|(digest, held)| (*digest, held.name.clone())).collect();
        changes.changed.extend(ended);
        // What could not be judged is tried again: what judges it may be another by now.
        let unjudged = known.unjudged.iter().filter(|(digest, _)| !changes.gone.contains(*digest));
        let unjudged: Vec<_> =
            unjudged.map(|(digest, one)| (*digest, (one.namespace.clone(), one.name.clone()))).collect();
        changes.changed.extend(unjudged);
        changes.changed.retain(|_, (namespace, _)| !stale.contains(namespace));
        let is_much = |part: usize, whole: usize| part > FEW.max(whole.checked_div(SHARE).unwrap_or_default());
        let is_stale_too = !stale.is_empty() && (!listed.namespaced || is_much(stale.len(), known.places.len()));
        if is_stale_too || is_much(changes.changed.len(), known.objects.len()) {
            return Ok(None);
        }
        let mut sweep = Sweep::default();
        let mut gone = std::mem::take(&mut changes.gone);
        let cause = self.catch_up(listed, &changes, &stale, world, (&mut sweep, &mut gone), gathered).await?;
        let numbers: HashSet<NamespaceId> = stale.iter().map(|namespace| self.memory.number_of(namespace)).collect();
        if cause.is_none() {
            let left = known
                .objects
                .iter()
                .filter(|(digest, object)| numbers.contains(&object.namespace) && !sweep.seen.contains(*digest));
            gone.extend(left.map(|(digest, _)| *digest));
        }
        for name in &stale {
            sweep.learnt.places.insert(self.memory.number_of(name), world.place(&place(name)).digest);
        }
        let outcome = cause.unwrap_or(Ended::Complete);
        let basis = basis.filter(|_| matches!(outcome, Ended::Complete));
        drop(known);
        self.memory.change(group, kind, std::mem::take(&mut sweep.learnt), &gone, basis);
        if basis.is_some() {
            self.memory.follow(group, kind, followed);
        }
        if !gone.is_empty() {
            gathered.leave(&gone);
            gathered.outcome.findings += self.sink.listed(group, kind, Present::AllBut(&gone)).await?;
        }
        self.count_known(group, kind, &sweep, gathered);
        Ok(Some(outcome))
    }

    /// Reads what changed, and namespaces where something else did; returns why not all of it could be read.
    async fn catch_up(
        &mut self,
        listed: &Listed,
        changes: &Changes,
        stale: &HashSet<String>,
        world: &Arc<World>,
        (sweep, gone): (&mut Sweep, &mut HashSet<u128>),
        gathered: &mut Gathered,
    ) -> Stored<Option<Ended>> {
        for namespace in stale {
            match self.list(listed, &listed.url_in(namespace), world, sweep, gathered).await? {
                ListEnd::Complete => {}
                ListEnd::Cancelled => return Ok(Some(Ended::Cancelled)),
                ListEnd::Forbidden(cause) | ListEnd::Unread(cause) => return Ok(Some(Ended::Unread(cause))),
            }
        }
        let (mut batch, mut bytes, mut read) = (Vec::new(), 0_usize, Ok(()));
        for (digest, (namespace, name)) in &changes.changed {
            if self.cancel.is_cancelled() {
                return Ok(Some(Ended::Cancelled));
            }
            let list = if namespace.is_empty() { listed.url() } else { listed.url_in(namespace) };
            match self.lister.object(&self.client, &list, name).await {
                Ok(text) => {
                    bytes = bytes.saturating_add(text.len());
                    batch.push(text);
                }
                Err(PageError::Missing(_)) => _ = gone.insert(*digest),
                Err(error) => return Ok(Some(Ended::Unread(error.cause()))),
            }
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                let some = page(&std::mem::take(&mut batch));
                read = read.and(self.judge(listed, some, world, sweep, gathered).await?);
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            read = read.and(self.judge(listed, page(&batch), world, sweep, gathered).await?);
        }
        if self.cancel.is_cancelled() {
            return Ok(Some(Ended::Cancelled));
        }
        Ok(read.err().map(Ended::Unread))
    }

    /// Compares what is known with a list of metadata, and follows the kind from there; none where it cannot be had.
    async fn compare(&self, listed: &Listed, known: &OfKind) -> Option<(Changes, Followed)> {
        let (mut changes, mut seen) = (Changes::default(), HashSet::new());
        let (cluster, url) = (self.cluster.clone(), listed.url());
        let from = self.each((&url, Extent::Metadata), |item| {
            let head = serde_json::from_str::<Named>(item).map_err(|error| error.to_string())?.metadata;
            let digest = digest(&ObjectKey {
                cluster: cluster.clone(),
                group: listed.kind.group.clone(),
                kind: listed.kind.kind.clone(),
                namespace: head.namespace.clone(),
                name: head.name.clone(),
            });
            let now = version(&head.uid, &head.resource_version);
            if known.objects.get(&digest).is_none_or(|known| known.version != now) {
                changes.changed.insert(digest, (head.namespace, head.name));
            }
            seen.insert(digest);
            Ok(())
        });
        let from = from.await.ok().filter(|version| !version.is_empty())?;
        changes.gone = known.objects.keys().filter(|digest| !seen.contains(digest)).copied().collect();
        Some((changes, self.start_to_follow(listed, from)))
    }

    /// Returns namespaces whose objects may be judged otherwise though they are the same.
    fn stale(&self, listed: &Listed, known: &OfKind, world: &World, gathered: &Gathered) -> HashSet<String> {
        let is_owned = matches!(
            (&*listed.kind.group, &*listed.kind.kind),
            ("", "Pod") | ("apps", "ReplicaSet") | ("batch", "Job")
        );
        let other = known.places.iter().filter_map(|(number, judged)| {
            let name = self.memory.namespace(*number);
            let is_other =
                world.place(&place(&name)).digest != *judged || is_owned && gathered.stirred.contains(&*name);
            is_other.then(|| name.to_string())
        });
        other.collect()
    }

    /// Counts the objects that were not read.
    fn count_known(&self, group: &str, kind: &str, sweep: &Sweep, gathered: &mut Gathered) {
        let known = self.memory.of_kind(group, kind);
        let mut counts: HashMap<(NamespaceId, u32), u64> = HashMap::new();
        for (_, object) in known.objects.iter().filter(|(digest, _)| !sweep.seen.contains(*digest)) {
            let count = counts.entry((object.namespace, object.outcome)).or_default();
            *count = count.saturating_add(1);
        }
        for ((namespace, outcome), times) in counts {
            let count = gathered.counts.entry((self.memory.namespace(namespace).to_string(), outcome)).or_default();
            *count = count.saturating_add(times);
            gathered.outcome.objects = gathered.outcome.objects.saturating_add(times);
        }
        let held = known.held.iter().filter(|(digest, _)| !sweep.seen.contains(*digest));
        gathered.outcome.exemptions.extend(held.flat_map(|(_, held)| held.by.iter().cloned()));
        let objects = gathered.outcome.objects;
        self.progress.send_modify(|progress| (progress.objects, progress.remaining) = (objects, 0));
    }

    /// Returns whether a kind is followed from one audit to the next. Each Namespace is judged by its own metadata, and
    /// these are listed in any case.
    pub(super) fn follows(&self, listed: &Listed) -> bool {
        self.memory.keeps_watches() && listed.watchable && !listed.kind.is_namespace()
    }

    /// Follows a kind from a state of the cluster on.
    pub(super) fn start_to_follow(&self, listed: &Listed, version: String) -> Followed {
        Followed::start(self.client.clone(), self.lister.cost().clone(), self.cluster.clone(), listed, version)
    }

    /// Returns a number over what judges every object alike, beside rules and namespaces.
    pub(super) fn basis(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.rules.exemptions.hash_all(&mut hash);
        self.rules.config.controllers.0.hash(&mut hash);
        hash.finish()
    }
}

/// Returns where the objects of a namespace are, or those outside any.
fn place(namespace: &str) -> Where {
    if namespace.is_empty() { Where::Cluster } else { Where::Namespace(namespace.to_owned()) }
}

/// Makes a page of objects.
fn page(objects: &[String]) -> String {
    format!("{{\"metadata\":{{}},\"items\":[{}]}}", objects.join(","))
}
