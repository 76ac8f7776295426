//! `POST /validate`: reads an AdmissionReview, has it judged on a worker, answers, and records what was decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;

use super::intake::{Deadline, Received, receive};
use super::record::{Later, Record};
use super::workers::{Overloaded, Workers};
use crate::admission::request::{Deferred, Means, NamespaceState};
use crate::admission::{Decision, Envelope, Reviewer, speak};
use crate::cluster::{InventoryWatch, Namespaces};
use crate::config::Config;
use crate::engine::review::Inventory;
use crate::engine::{Budget, Bundle, Limits, Machines};
use crate::input::surroundings::Surroundings;
use crate::policy::notices::Notice;
use crate::policy::{NamespaceMeta, Operation};
use crate::telemetry::{Answered, Metrics};

/// Requests of so many bytes may wait to be judged for the record only; parsed they take about ten times as much.
const DEFERRED_BYTES: usize = 8 << 20;
/// Time for what only records, for one object.
const AUDIT_TIME: Duration = Duration::from_secs(1);

/// Everything that answering needs; shared by all requests.
pub struct App {
    /// The policies in force.
    pub bundle: ArcSwap<Bundle>,
    /// The configuration in force.
    pub config: ArcSwap<Config>,
    /// Where namespaces are known from.
    pub world: World,
    /// Judge them all the same.
    pub judge_owned: bool,
    /// What one rule may cost.
    pub limits: Limits,
    /// Largest body that is judged, in bytes.
    pub max_body: usize,
    /// The threads that evaluate.
    pub workers: Workers,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Bytes of the requests that wait to be judged for the record only.
    pub deferred_bytes: AtomicUsize,
}

/// What is known beside the request.
pub enum World {
    /// A cluster that is watched.
    Cluster {
        /// Namespaces.
        namespaces: Arc<Namespaces>,
        /// Objects that rules look up.
        inventory: Arc<InventoryWatch>,
    },
    /// No cluster: what manifests say, and the configuration's `static` namespaces; any other has no labels.
    Static(Surroundings),
}

impl App {
    async fn namespace(&self, envelope: &Envelope, remaining: Duration) -> NamespaceState {
        let Some(name) = envelope.judging_namespace() else { return NamespaceState::None };
        match &self.world {
            World::Cluster { namespaces, .. } => namespaces
                .get_or_read(name, remaining)
                .await
                .map_or_else(|| NamespaceState::Unread(name.to_owned()), NamespaceState::Known),
            World::Static(known) => {
                let found = known.namespace(name).cloned();
                NamespaceState::Known(found.unwrap_or_else(|| Arc::new(NamespaceMeta::named(name))))
            }
        }
    }

    /// Returns how many slots of known namespaces name a policy that does not exist.
    pub fn unknown_policies(&self) -> usize {
        let known: Vec<Arc<NamespaceMeta>> = match &self.world {
            World::Cluster { namespaces, .. } => namespaces.all(),
            World::Static(known) => known.namespaces().cloned().collect(),
        };
        let (bundle, config) = (self.bundle.load(), self.config.load());
        let of = |namespace: &Arc<NamespaceMeta>| {
            let notices = config.modes.grants(namespace, &**bundle).notices;
            notices.iter().filter(|notice| matches!(notice, Notice::UnknownPolicy { .. })).count()
        };
        known.iter().map(of).sum()
    }

    fn inventory(&self, namespace: &str) -> Inventory {
        match &self.world {
            World::Cluster { inventory, .. } => inventory.of_namespace(namespace),
            World::Static(known) => known.inventory_of(namespace),
        }
    }

    fn reviewer<'a>(&self, bundle: &'a Bundle, config: &'a Config) -> Reviewer<'a> {
        Reviewer {
            bundle,
            modes: &config.modes,
            controllers: &config.controllers,
            judge_owned: self.judge_owned,
            limits: self.limits,
        }
    }

    fn review(
        &self,
        envelope: &Envelope,
        namespace: NamespaceState,
        deadline: Deadline,
        machines: &mut Machines,
    ) -> Decision {
        let (bundle, config) = (self.bundle.load(), self.config.load());
        let reviewer = self.reviewer(&bundle, &config);
        let means = Means {
            namespace,
            inventory: self.inventory(&envelope.namespace),
            now: Timestamp::now(),
            remaining: &|| deadline.remaining(),
            machines,
        };
        reviewer.review(envelope, means)
    }

    /// Runs a job on a worker; none when no answer comes in time, or the job panics.
    async fn on_a_worker<T: Send + 'static>(
        &self,
        uid: &str,
        deadline: Deadline,
        job: impl FnOnce(&mut Machines) -> T + Send + 'static,
    ) -> Result<Option<T>, Overloaded> {
        let answer = self.workers.try_submit(job)?;
        match tokio::time::timeout(deadline.patience(), answer).await {
            Ok(Ok(done)) => Ok(Some(done)),
            Ok(Err(panicked)) => {
                self.metrics.admission.panics.inc();
                tracing::error!(%uid, error = %panicked, "evaluation panicked");
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}

/// Returns the routes of the webhook listener.
pub fn routes(app: Arc<App>) -> Router {
    Router::new().route("/validate", post(validate)).with_state(app)
}

async fn validate(State(app): State<Arc<App>>, RawQuery(query): RawQuery, body: Body) -> Response {
    let start = Instant::now();
    let _in_flight = app.metrics.admission.enter();
    let Received { envelope, deadline, size } = match receive(start, query.as_deref(), body, app.max_body).await {
        Ok(received) => received,
        Err(refused) => {
            app.metrics.admission.record(Operation::Connect, Answered::Error, false, Duration::ZERO);
            return refused.into_response();
        }
    };
    let namespace = app.namespace(&envelope, deadline.remaining()).await;
    let Ok(mut decision) = decide(&app, &envelope, namespace, deadline).await else {
        app.metrics.admission.overloaded.inc();
        app.metrics.admission.record(envelope.operation(), Answered::Error, envelope.dry_run, start.elapsed());
        return (StatusCode::SERVICE_UNAVAILABLE, "overloaded: too many requests are being judged").into_response();
    };
    let answer = speak::answer(&envelope.uid, &decision);
    let deferred = decision.deferred.take();
    Record { envelope: &envelope, decision: &decision, warnings: answer.warnings, took: start.elapsed() }
        .write(&app.metrics);
    if let Some(deferred) = deferred {
        judge_later(&app, deferred, Later::of(&envelope, &decision), size);
    }
    ([(header::CONTENT_TYPE, "application/json")], answer.body).into_response()
}

/// Has what only records judged when there is nothing more urgent, or not at all under load: the audit finds it again.
fn judge_later(app: &Arc<App>, deferred: Deferred, later: Later, size: usize) {
    let waiting = app.deferred_bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
    let place = Place { app: app.clone(), size };
    let job = move |machines: &mut Machines| {
        let app = &place.app;
        let budget = Budget { limits: app.limits, remaining: &|| AUDIT_TIME };
        later.write(&deferred.judge(machines, &budget), &app.metrics);
    };
    if waiting > DEFERRED_BYTES || app.workers.try_submit_background(job).is_err() {
        app.metrics.admission.audit_dropped.inc();
    }
}

/// The room that a request takes among those that wait for the record; free again however its job ends.
struct Place {
    app: Arc<App>,
    size: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.deferred_bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// Judges on a worker. When no answer comes in time, or the worker panics, the request is judged without time, so that
/// every rule is an error and the policies' `onError` decides.
async fn decide(
    app: &Arc<App>,
    envelope: &Arc<Envelope>,
    namespace: NamespaceState,
    deadline: Deadline,
) -> Result<Decision, Overloaded> {
    let job = {
        let (app, envelope, namespace) = (app.clone(), envelope.clone(), namespace.clone());
        move |machines: &mut Machines| app.review(&envelope, namespace, deadline, machines)
    };
    let decision = app.on_a_worker(&envelope.uid, deadline, job).await?;
    Ok(decision.unwrap_or_else(|| out_of_time(app, envelope, &namespace)))
}

fn out_of_time(app: &App, envelope: &Envelope, namespace: &NamespaceState) -> Decision {
    let (bundle, config) = (app.bundle.load(), app.config.load());
    app.reviewer(&bundle, &config).not_reached(envelope, namespace, Timestamp::now())
}
