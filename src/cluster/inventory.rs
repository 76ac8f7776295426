//! Objects that rules look up (autoscalers, limit ranges), kept by watches of just the kinds that rules name.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, discovery};
use tokio::task::AbortHandle;

use crate::engine::Value;
use crate::engine::kept::{Kept, looked_up};
use crate::engine::reads::Reads;
use crate::engine::review::Inventory;

/// How long to wait before a kind that the cluster does not serve is looked for again.
const MISSING_KIND: Duration = Duration::from_mins(1);

/// How long to wait after a failed look-up.
const RETRY: Duration = Duration::from_secs(2);

/// Objects of one kind, trimmed to what rules read, by namespace and name.
type Objects = HashMap<String, BTreeMap<String, Value>>;

/// Watched objects, by `apiGroup/Kind`.
pub struct InventoryWatch {
    client: Client,
    kinds: RwLock<HashMap<String, Watched>>,
    /// Tells a watch from an earlier one of the same kind.
    started: AtomicU64,
}

/// One kind that is watched.
struct Watched {
    number: u64,
    kept: Kept,
    task: AbortHandle,
    /// None until the first list has come.
    objects: Option<Objects>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A watch: what is watched, and which one it is.
#[derive(Clone, Copy)]
struct Watch<'a> {
    kind: &'a str,
    number: u64,
    kept: &'a Kept,
}

impl InventoryWatch {
    /// Starts one watch for each kind, given as `apiGroup/Kind` (`core` for the core group) with what is kept of its
    /// objects.
    pub fn start(client: &Client, kinds: &Reads) -> Arc<Self> {
        let inventory =
            Arc::new(Self { client: client.clone(), kinds: RwLock::default(), started: AtomicU64::default() });
        inventory.follow(kinds);
        inventory
    }

    /// Watches exactly these kinds from now on: starts what is new, ends and forgets what is not among them. A kind of
    /// which more is kept than before is listed anew; until that list has come, its objects are known as they were.
    pub fn follow(self: &Arc<Self>, kinds: &Reads) {
        let mut watched = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|kind, _| kinds.contains_key(kind));
        for (kind, kept) in kinds {
            let known = watched.get_mut(kind);
            if known.as_ref().is_some_and(|known| known.kept.covers(kept)) {
                continue;
            }
            let objects = known.and_then(|known| known.objects.take());
            let number = self.started.fetch_add(1, Ordering::Relaxed);
            let task = tokio::spawn(self.clone().watch(kind.clone(), kept.clone(), number)).abort_handle();
            watched.insert(kind.clone(), Watched { number, kept: kept.clone(), task, objects });
        }
    }

    /// Returns what is known for objects of a namespace. A kind whose list has not come yet is missing; one that the
    /// cluster does not serve is empty.
    pub fn of_namespace(&self, namespace: &str) -> Inventory {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        let objects = |objects: &Objects| -> Vec<Value> {
            objects.get(namespace).map(|named| named.values().cloned().collect()).unwrap_or_default()
        };
        let known = |(kind, watched): (&String, &Watched)| Some((kind.clone(), watched.objects.as_ref().map(objects)?));
        kinds.iter().filter_map(known).map(|(kind, objects)| (kind, Value::from(objects))).collect()
    }

    async fn watch(self: Arc<Self>, kind: String, kept: Kept, number: u64) {
        let watch = Watch { kind: &kind, number, kept: &kept };
        let (group, name) = kind.split_once('/').unwrap_or(("", &kind));
        let group = if group == "core" { "" } else { group };
        loop {
            match find(&self.client, group, name).await {
                Ok(Some(resource)) => self.take_in(Api::all_with(self.client.clone(), &resource), watch).await,
                Ok(None) => {
                    self.change(watch, |objects| *objects = Objects::new());
                    tokio::time::sleep(MISSING_KIND).await;
                }
                Err(error) => {
                    tracing::warn!(kind, %error, "kind could not be looked up, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn take_in(&self, api: Api<DynamicObject>, watch: Watch<'_>) {
        let mut events = pin!(watcher(api, Config::default()).default_backoff());
        let mut listed = Objects::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed = Objects::new(),
                Ok(Some(Event::InitApply(object))) => insert(&mut listed, &object, watch.kept),
                Ok(Some(Event::InitDone)) => self.change(watch, |objects| *objects = std::mem::take(&mut listed)),
                Ok(Some(Event::Apply(object))) => {
                    self.change(watch, |objects| insert(objects, &object, watch.kept));
                }
                Ok(Some(Event::Delete(object))) => self.change(watch, |objects| {
                    let (namespace, name) = key(&object);
                    if let Some(named) = objects.get_mut(&namespace) {
                        named.remove(&name);
                    }
                }),
                Ok(None) => return,
                Err(error) => tracing::warn!(kind = watch.kind, %error, "watch of inventory failed, trying again"),
            }
        }
    }

    /// Changes what is known of a kind, unless its watch has been ended.
    fn change(&self, watch: Watch<'_>, change: impl FnOnce(&mut Objects)) {
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = kinds.get_mut(watch.kind).filter(|watched| watched.number == watch.number) {
            change(watched.objects.get_or_insert_default());
        }
    }
}

/// Returns how the cluster serves a kind, none when it does not.
pub(super) async fn find(client: &Client, group: &str, kind: &str) -> Result<Option<ApiResource>, kube::Error> {
    match discovery::group(client, group).await {
        Ok(found) => Ok(found.recommended_kind(kind).map(|(resource, _)| resource)),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn key(object: &DynamicObject) -> (String, String) {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn insert(objects: &mut Objects, object: &DynamicObject, kept: &Kept) {
    let (namespace, name) = key(object);
    if let Ok(value) = serde_json::to_value(object) {
        objects.entry(namespace).or_default().insert(name, looked_up(kept, &Value::from(value)));
    }
}

#[cfg(test)]
mod tests;
