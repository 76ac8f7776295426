//! When a cluster is audited: at the start, then in its turn, when an exemption ends or a date comes, and when somebody
//! asks; one audit at a time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::judges::Judges;
use super::list::Lister;
use super::{Memory, Pass, Progress, Rules, StoreSink, syncs};
use crate::cluster::applications::Applications;
use crate::policy::exemption::ExemptionName;
use crate::store::{Audit, AuditState, Store, Stored, Trigger};
use crate::telemetry::audit::Cost;

/// How long after an audit that could not be kept the next one begins, at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Is told which exemptions excuse something.
pub type Excusing = Box<dyn Fn(&BTreeSet<ExemptionName>) + Send + Sync>;

/// Audits a cluster again and again.
pub struct Auditor {
    /// The cluster.
    pub client: Client,
    /// Its name.
    pub cluster: String,
    /// Where findings are kept.
    pub store: Arc<dyn Store>,
    /// What asks for Applications of Argo CD; none where no cluster can be asked.
    pub applications: Option<Arc<Applications>>,
    /// Returns what is in force; asked once for each audit.
    pub rules: Box<dyn Fn() -> Rules + Send + Sync>,
    /// Is told which exemptions excuse something, after each audit.
    pub excusing: Excusing,
    /// Where it is told what each audit came to.
    pub ended: broadcast::Sender<Arc<Audit>>,
    /// From the end of an audit to the beginning of the next, unless something ends or begins to count before.
    pub interval: Duration,
    /// List requests in a second, at most.
    pub qps: u32,
    /// Whether Secrets are read.
    pub secrets: bool,
    /// Threads that judge.
    pub threads: usize,
    /// Counts what that costs the API server.
    pub cost: Cost,
    /// Whether it is this process's turn: of several on one store, one audits.
    pub turn: watch::Receiver<bool>,
}

/// What others may ask of an [`Auditor`].
#[derive(Debug, Clone)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
    progress: watch::Receiver<Progress>,
    running: Arc<AtomicBool>,
    under_way: UnderWay,
    turn: watch::Receiver<bool>,
}

/// An audit that is to begin.
#[derive(Debug)]
struct Ask {
    trigger: Trigger,
    /// Is told its number; none where nobody wants to know.
    begun: Option<oneshot::Sender<i64>>,
}

impl Ask {
    const fn of(trigger: Trigger) -> Self {
        Self { trigger, begun: None }
    }
}

/// The audit that is under way, and what ends it before its time.
#[derive(Debug, Clone, Default)]
struct UnderWay(Arc<Mutex<Option<(i64, CancellationToken)>>>);

impl UnderWay {
    fn begin(&self, id: i64) -> CancellationToken {
        let cancel = CancellationToken::new();
        self.set(Some((id, cancel.clone())));
        cancel
    }

    fn set(&self, audit: Option<(i64, CancellationToken)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = audit;
    }

    fn get(&self) -> Option<(i64, CancellationToken)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why no audit begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// One is under way, or about to begin.
    #[error("an audit is under way")]
    Busy,
    /// It is another's turn.
    #[error("another process with this store audits: this one waits for its turn")]
    Elsewhere,
}

impl Desk {
    /// Returns the desk of nobody: nothing is under way, and nothing begins.
    #[cfg(test)]
    pub(crate) fn idle() -> Self {
        let (asks, _) = mpsc::channel(1);
        let (_, progress) = watch::channel(Progress::default());
        let (_, turn) = watch::channel(true);
        Self { asks, progress, running: Arc::default(), under_way: UnderWay::default(), turn }
    }

    /// Returns the desk of an auditor whose audit of this number is under way, and what is told when it is cancelled.
    #[cfg(test)]
    pub(crate) fn busy(audit: i64) -> (Self, CancellationToken) {
        let desk = Self { running: Arc::new(AtomicBool::new(true)), ..Self::idle() };
        let cancel = desk.under_way.begin(audit);
        (desk, cancel)
    }

    /// Has an audit begin at once, and returns what is told its number; that ends without one where it cannot begin.
    pub fn ask(&self) -> Result<oneshot::Receiver<i64>, NotNow> {
        if !self.has_turn() {
            return Err(NotNow::Elsewhere);
        }
        if self.running.load(Ordering::Acquire) {
            return Err(NotNow::Busy);
        }
        let (begun, number) = oneshot::channel();
        self.asks.try_send(Ask { begun: Some(begun), ..Ask::of(Trigger::Request) }).map_err(|_| NotNow::Busy)?;
        Ok(number)
    }

    /// Returns whether it is this process that audits.
    pub fn has_turn(&self) -> bool {
        *self.turn.borrow()
    }

    /// Has an audit begin because what is audited has changed: at once, or after the one that is under way.
    pub fn tell_of_change(&self) {
        // Whatever waits already sees the change, too.
        let _ = self.asks.try_send(Ask::of(Trigger::Change));
    }

    /// Has an audit end before its time; returns whether it was the one under way. What it has not come to stays as it is.
    pub fn cancel(&self, audit: i64) -> bool {
        match self.under_way.get().filter(|(id, _)| *id == audit) {
            Some((_, cancel)) => {
                cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Returns the number of the audit that is under way, and whether it was told to end.
    pub fn under_way(&self) -> Option<(i64, bool)> {
        self.under_way.get().map(|(id, cancel)| (id, cancel.is_cancelled()))
    }

    /// Returns how far the audit under way has come; none where none is.
    pub fn progress(&self) -> Option<Progress> {
        self.running.load(Ordering::Acquire).then(|| *self.progress.borrow())
    }
}

impl Auditor {
    /// Begins, until it is told to stop; an audit under way is then left as it is, and the next start abandons it.
    pub fn start(self, stopped: watch::Receiver<bool>) -> Desk {
        let (asks, asked) = mpsc::channel(1);
        let (progress, told) = watch::channel(Progress::default());
        let running = Arc::new(AtomicBool::new(true));
        let under_way = UnderWay::default();
        let turn = self.turn.clone();
        let desk = Desk { asks, progress: told, running: running.clone(), under_way: under_way.clone(), turn };
        tokio::spawn(self.run(asked, progress, (running, under_way), stopped));
        desk
    }

    async fn run(
        self,
        mut asked: mpsc::Receiver<Ask>,
        progress: watch::Sender<Progress>,
        (running, under_way): (Arc<AtomicBool>, UnderWay),
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut memory = Memory::following();
        let judges = Arc::new(Judges::new(self.threads));
        let mut ask = Ask::of(Trigger::Start);
        let mut spent = self.cost.spent();
        let mut turn = self.turn.clone();
        let mut was_lost = false;
        loop {
            if std::mem::take(&mut was_lost) || !*turn.borrow() {
                running.store(false, Ordering::Release);
                // Meanwhile others change what stands in the store.
                memory = Memory::following();
                ask = Ask::of(Trigger::Start);
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                    has_turn = turn.wait_for(|has_turn| *has_turn) => if has_turn.is_err() { return },
                }
            }
            running.store(true, Ordering::Release);
            progress.send_replace(Progress::default());
            let begun = Timestamp::now();
            let audited = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = is_lost(&mut turn) => {
                    under_way.set(None);
                    was_lost = true;
                    tracing::warn!("another process with this store audits from now on: the audit under way is left");
                    continue;
                }
                audited = self.audit(&mut ask, &mut memory, &judges, (&progress, &under_way)) => audited,
            };
            under_way.set(None);
            let now = self.cost.spent();
            tell(&audited, (now.0.saturating_sub(spent.0), now.1.saturating_sub(spent.1)));
            spent = now;
            if let Ok(audit) = &audited {
                // Nobody may want to know.
                let _ = self.ended.send(Arc::new(audit.clone()));
            }
            let pause = if audited.is_ok() { self.interval } else { self.interval.min(PATIENCE) };
            running.store(false, Ordering::Release);
            ask = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = is_lost(&mut turn) => {
                    was_lost = true;
                    continue;
                }
                Some(ask) = asked.recv() => ask,
                () = tokio::time::sleep(jittered(pause)) => Ask::of(Trigger::Schedule),
                // What was to change before the audit began and did not, it could not read.
                () = come(memory.next_change(begun)) => Ask::of(Trigger::Schedule),
            };
        }
    }

    async fn audit(
        &self,
        ask: &mut Ask,
        memory: &mut Memory,
        judges: &Arc<Judges>,
        (progress, under_way): (&watch::Sender<Progress>, &UnderWay),
    ) -> Stored<Audit> {
        let rules = (self.rules)();
        let (digest, now) = (rules.bundle.digest(), Timestamp::now());
        let mut audit = self.store.begin_audit(&self.cluster, ask.trigger, digest, now).await?;
        let cancel = under_way.begin(audit.id);
        if let Some(begun) = ask.begun.take() {
            // Whoever asked may have left.
            let _ = begun.send(audit.id);
        }
        let mut sink = StoreSink {
            store: self.store.clone(),
            cluster: self.cluster.clone(),
            bundle: rules.bundle.clone(),
            now: Timestamp::now,
        };
        let pass = Pass {
            client: self.client.clone(),
            cluster: self.cluster.clone(),
            rules,
            secrets: self.secrets,
            lister: Arc::new(Lister::new(self.qps, self.cost.clone())),
            judges: judges.clone(),
            memory,
            sink: &mut sink,
            progress: progress.clone(),
            now: Timestamp::now,
            cancel,
        };
        let outcome = pass.run().await?;
        (self.excusing)(&outcome.exemptions);
        audit.state = outcome.state.unwrap_or(AuditState::Partial);
        audit.finished = Some(Timestamp::now());
        (audit.objects, audit.evaluated) = (outcome.objects, outcome.evaluated);
        (audit.opened, audit.fixed, audit.closed) =
            (outcome.findings.opened, outcome.findings.fixed, outcome.findings.closed);
        audit.unread = outcome.unread;
        self.store.end_audit(&audit, &outcome.covered, &outcome.counts).await?;
        if let Some(enforcing) = outcome.enforcing.filter(|_| audit.state.is_through()) {
            self.store.note_enforcing(&audit, &enforcing).await?;
        }
        if let Some(applications) = &self.applications {
            syncs::note(&self.store, &self.cluster, applications, Timestamp::now()).await?;
        }
        Ok(audit)
    }
}

/// Waits until a time has come; for ever where there is none.
async fn come(time: Option<Timestamp>) {
    let Some(time) = time else { return std::future::pending().await };
    tokio::time::sleep(time.duration_since(Timestamp::now()).try_into().unwrap_or_default()).await;
}

/// Waits until it is another's turn.
async fn is_lost(turn: &mut watch::Receiver<bool>) {
    if turn.wait_for(|has_turn| !*has_turn).await.is_err() {
        // Nobody says so any more: it stays as it is.
        std::future::pending::<()>().await;
    }
}

/// Logs what an audit came to, and what it cost since the one before, watches included.
fn tell(audited: &Stored<Audit>, (requests, bytes): (u64, u64)) {
    match audited {
        Ok(audit) => {
            for (kind, cause) in &audit.unread {
                tracing::warn!(audit = audit.id, %kind, %cause, "a kind could not be audited; nothing of it is closed");
            }
            let (opened, fixed, closed) = (audit.opened, audit.fixed, audit.closed);
            tracing::info!(
                audit = audit.id,
                state = ?audit.state,
                objects = audit.objects,
                evaluated = audit.evaluated,
                opened,
                fixed,
                closed,
                requests,
                bytes,
                "what stands was audited",
            );
        }
        Err(error) => tracing::error!(%error, "the audit could not be kept"),
    }
}

/// Returns an interval that is up to a tenth longer, so that several Gateposts do not list at the same moment.
fn jittered(interval: Duration) -> Duration {
    let share = Timestamp::now().subsec_microsecond().unsigned_abs() % 100;
    interval.saturating_add(interval.saturating_mul(share) / 1000)
}
