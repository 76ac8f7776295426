//! `/api/v1/decisions` and `/api/v1/checks`: what was answered at admission, and what was judged elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value as Text;

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::{self, EFFORT, KIND, MODE, NAMESPACE, PAGES, POLICY, RULE, SEVERITY, TIMES};
use super::problem::Problem;
use crate::store::{Check, Decision, Filter, Page};
use crate::webhook::handlers::App;

/// What decisions are narrowed to.
pub const DECISION_FILTERS: &[Parameter] = &[
    NAMESPACE,
    Parameter::new(
        "application",
        Values::List,
        "What delivers the object, by name, as far as audits found something in it",
    ),
    RULE,
    POLICY,
    SEVERITY,
    EFFORT,
    KIND,
    Parameter::new("state", Values::Some(&["allowed", "denied"]), "What was answered"),
    MODE,
    Parameter::new(
        "owner",
        Values::List,
        "The object's top owner, as Kind/name, as far as audits found something in it",
    ),
    Parameter::new("since", Values::Text, "Answered at or after this time (RFC 3339), or so long ago (7d)"),
    Parameter::new("text", Values::Text, "Words in the object's name or in what was told"),
];

/// What checks are narrowed to.
pub const CHECK_FILTERS: &[Parameter] = &[
    Parameter::new("source", Values::List, "Who judged, for example ci/shop"),
    Parameter::new("state", Values::Some(&["passed", "failed"]), "How it ended"),
    Parameter::new("since", Values::Text, "Judged at or after this time (RFC 3339), or so long ago (7d)"),
];

const DECISIONS: Endpoint = Endpoint {
    path: "/api/v1/decisions",
    about: "What admission answered",
    parameters: &[DECISION_FILTERS, TIMES, PAGES],
    answer: "DecisionList",
    ..Endpoint::GET
};

const DECISION: Endpoint = Endpoint {
    path: "/api/v1/decisions/{uid}",
    about: "What admission answered to one request",
    statuses: &[200, 404],
    answer: "Decision",
    ..Endpoint::GET
};

const CHECKS: Endpoint = Endpoint {
    path: "/api/v1/checks",
    about: "What was judged by CI jobs, laptops and other clusters, without the results",
    parameters: &[CHECK_FILTERS, TIMES, PAGES],
    answer: "CheckList",
    ..Endpoint::GET
};

const CHECK: Endpoint = Endpoint {
    path: "/api/v1/checks/{id}",
    about: "One check, with its results",
    statuses: &[200, 404],
    answer: "Check",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&DECISIONS, decisions).add(&DECISION, decision).add(&CHECKS, checks).add(&CHECK, check)
}

async fn decisions(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let filter = decision_filter(&state.app, &caller, &query)?;
    let asked = lists::page(&query, filter, lists::time_sort(&query));
    Ok(lists::answer(state.kept()?.store.decisions(&asked).await?))
}

/// Returns what decisions are narrowed to.
pub fn decision_filter(app: &App, caller: &Caller, query: &Query) -> Result<Filter, Problem> {
    Ok(Filter { state: query.list("state").to_vec(), ..lists::filter(app, caller, query)? })
}

/// Returns what checks are narrowed to.
pub fn check_filter(query: &Query) -> Result<Filter, Problem> {
    Ok(Filter {
        source: query.list("source").to_vec(),
        state: query.list("state").to_vec(),
        since: lists::since(query)?,
        ..Filter::default()
    })
}

async fn decision(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(uid): Path<String>,
) -> Result<Json<Decision>, Problem> {
    let found = state.kept()?.store.decision(&uid).await?;
    let found = found.filter(|decision| caller.sees(&decision.namespace));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no decision \"{uid}\"")))
}

async fn checks(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let asked = lists::page(&query, check_filter(&query)?, lists::time_sort(&query));
    let page =
        if sees_checks(&caller) { kept.store.checks(&asked).await? } else { Page { items: Vec::new(), next: None } };
    let told = |check: Check| {
        let mut told = serde_json::to_value(check).unwrap_or_default();
        // What was left out is not told as if there were none.
        told.as_object_mut().map(|fields| fields.remove("results"));
        told
    };
    Ok(lists::answer(Page { items: page.items.into_iter().map(told).collect(), next: page.next }))
}

async fn check(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Check>, Problem> {
    let kept = state.kept()?;
    let found = match id.parse().ok().filter(|_| sees_checks(&caller)) {
        Some(number) => kept.store.check(number).await?,
        None => None,
    };
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no check \"{id}\"")))
}

/// Returns whether somebody may see checks, which may be of any namespaces, and of files that are in none.
pub fn sees_checks(caller: &Caller) -> bool {
    caller.sees("")
}
