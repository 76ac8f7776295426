//! `/api/v1/findings`, `/api/v1/resources` and `/api/v1/audits`: what audits found, and audits.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::{Caller, Scope};
use super::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use super::lists::{self, APPLICATION, EFFORT, KIND, MODE, NAMESPACE, OWNER, PAGES, POLICY, RULE, SEVERITY};
use super::problem::Problem;
use crate::audit;
use crate::report::Resource;
use crate::report::finding::{Finding, Fingerprint};
use crate::store::{Filter, FindingSort, Page};
use crate::webhook::handlers::App;

/// What findings are narrowed to.
pub const FILTERS: &[Parameter] = &[
    NAMESPACE,
    APPLICATION,
    RULE,
    POLICY,
    SEVERITY,
    EFFORT,
    KIND,
    Parameter::new(
        "state",
        Values::Some(&["open", "closed", "fixed", "deleted", "exempt", "ruleOff", "outOfScope"]),
        "States, and reasons for being closed; open if nobody says",
    ),
    MODE,
    OWNER,
    Parameter::new("since", Values::Text, "First seen at or after this time (RFC 3339), or so long ago (7d)"),
    Parameter::new("text", Values::Text, "Words in name, rule, message or path"),
];

const SORT: &[Parameter] =
    &[Parameter::new("sort", Values::OneOf(&["severity", "firstSeen", "oldest", "object", "rule"]), "The order")];

/// What resources are narrowed to, by their findings.
const RESOURCE_FILTERS: &[Parameter] = &[
    NAMESPACE,
    APPLICATION,
    RULE,
    POLICY,
    SEVERITY,
    EFFORT,
    KIND,
    MODE,
    OWNER,
    Parameter::new(
        "since",
        Values::Text,
        "With findings first seen at or after this time (RFC 3339), or so long ago (7d)",
    ),
    Parameter::new("text", Values::Text, "Words in name, rule, message or path"),
];

const FINDINGS: Endpoint = Endpoint {
    path: "/api/v1/findings",
    about: "Violations that audits found, with how long they have been there",
    parameters: &[FILTERS, SORT, PAGES],
    ..Endpoint::GET
};

const FINDING: Endpoint = Endpoint {
    path: "/api/v1/findings/{id}",
    about: "One finding, with the object as it was judged",
    statuses: &[200, 404],
    ..Endpoint::GET
};

const RESOURCES: Endpoint = Endpoint {
    path: "/api/v1/resources",
    about: "Objects that have open findings, with how many of each severity",
    parameters: &[RESOURCE_FILTERS, PAGES],
    ..Endpoint::GET
};

const AUDITS: Endpoint =
    Endpoint { path: "/api/v1/audits", about: "Audits, the newest first", parameters: &[PAGES], ..Endpoint::GET };

const AUDIT: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/audits",
    scope: Some(Scope::Write),
    about: "Begins an audit of the whole cluster",
    statuses: &[202, 409],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes
        .add(&FINDINGS, findings)
        .add(&FINDING, finding)
        .add(&RESOURCES, resources)
        .add(&AUDITS, audits)
        .add(&AUDIT, begin)
}

/// A finding as the API tells it: the fields of a ScanResult's result, and what time adds.
#[derive(Serialize)]
struct Told {
    resource: Resource,
    #[serde(flatten)]
    finding: Finding,
}

impl From<Finding> for Told {
    fn from(finding: Finding) -> Self {
        let resource = Resource {
            api_version: finding.api_version.clone(),
            kind: finding.object.kind.clone(),
            namespace: finding.object.namespace.clone(),
            name: finding.object.name.clone(),
        };
        Self { resource, finding }
    }
}

async fn findings(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let asked = lists::page(&query, filter(&state.app, &caller, &query)?, sort(query.text("sort")));
    let Page { items, next } = kept.store.findings(&asked).await?;
    Ok(lists::answer(Page { items: items.into_iter().map(Told::from).collect(), next }))
}

async fn finding(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let found = kept.store.finding(&Fingerprint(id.clone())).await?;
    let found = found.filter(|finding| caller.sees(&finding.object.namespace));
    let finding = found.ok_or_else(|| Problem::not_found(format!("there is no finding \"{id}\"")))?;
    let content = kept.store.content(&finding.content).await?;
    let object: Option<Text> = content.and_then(|text| serde_json::from_str(&text).ok());
    let mut told = json!(Told::from(finding));
    if let Some(fields) = told.as_object_mut() {
        fields.insert("object".into(), object.unwrap_or_default());
    }
    Ok(Json(told))
}

async fn resources(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let asked = lists::page(&query, lists::filter(&state.app, &caller, &query)?, ());
    Ok(lists::answer(state.kept()?.store.resources(&asked).await?))
}

async fn audits(State(state): State<Arc<ApiState>>, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let asked = lists::page(&query, Filter::default(), ());
    let Page { items, next } = kept.store.audits(&asked).await?;
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

async fn begin(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let auditor = state.kept()?.auditor.as_ref().ok_or_else(Problem::nothing_audited)?;
    auditor.ask().map_err(|busy| Problem::conflict(busy.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(json!({"state": "running"}))).into_response())
}

fn sort(word: Option<&str>) -> FindingSort {
    match word {
        Some("firstSeen") => FindingSort::FirstSeen,
        Some("oldest") => FindingSort::Oldest,
        Some("object") => FindingSort::Object,
        Some("rule") => FindingSort::Rule,
        _ => FindingSort::Severity,
    }
}

/// Returns what findings are narrowed to; what stands closed is told only to who asks for it.
pub fn filter(app: &App, caller: &Caller, query: &Query) -> Result<Filter, Problem> {
    let state = query.list("state");
    let state = if state.is_empty() { vec!["open".to_owned()] } else { state.to_vec() };
    Ok(Filter { state, ..lists::filter(app, caller, query)? })
}
