//! Opens what is kept, and has the cluster audited where that is asked for.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{broadcast, watch};

use super::{ServeError, events, folder, keep, notify, reports, turn};
use crate::audit::sink::Tally;
use crate::audit::{Auditor, Rules, StoreSink, patient};
use crate::cluster::applications::Applications;
use crate::config::{PolicyReports, Settings};
use crate::engine::Bundle;
use crate::scan::Kept;
use crate::scan::feed::Feed;
use crate::store::{self, Store, StoreError};
use crate::telemetry::audit::Cost;
use crate::telemetry::store::StoreMetrics;
use crate::webhook::handlers::App;
use crate::webhook::health::Readiness;

/// Audits that may have ended before somebody who follows them looks.
const AUDITS: usize = 8;

/// Lists of a folder in a second: nobody else asks it for anything.
const FOLDER_QPS: u32 = 1000;

/// Opens the store where this process keeps something; audits the cluster where there is one, or the manifests that stand
/// in for it, at an interval. What is listed is asked of the second client.
pub async fn start(
    settings: &Settings,
    (client, lists): (Option<Client>, Option<Client>),
    app: &Arc<App>,
    readiness: &Arc<Readiness>,
    stopped: &watch::Receiver<bool>,
) -> Result<Option<Kept>, ServeError> {
    if !settings.role.audits() {
        return Ok(None);
    }
    let database = settings.database().map_err(ServeError::Database)?;
    let observer = Arc::new(app.metrics.store.clone());
    let store = if settings.role.answers_requests() {
        // Whoever answers requests does so without a store, too.
        let (metrics, readiness) = (app.metrics.store.clone(), readiness.clone());
        let told = move |opened: Result<(), &StoreError>| tell_of_store(opened, &metrics, &readiness);
        store::open_or_wait(&settings.data_dir, database, observer, told).await
    } else {
        store::open_observed(&settings.data_dir, database, observer)
            .await
            .inspect(|_| app.metrics.store.set_open(true))?
    };
    keep::start(settings, store.clone(), app.metrics.clone(), stopped.clone());
    let turn = turn::start(store.clone(), &settings.cluster(), app.metrics.clone(), stopped.clone());
    let notifier = notify::start(settings, store.clone(), app, readiness, (stopped, turn.clone()));
    let applications = client.clone().map(|client| Arc::new(Applications::new(client)));
    let reported = client.clone().filter(|_| settings.audit_interval.every().is_some());
    if reported.is_none() && settings.policy_reports != PolicyReports::Off {
        tracing::warn!("no cluster is audited here, so no policy reports are written");
    }
    if reported.is_none() && settings.events {
        tracing::warn!("no cluster is audited here, so no Events are written");
    }
    let (has_cluster, in_force) = (client.is_some(), app.clone());
    let manifests = settings.manifests.clone();
    let stand_in = || folder::client(manifests?, Box::new(move || in_force.in_force.load().config.clone())).into();
    let audited = lists.or_else(stand_in).zip(settings.audit_interval.every());
    app.metrics.findings.set_interval(audited.as_ref().map(|(_, interval)| *interval));
    let auditor = audited.map(|(client, interval)| {
        let (ended, _) = broadcast::channel(AUDITS);
        if let Some(cluster) = reported {
            let (told, kept) = ((&*app.metrics, readiness.clone()), (cluster, store.clone()));
            reports::start(settings, kept.clone(), told, ended.subscribe(), stopped.clone());
            events::start(settings, kept, &app.metrics, ended.subscribe(), stopped.clone());
        }
        let (judging, told) = (app.clone(), app.clone());
        let auditor = Auditor {
            client,
            cluster: settings.cluster(),
            store: store.clone(),
            applications: applications.clone(),
            rules: Box::new(move || rules(&judging)),
            excusing: Box::new(move |names| told.in_force.uses().note(names, Timestamp::now())),
            ended,
            interval,
            qps: if has_cluster { settings.audit_qps.get() } else { FOLDER_QPS },
            secrets: settings.audit_secrets,
            threads: settings.scan_workers.get(),
            // What a folder is asked costs no API server anything.
            turn,
            cost: if has_cluster { app.metrics.audit.clone() } else { Cost::default() },
        };
        if settings.cluster_name.is_some() {
            tokio::spawn(leave_unnamed(store.clone(), app.in_force.load().bundle.clone()));
        }
        auditor.start(stopped.clone())
    });
    let cluster = settings.cluster();
    let feed = Arc::new(Feed::new(cluster.clone(), stopped.clone()));
    tokio::spawn(remember(feed.clone(), store.clone()));
    let answers_requests = settings.role.answers_requests();
    Ok(Some(Kept { store, feed, answers_requests, auditor, notifier, applications, cluster }))
}

/// Says where it is looked for how opening the store went.
fn tell_of_store(opened: Result<(), &StoreError>, metrics: &StoreMetrics, readiness: &Readiness) {
    metrics.set_open(opened.is_ok());
    let cause = opened.err().map(|error| format!("is not open, nothing is kept and nothing is audited: {error}"));
    if let Some(cause) = &cause {
        tracing::error!(store = %cause, "the store cannot be opened, requests are answered without it; it is tried again");
    }
    readiness.note("store", cause.into_iter().collect());
}

/// Counts what was decided before this process began.
async fn remember(feed: Arc<Feed>, store: Arc<dyn Store>) {
    if let Err(error) = feed.remember(&*store).await {
        tracing::debug!(%error, "what was decided before is not counted");
    }
}

/// Closes what was found before the cluster had a name: under its name all of it is found anew.
async fn leave_unnamed(store: Arc<dyn Store>, bundle: Arc<Bundle>) {
    let mut unnamed = StoreSink { store, cluster: String::new(), bundle, now: Timestamp::now };
    match unnamed.retire().await {
        Ok(Tally { closed: 0, .. }) => {}
        Ok(Tally { closed, .. }) => tracing::info!(closed, "findings of before the cluster had a name are closed"),
        Err(error) => tracing::warn!(%error, "findings of before the cluster had a name stay open"),
    }
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
        kubernetes_version: in_force.kubernetes_version,
    }
}
