//! Opens what is kept, and has the cluster audited where that is asked for.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{broadcast, watch};

use super::{ServeError, events, keep, notify, reports};
use crate::audit::{Auditor, Rules, patient};
use crate::cluster::applications::Applications;
use crate::config::{PolicyReports, Settings};
use crate::scan::Kept;
use crate::scan::feed::Feed;
use crate::store;
use crate::webhook::handlers::App;
use crate::webhook::health::Readiness;

/// Audits that may have ended before somebody who follows them looks.
const AUDITS: usize = 8;

/// Opens the store where this process keeps something; audits the cluster where there is one, and an interval.
pub async fn start(
    settings: &Settings,
    client: Option<Client>,
    app: &Arc<App>,
    readiness: &Arc<Readiness>,
    stopped: &watch::Receiver<bool>,
) -> Result<Option<Kept>, ServeError> {
    if !settings.role.audits() {
        return Ok(None);
    }
    let database = settings.database().map_err(ServeError::Database)?;
    let observer = Arc::new(app.metrics.store.clone());
    let store = store::open_observed(&settings.data_dir, database, observer).await?;
    keep::start(settings, store.clone(), app.metrics.clone(), stopped.clone());
    let notifier = notify::start(settings, store.clone(), app, readiness, stopped);
    let applications = client.clone().map(|client| Arc::new(Applications::new(client)));
    let audited = client.zip(settings.audit_interval.every());
    if audited.is_none() && settings.policy_reports != PolicyReports::Off {
        tracing::warn!("nothing is audited here, so no policy reports are written");
    }
    if audited.is_none() && settings.events {
        tracing::warn!("nothing is audited here, so no Events are written");
    }
    app.metrics.findings.set_interval(audited.as_ref().map(|(_, interval)| *interval));
    let auditor = audited.map(|(client, interval)| {
        let (ended, _) = broadcast::channel(AUDITS);
        let told = (&*app.metrics, readiness.clone());
        reports::start(settings, (client.clone(), store.clone()), told, ended.subscribe(), stopped.clone());
        let kept = (client.clone(), store.clone());
        events::start(settings, kept, &app.metrics, ended.subscribe(), stopped.clone());
        let (judging, told) = (app.clone(), app.clone());
        let auditor = Auditor {
            client,
            cluster: String::new(),
            store: store.clone(),
            rules: Box::new(move || rules(&judging)),
            excusing: Box::new(move |names| told.in_force.uses().note(names, Timestamp::now())),
            ended,
            interval,
            qps: settings.audit_qps.get(),
            secrets: settings.audit_secrets,
            threads: settings.scan_workers.get(),
            cost: app.metrics.audit.clone(),
        };
        auditor.start(stopped.clone())
    });
    let feed = Arc::new(Feed::new(stopped.clone()));
    let answers_requests = settings.role.answers_requests();
    Ok(Some(Kept { store, feed, answers_requests, auditor, notifier, applications }))
}

fn rules(app: &App) -> Rules {
    let in_force = app.in_force.load();
    Rules {
        bundle: in_force.bundle.clone(),
        config: in_force.config.clone(),
        exemptions: in_force.exemptions.clone(),
        policies: in_force.config.audit.policies.clone(),
        limits: patient(in_force.limits),
        judge_owned: in_force.judge_owned,
    }
}
