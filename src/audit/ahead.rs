//! Looking ahead: every object of some namespaces is read, and judged as if these enforced something else.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::delivered::Applications;
use super::kinds::{Listed, discover};
use super::likeness::Parts;
use super::list::{Lister, Page, PageError, PageSize, Reached};
use super::owner::{Meta, Owner, Owners, digest};
use super::unjudged::{Unjudged, told};
use crate::admission::foresee::{Foreseen, Standing};
use crate::admission::{Controllers, Reviewer};
use crate::background;
use crate::engine::review::Inventory;
use crate::engine::value::ObjectBuilder;
use crate::engine::{Bundle, Machines, ResolvedPolicy, json};
use crate::input::document::STACK_BYTES;
use crate::policy::{GroupVersionKind, NamespaceMeta};
use crate::report::finding::{Application, ObjectKey};
use crate::telemetry::audit::Cost;

/// So many namespaces are listed one by one; of more, whole kinds are.
const ONE_BY_ONE: usize = 8;
/// Objects that are read of one look, at most.
const MOST: u64 = 100_000;

/// What reads a cluster for a look ahead.
#[derive(Clone)]
pub struct Reader {
    /// The cluster.
    pub client: Client,
    /// List requests in a second, at most.
    pub qps: u32,
    /// Whether Secrets are read.
    pub secrets: bool,
}

/// What a namespace is, and what it would be.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// As it stands.
    pub now: Arc<NamespaceMeta>,
    /// As it would be.
    pub then: Arc<NamespaceMeta>,
    /// Objects that rules look up there.
    pub inventory: Inventory,
}

/// What a look ahead judges by; it must outlive the threads that do.
pub trait Judging: Send + Sync + 'static {
    /// Returns what decides.
    fn reviewer(&self) -> Reviewer<'_>;
    /// Returns rules and policies.
    fn bundle(&self) -> &Bundle;
    /// Returns whose objects were judged as templates.
    fn controllers(&self) -> &Controllers;
}

/// An object that would be denied.
#[derive(Debug)]
pub struct ObjectAhead {
    /// The object.
    pub object: ObjectKey,
    /// Its top owner as `Kind/name`, or itself.
    pub owner: String,
    /// What delivers it.
    pub application: Option<Application>,
    /// What would be denied.
    pub foreseen: Foreseen,
    /// Whether its next change is denied already, as things stand.
    pub is_denied_now: bool,
}

/// What a look ahead found.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Objects that were read.
    pub looked_at: u64,
    /// Those that would be denied.
    pub objects: Vec<ObjectAhead>,
    /// Kinds, and objects of them, that could not be read or judged, each with the reason.
    pub unread: BTreeMap<String, String>,
}

/// What tells an object before the whole is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Meta,
}

/// A page of objects, with what they are judged by.
struct Work<J> {
    judging: Arc<J>,
    proposals: Arc<BTreeMap<String, Proposal>>,
    applications: Arc<Applications>,
    owners: Arc<Owners>,
    kind: GroupVersionKind,
    at: Timestamp,
    text: String,
}

/// What became of a page.
struct Done {
    next: Option<String>,
    objects: usize,
    looked_at: u64,
    ahead: Vec<ObjectAhead>,
    /// The top owners of what makes others, by uid.
    owners: Owners,
    unjudged: Vec<Unjudged>,
}

/// What became of a list.
#[derive(Default)]
struct Listing {
    ahead: Vec<ObjectAhead>,
    owners: Owners,
    unjudged: Vec<Unjudged>,
}

impl Reader {
    /// Looks what of some namespaces' objects would be denied at an instant.
    pub async fn look<J: Judging>(
        &self,
        judging: Arc<J>,
        policies: &[Arc<ResolvedPolicy>],
        proposals: BTreeMap<String, Proposal>,
        applications: Applications,
        at: Timestamp,
    ) -> Ahead {
        let lister = Lister::new(self.qps, Cost::default());
        let served = discover(&self.client, &lister).await;
        let mut ahead = Ahead { unread: served.unread.clone(), ..Ahead::default() };
        let kinds = served.wanted(judging.bundle(), policies, self.secrets);
        let (proposals, applications) = (Arc::new(proposals), Arc::new(applications));
        let mut owners = Arc::new(Owners::new());
        for listed in kinds.iter().filter(|listed| listed.namespaced || listed.kind.is_namespace()) {
            let mut unjudged = Vec::new();
            for url in urls(listed, &proposals) {
                let work = |text| Work {
                    judging: judging.clone(),
                    proposals: proposals.clone(),
                    applications: applications.clone(),
                    owners: owners.clone(),
                    kind: listed.kind.clone(),
                    at,
                    text,
                };
                let found = match self.list(&lister, &url, work, &mut ahead).await {
                    Ok(found) => found,
                    Err(cause) => {
                        ahead.unread.insert(listed.name(), cause);
                        continue;
                    }
                };
                ahead.objects.extend(found.ahead);
                Arc::make_mut(&mut owners).extend(found.owners);
                unjudged.extend(found.unjudged);
            }
            ahead.unread.extend(told(&listed.name(), unjudged.iter()));
        }
        ahead.objects.sort_by(|a, b| a.object.cmp(&b.object));
        ahead
    }

    async fn list<J: Judging>(
        &self,
        lister: &Lister,
        url: &str,
        work: impl Fn(String) -> Work<J>,
        ahead: &mut Ahead,
    ) -> Result<Listing, String> {
        let mut found = Listing::default();
        let (mut size, mut reached, before) = (PageSize::FIRST, Reached::default(), ahead.looked_at);
        loop {
            if ahead.looked_at >= MOST {
                return Err(format!("more than {MOST} objects"));
            }
            let text = match lister.page(&self.client, url, size, reached.at.as_deref()).await {
                Ok(text) => text,
                Err(error) => {
                    reached.go_on(error).map_err(PageError::cause)?;
                    if reached.at.is_none() {
                        // It begins again, and with it what was found.
                        found = Listing::default();
                        ahead.looked_at = before;
                    }
                    continue;
                }
            };
            let bytes = text.len();
            let done = on_a_thread(work(text)).await?;
            size = PageSize::after(done.objects, bytes);
            ahead.looked_at = ahead.looked_at.saturating_add(done.looked_at);
            found.ahead.extend(done.ahead);
            found.owners.extend(done.owners);
            found.unjudged.extend(done.unjudged);
            reached.at = done.next;
            if reached.at.is_none() {
                return Ok(found);
            }
        }
    }
}

/// Returns the paths of the lists that hold a kind's objects of some namespaces.
fn urls(listed: &Listed, proposals: &BTreeMap<String, Proposal>) -> Vec<String> {
    if !listed.namespaced || proposals.len() > ONE_BY_ONE {
        return vec![listed.url()];
    }
    proposals.keys().map(|namespace| listed.url_in(namespace)).collect()
}

/// Judges a page on a thread that gives way to admission and has the stack that deep objects need.
async fn on_a_thread<J: Judging>(work: Work<J>) -> Result<Done, String> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("ahead".into()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        background::step_back();
        let _ = sender.send(work.run());
    });
    started.map_err(|error| format!("no thread: {error}"))?;
    receiver.await.unwrap_or_else(|_| Err("judging panicked".into()))
}

impl<J: Judging> Work<J> {
    fn run(&self) -> Result<Done, String> {
        let page: Page<'_> = serde_json::from_str(&self.text).map_err(|error| format!("the list: {error}"))?;
        let items = page.items.unwrap_or_default();
        let mut done = Done {
            next: page.metadata.next,
            objects: items.len(),
            looked_at: 0,
            ahead: Vec::new(),
            owners: Owners::new(),
            unjudged: Vec::new(),
        };
        let mut machines = Machines::default();
        for item in items {
            let Head { metadata: meta } =
                serde_json::from_str(item.get()).map_err(|error| format!("an object: {error}"))?;
            let judging = AssertUnwindSafe(|| self.object(item, &meta, &mut machines, &mut done));
            let judged = catch_unwind(judging).unwrap_or_else(|_| {
                machines = Machines::default();
                Err("judging it panicked".to_owned())
            });
            if let Err(cause) = judged {
                done.unjudged.push(Unjudged { namespace: meta.namespace, name: meta.name, cause });
            }
        }
        Ok(done)
    }

    fn object(&self, item: &RawValue, meta: &Meta, machines: &mut Machines, done: &mut Done) -> Result<(), String> {
        let kind = &self.kind;
        let namespace = if kind.is_namespace() { &meta.name } else { &meta.namespace };
        let Some(proposal) = self.proposals.get(namespace) else { return Ok(()) };
        done.looked_at = done.looked_at.saturating_add(1);
        let key = ObjectKey {
            cluster: String::new(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };
        let owned = meta.owned(&key, item.get(), &self.owners, self.judging.controllers());
        let top = if owned.top.is_empty() { format!("{}/{}", kind.kind, meta.name) } else { owned.top };
        let template = Parts::read(item.get(), false).map(|parts| parts.hashes()).unwrap_or_default().into();
        done.owners.insert(meta.uid.clone(), Owner { digest: digest(&key), top: top.as_str().into(), template });
        let object = json::parse(item.get()).map_err(|error| format!("it cannot be read: {error}"))?;
        let object = ObjectBuilder::from_value(&object)
            .set(&"apiVersion".into(), kind.api_version())
            .set(&"kind".into(), kind.kind.as_str())
            .build();
        let inventory = proposal.inventory.clone();
        let standing = Standing { kind: kind.clone(), object, told_at: owned.told_at, inventory };
        let reviewer = self.judging.reviewer();
        let foreseen = reviewer.foresee(&standing, &proposal.then, self.at, machines);
        if foreseen.is_empty() {
            return Ok(());
        }
        let now = reviewer.foresee(&standing, &proposal.now, Timestamp::now(), machines);
        done.ahead.push(ObjectAhead {
            object: key,
            owner: top,
            application: meta.application(&self.applications),
            is_denied_now: now.on_update.len() >= foreseen.on_update.len()
                && now.on_create.len() >= foreseen.on_create.len(),
            foreseen,
        });
        Ok(())
    }
}
