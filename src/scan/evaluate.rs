//! `POST /api/v1/scan`: documents in, what is wrong with them out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::ApiState;
use super::access::{Caller, Scope};
use super::documents::Scanner;
use super::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use super::problem::{Flaw, Problem};
use super::{record, reports, stream};
use crate::engine::review::Inventory;
use crate::engine::value::Fields;
use crate::engine::{Machines, ResolvedPolicy, Value};
use crate::input::paths::STDIN;
use crate::input::{Chunk, Splitter, Surroundings, parse};
use crate::policy::kubernetes_version::UnknownVersion;
use crate::policy::{KubernetesVersion, NamespaceMeta};
use crate::report::judge::{Judge, asked};
use crate::report::{EngineVersion, FileReport, JsonReport, Tally};
use crate::webhook::handlers::App;
use crate::webhook::in_force::InForce;

/// How long a client may be silent in the middle of a body.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Types of bodies; what `curl --data-binary` says of everything is taken as YAML.
const TAKEN: [&str; 9] = [
    "application/yaml",
    "application/json",
    "application/x-ndjson",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
];
/// The type of lines of JSON.
pub const LINES: &str = "application/x-ndjson";

const SCAN: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/scan",
    about: "Judges YAML or JSON documents; only with record=true something is kept, as a check in the history",
    parameters: &[
        &[
            Parameter::new("policy", Values::List, "Policies to judge by; recommended if none is named"),
            Parameter::new("rule", Values::List, "Rules to judge by, given by id or another name"),
            Parameter::new("namespace", Values::Text, "Namespace of objects that name none; it must be known"),
            Parameter::new(
                "kubernetesVersion",
                Values::Text,
                "Release of Kubernetes that the objects are meant for, such as 1.31; the cluster's own if none is named",
            ),
            Parameter::new("showPassed", Values::Flag, "Whether passes are results, too"),
        ],
        record::PARAMETERS,
    ],
    takes: &["application/yaml", "application/json", LINES],
    gives: &["application/json", LINES],
    statuses: &[200, 409, 413, 415, 422, 429],
    answer: "ScanResult",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&SCAN, scan)
}

/// What documents are to be judged by, in words.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Policies; recommended if neither a policy nor a rule is named.
    pub policies: Vec<String>,
    /// Rules.
    pub rules: Vec<String>,
    /// The namespace of objects that name none.
    pub namespace: Option<String>,
    /// The release of Kubernetes that they are meant for; none is the cluster's own.
    pub kubernetes_version: Option<String>,
    /// Whether passes are results, too.
    pub shows_passed: bool,
}

impl Asked {
    fn of(query: &Query) -> Self {
        Self {
            policies: query.list("policy").to_vec(),
            rules: query.list("rule").to_vec(),
            namespace: query.text("namespace").map(str::to_owned),
            kubernetes_version: query.text("kubernetesVersion").map(str::to_owned),
            shows_passed: query.flag("showPassed"),
        }
    }
}

/// What documents are judged by: everything that one request needs, whatever is reloaded meanwhile.
pub struct Plan {
    app: Arc<App>,
    /// What is in force.
    pub in_force: Arc<InForce>,
    policies: Vec<Arc<ResolvedPolicy>>,
    namespace: Option<Arc<NamespaceMeta>>,
    surroundings: Surroundings,
    kubernetes_version: Option<KubernetesVersion>,
    shows_passed: bool,
}

async fn scan(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let kind = media_type(request.headers())?;
    let wants_lines = accepts_lines(request.headers());
    let wish = record::Wish::of(&query, wants_lines)?;
    if wish.is_some() {
        state.kept()?;
        if !caller.may(Scope::Report) {
            return Err(Problem::forbidden(Scope::Report));
        }
        reports::check_reach(&caller)?;
    }
    let plan = Plan::new(&state, &caller, &Asked::of(&query))?;
    let permit = permit(&state)?;
    if wants_lines {
        return stream::answer(&state, plan, kind == LINES, request.into_body(), permit);
    }
    let body = read(request, state.max_scan_bytes).await?;
    whole(&state, plan, body, kind == LINES, permit, wish).await
}

/// Returns leave for one more scan, as long as there is room.
fn permit(state: &ApiState) -> Result<OwnedSemaphorePermit, Problem> {
    let permit = state.scans.clone().try_acquire_owned();
    permit.map_err(|_| Problem::too_many("as many scans as there is room for are under way"))
}

/// Judges documents as this endpoint does, for whoever shows the results otherwise.
pub async fn judged(
    state: &ApiState,
    caller: &Caller,
    asked: &Asked,
    documents: Bytes,
) -> Result<(FileReport, Tally), Problem> {
    let plan = Plan::new(state, caller, asked)?;
    let permit = permit(state)?;
    in_pool(state, plan, documents, false, permit, |_, report, tally| (report, tally)).await
}

impl Plan {
    fn new(state: &ApiState, caller: &Caller, wanted: &Asked) -> Result<Self, Problem> {
        let in_force = state.app.in_force.load();
        let flaw = |error: crate::report::judge::UnknownName| {
            let of = if error.0.starts_with("there is no policy") { "policy" } else { "rule" };
            Problem::query(vec![Flaw::of_parameter(of, error.0)])
        };
        let version = wanted.kubernetes_version.as_deref().map(|text| {
            let flaw = |error: UnknownVersion| Flaw::of_parameter("kubernetesVersion", error.to_string());
            text.parse().map_err(|error| Problem::query(vec![flaw(error)]))
        });
        let kubernetes_version = version.transpose()?.or(in_force.kubernetes_version);
        let policies = asked(&in_force.bundle, &wanted.policies, &wanted.rules).map_err(flaw)?;
        let mut surroundings = (*in_force.surroundings).clone();
        for namespace in state.app.known_namespaces(&in_force) {
            surroundings.add_namespace(namespace);
        }
        // Modes and neighbours of a namespace that the caller may not see are none of their business.
        surroundings.retain(|name| name.is_empty() || caller.sees(name));
        let namespace = wanted.namespace.as_deref().map(|name| {
            let known = surroundings.namespace(name).cloned();
            // Without a cluster nobody knows which namespaces there are: one that nothing names has no labels.
            let plain = || (!state.app.has_cluster() && caller.sees(name)).then(|| NamespaceMeta::named(name).into());
            known.or_else(plain).ok_or_else(|| Problem::not_found(format!("there is no namespace \"{name}\"")))
        });
        Ok(Self {
            app: state.app.clone(),
            policies,
            namespace: namespace.transpose()?,
            surroundings,
            kubernetes_version,
            shows_passed: wanted.shows_passed,
            in_force,
        })
    }

    /// Takes in what documents say about each other; what the configuration says of namespaces counts more.
    fn look_through(&mut self, chunks: &[Chunk]) {
        let mut found = false;
        for chunk in chunks {
            if !self.surroundings.could_be_in(chunk.text.as_bytes()) {
                continue;
            }
            for manifest in parse(chunk).manifests {
                if self.surroundings.is_wanted(&manifest.object) {
                    self.surroundings.add(&manifest.object);
                    found = true;
                }
            }
        }
        if found {
            self.surroundings.add_namespaces(&self.in_force.config.static_namespaces);
        }
    }

    /// Judges one document after the other, with what `judge` is given.
    pub fn with_scanner<T>(&self, act: impl FnOnce(&Scanner<'_>) -> T) -> T {
        let home = self.namespace.as_ref().map_or("", |namespace| namespace.name.as_str());
        let inventory = |object: &Value| {
            let own = object.at(&["metadata", "namespace"]).and_then(Fields::as_text).unwrap_or_default();
            let namespace = if own.is_empty() { home } else { own };
            merged(self.app.watched_inventory(namespace), self.surroundings.inventory_of(namespace))
        };
        let judge = Judge {
            bundle: &self.in_force.bundle,
            policies: &self.policies,
            limits: self.in_force.limits,
            exemptions: &self.in_force.exemptions,
            now: Timestamp::now(),
            shows_passed: self.shows_passed,
        };
        act(&Scanner {
            judge,
            modes: &self.in_force.config.modes,
            surroundings: &self.surroundings,
            namespace: self.namespace.as_ref(),
            inventory: &inventory,
            kubernetes_version: self.kubernetes_version,
        })
    }
}

/// Returns what both know; the documents add to what is in the cluster.
fn merged(cluster: Inventory, documents: Inventory) -> Inventory {
    let mut all = cluster;
    for (kind, objects) in documents {
        let known: Vec<Value> = all.get(&kind).into_iter().flat_map(Fields::items).cloned().collect();
        let both: Vec<Value> = known.into_iter().chain(objects.items().cloned()).collect();
        all.insert(kind, Value::from(both));
    }
    all
}

/// Reads a body of at most so many bytes.
pub async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Problem::too_large(limit));
    }
    let read = tokio::time::timeout(SILENCE, to_bytes(request.into_body(), limit)).await;
    let bytes = read.map_err(|_| Problem::malformed("the body took too long to come"))?;
    bytes.map_err(|error| {
        let is_too_long = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if is_too_long { Problem::too_large(limit) } else { Problem::malformed("the body broke off") }
    })
}

async fn whole(
    state: &ApiState,
    plan: Plan,
    body: Bytes,
    is_lines: bool,
    permit: OwnedSemaphorePermit,
    wish: Option<record::Wish>,
) -> Result<Response, Problem> {
    let write = |plan: &Plan, report: FileReport, tally: Tally| {
        let mut json = JsonReport::default();
        let start = JsonReport::start(&EngineVersion::of(&plan.in_force.bundle));
        let text = [start, json.file(&report), json.end(&tally)].concat();
        let batch = wish.map(|wish| wish.batch(plan.in_force.bundle.digest(), &report, &tally));
        (tally, text, batch)
    };
    let (tally, text, batch) = in_pool(state, plan, body, is_lines, permit, write).await?;
    if let Some(batch) = batch {
        let _turn = reports::turn(state)?;
        reports::take_in(state, &batch).await?;
    }
    let is_judged = tally.summary.objects > 0 || tally.faults == 0;
    let status = if is_judged { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, [(CONTENT_TYPE, "application/json")], Body::from(text)).into_response())
}

/// Judges documents on a thread of the pool, where the answer is made of them, too.
async fn in_pool<T: Send + 'static>(
    state: &ApiState,
    mut plan: Plan,
    body: Bytes,
    is_lines: bool,
    permit: OwnedSemaphorePermit,
    answer: impl FnOnce(&Plan, FileReport, Tally) -> T + Send + 'static,
) -> Result<T, Problem> {
    let job = move |machines: &mut Machines| {
        let _permit = permit;
        let mut report = FileReport { file: STDIN.into(), ..FileReport::default() };
        let mut chunks = Vec::new();
        for chunk in split(&body, is_lines) {
            match chunk {
                Ok(chunk) => chunks.push(chunk),
                Err(fault) => report.faults.push(fault),
            }
        }
        plan.look_through(&chunks);
        plan.with_scanner(|scanner| chunks.iter().for_each(|chunk| scanner.document(chunk, machines, &mut report)));
        let mut tally = Tally::default();
        tally.add(&report);
        answer(&plan, report, tally)
    };
    let answer = state.pool.try_submit(job).map_err(|_| Problem::unavailable("too many scans wait for a thread"))?;
    answer.await.map_err(|panicked| {
        tracing::error!(%panicked, "a scan ended without an answer");
        Problem::internal("judging the documents failed")
    })
}

type Chunks<'a> = Box<dyn Iterator<Item = Result<Chunk, crate::input::Fault>> + 'a>;

fn split(body: &[u8], is_lines: bool) -> Chunks<'_> {
    if is_lines { Box::new(super::lines::Lines::new(body)) } else { Box::new(Splitter::new(body)) }
}

/// Returns the type of the body, YAML where nothing is said.
fn media_type(headers: &HeaderMap) -> Result<&'static str, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok("application/yaml") };
    let given = value.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = TAKEN.into_iter().find(|taken| *taken == essence);
    found.ok_or_else(|| Problem::media_type(given, "application/yaml, application/json, application/x-ndjson"))
}

fn accepts_lines(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(LINES)))
}
