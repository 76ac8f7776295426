//! `/resources/{kind}/{namespace}/{name}`: everything that is known of one object.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::applications;
use super::code::Code;
use super::decisions::Row as DecisionRow;
use super::dress::page_of;
use super::findings::Row as FindingRow;
use super::links::encoded;
use super::manifest;
use super::shell::{Crumb, Shell, Visit};
use super::words::When;
use crate::report::finding::{Finding, ObjectKey};
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Filter, FindingSort, PageQuery, TimeSort};

/// Findings of the page, of each state.
const FINDINGS: usize = 200;
/// Decisions of the page.
const DECISIONS: usize = 20;
/// Stands for no namespace in the address.
const NOWHERE: &str = "-";

const RESOURCE: Endpoint = Endpoint {
    path: "/resources/{kind}/{namespace}/{name}",
    about: "The page of one object; the kind is as in kubectl (Pod, Deployment.apps), - stands for no namespace",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&RESOURCE, resource)
}

#[derive(Template)]
#[template(path = "resource.html")]
struct ResourcePage {
    shell: Shell,
    object: String,
    namespace: String,
    namespace_href: String,
    owner: String,
    application: Option<(String, String)>,
    api_version: String,
    last_seen: Option<When>,
    open: Vec<FindingRow>,
    closed: Vec<FindingRow>,
    decisions: Vec<DecisionRow>,
    manifest: Option<Code>,
}

/// Returns the page of an object.
pub fn href(object: &ObjectKey) -> String {
    let group = if object.group.is_empty() { String::new() } else { format!(".{}", object.group) };
    let kind = encoded(&format!("{}{group}", object.kind));
    let namespace = if object.namespace.is_empty() { NOWHERE.to_owned() } else { encoded(&object.namespace) };
    format!("/resources/{kind}/{namespace}/{}", encoded(&object.name))
}

async fn resource(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let namespace = if namespace == NOWHERE { String::new() } else { namespace };
    let missing = || Problem::not_found("nothing is known of such an object: it may never have broken a rule");
    if !caller.sees(&namespace) {
        return Err(missing());
    }
    let (kind, group) = kind.split_once('.').unwrap_or((&kind, ""));
    let filter = Filter {
        namespace: vec![namespace.clone()],
        kind: vec![kind.to_owned()],
        name: vec![name.clone()],
        ..Filter::default()
    };
    let open = findings(kept, &filter, group, "open").await?;
    let closed = findings(kept, &filter, group, "closed").await?;
    // A request for a Namespace carries its own name as the namespace.
    let is_namespace = kind == "Namespace" && group.is_empty();
    let asked_in = if is_namespace { &name } else { &namespace };
    let filter = Filter { namespace: vec![asked_in.clone()], ..filter };
    let asked = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: DECISIONS };
    let mut decisions = kept.store.decisions(&asked).await?.items;
    decisions.retain(|decision| decision.group == group);
    if open.is_empty() && closed.is_empty() && decisions.is_empty() {
        return Err(missing());
    }
    let object = format!("{kind}/{name}");
    let known = open.first().or(closed.first());
    let content = match open.first() {
        Some(finding) => kept.store.content(&finding.content).await?,
        None => None,
    };
    let content = content.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let application = known.and_then(|finding| finding.application.as_ref());
    let crumbs = match namespace.as_str() {
        "" => vec![Crumb::here(&object)],
        namespace => vec![
            Crumb::to("/namespaces", "Namespaces"),
            Crumb::to(format!("/namespaces/{}", encoded(namespace)), namespace),
            Crumb::here(&object),
        ],
    };
    page_of(&ResourcePage {
        shell: Shell::new(&state, &visit, &object, &crumbs).await,
        owner: known.map(|finding| finding.owner.clone()).unwrap_or_default(),
        application: application.map(|app| (format!("{} {}", app.kind, app.name), applications::href(app))),
        api_version: known.map(|finding| finding.api_version.clone()).unwrap_or_default(),
        last_seen: known.map(|finding| visit.when(finding.last_seen)),
        open: rows(&open, &visit),
        closed: rows(&closed, &visit),
        decisions: decisions.iter().map(|decision| DecisionRow::of(decision, &visit)).collect(),
        manifest: content.map(|object| Code::new("The object as it was judged", manifest::lines(&object, ""))),
        namespace_href: format!("/namespaces/{}", encoded(&namespace)),
        object,
        namespace,
    })
}

async fn findings(kept: &Kept, filter: &Filter, group: &str, state: &str) -> Result<Vec<Finding>, Problem> {
    let filter = Filter { state: vec![state.to_owned()], ..filter.clone() };
    let asked = PageQuery { filter, sort: FindingSort::Severity, cursor: None, limit: FINDINGS };
    let mut found = kept.store.findings(&asked).await?.items;
    found.retain(|finding| finding.object.group == group);
    Ok(found)
}

fn rows(findings: &[Finding], visit: &Visit) -> Vec<FindingRow> {
    findings.iter().map(|finding| FindingRow::of(finding, visit)).collect()
}
