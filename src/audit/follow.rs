//! Watches of metadata that are kept from one audit to the next: which objects have changed, and which are gone.
//!
//! Only names of what changed are kept, and no more than [`MOST`] of a kind: whoever cannot be followed is compared by a
//! list of metadata.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::WatchParams;
use kube::client::Body;
use kube::core::Request;
use serde::Deserialize;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::kinds::Listed;
use super::owner::digest;
use crate::policy::GroupVersionKind;
use crate::report::finding::ObjectKey;
use crate::telemetry::audit::Cost;

/// Changes of a kind that are kept; after more it is compared by a list.
const MOST: usize = 20_000;
/// Seconds after which the API server ends a watch, which then goes on.
const LENGTH: u32 = 280;
/// Longest silence; the API server sends a bookmark every minute.
const SILENCE: Duration = Duration::from_secs(150);
/// First and longest wait after a failure.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// Longest event that is taken for one.
const LONGEST_EVENT: usize = 8 << 20;

/// What happened to the objects of a kind, by the numbers that stand for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Those that are new or otherwise: namespace and name.
    pub changed: HashMap<u128, (String, String)>,
    /// Those that are gone.
    pub gone: HashSet<u128>,
}

#[derive(Debug, Default)]
struct Noted {
    changes: Changes,
    /// The watch stands, and has missed nothing.
    is_live: bool,
    /// It missed something, or may not be kept.
    is_lost: bool,
}

/// A kind that is followed, until this is dropped.
#[derive(Debug)]
pub struct Followed {
    noted: Arc<Mutex<Noted>>,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    /// Follows a kind from a resource version on.
    pub fn start(client: Client, cost: Cost, cluster: String, listed: &Listed, version: String) -> Self {
        let noted = Arc::new(Mutex::new(Noted::default()));
        let watch = Watch { client, cost, cluster, url: listed.url(), kind: listed.kind.clone(), noted: noted.clone() };
        Self { noted, task: tokio::spawn(watch.run(version)).abort_handle() }
    }

    /// Takes what happened since the last time; none where the watch does not stand now, so that something may be missing.
    pub fn take(&self) -> Option<Changes> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        (noted.is_live && !noted.is_lost).then(|| std::mem::take(&mut noted.changes))
    }
}

struct Watch {
    client: Client,
    cost: Cost,
    cluster: String,
    url: String,
    kind: GroupVersionKind,
    noted: Arc<Mutex<Noted>>,
}

/// How a watch ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It can go on.
    Closed,
    /// It cannot be had now.
    Failed,
    /// It cannot go on from here (410), or not at all.
    Lost,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: EventObject,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EventObject {
    metadata: EventMeta,
    code: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EventMeta {
    name: String,
    namespace: String,
    resource_version: String,
}

impl Watch {
    async fn run(self, mut version: String) {
        let [first, longest] = WAITS;
        let mut wait = first;
        loop {
            let before = version.clone();
            let end = self.stream(&mut version).await;
            if self.is_over(&end) {
                return;
            }
            wait = if version == before && end == End::Failed { wait.saturating_mul(2).min(longest) } else { first };
            sleep(wait).await;
        }
    }

    /// Takes note of how a stream ended; returns whether the watch ends with it.
    fn is_over(&self, end: &End) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match end {
            End::Closed => {}
            End::Failed => noted.is_live = false,
            End::Lost => (noted.is_lost, noted.changes) = (true, Changes::default()),
        }
        noted.is_lost
    }

    async fn stream(&self, version: &mut String) -> End {
        let params = WatchParams { timeout: Some(LENGTH), bookmarks: true, ..WatchParams::default() };
        let Ok(request) = Request::new(&*self.url).watch_metadata(&params, version) else { return End::Lost };
        self.cost.requests.inc();
        let Ok(answer) = self.client.send(request.map(Body::from)).await else { return End::Failed };
        match answer.status().as_u16() {
            200 => self.noted.lock().unwrap_or_else(PoisonError::into_inner).is_live = true,
            401 | 429 | 500.. => return End::Failed,
            _ => return End::Lost,
        }
        let mut body = answer.into_body();
        let mut text: Vec<u8> = Vec::new();
        loop {
            match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.cost.bytes.inc_by(u64::try_from(data.len()).unwrap_or_default());
                    text.extend_from_slice(&data);
                }
                Ok(None) => return End::Closed,
                Ok(Some(Err(_))) | Err(_) => return End::Failed,
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if let Some(end) = self.note(&line, version) {
                    return end;
                }
            }
            if text.len() > LONGEST_EVENT {
                return End::Lost;
            }
        }
    }

    /// Takes note of an event; returns how the watch ends when it is the last.
    fn note(&self, line: &[u8], version: &mut String) -> Option<End> {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return Some(End::Lost) };
        let EventMeta { name, namespace, resource_version } = event.object.metadata;
        let key = ObjectKey {
            cluster: self.cluster.clone(),
            group: self.kind.group.clone(),
            kind: self.kind.kind.clone(),
            namespace,
            name,
        };
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = &mut noted.changes;
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => {
                changes.gone.remove(&digest(&key));
                changes.changed.insert(digest(&key), (key.namespace, key.name));
            }
            "DELETED" => {
                changes.changed.remove(&digest(&key));
                changes.gone.insert(digest(&key));
            }
            "BOOKMARK" => {}
            _ if event.object.code == Some(410) => return Some(End::Lost),
            _ => return Some(End::Failed),
        }
        let noted = changes.changed.len().saturating_add(changes.gone.len());
        if !resource_version.is_empty() {
            *version = resource_version;
        }
        (noted > MOST).then_some(End::Lost)
    }
}
