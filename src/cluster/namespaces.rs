//! The metadata of every Namespace, by a watch; and one read of a namespace that the watch does not know yet.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::policy::NamespaceMeta;

/// Longest wait for the one read of an unknown namespace.
const READ_TIMEOUT: Duration = Duration::from_millis(250);

type Read = Arc<OnceCell<Option<Arc<NamespaceMeta>>>>;

/// What the watch has delivered so far.
pub struct Namespaces {
    api: Api<PartialObjectMeta<Namespace>>,
    known: RwLock<HashMap<String, Arc<NamespaceMeta>>>,
    reading: Mutex<HashMap<String, Read>>,
    newest: AtomicU64,
    pub(super) read_timeout: Duration,
}

impl Namespaces {
    /// Builds an empty store; [`Namespaces::watch`] fills it.
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
            known: RwLock::default(),
            reading: Mutex::default(),
            newest: AtomicU64::default(),
            read_timeout: READ_TIMEOUT,
        }
    }

    /// Watches for ever, and calls back each time a full list has been taken in.
    pub async fn watch(&self, synced: impl Fn()) {
        let events = watcher::watcher(self.api.clone(), Config::default()).default_backoff();
        self.follow(events, synced).await;
    }

    /// Takes events in until there are no more.
    pub(super) async fn follow(
        &self,
        events: impl Stream<Item = Result<Event<PartialObjectMeta<Namespace>>, watcher::Error>>,
        synced: impl Fn(),
    ) {
        let mut events = pin!(events);
        let mut listed = HashMap::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed = HashMap::new(),
                Ok(Some(Event::InitApply(namespace))) => {
                    self.note_version(&namespace);
                    let meta = meta(namespace);
                    listed.insert(meta.name.clone(), Arc::new(meta));
                }
                Ok(Some(Event::InitDone)) => {
                    let count = listed.len();
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut listed);
                    tracing::debug!(count, "namespaces listed");
                    synced();
                }
                Ok(Some(Event::Apply(namespace))) => {
                    self.note_version(&namespace);
                    let meta = meta(namespace);
                    let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                    known.insert(meta.name.clone(), Arc::new(meta));
                }
                Ok(Some(Event::Delete(namespace))) => {
                    let name = namespace.metadata.name.unwrap_or_default();
                    self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "watch of namespaces failed, trying again"),
            }
        }
    }

    /// Remembers how far the watch has come; Kubernetes has resource versions comparable as numbers.
    fn note_version(&self, namespace: &PartialObjectMeta<Namespace>) {
        let version = namespace.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        self.newest.fetch_max(version.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Returns the newest resource version that the watch has delivered, 0 before the first.
    pub fn newest_version(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Returns a namespace that the watch has delivered.
    pub fn get(&self, name: &str) -> Option<Arc<NamespaceMeta>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Returns every namespace that the watch has delivered.
    pub fn all(&self) -> Vec<Arc<NamespaceMeta>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Returns a namespace from the watch, or by one read that all who wait for the same name share.
    pub async fn get_or_read(&self, name: &str, deadline: Duration) -> Option<Arc<NamespaceMeta>> {
        if let Some(known) = self.get(name) {
            return Some(known);
        }
        let read = {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            reading.entry(name.to_owned()).or_default().clone()
        };
        let wait = self.read_timeout.min(deadline);
        let found = tokio::time::timeout(wait, read.get_or_init(|| self.read(name))).await;
        let answer = found.ok().cloned();
        self.leave(name, read, answer.is_some());
        answer.flatten()
    }

    /// Forgets a read that is over or that nobody waits for any more; one who gives up early leaves it to the others.
    fn leave(&self, name: &str, read: Read, is_over: bool) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = reading.get(name).is_some_and(|current| Arc::ptr_eq(current, &read));
        let is_last = Arc::strong_count(&read) == 2;
        if is_ours && (is_over || is_last) {
            reading.remove(name);
        }
        // Before the lock goes, so that the next one counts right.
        drop(read);
    }

    async fn read(&self, name: &str) -> Option<Arc<NamespaceMeta>> {
        match self.api.get(name).await {
            Ok(namespace) => Some(Arc::new(meta(namespace))),
            Err(error) => {
                tracing::warn!(namespace = name, %error, "namespace could not be read");
                None
            }
        }
    }
}

pub(super) fn meta(namespace: PartialObjectMeta<Namespace>) -> NamespaceMeta {
    let metadata = namespace.metadata;
    NamespaceMeta {
        name: metadata.name.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
    }
}
