//! Listing a kind and judging its objects: over the whole cluster, or namespace by namespace where our rights end there.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::judge::{Answer, Desk};
use super::kinds::Listed;
use super::memory::{OfKind, Remembered};
use super::pass::{Ended, Gathered, Pass};
use super::reading::{Batch, ListEnd, Reading, gather, judging};
use super::said::Said;
use super::scope::World;
use super::sink::{Present, Sink};
use super::unjudged::Unjudged;
use crate::store::Stored;

/// Kinds that a namespace refuses before it is not asked any more; most allow nothing or what all others do.
const REFUSALS: u32 = 3;

/// Namespaces that are named where a kind could not be read in many.
const NAMED: usize = 3;

/// What was read of one kind so far.
#[derive(Default)]
pub(super) struct Sweep {
    pub(super) seen: HashSet<u128>,
    pub(super) learnt: OfKind,
    /// The state of the cluster that the first page shows.
    version: String,
}

impl<S: Sink> Pass<'_, S> {
    /// Lists one kind and judges its objects.
    pub(super) async fn kind(&mut self, listed: &Listed, world: &Arc<World>, gathered: &mut Gathered) -> Stored<Ended> {
        match self.resume(listed, world, gathered).await? {
            Some(ended) => Ok(ended),
            None => self.whole(listed, world, gathered).await,
        }
    }

    /// Lists all of a kind, and follows it from there.
    async fn whole(&mut self, listed: &Listed, world: &Arc<World>, gathered: &mut Gathered) -> Stored<Ended> {
        let (group, kind) = (listed.kind.group.as_str(), listed.kind.kind.as_str());
        let mut sweep = Sweep::default();
        let ended = match self.list(listed, &listed.url(), world, &mut sweep, gathered).await? {
            ListEnd::Complete => Ended::Complete,
            ListEnd::Cancelled => Ended::Cancelled,
            ListEnd::Unread(cause) => Ended::Unread(cause),
            ListEnd::Forbidden(cause) => self.by_namespace(listed, cause, world, &mut sweep, gathered).await?,
        };
        if matches!(ended, Ended::Complete) {
            let gone: HashSet<u128> = {
                let known = self.memory.of_kind(group, kind);
                known.objects.keys().filter(|digest| !sweep.seen.contains(digest)).copied().collect()
            };
            gathered.leave(&gone);
            // What there is nothing of is listed again for less than a watch.
            if self.follows(listed) && !sweep.version.is_empty() && !sweep.seen.is_empty() {
                sweep.learnt.basis = Some(self.basis());
                let followed = self.start_to_follow(listed, std::mem::take(&mut sweep.version));
                self.memory.follow(group, kind, followed);
            }
        }
        self.memory.keep(group, kind, sweep.learnt, matches!(ended, Ended::Complete));
        match &ended {
            Ended::Complete => {
                gathered.outcome.findings += self.sink.listed(group, kind, Present::Only(&sweep.seen)).await?;
            }
            Ended::Partial(namespaces, _) => {
                let namespaces: HashSet<String> = namespaces.iter().cloned().collect();
                let present = Present::Within(&namespaces, &sweep.seen);
                gathered.outcome.findings += self.sink.listed(group, kind, present).await?;
            }
            Ended::Cancelled | Ended::Unread(_) => {}
        }
        Ok(ended)
    }

    /// Lists a kind in each namespace that lets us; rights are often given there, and not over the whole cluster.
    async fn by_namespace(
        &mut self,
        listed: &Listed,
        refusal: String,
        world: &Arc<World>,
        sweep: &mut Sweep,
        gathered: &mut Gathered,
    ) -> Stored<Ended> {
        let namespaces = world.namespaces().filter(|_| listed.namespaced).unwrap_or_default();
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for namespace in namespaces {
            let refused = gathered.refusals.get(&namespace).copied().unwrap_or_default();
            if refused >= REFUSALS && !gathered.given.contains(&namespace) {
                unread.push(namespace);
                continue;
            }
            match self.list(listed, &listed.url_in(&namespace), world, sweep, gathered).await? {
                ListEnd::Complete => {
                    gathered.given.insert(namespace.clone());
                    read.push(namespace);
                }
                ListEnd::Cancelled => return Ok(Ended::Cancelled),
                ListEnd::Forbidden(_) => {
                    let refused = gathered.refusals.entry(namespace.clone()).or_default();
                    *refused = refused.saturating_add(1);
                    unread.push(namespace);
                }
                ListEnd::Unread(_) => unread.push(namespace),
            }
        }
        if read.is_empty() {
            return Ok(Ended::Unread(refusal));
        }
        if unread.is_empty() {
            return Ok(Ended::Complete);
        }
        let named = unread.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if unread.len() > NAMED { ", …" } else { "" };
        let all = read.len().saturating_add(unread.len());
        let cause = format!("{refusal}; read in {} of {all} namespaces, not in {named}{more}", read.len());
        Ok(Ended::Partial(read, cause))
    }

    /// Reads a list page by page, and judges what it holds; while a batch is taken in, the next ones are judged.
    pub(super) async fn list(
        &mut self,
        listed: &Listed,
        url: &str,
        world: &Arc<World>,
        sweep: &mut Sweep,
        gathered: &mut Gathered,
    ) -> Stored<ListEnd> {
        let reading = Reading {
            lister: self.lister.clone(),
            client: self.client.clone(),
            judges: self.judges.clone(),
            cancel: self.cancel.clone(),
            progress: self.progress.clone(),
            url: url.to_owned(),
            desk: self.desk(listed, world, gathered),
        };
        let (gathering, batches) = mpsc::channel(1);
        let (taken, read) = tokio::join!(self.take_in(batches, sweep, gathered), reading.run(gathering));
        taken?;
        sweep.version = read.version;
        gathered.enter_all(read.makers);
        // What was read and not taken in any more would count as gone.
        Ok(if self.cancel.is_cancelled() { ListEnd::Cancelled } else { read.end })
    }

    /// Judges the objects of a page, and takes in what is said of them; the inner error says what could not be read.
    pub(super) async fn judge(
        &mut self,
        listed: &Listed,
        text: String,
        world: &Arc<World>,
        sweep: &mut Sweep,
        gathered: &mut Gathered,
    ) -> Stored<Result<(), String>> {
        let slices = match judging(&self.judges, self.desk(listed, world, gathered), text).await {
            Ok((_, _, slices)) => slices,
            Err(cause) => return Ok(Err(cause)),
        };
        let mut makers = Vec::new();
        let (gathering, batches) = mpsc::channel(1);
        let (taken, read) =
            tokio::join!(self.take_in(batches, sweep, gathered), gather(slices, gathering, &mut makers));
        taken?;
        gathered.enter_all(makers);
        Ok(read)
    }

    /// Returns what a page's objects are judged by.
    fn desk(&self, listed: &Listed, world: &Arc<World>, gathered: &Gathered) -> Desk {
        Desk {
            world: world.clone(),
            cluster: self.cluster.clone(),
            owners: gathered.owners.clone(),
            known: self.memory.of_kind(&listed.kind.group, &listed.kind.kind),
            kind: listed.kind.clone(),
            namespaced: listed.namespaced,
            makes_others: self.makes_others(listed),
        }
    }

    fn makes_others(&self, listed: &Listed) -> bool {
        !listed.kind.is_pod() && listed.kind.is_built_in_workload()
            || self.rules.config.controllers.0.contains_key(&listed.name())
    }

    /// Takes in what is said of objects, batch after batch, until the pass is cancelled.
    async fn take_in(
        &mut self,
        mut batches: mpsc::Receiver<Batch>,
        sweep: &mut Sweep,
        gathered: &mut Gathered,
    ) -> Stored<()> {
        while let Some(batch) = batches.recv().await {
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            self.take_in_batch(batch, sweep, gathered).await?;
        }
        Ok(())
    }

    /// Takes in some objects; one that an earlier page held, because its list began again, counts once.
    async fn take_in_batch(&mut self, batch: Batch, sweep: &mut Sweep, gathered: &mut Gathered) -> Stored<()> {
        let mut said: Vec<Said> = Vec::new();
        let mut remembered = Vec::new();
        for object in batch {
            sweep.seen.insert(object.digest);
            let before = sweep.learnt.objects.get(&object.digest).copied();
            // Where nothing is followed from here on, it counts as it was first read.
            if before.is_some_and(|before| before.hash == object.hash || !self.memory.keeps_watches()) {
                continue;
            }
            let namespace = self.memory.number_of(&object.namespace);
            sweep.learnt.places.extend(object.place.map(|place| (namespace, place)));
            sweep.learnt.unjudged.remove(&object.digest);
            let outcome = match object.answer {
                Answer::AsBefore(known) => known,
                Answer::Now(result) => {
                    let mut result = *result;
                    let outcome = self.memory.number(std::mem::take(&mut result.outcome));
                    said.push(result);
                    outcome
                }
                Answer::Nothing(cause) => {
                    let one = Unjudged { namespace: object.namespace.clone(), name: object.name, cause };
                    sweep.learnt.unjudged.insert(object.digest, one);
                    self.memory.number(Vec::new())
                }
            };
            let excusing = object.held.iter().flat_map(|held| &held.by);
            gathered.outcome.exemptions.extend(excusing.cloned());
            gathered.count(object.namespace, outcome, before.map(|before| before.outcome));
            let one = Remembered { hash: object.hash, version: object.version, outcome, namespace };
            remembered.push((object.digest, one, object.held));
        }
        let evaluated = said.iter().filter(|said| said.is_evaluated).count();
        let evaluated = u64::try_from(evaluated).unwrap_or(u64::MAX);
        gathered.outcome.evaluated = gathered.outcome.evaluated.saturating_add(evaluated);
        gathered.outcome.findings += self.sink.page(said).await?;
        // Only now: what the store did not take in must be judged again.
        for (digest, object, held) in remembered {
            sweep.learnt.objects.insert(digest, object);
            sweep.learnt.held.extend(held.map(|held| (digest, held)));
        }
        let objects = gathered.outcome.objects;
        self.progress.send_modify(|progress| progress.objects = objects);
        Ok(())
    }
}
