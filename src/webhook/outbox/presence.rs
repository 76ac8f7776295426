//! Says, again and again, that this process answers requests: who keeps what was decided then knows when nobody did.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Source;
use super::courier::Destination;

/// How often. Whoever was not heard of for much longer was away.
const EVERY: Duration = Duration::from_secs(15);
/// How long the last one may take, when the process ends.
const LAST: Duration = Duration::from_secs(2);

/// Tells until it is told to end, and once more then: so a process that ends by itself is known to the last.
pub(super) async fn tell(
    destination: Arc<dyn Destination>,
    source: Source,
    since: Timestamp,
    mut ending: watch::Receiver<bool>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_heard = true;
    loop {
        let is_ending = tokio::select! {
            _ = ticks.tick() => false,
            () = ended(&mut ending) => true,
        };
        if is_ending {
            let _ = timeout(LAST, destination.present(&source, since)).await;
            return;
        }
        match destination.present(&source, since).await {
            Ok(()) => is_heard = true,
            // That it cannot be reached is said of decisions; the next one tells the same.
            Err(error) if is_heard => {
                tracing::debug!(%error, "nobody takes in that this process is here");
                is_heard = false;
            }
            Err(_) => {}
        }
    }
}

/// Waits to be told to end, or for whoever would tell to be gone.
async fn ended(ending: &mut watch::Receiver<bool>) {
    drop(ending.wait_for(|is_ending| *is_ending).await);
}
