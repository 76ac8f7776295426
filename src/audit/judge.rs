//! Judging one object of a page, by everything that is known beside it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde::Deserialize;

use super::likeness::{Likeness, Parts};
use super::memory::{Held, OfKind, OutcomeId};
use super::owner::{Meta, Owned, Owner, Owners, digest};
use super::said::{Said, answered, content, excused, observed, outcome};
use super::scope::{Place, Where, World};
use crate::engine::value::ObjectBuilder;
use crate::engine::{Check, Fields as _, Judgement, Machines, Outcome, Review, json};
use crate::policy::{GroupVersionKind, Origin, RuleId};
use crate::report::finding::{Application, Look, ObjectKey, Observation};
use crate::report::judge::Judge;
use crate::report::{Judged, ScanEntry, Verdict, results};

/// One object of a page.
#[derive(Debug)]
pub struct Seen {
    /// Stands for the object.
    pub digest: u128,
    /// Its namespace, empty outside any.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it is to those that it owns; none where the kind owns nobody.
    pub owner: Option<Owner>,
    /// Over everything that could change what is said of it.
    pub hash: u64,
    /// Over uid and resource version: see [`version`].
    pub version: u64,
    /// What judges its namespace's objects; none where it could not be judged.
    pub place: Option<u64>,
    /// What is to be judged by when an exemption ends, or a date comes.
    pub held: Option<Arc<Held>>,
    /// What is said of it.
    pub answer: Answer,
}

/// What is said of an object.
#[derive(Debug)]
pub enum Answer {
    /// This.
    Now(Box<Said>),
    /// What was said before.
    AsBefore(OutcomeId),
    /// Nothing: it could not be judged, in words why.
    Nothing(String),
}

/// What objects of a page are judged by.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Policies, namespaces and looked-up objects.
    pub world: Arc<World>,
    /// The cluster's name.
    pub cluster: String,
    /// Workloads that were listed.
    pub owners: Arc<Owners>,
    /// What the former audit says of this kind's objects.
    pub known: Arc<OfKind>,
    /// The kind that is listed: the items of a list do not say it.
    pub kind: GroupVersionKind,
    /// Whether the kind's objects are in namespaces.
    pub namespaced: bool,
    /// Whether controllers make other objects of this kind's.
    pub makes_others: bool,
}

/// What tells an object before the whole is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Meta,
}

/// What tells an object of which nothing else can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BareHead {
    metadata: BareMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BareMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
}

impl Desk {
    /// Judges an object; the error says why nobody knows which it is.
    pub(super) fn object(&self, item: &str, machines: &mut Machines) -> Result<Seen, String> {
        let meta = match serde_json::from_str::<Head>(item) {
            Ok(head) => head.metadata,
            Err(error) => return self.unjudged(item, format!("its metadata cannot be read: {error}")),
        };
        let kind = &self.kind;
        let key = ObjectKey {
            cluster: self.cluster.clone(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };
        let digest = digest(&key);
        let at = match () {
            () if kind.is_namespace() => Where::Namespace(meta.name.clone()),
            () if !self.namespaced => Where::Cluster,
            () if meta.namespace.is_empty() => Where::Unsaid,
            () => Where::Namespace(meta.namespace.clone()),
        };
        let place = self.world.place(&at);
        let owned = meta.owned(&key, item, &self.owners, &self.world.rules.config.controllers);
        let application = meta.application(&self.world.applications);
        let hash = hash(&meta, &owned, &place, item, |hash| {
            application.hash(hash);
            self.world.rules.exemptions.hash_of(&meta.subject(kind), hash);
        });
        let before = self.known.objects.get(&digest).filter(|known| known.hash == hash);
        let kept = self.known.held.get(&digest).filter(|_| before.is_some()).cloned();
        let ended = kept.as_ref().filter(|kept| kept.until.is_some_and(|end| end <= self.world.now));
        let (answer, kept) = if let (Some(known), None) = (before, ended) {
            (Answer::AsBefore(known.outcome), kept)
        } else {
            let judgements = ended.map(|ended| ended.judgements.clone());
            match self.say(item, (key, application), &meta, &owned, &place, machines, judgements) {
                Ok((said, kept)) => (Answer::Now(Box::new(said)), kept),
                Err(cause) => (Answer::Nothing(cause), None),
            }
        };
        let to_others = self.makes_others.then(|| Owner {
            digest,
            top: if owned.top.is_empty() { format!("{}/{}", kind.kind, meta.name).into() } else { owned.top.into() },
            template: Parts::read(item, false).map(|parts| parts.hashes()).unwrap_or_default().into(),
        });
        let version = version(&meta.uid, &meta.resource_version);
        // What could not be judged is not as it was before, whatever comes: it is tried again.
        let hash = if matches!(answer, Answer::Nothing(_)) { 0 } else { hash };
        Ok(Seen {
            digest,
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
            owner: to_others,
            hash,
            version,
            place: Some(place.digest),
            held: kept,
            answer,
        })
    }

    /// Returns an object that could not be judged, so that it counts as there; the error says why nobody knows which it is.
    pub(super) fn unjudged(&self, item: &str, cause: String) -> Result<Seen, String> {
        let head: BareHead = serde_json::from_str(item).unwrap_or_default();
        let BareMeta { name, namespace, uid, resource_version } = head.metadata;
        if name.is_empty() {
            return Err(format!("an object: {cause}"));
        }
        let key = ObjectKey {
            cluster: self.cluster.clone(),
            group: self.kind.group.clone(),
            kind: self.kind.kind.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
        };
        Ok(Seen {
            digest: digest(&key),
            namespace,
            name,
            version: version(&uid, &resource_version),
            uid,
            owner: None,
            hash: 0,
            place: None,
            held: None,
            answer: Answer::Nothing(cause),
        })
    }

    /// Judges an object; what its rules said before is not asked again, only what has become of exemptions and dates.
    #[allow(clippy::too_many_arguments, reason = "all of it is what one object is judged by")]
    fn say(
        &self,
        item: &str,
        (key, application): (ObjectKey, Option<Application>),
        meta: &Meta,
        owned: &Owned,
        place: &Place,
        machines: &mut Machines,
        before: Option<Vec<Judgement>>,
    ) -> Result<(Said, Option<Arc<Held>>), String> {
        let parse = if place.reads_managed_fields { json::parse } else { json::parse_without_managed_fields };
        let object = parse(item).map_err(|error| format!("it cannot be read: {error}"))?;
        // Items of a list may leave out what the list says; in files of one kind each says its own version.
        let api_version = object.text("apiVersion").map_or_else(|| self.kind.api_version(), str::to_owned);
        let object = ObjectBuilder::from_value(&object)
            .set(&"apiVersion".into(), api_version.as_str())
            .set(&"kind".into(), self.kind.kind.as_str())
            .build();
        let review = Review::of_file(object, place.namespace.clone(), place.inventory.clone());
        let rules = &self.world.rules;
        let review = Review { origin: Origin::Audit, kubernetes_version: rules.kubernetes_version, ..review };
        let judge = Judge {
            bundle: &rules.bundle,
            policies: &place.policies,
            limits: rules.limits,
            exemptions: &rules.exemptions,
            now: self.world.now,
            shows_passed: true,
        };
        let told_at = owned.told_at.as_ref().filter(|_| !rules.judge_owned);
        let is_told = |check: &Check| told_at.is_some_and(|owner| check.looks_at(owner));
        let is_whole = owned.likeness == Likeness::Whole;
        let is_evaluated = before.is_none();
        let judgements = before.unwrap_or_else(|| {
            let said = judge.judgements_of(&review, machines, |check| !(is_whole && is_told(check)));
            let own = said
                .into_iter()
                .filter_map(|said| if is_told(&said.check) { own(said, &owned.likeness) } else { Some(said) });
            own.collect()
        });
        let judged = Judged {
            review: &review,
            judgements: &judgements,
            bundle: &rules.bundle,
            policies: &place.policies,
            grants: &place.grants,
            exemptions: &rules.exemptions,
            now: self.world.now,
            shows_passed: true,
        };
        let (entries, summary) = results(judged, |_| None);
        let found: Vec<Observation> = entries.iter().filter_map(|entry| observed(entry, &review.object)).collect();
        let exempt = excused(&entries, &review.object);
        let content = (!found.is_empty() || !exempt.is_empty()).then(|| content(&review.object));
        let look = Look {
            api_version,
            uid: meta.uid.clone(),
            owner: owned.top.clone(),
            application,
            content: content.as_ref().map(|content| content.digest.clone()).unwrap_or_default(),
            evaluated: answered(&entries),
            skipped: self.skipped(&entries, place),
            found,
            exempt,
            object: key,
        };
        let asked = judgements.iter().map(|judgement| judgement.check.rule_id().clone()).collect();
        let outcome = outcome(&entries);
        let held = self.held(meta, place, &entries, judgements);
        // Passes are counted, and nobody is shown them.
        let entries = entries.into_iter().filter(|entry| entry.result != Verdict::Pass).collect();
        Ok((Said { look, content, asked, entries, summary, outcome, is_evaluated }, held))
    }

    /// Returns the rules that said that they do not judge the object, though all that they look up was read.
    fn skipped(&self, entries: &[ScanEntry], place: &Place) -> Vec<RuleId> {
        let has_read = |rule: &&RuleId| {
            let known = self.world.rules.bundle.rules().get(*rule);
            known.is_some_and(|known| known.rule.inventory.iter().all(|kind| place.inventory.contains_key(kind)))
        };
        let skipped = entries.iter().filter(|entry| entry.result == Verdict::Skip).map(|entry| &entry.rule);
        skipped.filter(has_read).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns what an object is judged by when an exemption ends or a date comes; none where nothing was found, or none
    /// is about it.
    fn held(&self, meta: &Meta, place: &Place, entries: &[ScanEntry], judgements: Vec<Judgement>) -> Option<Arc<Held>> {
        let (rules, now) = (&self.world.rules, self.world.now);
        let date = place.next_date(now);
        let finds = |entry: &ScanEntry| matches!(entry.result, Verdict::Fail | Verdict::Error | Verdict::Exempt);
        let may_change = |entry: &ScanEntry| date.is_some() || rules.exemptions.name_rule(&entry.rule);
        if !entries.iter().any(|entry| finds(entry) && may_change(entry)) {
            return None;
        }
        let until = rules.exemptions.next_end(&meta.subject(&self.kind), now).into_iter().chain(date).min();
        let mut by: Vec<_> = entries.iter().filter_map(|entry| Some(entry.exemption.as_ref()?.name.clone())).collect();
        by.sort_unstable();
        by.dedup();
        (until.is_some() || !by.is_empty()).then(|| {
            let name = (meta.namespace.clone(), meta.name.clone());
            Arc::new(Held { name, until, by, judgements })
        })
    }
}

/// Leaves out what was said of the template that an object was made of; none where nothing else was said.
fn own(mut said: Judgement, likeness: &Likeness) -> Option<Judgement> {
    let Outcome::Judged { violations, .. } = &mut said.outcome else { return Some(said) };
    let all = violations.len();
    violations.retain(|violation| !likeness.covers(violation.container.as_deref()));
    (all == 0 || !violations.is_empty()).then_some(said)
}

/// Returns what tells that an object is as it was.
pub fn version(uid: &str, resource_version: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    (uid, resource_version).hash(&mut hash);
    hash.finish()
}

fn hash(meta: &Meta, owned: &Owned, place: &Place, item: &str, beside: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hash = DefaultHasher::new();
    beside(&mut hash);
    (&meta.uid, &owned.top, &owned.told_at, &owned.likeness, place.digest).hash(&mut hash);
    if meta.resource_version.is_empty() {
        item.hash(&mut hash);
    } else {
        meta.resource_version.hash(&mut hash);
    }
    hash.finish()
}
