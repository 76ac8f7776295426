//! Has the store let go of what is too old, and shows what it holds.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Lifetime, Settings};
use crate::store::{Audit, Facet, Filter, PageQuery, Retention, Store, TimeSort};
use crate::telemetry::Metrics;

/// How often it is looked at what the store holds: about as often as metrics are collected.
const LOOK: Duration = Duration::from_secs(15);
/// Audits that are looked through for the last one that has ended.
const AUDITS: usize = 10;
/// More pairs of severity and action than there are.
const PAIRS: usize = 100;

/// How often what is too old goes, and first so long after the start: what starts has other things to do.
const PRUNE: Duration = Duration::from_hours(1);
const FIRST: Duration = Duration::from_mins(2);

/// Begins, until the process stops.
pub fn start(settings: &Settings, store: Arc<dyn Store>, metrics: Arc<Metrics>, mut stopped: watch::Receiver<bool>) {
    let (decisions, history) = (settings.keep_decisions.clone(), settings.keep_history.clone());
    tokio::spawn(async move {
        let mut due = Instant::now() + FIRST;
        loop {
            show(&*store, &metrics).await;
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if Instant::now() < due {
                continue;
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = prune(&*store, &metrics, retention(&decisions, &history, Timestamp::now())) => {}
            }
            due = Instant::now() + PRUNE;
        }
    });
}

async fn show(store: &dyn Store, metrics: &Metrics) {
    // What is wrong is told by those who need an answer.
    if let Ok(bytes) = store.size().await {
        metrics.store.set_size(bytes);
    }
    let open = Filter { state: vec!["open".into()], ..Filter::default() };
    if let Ok(counts) = store.cross(&open, [Facet::Severity, Facet::Action], PAIRS).await {
        metrics.findings.set_open(&counts);
    }
    let newest = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit: AUDITS };
    let has_ended = |audit: &&Audit| audit.state.is_through();
    if let Ok(audits) = store.audits(&newest).await
        && let Some(audit) = audits.items.iter().find(has_ended)
    {
        metrics.findings.set_audit(audit);
    }
}

async fn prune(store: &dyn Store, metrics: &Metrics, retention: Retention) {
    match store.prune(retention).await {
        Ok(()) => metrics.store.set_pruned(Timestamp::now().as_second()),
        Err(error) => tracing::warn!(%error, "what is too old could not be let go of; it is tried again in an hour"),
    }
}

fn retention(decisions: &Lifetime, history: &Lifetime, now: Timestamp) -> Retention {
    let before = |lifetime: &Lifetime| {
        now.checked_sub(SignedDuration::from_secs(lifetime.seconds())).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    Retention { decisions_before: before(decisions), history_before: before(history) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_as_long_as_it_is_told() {
        let now: Timestamp = "2026-05-15T00:00:00Z".parse().unwrap();
        let kept = retention(&"14d".parse().unwrap(), &"1000y".parse().unwrap(), now);
        assert_eq!(kept.decisions_before, "2026-05-01T00:00:00Z".parse().unwrap());
        assert!(kept.history_before < "1100-01-01T00:00:00Z".parse().unwrap());
    }
}
