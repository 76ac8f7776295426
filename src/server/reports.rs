//! Has what audits found written into the cluster, where that is asked for.

use std::sync::Arc;

use kube::Client;
use tokio::sync::{broadcast, watch};

use crate::cluster::reports::{Given, Writer};
use crate::config::{PolicyReports, Settings};
use crate::report::policy_report::Dialect;
use crate::store::{Audit, Store};
use crate::telemetry::Metrics;
use crate::webhook::health::Readiness;

/// Begins, until the process stops.
pub fn start(
    settings: &Settings,
    (client, store): (Client, Arc<dyn Store>),
    (metrics, readiness): (&Metrics, Arc<Readiness>),
    audits: broadcast::Receiver<Arc<Audit>>,
    stopped: watch::Receiver<bool>,
) {
    let dialect = match settings.policy_reports {
        PolicyReports::Off => return,
        PolicyReports::WgPolicy => Dialect::WgPolicy,
        PolicyReports::OpenReports => Dialect::OpenReports,
    };
    let given = Given {
        client,
        cluster: settings.cluster(),
        store,
        dialect,
        qps: settings.audit_qps.get(),
        metrics: metrics.reports.clone(),
        note: Box::new(move |lines| readiness.note("reports", lines)),
    };
    Writer::new(given).start(audits, stopped);
}
