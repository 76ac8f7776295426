//! Whoever writes into the cluster what audits found does so when one has ended.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::store::Audit;

/// Writes what an audit found.
pub(super) trait AfterAudit: Send + 'static {
    /// Writes, and tells how that went.
    fn after(&mut self, audit: &Audit) -> impl Future<Output = ()> + Send;
}

/// Has somebody write after each audit that went through, until the process stops. Of several that ended meanwhile some
/// are left out: the next one tells all that there is to tell.
pub(super) fn start(
    mut writer: impl AfterAudit,
    mut audits: broadcast::Receiver<Arc<Audit>>,
    mut stopped: watch::Receiver<bool>,
) {
    tokio::spawn(async move {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = follow(&mut writer, &mut audits) => {}
        }
    });
}

async fn follow(writer: &mut impl AfterAudit, audits: &mut broadcast::Receiver<Arc<Audit>>) {
    loop {
        match audits.recv().await {
            // What an audit did not look at to its end says nothing new of what it did not come to.
            Ok(audit) if audit.state.is_through() => writer.after(&audit).await,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
