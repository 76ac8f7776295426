//! Exemptions that stand in the cluster as custom resources: watched where their definitions are, and told in their
//! status how they stand.

pub mod definitions;
mod once;
mod status;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use tokio::sync::Notify;

use super::inventory::find;
use crate::policy::Source;
use crate::policy::exemption::{ExemptionKind, ExemptionName, ExemptionSpec, Written};

pub use once::{Once, list};
pub use status::Standing;

/// API group of Gatepost's own objects.
pub const GROUP: &str = "gatepost.dev";
/// The version that is served.
pub const VERSION: &str = "v1alpha1";
/// How long to wait before definitions that are not there are looked for again.
const MISSING_KIND: Duration = Duration::from_secs(15);
/// How long to wait after a failed look-up.
const RETRY: Duration = Duration::from_secs(2);

/// What becomes of the cluster's exemptions.
pub trait Follower: Send + Sync {
    /// Puts all of them in force, whenever one has changed.
    fn put_in_force(&self, all: Vec<Arc<Written>>);

    /// Says how one stands at an instant.
    fn standing(&self, written: &Arc<Written>, now: Timestamp) -> Standing;

    /// Is told when one last excused something, in whatever process that was.
    fn note_use(&self, name: &ExemptionName, last: Timestamp);

    /// Says when one last excused something.
    fn last_used(&self, name: &ExemptionName) -> Option<Timestamp>;
}

/// One that the watch has delivered.
#[derive(Debug, Clone)]
struct Known {
    written: Arc<Written>,
    generation: Option<i64>,
    status: status::Status,
}

/// Watches Exemptions and ClusterExemptions.
pub struct ExemptionWatch {
    client: Client,
    follower: Box<dyn Follower>,
    known: Mutex<BTreeMap<ExemptionName, Known>>,
    /// Something has changed that a status may have to tell.
    changed: Notify,
}

impl ExemptionWatch {
    /// Watches for ever; every change is in force as soon as it is delivered.
    pub fn start(client: Client, follower: impl Follower + 'static) {
        let (follower, known) = (Box::new(follower), Mutex::default());
        let watch = Arc::new(Self { client, follower, known, changed: Notify::new() });
        for kind in [ExemptionKind::Exemption, ExemptionKind::ClusterExemption] {
            tokio::spawn(watch.clone().watch(kind));
        }
        tokio::spawn(watch.keep_statuses());
    }

    async fn watch(self: Arc<Self>, kind: ExemptionKind) {
        loop {
            match find(&self.client, GROUP, kind.as_str()).await {
                Ok(Some(resource)) => self.take_in(kind, &resource).await,
                Ok(None) => tokio::time::sleep(MISSING_KIND).await,
                Err(error) => {
                    tracing::warn!(kind = kind.as_str(), %error, "exemptions could not be looked up, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Takes events in until the definition is gone.
    async fn take_in(&self, kind: ExemptionKind, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let mut events = pin!(watcher(api, Config::default()).default_backoff());
        let mut listed = Vec::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed = Vec::new(),
                Ok(Some(Event::InitApply(object))) => listed.extend(read(kind, object)),
                Ok(Some(Event::InitDone)) => {
                    let listed = std::mem::take(&mut listed);
                    self.change(|known| {
                        known.retain(|name, _| name.kind != kind);
                        known.extend(listed);
                    });
                }
                Ok(Some(Event::Apply(object))) => self.change(|known| {
                    known.remove(&name_of(kind, &object));
                    known.extend(read(kind, object));
                }),
                Ok(Some(Event::Delete(object))) => self.change(|known| {
                    known.remove(&name_of(kind, &object));
                }),
                Ok(None) => return,
                Err(error) => {
                    if matches!(find(&self.client, GROUP, kind.as_str()).await, Ok(None)) {
                        tracing::warn!(kind = kind.as_str(), "the definition is gone, and its exemptions with it");
                        return self.change(|known| known.retain(|name, _| name.kind != kind));
                    }
                    let kind = kind.as_str();
                    tracing::warn!(kind, %error, "watch of exemptions failed, trying again; known ones stay in force");
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ExemptionName, Known>)) {
        // Held until it is in force, so that a later change of the other kind is not overtaken.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<Arc<Written>> = known.values().map(|known| known.written.clone()).collect();
        change(&mut known);
        let after: Vec<Arc<Written>> = known.values().map(|known| known.written.clone()).collect();
        for (name, used) in known.iter().filter_map(|(name, known)| Some((name, known.status.last_used()?))) {
            self.follower.note_use(name, used);
        }
        // A status is no change of what is in force.
        if before != after {
            self.follower.put_in_force(after);
        }
        drop(known);
        self.changed.notify_one();
    }
}

fn name_of(kind: ExemptionKind, object: &DynamicObject) -> ExemptionName {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    ExemptionName { kind, namespace: text(&object.metadata.namespace), name: text(&object.metadata.name) }
}

/// Reads an object; the definition's schema lets through nothing that cannot be read, unless it is another one.
fn read(kind: ExemptionKind, mut object: DynamicObject) -> Option<(ExemptionName, Known)> {
    let name = name_of(kind, &object);
    let spec = object.data.get_mut("spec").map(serde_json::Value::take).unwrap_or_default();
    let status = object.data.get_mut("status").map(serde_json::Value::take).unwrap_or_default();
    match serde_json::from_value::<ExemptionSpec>(spec) {
        Ok(spec) => {
            let source = Source::new("cluster", "");
            let written = Arc::new(Written { name: name.clone(), spec, source });
            let status = serde_json::from_value(status).unwrap_or_default();
            Some((name, Known { written, generation: object.metadata.generation, status }))
        }
        Err(error) => {
            tracing::warn!(exemption = %name, %error, "an exemption cannot be read, and excuses nothing");
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
