//! Has the registration kept, where Gatepost is installed in a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::cluster::Installation;
use crate::cluster::registration::{Given, Keeper, Notes, Registration, deletions};
use crate::config::Settings;
use crate::webhook::certificates::Trust;
use crate::webhook::handlers::App;
use crate::webhook::health::Readiness;

/// Starts to keep the registration unless somebody else does all of it.
pub fn keep(
    settings: &Settings,
    installation: Installation,
    webhook: SocketAddr,
    app: &Arc<App>,
    trust: &Arc<Trust>,
    readiness: &Arc<Readiness>,
    stopped: watch::Receiver<bool>,
) {
    if settings.registration == Registration::None {
        return;
    }
    trust.set_published("", Timestamp::now());
    let (asked, held) = (app.clone(), trust.clone());
    let (keeper, notes) = Keeper::new(Given {
        installation,
        registration: settings.registration,
        service_port: settings.port_of_service.into(),
        pod_port: webhook.port(),
        failure_policy: settings.failure_policy,
        deletion_kinds: Box::new(move || deletions::kinds(&asked.in_force.load().bundle)),
        published: Box::new(move |pem| held.set_published(pem, Timestamp::now())),
        metrics: app.metrics.clone(),
    });
    tokio::spawn(keeper.run(trust.authorities(), app.in_force.changes(), stopped));
    tokio::spawn(show(notes, readiness.clone()));
}

/// Shows what is worth knowing beside readiness.
async fn show(mut notes: watch::Receiver<Notes>, readiness: Arc<Readiness>) {
    while notes.changed().await.is_ok() {
        let says = notes.borrow_and_update().iter().map(|note| note.says.clone()).collect();
        readiness.note("registration", says);
    }
}
