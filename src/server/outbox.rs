//! Where decisions of admission go: a scanner, or what this process keeps.

use std::sync::Arc;

use super::ServeError;
use crate::config::Settings;
use crate::scan::Kept;
use crate::scan::client::Client;
use crate::telemetry::Metrics;
use crate::webhook::handlers::App;
use crate::webhook::outbox::courier::{Destination, OwnStore};
use crate::webhook::outbox::{Outbox, Source};

/// Begins to take decisions; none where no requests are answered.
pub fn start(settings: &Settings, metrics: &Metrics) -> Result<Option<Outbox>, ServeError> {
    if !settings.role.answers_requests() {
        return Ok(None);
    }
    let Settings { data_dir, outbox_bytes, .. } = settings;
    let source = Source { name: source(), cluster: settings.cluster() };
    let started = Outbox::start(data_dir, *outbox_bytes, source, metrics.outbox.clone());
    started.map(Some).map_err(ServeError::System)
}

/// Begins to deliver them.
pub fn deliver(settings: &Settings, app: &App, kept: Option<&Kept>) -> Result<(), ServeError> {
    let Some(outbox) = &app.outbox else { return Ok(()) };
    let destination: Option<Arc<dyn Destination>> = match &settings.scanner {
        Some(scanner) => {
            let client =
                Client::new(scanner.clone(), settings.scanner_token_file.clone(), settings.scanner_ca.as_deref());
            Some(Arc::new(client.map_err(ServeError::Scanner)?))
        }
        None => kept.map(|kept| Arc::new(OwnStore(kept.store.clone(), kept.feed.clone())) as Arc<dyn Destination>),
    };
    if let Some(destination) = destination {
        outbox.deliver_to(destination);
    }
    Ok(())
}

/// Returns who reports: in a Pod its name.
fn source() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    format!("webhook/{}", host.as_deref().unwrap_or("local"))
}
