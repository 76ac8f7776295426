//! One pass over a cluster: kind after kind, page after page.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::judges::Judges;
use super::kinds::{Listed, discover};
use super::list::Lister;
use super::memory::{Memory, OutcomeId};
use super::owner::Owners;
use super::reading::Maker;
use super::scope::Rules;
use super::sink::{Sink, Tally};
use super::unjudged;
use crate::policy::exemption::ExemptionName;
use crate::store::{AuditState, Covered, Enforcing, RuleCount, Stored};

/// How far a pass has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Kinds that are done.
    pub kinds_done: usize,
    /// Kinds that will be listed; 0 while that is found out.
    pub kinds: usize,
    /// Objects that were read.
    pub objects: u64,
    /// Objects of the kind under way that are left, as the API server guesses.
    pub remaining: u64,
}

/// What a pass came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How it ended; none while it goes on.
    pub state: Option<AuditState>,
    /// Objects that were read.
    pub objects: u64,
    /// Objects that were evaluated.
    pub evaluated: u64,
    /// What became of findings.
    pub findings: Tally,
    /// What could not be read, each with the reason.
    pub unread: BTreeMap<String, String>,
    /// What was read completely.
    pub covered: Vec<Covered>,
    /// How often each rule gave which answer.
    pub counts: Vec<RuleCount>,
    /// Exemptions that excuse something.
    pub exemptions: BTreeSet<ExemptionName>,
    /// What namespaces enforce; none where that could not be read.
    pub enforcing: Option<Vec<Enforcing>>,
}

/// What a pass is made with.
pub struct Pass<'a, S> {
    /// The cluster.
    pub client: Client,
    /// Its name.
    pub cluster: String,
    /// What is in force.
    pub rules: Rules,
    /// Whether Secrets are read.
    pub secrets: bool,
    /// How fast is listed.
    pub lister: Arc<Lister>,
    /// Who judges.
    pub judges: Arc<Judges>,
    /// What the pass before left.
    pub memory: &'a mut Memory,
    /// Where it goes.
    pub sink: &'a mut S,
    /// Where progress is told.
    pub progress: watch::Sender<Progress>,
    /// Returns the time.
    pub now: fn() -> Timestamp,
    /// Ends the pass before its time.
    pub cancel: CancellationToken,
}

/// What the pass has gathered so far.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) outcome: Outcome,
    pub(super) owners: Arc<Owners>,
    pub(super) counts: HashMap<(String, OutcomeId), u64>,
    /// How many kinds each namespace would not list where the cluster as a whole would not.
    pub(super) refusals: HashMap<String, u32>,
    /// Namespaces that have listed one nevertheless.
    pub(super) given: HashSet<String>,
    /// Namespaces of workloads that are new, gone, or otherwise than they were: what belongs to them is looked at again.
    pub(super) stirred: HashSet<String>,
}

impl Gathered {
    /// Takes workloads in; not while objects are judged, for then threads read these.
    pub(super) fn enter_all(&mut self, makers: Vec<Maker>) {
        for Maker { uid, namespace, owner } in makers {
            if self.owners.get(&uid) != Some(&owner) {
                self.stirred.insert(namespace);
                Arc::make_mut(&mut self.owners).insert(uid, owner);
            }
        }
    }

    /// Counts an object by what was said of it, in the place of what was said when it was read before in this audit.
    pub(super) fn count(&mut self, namespace: String, outcome: OutcomeId, before: Option<OutcomeId>) {
        if let Some(before) = before {
            let count = self.counts.entry((namespace.clone(), before)).or_default();
            *count = count.saturating_sub(1);
        } else {
            self.outcome.objects = self.outcome.objects.saturating_add(1);
        }
        let count = self.counts.entry((namespace, outcome)).or_default();
        *count = count.saturating_add(1);
    }

    /// Forgets workloads that are gone.
    pub(super) fn leave(&mut self, gone: &HashSet<u128>) {
        if self.owners.values().any(|owner| gone.contains(&owner.digest)) {
            Arc::make_mut(&mut self.owners).retain(|_, owner| !gone.contains(&owner.digest));
        }
    }
}

/// How listing one kind ended.
pub(super) enum Ended {
    /// All of it was read.
    Complete,
    /// It was read in these namespaces only; in words what of the rest.
    Partial(Vec<String>, String),
    /// The pass was ended.
    Cancelled,
    /// It could not be read, in words.
    Unread(String),
}

impl<S: Sink> Pass<'_, S> {
    /// Audits; an error is the store's, and leaves the audit unfinished.
    pub async fn run(mut self) -> Stored<Outcome> {
        self.memory.begin(self.rules.bundle.digest());
        let outcome = self.all().await;
        if !matches!(&outcome, Ok(outcome) if outcome.state != Some(AuditState::Cancelled)) {
            // What changed at owners has not come to what belongs to them.
            self.memory.distrust();
        }
        outcome
    }

    async fn all(&mut self) -> Stored<Outcome> {
        let mut gathered = Gathered { owners: self.memory.owners.clone(), ..Gathered::default() };
        let served = discover(&self.client, &self.lister).await;
        gathered.outcome.unread.clone_from(&served.unread);
        let world = Arc::new(self.world(&served.kinds, &mut gathered.outcome.unread).await);
        let policies = world.policies();
        gathered.outcome.enforcing = world.enforcing();
        self.memory.next_date = world.next_date();
        let kinds = served.wanted(&self.rules.bundle, &policies, self.secrets);
        self.progress.send_modify(|progress| progress.kinds = kinds.len());
        for listed in &kinds {
            // Of a kind in which nothing changed nothing is read that would notice it.
            if self.cancel.is_cancelled() {
                gathered.outcome.state = Some(AuditState::Cancelled);
                break;
            }
            let covered =
                |namespace| Covered { group: listed.kind.group.clone(), kind: listed.kind.kind.clone(), namespace };
            match self.kind(listed, &world, &mut gathered).await? {
                Ended::Complete => gathered.outcome.covered.push(covered(None)),
                Ended::Partial(namespaces, cause) => {
                    gathered.outcome.covered.extend(namespaces.into_iter().map(Some).map(covered));
                    gathered.outcome.unread.insert(listed.name(), cause);
                }
                Ended::Unread(cause) => {
                    gathered.outcome.unread.insert(listed.name(), cause);
                }
                Ended::Cancelled => gathered.outcome.state = Some(AuditState::Cancelled),
            }
            let known = self.memory.of_kind(&listed.kind.group, &listed.kind.kind);
            gathered.outcome.unread.extend(unjudged::told(&listed.name(), known.unjudged.values()));
            if gathered.outcome.state.is_some() {
                break;
            }
            self.progress.send_modify(|progress| progress.kinds_done = progress.kinds_done.saturating_add(1));
        }
        if gathered.outcome.state.is_none() && served.unread.is_empty() {
            let name = |listed: &Listed| (listed.kind.group.clone(), listed.kind.kind.clone());
            let all = served.kinds.iter().map(name).collect();
            let wanted = kinds.iter().map(name).collect();
            gathered.outcome.findings += self.sink.served(&all, &wanted).await?;
        }
        self.memory.owners = gathered.owners;
        let is_whole = gathered.outcome.unread.is_empty();
        let state = if is_whole { AuditState::Complete } else { AuditState::Partial };
        let counts = self.memory.counts(&gathered.counts);
        let outcome = gathered.outcome;
        Ok(Outcome { state: outcome.state.or(Some(state)), counts, ..outcome })
    }
}
