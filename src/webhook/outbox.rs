//! Decisions on their way to where they are kept.
//!
//! A request hands its decision to a bounded queue and never waits. A thread writes what has come in to the data
//! directory every 50 ms, and a task delivers it in order, with retries, until it is taken. What there is no room for
//! goes, the oldest without violations first, and is counted: the audit finds again what still stands.

pub mod courier;
pub mod entry;
mod frame;
mod lane;
mod presence;
mod spool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use self::courier::{Courier, Destination};
use self::entry::{Entry, Sampler, Weight};
use self::spool::{Dropped, Spool};
use crate::scan::random;
use crate::telemetry::{Lost, OutboxMetrics};

/// The folder in the data directory.
const FOLDER: &str = "outbox";
/// What may be lost when a process is killed: how long decisions are gathered before they are written.
const WINDOW: Duration = Duration::from_millis(50);
/// How often what the disk did not take is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Decisions that may wait to be written, and their bytes; those without violations may take half of them.
const QUEUE: usize = 16_384;
const QUEUE_BYTES: usize = 16 << 20;
/// Allowed decisions without violations that are kept: so many at once, then one an interval.
const CLEAN_BURST: u32 = 60;
const CLEAN_INTERVAL: Duration = Duration::from_secs(1);
/// How long a process that stops goes on delivering.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);

/// Takes decisions.
pub struct Outbox {
    sender: SyncSender<Message>,
    clean: Sampler,
    shared: Arc<Shared>,
    source: Source,
    ending: watch::Sender<bool>,
    courier: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Keep(Box<Entry>),
    /// Everything before it is to be written, and then this is told.
    Flush(oneshot::Sender<()>),
}

/// Who reports.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// `webhook/NAME`.
    pub name: String,
    /// The cluster's name; where it is empty, whoever takes the decisions in knows.
    pub cluster: String,
}

/// What those who write and those who deliver share.
#[derive(Debug)]
struct Shared {
    spool: Mutex<Spool>,
    work: Notify,
    metrics: OutboxMetrics,
    /// Decisions that wait to be written down, and their bytes.
    waiting: AtomicU64,
    waiting_bytes: AtomicUsize,
    /// When the oldest that waits was taken in, 0 where nothing waits.
    oldest_millis: AtomicU64,
}

impl Shared {
    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_no_more(&self, count: usize, bytes: usize) {
        self.waiting.fetch_sub(u64::try_from(count).unwrap_or_default(), Ordering::Release);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn drop_of(&self, dropped: Dropped, lost: Lost) {
        for (weight, count) in Weight::ALL.into_iter().zip(dropped).filter(|(_, count)| *count > 0) {
            self.metrics.drop_of(weight.as_str(), lost, count);
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens what an earlier process left in a data directory, and starts the thread that writes. Where the directory
    /// cannot be used decisions are kept in memory: admission goes on.
    pub fn start(data_dir: &Path, limit: u64, source: Source, metrics: OutboxMetrics) -> io::Result<Self> {
        let id = random::hex::<8>();
        let spool = match Spool::open(&data_dir.join(FOLDER), limit, id.clone()) {
            Ok((spool, unreadable)) => {
                if unreadable > 0 {
                    tracing::warn!(bytes = unreadable, "what was being written when the process ended cannot be read");
                }
                spool
            }
            Err(error) => {
                tracing::error!(%error, "decisions are kept in memory until they are reported");
                Spool::in_memory(id)
            }
        };
        let shared = Arc::new(Shared {
            spool: Mutex::new(spool),
            work: Notify::new(),
            metrics,
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicUsize::new(0),
            oldest_millis: AtomicU64::new(0),
        });
        let (sender, receiver) = sync_channel(QUEUE);
        let writer = Writer { receiver, shared: shared.clone(), is_failing: false };
        thread::Builder::new().name("gatepost-outbox".into()).spawn(move || writer.run())?;
        Ok(Self {
            sender,
            clean: Sampler::new(CLEAN_BURST, CLEAN_INTERVAL),
            shared,
            source,
            ending: watch::Sender::new(false),
            courier: Mutex::default(),
        })
    }

    /// Begins to deliver. Must be called on a runtime.
    pub fn deliver_to(&self, destination: Arc<dyn Destination>) {
        let (shared, ending) = (self.shared.clone(), self.ending.subscribe());
        let telling =
            presence::tell(destination.clone(), self.source.clone(), Timestamp::now(), self.ending.subscribe());
        let courier = Courier { shared, destination, source: self.source.name.clone(), ending };
        let both = async move {
            tokio::join!(courier.run(), telling);
        };
        *self.courier.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(both));
    }

    /// Hands a decision in. It never waits: what there is no room for is lost, and counted.
    pub fn keep(&self, mut entry: Entry) {
        entry.decision.cluster.clone_from(&self.source.cluster);
        let (weight, size) = (entry.weight, entry.size());
        if weight == Weight::Clean && !self.clean.takes() {
            self.shared.metrics.sampled_out.inc();
            return;
        }
        let most = if weight == Weight::Clean { QUEUE_BYTES / 2 } else { QUEUE_BYTES };
        let waiting = self.shared.waiting_bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting > most || self.sender.try_send(Message::Keep(Box::new(entry))).is_err() {
            self.shared.wait_no_more(1, size);
            self.shared.metrics.drop_of(weight.as_str(), Lost::Queue, 1);
        }
    }

    /// Writes what has come in, and delivers what can be delivered within a few seconds; the rest waits on disk.
    pub async fn end(&self) {
        let (written, is_written) = oneshot::channel();
        if self.sender.try_send(Message::Flush(written)).is_ok() {
            let _ = tokio::time::timeout(LAST_DELIVERIES, is_written).await;
        }
        self.ending.send_replace(true);
        let courier = self.courier.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(courier) = courier {
            let _ = tokio::time::timeout(LAST_DELIVERIES, courier).await;
        }
    }

    /// Shows what waits where metrics are read.
    pub fn show(&self) {
        let metrics = &self.shared.metrics;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // In this order: what is written down meanwhile is counted twice rather than not at all.
        let waiting = self.shared.waiting.load(Ordering::Acquire);
        let spool = self.shared.spool();
        metrics.queued.set(gauge(spool.len().saturating_add(waiting)));
        metrics.bytes.set(gauge(spool.bytes()));
        metrics.unwritten_bytes.set(gauge(spool.unwritten_bytes()));
        drop(spool);
        let oldest = self.shared.oldest_millis.load(Ordering::Relaxed);
        let age = if oldest == 0 { 0 } else { now_millis().saturating_sub(oldest) / 1000 };
        metrics.oldest_age.set(gauge(age));
    }
}

fn now_millis() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// Writes what comes in.
struct Writer {
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let first = if self.is_failing {
                self.receiver.recv_timeout(RETRY)
            } else {
                self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let is_over = matches!(first, Err(RecvTimeoutError::Disconnected));
            let (entries, flushed) = self.gather(first.ok());
            self.commit(entries);
            if let Some(flushed) = flushed {
                let _ = flushed.send(());
            }
            if is_over {
                return;
            }
        }
    }

    /// Gathers what comes in within the window.
    fn gather(&self, first: Option<Message>) -> (Vec<Entry>, Option<oneshot::Sender<()>>) {
        let until = Instant::now() + WINDOW;
        let mut entries = Vec::new();
        let mut message = first;
        while let Some(next) = message {
            match next {
                Message::Keep(entry) => entries.push(*entry),
                Message::Flush(flushed) => return (entries, Some(flushed)),
            }
            message = self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        }
        (entries, None)
    }

    fn commit(&mut self, entries: Vec<Entry>) {
        let (count, size) = (entries.len(), entries.iter().map(Entry::size).sum());
        // Texts and numbers only, which can always be written.
        let json = |entry: &Entry| Some((entry.weight, serde_json::to_vec(&entry.decision).ok()?.into_boxed_slice()));
        let decisions: Vec<(Weight, Box<[u8]>)> = entries.iter().filter_map(json).collect();
        drop(entries);
        let (dropped, written) = self.shared.spool().commit(decisions, now_millis());
        self.shared.wait_no_more(count, size);
        self.shared.drop_of(dropped, Lost::Room);
        if let Err(error) = &written {
            self.shared.metrics.write_errors.inc();
            // Once, not with every write: the disk may stay full for long.
            if !self.is_failing {
                tracing::error!(%error, "decisions cannot be written down; they are kept in memory until they are reported");
            }
        } else if self.is_failing {
            tracing::info!("decisions are written down again");
        }
        self.is_failing = written.is_err();
        self.shared.work.notify_one();
    }
}
