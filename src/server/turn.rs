//! Of several scanners on one store, one audits, and writes and tells what came of it: whose turn that is.
//!
//! Clocks of several machines are never compared: whoever waits measures by its own how long nothing has come of the one
//! whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::scan::random;
use crate::store::{Store, Turn};
use crate::telemetry::Metrics;

/// How often the turn is taken again, or it is looked whether it can be taken.
const EVERY: Duration = Duration::from_secs(5);
/// How long taking it may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long without it having been taken again whoever has it gives up; well before others take it over.
const LOST: Duration = Duration::from_secs(12);
/// How long others wait for it to be taken again.
const OUTLIVED: Duration = Duration::from_secs(20);

/// Begins to take the turn in a cluster, until the process stops; what is returned says whether this process has it.
pub fn start(
    store: Arc<dyn Store>,
    cluster: &str,
    metrics: Arc<Metrics>,
    mut stopped: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let (tell, told) = watch::channel(false);
    let claim = Claim { store, name: format!("audit/{cluster}"), holder: random::hex::<16>(), seen: None, kept: None };
    tokio::spawn(async move {
        let mut claim = claim;
        loop {
            let has_it = claim.take().await;
            metrics.findings.set_turn(has_it);
            if tell.send_if_modified(|had| std::mem::replace(had, has_it) != has_it) {
                tracing::info!(has_it, "whether this process audits has changed");
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        tell.send_replace(false);
        // Whoever waits need not wait any longer. If it cannot be said, they do.
        let _ = tokio::time::timeout(PATIENCE, claim.store.leave_turn(&claim.name, &claim.holder)).await;
    });
    told
}

/// What is known of the turn.
struct Claim {
    store: Arc<dyn Store>,
    name: String,
    holder: String,
    /// How another's turn was last seen, and since when it is so.
    seen: Option<(Turn, Instant)>,
    /// When this process last took it.
    kept: Option<Instant>,
}

impl Claim {
    /// Takes the turn, or keeps it; returns whether this process has it.
    async fn take(&mut self) -> bool {
        let outlived =
            self.seen.as_ref().filter(|(_, since)| since.elapsed() >= OUTLIVED).map(|(turn, _)| turn.clone());
        let begun = Instant::now();
        let taken = self.store.take_turn(&self.name, &self.holder, outlived);
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(Ok(turn)) if turn.holder == self.holder => {
                (self.kept, self.seen) = (Some(begun), None);
                true
            }
            Ok(Ok(other)) => {
                self.kept = None;
                if self.seen.as_ref().is_none_or(|(seen, _)| *seen != other) {
                    self.seen = Some((other, Instant::now()));
                }
                false
            }
            Ok(Err(_)) | Err(_) => self.kept.is_some_and(|kept| kept.elapsed() < LOST),
        }
    }
}
