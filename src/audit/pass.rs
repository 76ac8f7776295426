//! One pass over a cluster: kind after kind, page after page.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::judge::{Desk, Judges, Said, Seen};
use super::kinds::{Listed, discover};
use super::list::{FIRST_PAGE, Lister, Page, PageError, next_limit};
use super::memory::{Memory, OfKind, OutcomeId, Remembered};
use super::owner::Owners;
use super::scope::{Looked, Rules, World};
use super::sink::{Sink, Tally};
use crate::engine::{Fields as _, Value, json};
use crate::policy::NamespaceMeta;
use crate::policy::exemption::ExemptionName;
use crate::store::{AuditState, Covered, RuleCount, Stored};

/// How often a list that grew too old is begun again.
const FRESH_LISTS: u32 = 3;

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
    /// List requests and bytes.
    pub cost: (u64, u64),
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
    pub lister: Lister,
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
struct Gathered {
    outcome: Outcome,
    owners: Arc<Owners>,
    counts: HashMap<(String, OutcomeId), u64>,
}

/// How listing one kind ended.
enum Ended {
    Complete,
    Cancelled,
    Unread(String),
}

impl<S: Sink> Pass<'_, S> {
    /// Audits; an error is the store's, and leaves the audit unfinished.
    pub async fn run(mut self) -> Stored<Outcome> {
        self.memory.begin(self.rules.bundle.digest());
        let mut gathered = Gathered::default();
        let served = discover(&self.client, &self.lister).await;
        gathered.outcome.unread.clone_from(&served.unread);
        let world = Arc::new(self.world(&served.kinds, &mut gathered.outcome.unread).await);
        let policies = world.policies();
        let kinds = served.wanted(&self.rules.bundle, &policies, self.secrets);
        self.progress.send_modify(|progress| progress.kinds = kinds.len());
        for listed in &kinds {
            match self.kind(listed, &world, &mut gathered).await? {
                Ended::Complete => gathered.outcome.covered.push(Covered {
                    group: listed.kind.group.clone(),
                    kind: listed.kind.kind.clone(),
                    namespace: None,
                }),
                Ended::Unread(cause) => {
                    gathered.outcome.unread.insert(listed.name(), cause);
                }
                Ended::Cancelled => gathered.outcome.state = Some(AuditState::Cancelled),
            }
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
        let is_whole = gathered.outcome.unread.is_empty();
        let state = if is_whole { AuditState::Complete } else { AuditState::Partial };
        let counts = self.memory.counts(&gathered.counts);
        let outcome = gathered.outcome;
        Ok(Outcome { state: outcome.state.or(Some(state)), counts, cost: self.lister.cost(), ..outcome })
    }

    /// Lists one kind and judges its objects.
    async fn kind(&mut self, listed: &Listed, world: &Arc<World>, gathered: &mut Gathered) -> Stored<Ended> {
        let (group, kind) = (listed.kind.group.as_str(), listed.kind.kind.as_str());
        let known = self.memory.of_kind(group, kind);
        let (mut seen, mut learnt) = (HashSet::new(), OfKind::default());
        let (mut limit, mut at, mut fresh): (u32, Option<String>, u32) = (FIRST_PAGE, None, 0);
        let ended = loop {
            if self.cancel.is_cancelled() {
                break Ended::Cancelled;
            }
            let text = match self.lister.page(&self.client, &listed.url(), limit, at.as_deref()).await {
                Ok(text) => text,
                // What comes after is read as it is now: enough, for each object is judged by itself.
                Err(PageError::Gone(Some(token))) if at.as_ref() != Some(&token) => {
                    at = Some(token);
                    continue;
                }
                Err(PageError::Gone(_)) if fresh < FRESH_LISTS => {
                    (at, fresh) = (None, fresh.saturating_add(1));
                    continue;
                }
                Err(PageError::Gone(_)) => break Ended::Unread("410: the list grew too old several times".into()),
                Err(PageError::Unread(cause)) => break Ended::Unread(cause),
            };
            let desk = Desk {
                world: world.clone(),
                cluster: self.cluster.clone(),
                owners: gathered.owners.clone(),
                known: known.clone(),
                kind: listed.kind.clone(),
                namespaced: listed.namespaced,
            };
            let bytes = text.len();
            let judged = match judge_page(self.judges.clone(), desk, text).await {
                Ok(judged) => judged,
                Err(cause) => break Ended::Unread(cause),
            };
            limit = next_limit(judged.objects, bytes);
            self.progress.send_modify(|progress| progress.remaining = judged.remaining);
            self.take_in(listed, judged.seen, &mut seen, &mut learnt, gathered).await?;
            if let Some(fault) = judged.faults.first() {
                break Ended::Unread(fault.clone());
            }
            at = judged.next;
            if at.is_none() {
                break Ended::Complete;
            }
        };
        let is_complete = matches!(ended, Ended::Complete);
        self.memory.keep(group, kind, learnt, is_complete);
        if is_complete {
            gathered.outcome.findings += self.sink.listed(group, kind, &seen).await?;
        }
        Ok(ended)
    }

    /// Takes in a page; an object that an earlier page held counts once.
    async fn take_in(
        &mut self,
        listed: &Listed,
        page: Vec<Seen>,
        seen: &mut HashSet<u128>,
        learnt: &mut OfKind,
        gathered: &mut Gathered,
    ) -> Stored<()> {
        let mut said: Vec<Said> = Vec::new();
        let mut remembered = Vec::new();
        let makes_others = !listed.kind.is_pod() && listed.kind.is_built_in_workload()
            || self.rules.config.controllers.0.contains_key(&listed.name());
        for object in page {
            let is_new = seen.insert(object.digest);
            if makes_others && is_new {
                Arc::make_mut(&mut gathered.owners).insert(object.uid, object.top.into());
            }
            let outcome = match object.result {
                Err(known) => known,
                Ok(result) => {
                    let mut result = *result;
                    let outcome = self.memory.number(std::mem::take(&mut result.outcome));
                    said.push(result);
                    outcome
                }
            };
            let excusing = object.held.iter().flat_map(|held| &held.by);
            gathered.outcome.exemptions.extend(excusing.cloned());
            if is_new {
                let count = gathered.counts.entry((object.namespace, outcome)).or_default();
                *count = count.saturating_add(1);
                gathered.outcome.objects = gathered.outcome.objects.saturating_add(1);
            }
            remembered.push((object.digest, Remembered { hash: object.hash, outcome }, object.held));
        }
        let evaluated = said.iter().filter(|said| said.is_evaluated).count();
        let evaluated = u64::try_from(evaluated).unwrap_or(u64::MAX);
        gathered.outcome.evaluated = gathered.outcome.evaluated.saturating_add(evaluated);
        gathered.outcome.findings += self.sink.page(said).await?;
        // Only now: what the store did not take in must be judged again.
        for (digest, object, held) in remembered {
            learnt.objects.insert(digest, object);
            learnt.held.extend(held.map(|held| (digest, held)));
        }
        let objects = gathered.outcome.objects;
        self.progress.send_modify(|progress| progress.objects = objects);
        Ok(())
    }

    /// Reads what judges: namespaces, and the objects that rules look up.
    async fn world(&self, kinds: &[Listed], unread: &mut BTreeMap<String, String>) -> World {
        let namespaces = match self.namespaces().await {
            Ok(found) => Some(found),
            Err(error) => {
                unread.insert("core/Namespace".into(), error.to_string());
                None
            }
        };
        let rules = self.rules.bundle.rules().values().filter(|rule| !rule.rule.inventory.is_empty());
        let names: HashSet<&String> = rules.flat_map(|rule| &rule.rule.inventory).collect();
        let mut looked = Looked::new();
        for name in names {
            let Some(listed) = kinds.iter().find(|listed| listed.name() == **name) else {
                // Not served: there are none.
                looked.insert(name.clone(), HashMap::new());
                continue;
            };
            match self.looked(listed).await {
                Ok(objects) => {
                    looked.insert(name.clone(), objects);
                }
                Err(cause) => {
                    unread.insert(name.clone(), cause);
                }
            }
        }
        World::new(self.rules.clone(), namespaces, looked, (self.now)())
    }

    async fn namespaces(&self) -> Result<HashMap<String, Arc<NamespaceMeta>>, kube::Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        self.lister.turn().await;
        let list = api.list_metadata(&ListParams::default()).await?;
        let meta = |namespace: PartialObjectMeta<Namespace>| {
            let name = namespace.metadata.name.unwrap_or_default();
            let meta = NamespaceMeta {
                name: name.clone(),
                labels: namespace.metadata.labels.unwrap_or_default(),
                annotations: namespace.metadata.annotations.unwrap_or_default(),
            };
            (name, Arc::new(meta))
        };
        Ok(list.items.into_iter().map(meta).collect())
    }

    async fn looked(&self, listed: &Listed) -> Result<HashMap<String, Vec<Value>>, String> {
        let mut found: HashMap<String, Vec<Value>> = HashMap::new();
        let mut at: Option<String> = None;
        loop {
            let page = self.lister.page(&self.client, &listed.url(), FIRST_PAGE, at.as_deref()).await;
            let text = page.map_err(|error| match error {
                PageError::Gone(_) => "410: the list grew too old".to_owned(),
                PageError::Unread(cause) => cause,
            })?;
            let page: Page<'_> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            for item in page.items.into_iter().flatten() {
                let object = json::parse(item.get()).map_err(|error| error.to_string())?;
                let namespace = object.at(&["metadata", "namespace"]).and_then(|name| name.as_text());
                found.entry(namespace.unwrap_or_default().to_owned()).or_default().push(object);
            }
            at = page.metadata.next.filter(|next| !next.is_empty());
            if at.is_none() {
                return Ok(found);
            }
        }
    }
}

/// A page after it was judged.
struct JudgedPage {
    seen: Vec<Seen>,
    faults: Vec<String>,
    objects: usize,
    next: Option<String>,
    remaining: u64,
}

async fn judge_page(judges: Arc<Judges>, desk: Desk, text: String) -> Result<JudgedPage, String> {
    let judging = tokio::task::spawn_blocking(move || {
        let page: Page<'_> = serde_json::from_str(&text).map_err(|error| format!("the list: {error}"))?;
        let items = page.items.unwrap_or_default();
        let (seen, faults) = judges.judge(&desk, &items);
        Ok(JudgedPage {
            seen,
            faults,
            objects: items.len(),
            next: page.metadata.next.filter(|next| !next.is_empty()),
            remaining: page.metadata.remaining_item_count.unwrap_or_default(),
        })
    });
    judging.await.unwrap_or_else(|_| Err("judging panicked".into()))
}
