//! Has what audits find anew written into the cluster as Events, where that is asked for.

use std::sync::Arc;

use kube::Client;
use tokio::sync::{broadcast, watch};

use crate::cluster::events::{Given, Writer};
use crate::config::Settings;
use crate::store::{Audit, Store};
use crate::telemetry::Metrics;

/// Begins, until the process stops.
pub fn start(
    settings: &Settings,
    (client, store): (Client, Arc<dyn Store>),
    metrics: &Metrics,
    audits: broadcast::Receiver<Arc<Audit>>,
    stopped: watch::Receiver<bool>,
) {
    if !settings.events {
        return;
    }
    let given = Given {
        client,
        cluster: settings.cluster(),
        store,
        home: settings.namespace.clone(),
        most: settings.events_per_audit.get(),
        metrics: metrics.events.clone(),
    };
    Writer::new(given).start(audits, stopped);
}
