//! Starting and stopping, in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::audit;
use super::certificates::Certificates;
use super::descriptors;
use super::exemptions;
use super::files::{self, Addresses, Shown};
use super::load::Contents;
use super::reload::{self, Reloader};
use super::{Given, ServeError, bundle, outbox, registration};
use crate::audit::ahead::Reader;
use crate::cluster::identity::Identities;
use crate::cluster::modes::ModeWriter;
use crate::cluster::registration::deletions;
use crate::cluster::registration::live::Registered;
use crate::cluster::{self, Access, Installation, InventoryWatch, Namespaces};
use crate::config::{Role, Settings};
use crate::dashboard;
use crate::engine::{Bundle, ProgramCache};
use crate::scan::guard::Door;
use crate::scan::reached::Reached;
use crate::scan::{self, ApiState};
use crate::telemetry::{Metrics, otlp};
use crate::webhook::handlers::{self, App, World};
use crate::webhook::health::{self, Condition, Readiness};
use crate::webhook::in_force::{InForce, Live};
use crate::webhook::journal::Journal;
use crate::webhook::listener::{self, Options};
use crate::webhook::memory::RequestMemory;
use crate::webhook::outbox::Outbox;
use crate::webhook::workers::Workers;

/// How long a cluster may take before it is said that it is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM; requests in flight are answered first.
pub async fn serve(given: Given) -> Result<(), ServeError> {
    let settings = given.read.settings.clone();
    files::remove_addresses(&settings.data_dir);
    let readiness = Arc::new(Readiness::default());
    let metrics = Arc::new(Metrics::new());
    let cache = ProgramCache::default();
    let client = cluster::connect(settings.kubeconfig.as_deref()).await?;
    let lists = cluster::connect_to_list(settings.kubeconfig.as_deref()).await?;
    let contents = Contents::of(given.read, given.layers.file())?;
    let in_force = contents.build(&cache, client.is_some())?;
    readiness.set(Condition::Bundle, true);

    let installation = installation(&settings, client.as_ref());
    let certificates =
        Certificates::start(&settings, installation.clone(), readiness.clone(), metrics.certificates.clone()).await?;

    let webhook = if settings.role.answers_requests() {
        Some(bind("--listen-webhook", settings.listen_webhook).await?)
    } else {
        None
    };
    let http = bind("--listen-http", settings.listen_http).await?;
    let health = bind("--listen-metrics", settings.listen_metrics).await?;
    let addresses = Addresses { webhook: webhook.as_ref().map(|webhook| webhook.1), http: http.1, metrics: health.1 };
    let (stop, stopped) = watch::channel(false);
    let shares = descriptors::share_out(settings.max_connections);
    let health_routes = health::router(readiness.clone(), metrics.clone());
    tokio::spawn(listener::serve(health.0, health_routes, options(shares.others), stopped.clone()));

    let has_cluster = client.is_some();
    let audited = client.clone();
    let world = world(client, &in_force.bundle, &readiness);
    let app = Arc::new(app(&settings, in_force, world, metrics.clone())?);
    show(&app, &cache);
    exemptions::start(audited.clone(), &app);
    let (tls, authorities_pem) = (certificates.tls.clone(), certificates.authorities_pem());
    let tls_for_tokens = certificates.tls_for_tokens.clone();
    let trust = certificates.trust.clone();
    certificates.keep(&stopped);
    let webhook_options = Options { tls: Some(tls), metrics: metrics.connections.clone(), ..options(shares.webhook) };
    let routes = routes(&settings, app.clone());
    let serving_webhook =
        webhook.map(|(listener, _)| tokio::spawn(listener::serve(listener, routes, webhook_options, stopped.clone())));
    let signs_in = app.in_force.load().config.auth.oidc.is_some();
    let door = door(addresses.http, signs_in);
    let identities = audited.clone().map(Identities::new);
    let (qps, secrets) = (settings.audit_qps.get(), settings.audit_secrets);
    let reader = lists.clone().map(|client| Reader { client, qps, secrets });
    let registered = audited.clone().map(Registered::new);
    // The first audit should judge by it; requests are answered meanwhile.
    let _ = tokio::time::timeout(PATIENCE, know_version(audited.as_ref(), &app)).await;
    let kept = audit::start(&settings, (audited, lists), &app, &readiness, &stopped).await?;
    outbox::deliver(&settings, &app, kept.as_ref())?;
    let auditor = kept.as_ref().and_then(|kept| kept.auditor.clone()).filter(|_| !has_cluster);
    let api = ApiState::new(app.clone(), door, settings.scan_workers, api_limits(&settings), kept, identities);
    let reader = reader.filter(|_| settings.role.audits());
    let writer = ModeWriter::new(settings.kubeconfig.as_deref()).await?;
    let reached = settings.external_url.as_ref().map(Reached::at).unwrap_or_default();
    let manifests = settings.manifests.clone().filter(|_| !has_cluster);
    let api = api.map_err(ServeError::System)?;
    let api = ApiState { reader, writer, reached, manifests, registered, readiness: readiness.clone(), ..api };
    let api = Arc::new(api);
    let pages = scan::routes(api.clone(), dashboard::routes(api));
    let http_options = Options { tls: (door == Door::Tokens).then_some(tls_for_tokens), ..options(shares.api) };
    let serving_http = tokio::spawn(listener::serve(http.0, pages, http_options, stopped.clone()));
    readiness.set(Condition::Accepting, true);
    if let Some((installation, webhook)) = installation.zip(addresses.webhook) {
        registration::keep(&settings, installation, webhook, &app, &trust, &readiness, stopped);
    }
    let asks_about_deletion = !deletions::kinds(&app.in_force.load().bundle).is_empty();
    files::write(&settings.data_dir, addresses, &authorities_pem, asks_about_deletion)?;
    let reloader = Reloader {
        layers: given.layers,
        cache,
        app: app.clone(),
        readiness: readiness.clone(),
        settings: settings.clone(),
        addresses,
        auditor,
    };
    let _reloading = reload::start(reloader, &contents).map_err(ServeError::System)?;
    tokio::select! {
        stopped = wait_for_signal() => stopped?,
        never = announce(&settings, addresses, (has_cluster, door), &readiness) => match never {},
    }
    readiness.set(Condition::Accepting, false);
    tracing::info!("stopping: requests in flight are answered first");
    // Whoever balances the load needs a moment to see that this replica goes; until then it answers.
    tokio::time::sleep(Duration::from_secs(settings.shutdown_delay_seconds)).await;
    let _ = stop.send(true);
    if let Some(serving) = serving_webhook {
        let _ = serving.await;
    }
    let _ = serving_http.await;
    if let Some(outbox) = &app.outbox {
        outbox.end().await;
    }
    app.traces.clone().end().await;
    Ok(())
}

/// Says what to do next, as soon as everything is ready or after a moment, and then nothing more.
async fn announce(
    settings: &Settings,
    addresses: Addresses,
    (has_cluster, door): (bool, Door),
    readiness: &Readiness,
) -> Infallible {
    let Addresses { webhook, http, metrics } = addresses;
    let (webhook, version) = (webhook.map(tracing::field::display), env!("CARGO_PKG_VERSION"));
    tracing::info!(webhook, %http, %metrics, has_cluster, version, "listening");
    let ready = async {
        while !readiness.is_ready() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_ready = tokio::time::timeout(PATIENCE, ready).await.is_ok();
    let shown = match settings {
        Settings { role: Role::Webhook, .. } => Shown::Nothing,
        Settings { manifests, .. } => {
            let scheme = if door == Door::Open { "http" } else { "https" };
            let has_objects = has_cluster || manifests.is_some();
            Shown::Dashboard { url: format!("{scheme}://{http}"), is_empty: !has_objects }
        }
    };
    let text = files::next_steps(&settings.data_dir, addresses, has_cluster, is_ready, &shown);
    // Whoever closed standard output does not want to read it; whoever does not read it holds up a thread of its own.
    let _ = tokio::task::spawn_blocking(move || crate::cli::output::write(&text)).await;
    std::future::pending().await
}

fn options(connections: u32) -> Options {
    Options { limits: listener::Limits { connections, ..listener::Limits::default() }, ..Options::default() }
}

fn app(settings: &Settings, in_force: InForce, world: World, metrics: Arc<Metrics>) -> Result<App, ServeError> {
    Ok(App {
        in_force: Live::new(in_force),
        world,
        own_namespace: settings.namespace.clone(),
        workers: Workers::new(settings.workers, settings.queue).map_err(ServeError::System)?,
        journal: Journal::start(&settings.data_dir, metrics.modes.break_glass_unrecorded.clone())
            .map_err(ServeError::System)?,
        traces: otlp::start(&metrics.traces),
        memory: RequestMemory::new(settings.max_inflight_bytes, settings.workers.get()),
        deferred_bytes: AtomicUsize::new(0),
        outbox: outbox::start(settings, &metrics)?,
        pages: settings.external_url.as_ref().map(ToString::to_string),
        metrics,
    })
}

fn api_limits(settings: &Settings) -> scan::Limits {
    scan::Limits { max_scan_bytes: settings.max_scan_bytes, per_second: settings.api_requests_per_second }
}

/// Has what is in force know the cluster's release from now on, and waits until it does.
async fn know_version(client: Option<&Client>, app: &Arc<App>) {
    let Some(client) = client.cloned() else { return };
    let app = app.clone();
    let first = cluster::version::follow(client, move |version| {
        if app.in_force.know_version(version) {
            tracing::info!(%version, "judging by the release of the cluster");
        }
    });
    let _ = first.await;
}

/// Keeps the figures of bundle, cache and queue where metrics are read.
fn show(app: &Arc<App>, cache: &ProgramCache) {
    bundle::show(&app.metrics, &app.in_force.load().bundle);
    let (cache, weak) = (cache.clone(), Arc::downgrade(app));
    app.metrics.refresh_with(move |metrics| {
        metrics.bundle.set_programs(cache.len(), cache.compilations(), cache.hits());
        let Some(app) = weak.upgrade() else { return };
        metrics.admission.queue_depth.set(i64::try_from(app.workers.queued()).unwrap_or(i64::MAX));
        metrics.admission.text_bytes.set(i64::try_from(app.memory.text_bytes()).unwrap_or(i64::MAX));
        metrics.admission.parsed_bytes.set(i64::try_from(app.memory.parsed_bytes()).unwrap_or(i64::MAX));
        app.show_namespaces();
        app.outbox.iter().for_each(Outbox::show);
        app.show_exemptions();
        bundle::show_backends(metrics, &app.in_force.load().bundle);
    });
}

/// Returns where Gatepost is installed, if there is a cluster and a namespace is known.
fn installation(settings: &Settings, client: Option<&Client>) -> Option<Installation> {
    Some(Installation { client: client?.clone(), namespace: settings.namespace.clone()? })
}

fn routes(settings: &Settings, app: Arc<App>) -> Router {
    let routes = handlers::routes(app);
    if settings.client_name.is_empty() {
        return routes;
    }
    listener::require_client_name(routes, &settings.client_name)
}

/// Whoever is on this machine may ask at a loopback address; in a Pod other containers are there, too, and where people
/// are to sign in there may be a proxy.
fn door(http: SocketAddr, signs_in: bool) -> Door {
    if http.ip().is_loopback() && !signs_in && !cluster::is_in_pod() { Door::Open } else { Door::Tokens }
}

fn world(client: Option<Client>, bundle: &Bundle, readiness: &Arc<Readiness>) -> World {
    let Some(client) = client else {
        readiness.set(Condition::Namespaces, true);
        return World::Static;
    };
    let namespaces = Arc::new(Namespaces::new(client.clone()));
    let (watched, ready) = (namespaces.clone(), readiness.clone());
    tokio::spawn(async move { watched.watch(|| ready.set(Condition::Namespaces, true)).await });
    let inventory = InventoryWatch::start(&client, &bundle.reads());
    World::Cluster { namespaces, inventory, access: Arc::new(Access::new(client)) }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let fail = |cause| ServeError::Listen { flag, address, cause };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

async fn wait_for_signal() -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::System)?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.map_err(ServeError::System),
        _ = terminate.recv() => Ok(()),
    }
}
