//! What others see and ask of those who tell: how each target fares, and a message to try it with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::collect::Source;
use super::notice::Notice;
use super::send::{self, NotSent};
use super::teller::Teller;
use super::{Around, Links};
use crate::config::notifications::{Event, Reach, Target};
use crate::policy::Severity;
use crate::scan::random;
use crate::store::Store;
use crate::telemetry::NotificationMetrics;

/// How often is looked whether targets have changed, and whether there is something to tell.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// How a target fares.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub name: String,
    /// By which way it is told.
    pub kind: &'static str,
    /// Of what.
    pub events: Vec<Event>,
    /// The least severity of findings.
    pub severity: Severity,
    /// Of which namespaces.
    pub namespaces: Reach,
    /// Messages that were delivered since this process began.
    pub delivered: u64,
    /// Messages that wait to be sent again.
    pub waiting: usize,
    /// Messages that nobody took for too long, and that were let go of.
    pub dropped: u64,
    /// Findings that they told of.
    pub dropped_findings: u64,
    /// When a message was last delivered.
    pub last_delivery: Option<Timestamp>,
    /// When one was last not.
    pub last_error: Option<LastError>,
    /// When the next attempt is made, while one is waited for.
    pub next_attempt: Option<Timestamp>,
}

/// Why a message did not arrive.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When.
    pub time: Timestamp,
    /// What stood in the way.
    pub cause: String,
}

/// A target and how it fares, shared with who tells it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) target: Target,
    pub(super) status: Mutex<Status>,
}

impl Entry {
    pub(super) fn new(target: Target) -> Self {
        let status = Status {
            name: target.name.clone(),
            kind: target.way.as_str(),
            events: target.events.iter().copied().collect(),
            severity: target.severity,
            namespaces: target.reach,
            delivered: 0,
            waiting: 0,
            dropped: 0,
            dropped_findings: 0,
            last_delivery: None,
            last_error: None,
            next_attempt: None,
        };
        Self { target, status: Mutex::new(status) }
    }

    /// Changes how it fares.
    pub(super) fn note(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

type Entries = Arc<Mutex<BTreeMap<String, Arc<Entry>>>>;

/// What others may ask.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    entries: Entries,
    cluster: String,
    links: Links,
}

impl Desk {
    /// Returns how every target fares, by name.
    pub fn status(&self) -> Vec<Status> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.status.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Sends a message to a target, once and at once; none where there is no such target.
    pub async fn test(&self, name: &str) -> Option<Result<(), NotSent>> {
        let entry = self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()?;
        let now = Timestamp::now();
        let mut notice = Notice::new(Event::Test, now, &self.cluster);
        notice.title = format!("this is a test: Gatepost reaches {name}");
        notice.url = self.links.page("/");
        let sent = send::send(&entry.target, &notice, &format!("test-{}", random::hex::<12>())).await;
        entry.note(|status| match &sent {
            Ok(()) => status.last_delivery = Some(now),
            Err(error) => status.last_error = Some(LastError { time: now, cause: error.to_string() }),
        });
        Some(sent)
    }
}

/// Has every target told.
pub struct Notifier {
    source: Source,
    metrics: NotificationMetrics,
    desk: Desk,
    tellers: BTreeMap<String, JoinHandle<()>>,
    /// Since when each target is known.
    born: BTreeMap<String, Timestamp>,
}

impl Notifier {
    /// Prepares it.
    pub fn new(
        store: Arc<dyn Store>,
        around: Arc<dyn Around>,
        links: Links,
        cluster: String,
        metrics: NotificationMetrics,
    ) -> Self {
        let desk = Desk { entries: Entries::default(), cluster: cluster.clone(), links: links.clone() };
        let source = Source { store, around, links, cluster };
        Self { source, metrics, desk, tellers: BTreeMap::new(), born: BTreeMap::new() }
    }

    /// Begins, until it is told to stop; nobody is told while it is another process's turn. Must be called on a runtime.
    pub fn start(mut self, mut stopped: watch::Receiver<bool>, mut turn: watch::Receiver<bool>) -> Desk {
        let desk = self.desk.clone();
        let has_turn = *turn.borrow_and_update();
        self.look(has_turn);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => break,
                    Ok(()) = turn.changed() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
                let has_turn = *turn.borrow_and_update();
                self.look(has_turn);
            }
            self.tellers.values().for_each(JoinHandle::abort);
        });
        desk
    }

    /// Begins to tell new targets and those that are otherwise than before, and ends to tell those that are gone.
    fn look(&mut self, has_turn: bool) {
        if !has_turn {
            // Where they have come to stands in the store.
            std::mem::take(&mut self.tellers).values().for_each(JoinHandle::abort);
        }
        let config = self.source.around.config();
        let mut entries = self.desk.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|name, entry| {
            let stays = config.notifications.iter().any(|target| target.name == *name && *target == entry.target);
            if !stays {
                self.born.remove(name);
                self.tellers.remove(name).iter().for_each(JoinHandle::abort);
            }
            stays
        });
        for target in config.notifications.iter() {
            let entry = entries.entry(target.name.clone()).or_insert_with(|| Arc::new(Entry::new(target.clone())));
            // Whoever is named later is told of what happens from then on.
            let born = *self.born.entry(target.name.clone()).or_insert_with(Timestamp::now);
            if has_turn && !self.tellers.contains_key(&target.name) {
                let teller = Teller::new(entry.clone(), self.source.clone(), self.metrics.clone(), born);
                self.tellers.insert(target.name.clone(), tokio::spawn(teller.run()));
            }
        }
        self.metrics.keep(entries.keys().map(String::as_str));
    }
}
