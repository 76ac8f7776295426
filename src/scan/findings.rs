//! `GET /api/v1/findings` and `/api/v1/audits`, and `POST /api/v1/audits`: what audits found.

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
use super::problem::{Flaw, Problem};
use crate::audit;
use crate::report::Resource;
use crate::report::finding::{Finding, Fingerprint};
use crate::store::{Filter, FindingSort, Page, PageQuery};
use crate::webhook::handlers::App;

/// Items of a page when nobody says how many, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

const PAGES: &[Parameter] = &[
    Parameter::new("limit", Values::Number(LONGEST_PAGE), "How many at most; 100 if nobody says"),
    Parameter::new("cursor", Values::Text, "Where to go on: the `next` of the page before"),
];

const FILTERS: &[Parameter] = &[
    Parameter::new("namespace", Values::List, "Namespaces"),
    Parameter::new("application", Values::List, "Argo CD Applications, Flux Kustomizations and releases, by name"),
    Parameter::new("rule", Values::List, "Rules, by id or another name"),
    Parameter::new("policy", Values::List, "Policies"),
    Parameter::new("severity", Values::Some(&["critical", "high", "medium", "low", "info"]), "Severities"),
    Parameter::new("effort", Values::Some(&["easy", "medium", "hard"]), "What mending it takes"),
    Parameter::new("kind", Values::List, "Kinds"),
    Parameter::new(
        "state",
        Values::Some(&["open", "closed", "fixed", "deleted", "exempt", "ruleOff", "outOfScope"]),
        "States, and reasons for being closed; open if nobody says",
    ),
    Parameter::new("mode", Values::Some(&["enforce", "warn", "audit"]), "What the namespace does with it"),
    Parameter::new("owner", Values::List, "Top owners, as Kind/name"),
    Parameter::new("since", Values::Text, "First seen at or after this time (RFC 3339)"),
    Parameter::new("text", Values::Text, "Words in name, rule, message or path"),
    Parameter::new("sort", Values::OneOf(&["severity", "firstSeen", "oldest", "object", "rule"]), "The order"),
];

const FINDINGS: Endpoint = Endpoint {
    path: "/api/v1/findings",
    about: "Violations that audits found, with how long they have been there",
    parameters: &[FILTERS, PAGES],
    ..Endpoint::GET
};

const FINDING: Endpoint = Endpoint {
    path: "/api/v1/findings/{id}",
    about: "One finding, with the object as it was judged",
    statuses: &[200, 404],
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
    routes.add(&FINDINGS, findings).add(&FINDING, finding).add(&AUDITS, audits).add(&AUDIT, begin)
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
    let asked = PageQuery {
        filter: filter(&state.app, &caller, &query)?,
        sort: sort(query.text("sort")),
        cursor: query.text("cursor").map(str::to_owned),
        limit: query.number("limit").unwrap_or(PAGE),
    };
    let Page { items, next } = kept.store.findings(&asked).await?;
    let items: Vec<Told> = items.into_iter().map(Told::from).collect();
    Ok(Json(json!({"items": items, "next": next})))
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

async fn audits(State(state): State<Arc<ApiState>>, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let asked = PageQuery {
        filter: Filter::default(),
        sort: (),
        cursor: query.text("cursor").map(str::to_owned),
        limit: query.number("limit").unwrap_or(PAGE),
    };
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

/// Returns what a list is narrowed to; what stands closed is told only to who asks for it.
fn filter(app: &App, caller: &Caller, query: &Query) -> Result<Filter, Problem> {
    let list = |name| query.list(name).to_vec();
    let state = list("state");
    let visible = caller.globs().map(|_| {
        let known = app.known_namespaces(&app.in_force.load());
        known.iter().filter(|namespace| caller.sees(&namespace.name)).map(|namespace| namespace.name.clone()).collect()
    });
    Ok(Filter {
        namespace: list("namespace"),
        visible,
        application: list("application"),
        rule: rules(app, query),
        policy: list("policy"),
        severity: list("severity"),
        kind: list("kind"),
        state: if state.is_empty() { vec!["open".to_owned()] } else { state },
        action: query.list("mode").iter().map(|mode| action(mode).to_owned()).collect(),
        owner: list("owner"),
        since: query.text("since").map(since).transpose()?,
        text: query.text("text").map(str::to_owned),
        ..Filter::default()
    })
}

fn action(mode: &str) -> &'static str {
    match mode {
        "enforce" => "deny",
        "warn" => "warn",
        _ => "record",
    }
}

fn since(text: &str) -> Result<jiff::Timestamp, Problem> {
    let flaw = |_| Problem::query(vec![Flaw::of_parameter("since", format!("since: \"{text}\" is no RFC 3339 time"))]);
    text.parse().map_err(flaw)
}

/// Returns the rules that are asked for, by their ids: one that is not in force may still have findings.
fn rules(app: &App, query: &Query) -> Vec<String> {
    let in_force = app.in_force.load();
    let catalogue = in_force.bundle.catalogue();
    let id = |name: &String| catalogue.rule(name).map_or_else(|_| name.clone(), |rule| rule.id.to_string());
    let named: Vec<String> = query.list("rule").iter().map(id).collect();
    let efforts = query.list("effort");
    if efforts.is_empty() {
        return named;
    }
    let is_meant = |id: &str| named.is_empty() || named.iter().any(|name| name == id);
    let rules = catalogue.rules().values().filter(|rule| efforts.iter().any(|effort| *effort == rule.effort.as_str()));
    let found: Vec<String> = rules.map(|rule| rule.id.to_string()).filter(|id| is_meant(id)).collect();
    // No rule takes what is asked for: nothing is found, and not everything.
    if found.is_empty() { vec![String::new()] } else { found }
}
