//! `/api/v1/findings` and `/api/v1/resources`: what audits found.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::{self, APPLICATION, EFFORT, KIND, MODE, NAMESPACE, OWNER, PAGES, POLICY, RULE, SEVERITY};
use super::problem::Problem;
use super::way_in::way_in;
use crate::report::Resource;
use crate::report::finding::{Finding, Fingerprint};
use crate::store::{Filter, FindingSort, Page, ResourceSort};
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

/// What findings are ordered by.
pub const SORT: &[Parameter] =
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

const RESOURCE_SORT: &[Parameter] = &[Parameter::new(
    "sort",
    Values::OneOf(&["object", "findings"]),
    "The order: by kind, namespace and name if nobody says, or most findings first",
)];

const FINDINGS: Endpoint = Endpoint {
    path: "/api/v1/findings",
    about: "Violations that audits found, with how long they have been there",
    parameters: &[FILTERS, SORT, PAGES],
    answer: "FindingList",
    ..Endpoint::GET
};

const FINDING: Endpoint = Endpoint {
    path: "/api/v1/findings/{id}",
    about: "One finding, with the object as it was judged",
    statuses: &[200, 404],
    answer: "Finding",
    ..Endpoint::GET
};

const RESOURCES: Endpoint = Endpoint {
    path: "/api/v1/resources",
    about: "Objects that have open findings, with how many of each severity",
    parameters: &[RESOURCE_FILTERS, RESOURCE_SORT, PAGES],
    answer: "OpenResourceList",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&FINDINGS, findings).add(&FINDING, finding).add(&RESOURCES, resources)
}

/// A finding as the API tells it: the fields of a ScanResult's result, and what time adds.
#[derive(Serialize)]
pub struct Told {
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster: String,
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
        Self { cluster: finding.object.cluster.clone(), resource, finding }
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
    let way_in = way_in(&state, kept, &state.app.in_force.load(), &finding, object.as_ref()).await?;
    let mut told = json!(Told::from(finding));
    if let Some(fields) = told.as_object_mut() {
        fields.extend(way_in.map(|way_in| ("wayIn".to_owned(), json!(way_in))));
        fields.insert("object".into(), object.unwrap_or_default());
    }
    Ok(Json(told))
}

async fn resources(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let sort = match query.text("sort") {
        Some("findings") => ResourceSort::Findings,
        _ => ResourceSort::Object,
    };
    let asked = lists::page(&query, lists::filter(&state.app, &caller, &query)?, sort);
    Ok(lists::answer(state.kept()?.store.resources(&asked).await?))
}

/// Returns the order of a word; the gravest first where there is none.
pub fn sort(word: Option<&str>) -> FindingSort {
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
