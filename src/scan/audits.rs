//! `/api/v1/audits`: audits, and what they counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value as Text, json};
use tokio::sync::oneshot;

use super::access::{Caller, Scope};
use super::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use super::lists::{self, NAMESPACE, PAGES, POLICY, RULE, TIMES};
use super::problem::Problem;
use super::{ApiState, Kept};
use crate::audit;
use crate::store::{Audit, Filter, Page, RuleCount};

/// Stands in place of why a kind could not be read, for whoever does not see the whole cluster.
const UNTOLD: &str = "told to whoever sees the whole cluster";
/// How long is waited for an audit to begin, so that its number can be told.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// Audits that count, by when they began.
pub const SINCE: Parameter =
    Parameter::new("since", Values::Text, "Begun at or after this time (RFC 3339), or so long ago (7d)");

const AUDIT_FILTERS: &[Parameter] = &[
    Parameter::new(
        "state",
        Values::Some(&["running", "complete", "partial", "cancelled", "abandoned"]),
        "How far they have come",
    ),
    SINCE,
];

const AUDITS: Endpoint = Endpoint {
    path: "/api/v1/audits",
    about: "Audits",
    parameters: &[AUDIT_FILTERS, TIMES, PAGES],
    answer: "AuditList",
    ..Endpoint::GET
};

const BEGIN: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/audits",
    scope: Some(Scope::Write),
    about: "Begins an audit of the whole cluster, and answers with its id; Location is where it is told",
    statuses: &[202, 409],
    answer: "Started",
    ..Endpoint::GET
};

const AUDIT: Endpoint = Endpoint {
    path: "/api/v1/audits/{id}",
    about: "One audit, with how often each rule of each policy gave which answer in each namespace",
    parameters: &[&[NAMESPACE, RULE, POLICY]],
    statuses: &[200, 404],
    answer: "Audit",
    ..Endpoint::GET
};

const CANCEL: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/audits/{id}/cancel",
    scope: Some(Scope::Write),
    about: "Has the audit under way end before its time; what it has not come to stays as it is",
    statuses: &[202, 404, 409],
    answer: "Started",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&AUDITS, audits).add(&BEGIN, begin).add(&AUDIT, audit).add(&CANCEL, cancel)
}

async fn audits(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let filter = Filter { state: query.list("state").to_vec(), since: lists::since(&query)?, ..Filter::default() };
    let Page { items, next } = kept.store.audits(&lists::page(&query, filter, lists::time_sort(&query))).await?;
    let items: Vec<Text> = seen(&state, kept, &caller, items).await?.iter().map(|audit| told(&caller, audit)).collect();
    let progress = kept.auditor.as_ref().and_then(audit::Desk::progress).map(|progress| {
        json!({
            "kinds": progress.kinds,
            "kindsDone": progress.kinds_done,
            "objects": progress.objects,
            "remainingOfKind": progress.remaining,
        })
    });
    Ok(Json(json!({"items": items, "next": next, "progress": progress})))
}

/// Returns an audit as it is answered: what went for other reasons is counted of the whole cluster only.
fn told(caller: &Caller, audit: &Audit) -> Text {
    let mut told = json!(audit);
    if let Some(fields) = told.as_object_mut().filter(|_| !caller.sees_all()) {
        fields.remove("closed");
    }
    told
}

/// Returns audits as the caller may know them.
///
/// Of one who sees some namespaces they tell what came and what was fixed there. Why a kind could not be read names
/// namespaces and accounts of others, so they are told of the kind alone.
pub async fn seen(
    state: &ApiState,
    kept: &Kept,
    caller: &Caller,
    mut audits: Vec<Audit>,
) -> Result<Vec<Audit>, Problem> {
    let ids = audits.iter().map(|audit| audit.id);
    let (Some(oldest), Some(newest)) = (ids.clone().min(), ids.max()) else { return Ok(audits) };
    if caller.sees_all() {
        return Ok(audits);
    }
    let filter = Filter { visible: lists::visible(&state.app, caller), ..Filter::default() };
    let history = kept.store.history(&filter, oldest, newest).await?;
    let mut changed: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for change in &history.changes {
        let (opened, fixed) = changed.entry(change.audit).or_default();
        *opened = opened.saturating_add(change.opened);
        *fixed = fixed.saturating_add(change.fixed);
    }
    for audit in &mut audits {
        (audit.opened, audit.fixed) = changed.get(&audit.id).copied().unwrap_or_default();
        audit.closed = 0;
        audit.unread.values_mut().for_each(|cause| UNTOLD.clone_into(cause));
    }
    Ok(audits)
}

/// Returns whether somebody may begin audits and end them: they go over the whole cluster.
pub fn may_direct(caller: &Caller) -> bool {
    caller.may(Scope::Write) && caller.sees_all()
}

/// Begins an audit for somebody, and returns what is told its number.
pub fn ask(state: &ApiState, caller: &Caller) -> Result<oneshot::Receiver<i64>, Problem> {
    check_reach(caller)?;
    let auditor = state.kept()?.auditor.as_ref().ok_or_else(Problem::nothing_audited)?;
    auditor.ask().map_err(|busy| Problem::conflict(busy.to_string()))
}

fn check_reach(caller: &Caller) -> Result<(), Problem> {
    let beyond = || Problem::beyond_namespaces("an audit goes over the whole cluster");
    if caller.sees_all() { Ok(()) } else { Err(beyond()) }
}

async fn begin(State(state): State<Arc<ApiState>>, caller: Caller) -> Result<Response, Problem> {
    let begun = ask(&state, &caller)?;
    let unknown = || Problem::unavailable("no audit has begun: see the log, and ask GET /api/v1/audits");
    let id = tokio::time::timeout(BEGINS_WITHIN, begun).await.ok().and_then(Result::ok).ok_or_else(unknown)?;
    let location = [(LOCATION, format!("/api/v1/audits/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(json!({"id": id, "state": "running"}))).into_response())
}

async fn cancel(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = end_early(&state, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "state": "running"}))).into_response())
}

/// Tells an audit to end before its time for somebody, and returns its number.
pub async fn end_early(state: &ApiState, caller: &Caller, id: &str) -> Result<i64, Problem> {
    check_reach(caller)?;
    let kept = state.kept()?;
    let unknown = || Problem::not_found(format!("there is no audit \"{id}\""));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    kept.store.audit(number).await?.ok_or_else(unknown)?;
    let auditor = kept.auditor.as_ref().ok_or_else(Problem::nothing_audited)?;
    if !auditor.cancel(number) {
        return Err(Problem::conflict(format!("audit {number} is not under way")));
    }
    tracing::info!(audit = number, "an audit is cancelled");
    Ok(number)
}

/// An audit, with what it counted.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    audit: Text,
    counts: Vec<RuleCount>,
}

async fn audit(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    let kept = state.kept()?;
    let unknown = || Problem::not_found(format!("there is no audit \"{id}\""));
    let audit = kept.store.audit(id.parse().map_err(|_| unknown())?).await?.ok_or_else(unknown)?;
    let filter = lists::filter(&state.app, &caller, &query)?;
    let is_one_of = |words: &[String], word: &String| words.is_empty() || words.contains(word);
    let mut counts = kept.store.counts(audit.id).await?;
    let audit = seen(&state, kept, &caller, vec![audit]).await?.first().map(|audit| told(&caller, audit));
    counts.retain(|count| {
        caller.sees(&count.namespace)
            && is_one_of(&filter.namespace, &count.namespace)
            && is_one_of(&filter.rule, &count.rule)
            && is_one_of(&filter.policy, &count.policy)
    });
    Ok(Json(Told { audit: audit.unwrap_or_default(), counts }))
}
