//! Objects that rules look up (autoscalers, limit ranges), kept by watches of just the kinds that rules name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, discovery};

use crate::engine::Value;
use crate::engine::review::Inventory;

/// How long to wait before a kind that the cluster does not serve is looked for again.
const MISSING_KIND: Duration = Duration::from_mins(1);

/// How long to wait after a failed look-up.
const RETRY: Duration = Duration::from_secs(2);

/// Objects of one kind, by namespace and name.
type Objects = HashMap<String, BTreeMap<String, Value>>;

/// Watched objects, by `apiGroup/Kind`.
#[derive(Default)]
pub struct InventoryWatch {
    kinds: RwLock<HashMap<String, Objects>>,
}

impl InventoryWatch {
    /// Starts one watch for each kind, given as `apiGroup/Kind` (`core` for the core group).
    pub fn start(client: &Client, kinds: BTreeSet<String>) -> Arc<Self> {
        let inventory = Arc::new(Self::default());
        for kind in kinds {
            tokio::spawn(inventory.clone().watch(client.clone(), kind));
        }
        inventory
    }

    /// Returns what is known for objects of a namespace. A kind whose list has not come yet is missing; one that the
    /// cluster does not serve is empty.
    pub fn of_namespace(&self, namespace: &str) -> Inventory {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        let objects = |objects: &Objects| -> Vec<Value> {
            objects.get(namespace).map(|named| named.values().cloned().collect()).unwrap_or_default()
        };
        kinds.iter().map(|(kind, known)| (kind.clone(), Value::from(objects(known)))).collect()
    }

    async fn watch(self: Arc<Self>, client: Client, kind: String) {
        let (group, name) = kind.split_once('/').unwrap_or(("", &kind));
        let group = if group == "core" { "" } else { group };
        loop {
            match find(&client, group, name).await {
                Ok(Some(resource)) => self.follow(Api::all_with(client.clone(), &resource), &kind).await,
                Ok(None) => {
                    self.replace(&kind, Objects::new());
                    tokio::time::sleep(MISSING_KIND).await;
                }
                Err(error) => {
                    tracing::warn!(kind, %error, "kind could not be looked up, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn follow(&self, api: Api<DynamicObject>, kind: &str) {
        let mut events = pin!(watcher(api, Config::default()).default_backoff());
        let mut listed = Objects::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed = Objects::new(),
                Ok(Some(Event::InitApply(object))) => insert(&mut listed, &object),
                Ok(Some(Event::InitDone)) => self.replace(kind, std::mem::take(&mut listed)),
                Ok(Some(Event::Apply(object))) => self.change(kind, |objects| insert(objects, &object)),
                Ok(Some(Event::Delete(object))) => self.change(kind, |objects| {
                    let (namespace, name) = key(&object);
                    if let Some(named) = objects.get_mut(&namespace) {
                        named.remove(&name);
                    }
                }),
                Ok(None) => return,
                Err(error) => tracing::warn!(kind, %error, "watch of inventory failed, trying again"),
            }
        }
    }

    fn replace(&self, kind: &str, objects: Objects) {
        self.kinds.write().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), objects);
    }

    fn change(&self, kind: &str, change: impl FnOnce(&mut Objects)) {
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        change(kinds.entry(kind.to_owned()).or_default());
    }
}

/// Returns how the cluster serves a kind, none when it does not.
async fn find(client: &Client, group: &str, kind: &str) -> Result<Option<ApiResource>, kube::Error> {
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

fn insert(objects: &mut Objects, object: &DynamicObject) {
    let (namespace, name) = key(object);
    let mut slim = object.clone();
    slim.metadata.managed_fields = None;
    if let Ok(value) = serde_json::to_value(&slim) {
        objects.entry(namespace).or_default().insert(name, Value::from(value));
    }
}
