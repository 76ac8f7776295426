//! What all requests share, and `POST /validate`: reads an AdmissionReview, has it judged on a worker, answers, and
//! records what was decided.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;

use super::in_force::{InForce, Live};
use super::intake::{Deadline, Received, Refused, Room, receive};
use super::journal::Journal;
use super::later::{judge_later, repeat_later};
use super::memory::RequestMemory;
use super::modes;
use super::mutate::mutate;
use super::outbox::Outbox;
use super::outbox::entry::{Entry, Weight};
use super::probe;
use super::record::{Later, Record};
use super::tls::ClientIdentity;
use super::trace::attributes;
use super::workers::{Overloaded, Workers};
use crate::admission::request::{Means, NamespaceState};
use crate::admission::{Decision, Envelope, Exempted, Reviewer, speak};
use crate::cluster::{Access, InventoryWatch, Namespaces};
use crate::engine::Machines;
use crate::engine::review::Inventory;
use crate::policy::modes::Grants;
use crate::policy::notices::Notice;
use crate::policy::{BreakGlass, Groups, Mode, NamespaceMeta, Operation};
use crate::telemetry::{Answered, Metrics, Overload, Trace, Traces};

/// Everything that answering needs; shared by all requests.
pub struct App {
    /// What judges; each request loads it once.
    pub in_force: Live,
    /// Where namespaces are known from.
    pub world: World,
    /// Namespace that Gatepost is installed in.
    pub own_namespace: Option<String>,
    /// The threads that evaluate.
    pub workers: Workers,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Lists what comes in under break-glass.
    pub journal: Journal,
    /// Where decisions go, where they are kept.
    pub outbox: Option<Outbox>,
    /// What addresses of pages begin with, where somebody has said how people reach them.
    pub pages: Option<String>,
    /// Where traces of requests begin.
    pub traces: Traces,
    /// What requests under way may take.
    pub memory: RequestMemory,
    /// Bytes of the objects that wait to be judged for the record only.
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
        /// Whose roles say who may weaken modes.
        access: Arc<Access>,
    },
    /// No cluster: what stands in for it is in force with the configuration; any other namespace has no labels.
    Static,
}

impl App {
    pub(super) async fn namespace(
        &self,
        in_force: &InForce,
        envelope: &Envelope,
        remaining: Duration,
    ) -> NamespaceState {
        if envelope.kind.is_namespace() {
            // Judged by what it carries itself; how it stood counts only where the request does not say.
            return self.known(in_force, &envelope.name).map_or(NamespaceState::None, NamespaceState::Known);
        }
        let Some(name) = envelope.judging_namespace() else { return NamespaceState::None };
        match &self.world {
            World::Cluster { namespaces, .. } => namespaces
                .get_or_read(name, remaining)
                .await
                .map_or_else(|| NamespaceState::Unread(name.to_owned()), NamespaceState::Known),
            World::Static => {
                let found = self.known(in_force, name);
                NamespaceState::Known(found.unwrap_or_else(|| Arc::new(NamespaceMeta::named(name))))
            }
        }
    }

    fn known(&self, in_force: &InForce, name: &str) -> Option<Arc<NamespaceMeta>> {
        match &self.world {
            World::Cluster { namespaces, .. } => namespaces.get(name),
            World::Static => in_force.surroundings.namespace(name).cloned(),
        }
    }

    /// Returns whether a cluster is watched.
    pub const fn has_cluster(&self) -> bool {
        matches!(self.world, World::Cluster { .. })
    }

    /// Returns every namespace that is known, as far as the watch has come.
    pub fn known_namespaces(&self, in_force: &InForce) -> Vec<Arc<NamespaceMeta>> {
        match &self.world {
            World::Cluster { namespaces, .. } => namespaces.all(),
            World::Static => in_force.surroundings.namespaces().cloned().collect(),
        }
    }

    /// Returns what tells whose namespaces are.
    pub fn groups<'a>(&'a self, in_force: &'a InForce) -> Groups<'a> {
        Groups { terms: &in_force.config.groups, own: self.own_namespace.as_deref() }
    }

    /// Shows how the known namespaces are judged.
    pub fn show_namespaces(&self) {
        let in_force = self.in_force.load();
        let mut modes = [0_usize; Mode::ALL.len()];
        let (mut unknown, mut broken_glass) = (0_usize, 0_usize);
        let now = Timestamp::now();
        for namespace in self.known_namespaces(&in_force) {
            let Grants { grants, notices } = in_force.config.modes.grants(&namespace, &*in_force.bundle);
            for (count, mode) in modes.iter_mut().zip(Mode::ALL) {
                *count += usize::from(grants.iter().any(|grant| grant.mode == mode));
            }
            broken_glass += usize::from(BreakGlass::active(&namespace, now).is_ok_and(|glass| glass.is_some()));
            unknown += notices.iter().filter(|notice| matches!(notice, Notice::UnknownPolicy { .. })).count();
        }
        self.metrics.modes.break_glass_namespaces.set(i64::try_from(broken_glass).unwrap_or(i64::MAX));
        self.metrics.namespaces.set_modes(modes);
        self.metrics.namespaces.unknown_policies.set(i64::try_from(unknown).unwrap_or(i64::MAX));
        if let World::Cluster { namespaces, .. } = &self.world {
            let newest = namespaces.newest_version();
            self.metrics.namespaces.watch_resource_version.set(newest.try_into().unwrap_or(i64::MAX));
        }
    }

    /// Notes which exemptions excuse something.
    pub(super) fn note_uses(&self, exempted: &[Exempted]) {
        self.in_force.uses().note(exempted.iter().map(|exempted| &exempted.by.name), Timestamp::now());
    }

    /// Shows how the exemptions stand.
    pub fn show_exemptions(&self) {
        self.metrics.exemptions.set_states(self.in_force.load().exemptions.count(Timestamp::now()));
    }

    fn inventory(&self, in_force: &InForce, namespace: &str) -> Inventory {
        match &self.world {
            World::Cluster { inventory, .. } => inventory.of_namespace(namespace),
            World::Static => in_force.surroundings.inventory_of(namespace),
        }
    }

    /// Returns what the cluster's watches know of a namespace; nothing without a cluster.
    pub fn watched_inventory(&self, namespace: &str) -> Inventory {
        match &self.world {
            World::Cluster { inventory, .. } => inventory.of_namespace(namespace),
            World::Static => Inventory::new(),
        }
    }

    /// Has a reviewer of what is in force do something with a request.
    pub(super) fn review_with<T>(
        &self,
        in_force: &InForce,
        envelope: &Envelope,
        namespace: NamespaceState,
        deadline: Deadline,
        machines: &mut Machines,
        act: impl FnOnce(&Reviewer<'_>, Means<'_>) -> T,
    ) -> T {
        let means = Means {
            namespace,
            inventory: self.inventory(in_force, &envelope.namespace),
            now: Timestamp::now(),
            remaining: &|| deadline.remaining(),
            machines,
        };
        act(&in_force.reviewer(), means)
    }

    /// Answers what could not be taken in.
    fn refuse(&self, refused: Refused) -> Response {
        refused.count(&self.metrics);
        self.metrics.admission.record(Operation::Connect, Answered::Error, false, Duration::ZERO);
        refused.into_response()
    }

    /// Runs a job on a worker; none when no answer comes in time, or the job panics.
    pub(super) async fn on_a_worker<T: Send + 'static>(
        &self,
        uid: &str,
        deadline: Deadline,
        trace: &Trace,
        job: impl FnOnce(&mut Machines) -> T + Send + 'static,
    ) -> Result<Option<T>, Overloaded> {
        let submitted = Instant::now();
        let answer = self.workers.try_submit(move |machines| {
            let begun = Instant::now();
            (job(machines), begun, Instant::now())
        })?;
        match tokio::time::timeout(deadline.patience(), answer).await {
            Ok(Ok((done, begun, ended))) => {
                self.metrics.admission.record_evaluation(begun - submitted, ended - begun);
                trace.part("queue", submitted, begun);
                trace.part("evaluation", begun, ended);
                Ok(Some(done))
            }
            Ok(Err(panicked)) => {
                self.metrics.admission.panics.inc();
                tracing::error!(%uid, error = %panicked, "evaluation panicked");
                Ok(None)
            }
            Err(_) => {
                trace.part("evaluation without an answer", submitted, Instant::now());
                Ok(None)
            }
        }
    }

    /// Returns the page of a decision, where it is kept and people can reach it.
    fn page(&self, envelope: &Envelope, decision: &Decision) -> Option<String> {
        let (pages, uid) = (self.pages.as_ref()?, &envelope.uid);
        let is_plain = uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_kept = is_plain && self.outbox.is_some() && Entry::is_due(envelope, decision);
        is_kept.then(|| format!("{pages}/decisions/{uid}"))
    }
}

/// Returns the routes of the webhook listener.
pub fn routes(app: Arc<App>) -> Router {
    Router::new().route("/validate", post(validate)).route("/mutate", post(mutate)).with_state(app)
}

async fn validate(
    State(app): State<Arc<App>>,
    client: Option<Extension<ClientIdentity>>,
    trace: Trace,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let start = Instant::now();
    let _in_flight = app.metrics.admission.enter();
    let in_force = app.in_force.load();
    let received = receive(start, query.as_deref(), body, in_force.max_body, &app.memory).await;
    let Received { envelope, deadline, weight, room } = match received {
        Ok(received) => received,
        Err(refused) => {
            trace.fail(refused.reason());
            return app.refuse(refused);
        }
    };
    if let Some(body) = app.own_namespace.as_deref().and_then(|own| probe::answer(&envelope, own)) {
        return ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let received = Instant::now();
    trace.part("body", start, received);
    let namespace = app.namespace(&in_force, &envelope, deadline.remaining()).await;
    trace.part("namespace", received, Instant::now());
    if matches!(namespace, NamespaceState::Unread(_)) {
        app.metrics.namespaces.unread.inc();
    }
    let Ok(mut decision) = decide(&app, &in_force, &envelope, namespace, deadline, room, &trace).await else {
        trace.describe(|| attributes(&envelope, Answered::Error.as_str()));
        trace.fail("overloaded");
        app.metrics.admission.record_overload(Overload::Queue);
        app.metrics.admission.record(envelope.operation(), Answered::Error, envelope.dry_run, start.elapsed());
        return (StatusCode::SERVICE_UNAVAILABLE, "overloaded: too many requests are being judged").into_response();
    };
    let asked = decision.open_question().is_some().then(Instant::now);
    modes::authorize(&app.world, &mut decision, deadline.remaining(), &app.metrics).await;
    if let Some(asked) = asked {
        trace.part("authorization", asked, Instant::now());
    }
    let page = app.page(&envelope, &decision);
    let answer = speak::answer(&envelope.uid, &decision, page.as_deref());
    let (deferred, repeats) = (decision.deferred.take(), std::mem::take(&mut decision.repeats));
    let (warnings, verified) = (answer.warnings, client.is_some());
    let answered = if decision.allowed { Answered::Allowed } else { Answered::Denied };
    trace.describe(|| attributes(&envelope, answered.as_str()));
    let (took, trace_id) = (start.elapsed(), trace.id());
    let record = Record { envelope: &envelope, decision: &decision, warnings, verified, took, trace_id };
    record.write(&app.metrics);
    let entry = app.outbox.as_ref().and_then(|_| Entry::of(&record));
    app.note_uses(&decision.exempted);
    if let Some(admitted) = modes::admitted(&envelope, &decision, verified) {
        app.journal.keep(admitted);
    }
    keep(app.outbox.as_ref(), entry.as_ref(), deferred.is_some());
    let limits = in_force.limits;
    if let Some(deferred) = deferred {
        judge_later(&app, in_force, deferred, Later::of(&record, entry), weight);
    }
    repeat_later(&app, limits, repeats, weight);
    ([(header::CONTENT_TYPE, "application/json")], answer.body).into_response()
}

/// Has a decision kept at once, but for one without violations of which more is to be found out.
fn keep(outbox: Option<&Outbox>, entry: Option<&Entry>, is_more_to_come: bool) {
    if let Some((outbox, entry)) = outbox.zip(entry)
        && !(is_more_to_come && entry.weight == Weight::Clean)
    {
        outbox.keep(entry.clone());
    }
}

/// Judges on a worker. When no answer comes in time, or the worker panics, the request is judged without time, so that
/// every rule is an error and the policies' `onError` decides.
async fn decide(
    app: &Arc<App>,
    in_force: &Arc<InForce>,
    envelope: &Arc<Envelope>,
    namespace: NamespaceState,
    deadline: Deadline,
    room: Arc<Room>,
    trace: &Trace,
) -> Result<Decision, Overloaded> {
    let job = {
        let (app, in_force) = (app.clone(), in_force.clone());
        let (envelope, namespace) = (envelope.clone(), namespace.clone());
        move |machines: &mut Machines| {
            // A request that is answered late is in memory until its thread is done with it.
            let _room = room;
            app.review_with(&in_force, &envelope, namespace, deadline, machines, |reviewer, means| {
                reviewer.review(&envelope, means)
            })
        }
    };
    let not_reached = || in_force.reviewer().not_reached(envelope, &namespace, Timestamp::now());
    match app.on_a_worker(&envelope.uid, deadline, trace, job).await {
        Ok(decision) => Ok(decision.unwrap_or_else(not_reached)),
        // Nobody may weaken modes by keeping every worker busy: to tell that takes no worker.
        Err(overloaded) if envelope.kind.is_namespace() => {
            Some(not_reached()).filter(Decision::needs_authority).ok_or(overloaded)
        }
        Err(overloaded) => Err(overloaded),
    }
}
