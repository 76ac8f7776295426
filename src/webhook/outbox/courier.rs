//! Delivers what waits, in its order, until it is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use super::spool::{Most, Parcel};
use super::{Shared, Source};
use crate::scan::client::{Client, NotTaken};
use crate::scan::feed::Feed;
use crate::scan::random;
use crate::store::{Batch, Decision, Store};
use crate::telemetry::Lost;

/// What one report holds: few enough to be taken in quickly, many enough to catch up.
const MOST: Most = Most { decisions: 500, bytes: 1 << 20 };
/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Who takes reports in.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Takes a report in, whole or not at all.
    async fn take(&self, report: Report<'_>) -> Result<(), NotTaken>;

    /// Takes note that a process answers requests, and since when; what is in the same process knows.
    async fn present(&self, _: &Source, _: Timestamp) -> Result<(), NotTaken> {
        Ok(())
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Who reports.
    pub source: &'a str,
    /// What is reported.
    pub parcel: &'a Parcel,
}

#[async_trait]
impl Destination for Client {
    async fn take(&self, report: Report<'_>) -> Result<(), NotTaken> {
        self.report(report.json()).await
    }

    async fn present(&self, source: &Source, since: Timestamp) -> Result<(), NotTaken> {
        let told = serde_json::json!({"source": source.name, "cluster": source.cluster, "since": since});
        Client::present(self, told.to_string().into()).await
    }
}

/// A store in this process, and who watches it.
#[derive(Debug)]
pub struct OwnStore(pub Arc<dyn Store>, pub Arc<Feed>);

#[async_trait]
impl Destination for OwnStore {
    async fn take(&self, report: Report<'_>) -> Result<(), NotTaken> {
        let taken = self.1.take_in(&*self.0, &report.batch()).await;
        taken.map(drop).map_err(|error| NotTaken::Later { cause: error.to_string(), after: None })
    }
}

impl Report<'_> {
    /// Returns it as the document that the scan endpoint takes in; the decisions go as they were written.
    fn json(&self) -> Bytes {
        let head = serde_json::json!({
            "apiVersion": "gatepost.dev/v1", "kind": "Report", "key": self.parcel.key, "source": self.source,
        });
        let head = head.to_string();
        let decisions = self.parcel.decisions.iter().map(|json| json.len() + 1).sum::<usize>();
        let mut text = Vec::with_capacity(head.len() + decisions + 20);
        text.extend_from_slice(head.trim_end_matches('}').as_bytes());
        text.extend_from_slice(b",\"decisions\":[");
        for (number, json) in self.parcel.decisions.iter().enumerate() {
            text.extend_from_slice(if number == 0 { b"" } else { b"," });
            text.extend_from_slice(json);
        }
        text.extend_from_slice(b"]}");
        text.into()
    }

    fn batch(&self) -> Batch {
        // Written by this program; what an older one wrote otherwise is left out.
        let read = |json: &[u8]| serde_json::from_slice::<Decision>(json).ok();
        Batch {
            api_version: "gatepost.dev/v1".into(),
            kind: "Report".into(),
            key: self.parcel.key.clone(),
            cluster: String::new(),
            source: self.source.to_owned(),
            commit: String::new(),
            decisions: self.parcel.decisions.iter().filter_map(|json| read(json)).collect(),
            checks: Vec::new(),
        }
    }
}

/// Delivers until nothing waits after it was told to end.
pub(super) struct Courier {
    pub(super) shared: Arc<Shared>,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) source: String,
    pub(super) ending: watch::Receiver<bool>,
}

impl Courier {
    pub(super) async fn run(mut self) {
        // Up to here decisions are sent one by one, since one among them is refused.
        let mut alone_until = 0;
        let mut failures = 0_u32;
        loop {
            let parcel = match self.next(alone_until).await {
                Some(parcel) => parcel,
                None if *self.ending.borrow() => return,
                None => {
                    self.wait(None).await;
                    continue;
                }
            };
            loop {
                let report = Report { source: &self.source, parcel: &parcel };
                match self.destination.take(report).await {
                    Ok(()) => {
                        if failures > 0 {
                            tracing::info!(failures, "decisions are reported again");
                        }
                        failures = 0;
                        self.shared.metrics.delivered.inc_by(count(&parcel));
                        self.settle(parcel).await;
                        break;
                    }
                    Err(NotTaken::Refused { .. }) if parcel.decisions.len() > 1 => {
                        alone_until = parcel.last;
                        break;
                    }
                    Err(NotTaken::Refused { status, cause }) => {
                        tracing::error!(%status, cause, "a decision was refused, and is not reported");
                        self.shared.drop_of([0, 1], Lost::Refused);
                        self.settle(parcel).await;
                        break;
                    }
                    Err(NotTaken::Later { cause, after }) => {
                        self.shared.metrics.failures.inc();
                        if failures == 0 {
                            tracing::warn!(cause, "decisions cannot be reported for now; they are kept and sent again");
                        }
                        failures = failures.saturating_add(1);
                        if *self.ending.borrow() {
                            return;
                        }
                        self.wait(Some(after.unwrap_or_else(|| back_off(failures)))).await;
                    }
                }
            }
        }
    }

    async fn next(&self, alone_until: u64) -> Option<Parcel> {
        let shared = self.shared.clone();
        let next = move || {
            let mut dropped = Default::default();
            let mut spool = shared.spool();
            let most = if spool.position() <= alone_until { Most { decisions: 1, ..MOST } } else { MOST };
            let next = spool.next(most, &mut dropped);
            drop(spool);
            shared.drop_of(dropped, Lost::Room);
            next.unwrap_or_else(|error| {
                tracing::warn!(%error, "decisions that wait cannot be read for now");
                None
            })
        };
        let parcel = tokio::task::spawn_blocking(next).await.ok().flatten();
        let oldest = parcel.as_ref().map_or(0, |parcel| parcel.oldest_millis);
        self.shared.oldest_millis.store(oldest, Ordering::Relaxed);
        parcel
    }

    async fn settle(&self, parcel: Parcel) {
        let shared = self.shared.clone();
        // Files are let go of there.
        let _ = tokio::task::spawn_blocking(move || shared.spool().delivered(&parcel)).await;
    }

    /// Waits for something to do, or at most so long; to be told to end is something to do.
    async fn wait(&mut self, at_most: Option<Duration>) {
        let is_ending = *self.ending.borrow();
        let told = async {
            if is_ending || self.ending.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let due = async {
            match at_most {
                Some(time) => tokio::time::sleep(time).await,
                None => self.shared.work.notified().await,
            }
        };
        tokio::select! { () = told => {} () = due => {} }
    }
}

fn count(parcel: &Parcel) -> u64 {
    u64::try_from(parcel.decisions.len()).unwrap_or(u64::MAX)
}

/// Doubles with each failure, and is between half of that and all of it, so that several do not come back at once.
fn back_off(failures: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_WAIT);
    let [share] = random::bytes::<1>().unwrap_or([128]);
    whole / 2 + (whole / 2).mul_f64(f64::from(share) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_an_end_and_are_not_all_alike() {
        for (failures, least, most) in
            [(1, 100, 200), (2, 200, 400), (5, 1600, 3200), (8, 10_000, 20_000), (99, 10_000, 20_000)]
        {
            for _ in 0..50 {
                let wait = back_off(failures).as_millis();
                assert!((least..=most).contains(&wait), "{failures}: {wait}");
            }
        }
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| back_off(5)).collect();
        assert!(waits.len() > 5, "{waits:?}");
    }
}
