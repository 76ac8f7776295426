//! Tells one target: what there is, when it may, and again until it is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::collect::Source;
use super::desk::{Entry, LOOK, LastError};
use super::faults::Faults;
use super::notice::Notice;
use super::send::{self, NotSent};
use crate::config::notifications::Event;
use crate::scan::random;
use crate::store::Stored;
use crate::telemetry::NotificationMetrics;

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How long a message is sent again that nobody takes, and one that is refused as it is.
const PATIENCE: Duration = Duration::from_hours(24);
const PATIENCE_WITH_A_NO: Duration = Duration::from_hours(1);

/// How often is written down that there was nothing to tell.
const WRITTEN: SignedDuration = SignedDuration::from_hours(1);

/// Notices of one event that are on their way.
#[derive(Debug)]
struct Waiting {
    notices: Vec<(Notice, String)>,
    /// Up to when they tell; none for what is not kept.
    through: Option<Timestamp>,
    /// Exemptions that they tell of before their end.
    telling: Vec<(String, Timestamp)>,
    since: Instant,
}

/// Up to when a target has been told of an event.
#[derive(Debug, Clone, Copy)]
struct Mark {
    through: Timestamp,
    /// As the store has it.
    written: Timestamp,
}

/// Tells one target.
pub(super) struct Teller {
    entry: Arc<Entry>,
    source: Source,
    metrics: NotificationMetrics,
    /// From when on a target is told that was never told before.
    born: Timestamp,
    marks: BTreeMap<Event, Mark>,
    waiting: BTreeMap<Event, Waiting>,
    told: BTreeMap<Event, Instant>,
    /// Exemptions that were told of before their end: see [`super::endings`].
    endings: BTreeSet<String>,
    faults: Faults,
    failures: u32,
    retry: Option<Instant>,
}

impl Teller {
    pub(super) fn new(entry: Arc<Entry>, source: Source, metrics: NotificationMetrics, born: Timestamp) -> Self {
        Self {
            entry,
            source,
            metrics,
            born,
            marks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            endings: BTreeSet::new(),
            faults: Faults::default(),
            failures: 0,
            retry: None,
        }
    }

    /// Goes on for ever.
    pub(super) async fn run(mut self) {
        let mut is_away = false;
        loop {
            match self.look().await {
                Ok(()) => is_away = false,
                Err(error) => {
                    if !is_away {
                        let target = &self.entry.target.name;
                        tracing::warn!(%error, %target, "what there is to tell cannot be read; it is tried again");
                    }
                    is_away = true;
                }
            }
            self.deliver().await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Puts together what there is to tell, of each event that nothing waits of.
    async fn look(&mut self) -> Stored<()> {
        let now = Timestamp::now();
        let target = self.entry.clone();
        let events = &target.target.events;
        if events.contains(&Event::Components) {
            self.look_for_faults(now).await;
        }
        if self.marks.is_empty() {
            (self.marks, self.endings) = self.begin().await?;
        }
        for event in events.iter().copied().filter(|event| *event != Event::Components) {
            let Some(mark) = self.marks.get(&event).copied() else { continue };
            let pause = target.target.pause;
            let is_early = self.told.get(&event).is_some_and(|told| told.elapsed() < pause);
            if is_early || self.waiting.contains_key(&event) {
                continue;
            }
            let due = self.source.due(&target.target, event, (mark.through, now), &self.endings).await?;
            let Some(through) = due.through else { continue };
            if due.notices.is_empty() {
                let written = if through.duration_since(mark.written) > WRITTEN {
                    self.source.store.set_notified(&target.target.name, event.as_str(), through).await?;
                    through
                } else {
                    mark.written
                };
                self.marks.insert(event, Mark { through, written });
            } else {
                let notices = self.parcels(event, due.notices, through);
                let through = Some(through);
                let waiting = Waiting { notices, through, telling: due.telling, since: Instant::now() };
                self.waiting.insert(event, waiting);
            }
        }
        Ok(())
    }

    /// Reads up to when, and of which endings, the target has been told; who was never told is told from now on, which is
    /// written down.
    async fn begin(&self) -> Stored<(BTreeMap<Event, Mark>, BTreeSet<String>)> {
        let target = &self.entry.target;
        let known = self.source.store.notified(&target.name).await?;
        let mut marks = BTreeMap::new();
        for event in target.events.iter().copied() {
            let through = known.get(event.as_str()).copied();
            if through.is_none() {
                self.source.store.set_notified(&target.name, event.as_str(), self.born).await?;
            }
            let through = through.unwrap_or(self.born);
            marks.insert(event, Mark { through, written: through });
        }
        Ok((marks, known.into_keys().collect()))
    }

    async fn look_for_faults(&mut self, now: Timestamp) {
        let mut failing = self.source.around.faults();
        if let Err(error) = self.source.store.ping().await {
            failing.insert("store".to_owned(), error.to_string());
        } else if let Ok(ended) = self.source.ended(1).await
            && let Some(audit) = ended.first().filter(|audit| !audit.last.unread.is_empty())
        {
            let unread: Vec<String> =
                audit.last.unread.iter().map(|(kind, cause)| format!("{kind} cannot be read: {cause}")).collect();
            failing.insert("audit".to_owned(), unread.join("; "));
        }
        let notices = self.faults.look(&failing, &self.source.cluster, now);
        if notices.is_empty() {
            return;
        }
        let more = self.parcels(Event::Components, notices, now);
        if let Some(waiting) = self.waiting.get_mut(&Event::Components) {
            waiting.notices.extend(more);
        } else {
            let waiting = Waiting { notices: more, through: None, telling: Vec::new(), since: Instant::now() };
            self.waiting.insert(Event::Components, waiting);
        }
    }

    /// Gives each notice its id: the same one for the same news, so that a receiver can tell what it has.
    fn parcels(&self, event: Event, notices: Vec<Notice>, at: Timestamp) -> Vec<(Notice, String)> {
        let id = |notice: &Notice| {
            let mut hash = Sha256::new();
            let Notice { recipient, owner, resolved, .. } = notice;
            hash.update(format!("{:?}", (&self.entry.target.name, event, at, recipient, owner, resolved)));
            format!("msg-{}", HEXLOWER.encode(hash.finalize().get(..12).unwrap_or_default()))
        };
        notices.into_iter().map(|notice| (notice.clone(), id(&notice))).collect()
    }

    /// Sends what waits, unless it is too early to try again.
    async fn deliver(&mut self) {
        if self.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let (mut failed, mut is_away) = (None, false);
        for event in Event::ALL {
            let Some(mut waiting) = self.waiting.remove(&event) else { continue };
            let mut left = Vec::new();
            for (notice, id) in std::mem::take(&mut waiting.notices) {
                if is_away {
                    left.push((notice, id));
                    continue;
                }
                match send::send(&self.entry.target, &notice, &id).await {
                    Ok(()) => self.took(event),
                    Err(error) => {
                        is_away = matches!(error, NotSent::Later { .. });
                        let patience = if is_away { PATIENCE } else { PATIENCE_WITH_A_NO };
                        if waiting.since.elapsed() > patience {
                            self.let_go(event, &notice, &error);
                        } else {
                            left.push((notice, id));
                        }
                        failed = Some(error);
                    }
                }
            }
            if left.is_empty() {
                self.settle(event, waiting.through, waiting.telling).await;
            } else {
                self.waiting.insert(event, Waiting { notices: left, ..waiting });
            }
        }
        self.after(failed.as_ref());
    }

    fn took(&mut self, event: Event) {
        let now = Timestamp::now();
        self.told.insert(event, Instant::now());
        self.metrics.delivered(&self.entry.target.name, now.as_second());
        self.entry.note(|status| {
            status.delivered = status.delivered.saturating_add(1);
            status.last_delivery = Some(now);
        });
    }

    fn let_go(&self, event: Event, notice: &Notice, error: &NotSent) {
        let findings = if event == Event::Findings { notice.count } else { 0 };
        let target = &self.entry.target.name;
        tracing::error!(%target, %event, findings, %error, "a notification was taken by nobody, and is let go of");
        self.metrics.dropped(target, findings);
        self.entry.note(|status| {
            status.dropped = status.dropped.saturating_add(1);
            status.dropped_findings = status.dropped_findings.saturating_add(findings);
        });
    }

    /// Everything up to a time has been told.
    async fn settle(&mut self, event: Event, through: Option<Timestamp>, telling: Vec<(String, Timestamp)>) {
        let Some(through) = through else { return };
        for (ending, end) in telling {
            if let Err(error) = self.source.store.set_notified(&self.entry.target.name, &ending, end).await {
                tracing::warn!(%error, %ending, "it cannot be written down that a target was told of the end to come");
            }
            self.endings.insert(ending);
        }
        let target = &self.entry.target.name;
        let written = match self.source.store.set_notified(target, event.as_str(), through).await {
            Ok(()) => through,
            // Only a process that ends now would tell it again.
            Err(error) => {
                tracing::warn!(%error, %target, %event, "it cannot be written down that a target was told");
                self.marks.get(&event).map_or(through, |mark| mark.written)
            }
        };
        self.marks.insert(event, Mark { through, written });
    }

    /// Notes how it went, and when the next attempt is made.
    fn after(&mut self, failed: Option<&NotSent>) {
        let waiting = self.waiting.values().map(|waiting| waiting.notices.len()).sum();
        let target = &self.entry.target.name;
        self.metrics.waiting(target, waiting);
        let Some(error) = failed else {
            if self.failures > 0 && waiting == 0 {
                tracing::info!(%target, failures = self.failures, "a target takes notifications again");
            }
            (self.failures, self.retry) = (0, None);
            self.entry.note(|status| (status.waiting, status.next_attempt) = (waiting, None));
            return;
        };
        self.metrics.failed(target);
        if self.failures == 0 {
            tracing::warn!(%target, %error, "a notification did not arrive; it is sent again");
        }
        self.failures = self.failures.saturating_add(1);
        let asked = match error {
            NotSent::Later { after, .. } => *after,
            NotSent::Refused { .. } => None,
        };
        let wait = asked.unwrap_or_else(|| back_off(self.failures));
        self.retry = Some(Instant::now() + wait);
        let now = Timestamp::now();
        self.entry.note(|status| {
            status.waiting = waiting;
            status.last_error = Some(LastError { time: now, cause: error.to_string() });
            status.next_attempt = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok());
        });
    }
}

/// Doubles with each failure, and is between half of that and all of it, so that several do not come back at once.
fn back_off(failures: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_WAIT);
    let [share] = random::bytes::<1>().unwrap_or([128]);
    whole / 2 + (whole / 2).mul_f64(f64::from(share) / 255.0)
}
