//! `/api/v1/findings/plan`: findings as what is to be mended, by whom.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::findings::{FILTERS, filter};
use super::problem::{Flaw, Problem};
use crate::report::finding::Finding;
use crate::report::plan::{By, csv, markdown};
use crate::store::{Filter, FindingSort, PageQuery, Store};

/// Findings of one plan.
const MOST: usize = 10_000;

const PARAMETERS: &[Parameter] = &[
    Parameter::new("by", Values::OneOf(&["owner", "application"]), "Who mends; owner if nobody says"),
    Parameter::new("format", Values::OneOf(&["markdown", "csv"]), "The format; markdown if nobody says"),
];

const PLAN: Endpoint = Endpoint {
    path: "/api/v1/findings/plan",
    about: "What is to be mended, by owner or application, the gravest first",
    parameters: &[FILTERS, PARAMETERS],
    gives: &["text/markdown", "text/csv"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&PLAN, plan)
}

async fn plan(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Response, Problem> {
    let findings = all(&*state.kept()?.store, filter(&state.app, &caller, &query)?).await?;
    let by = if query.text("by") == Some("application") { By::Application } else { By::Owner };
    let in_force = state.app.in_force.load();
    let rules = in_force.bundle.catalogue().rules();
    Ok(match query.text("format") {
        Some("csv") => file("text/csv; charset=utf-8; header=present", "plan.csv", csv(&findings, by, rules)),
        _ => file("text/markdown; charset=utf-8", "plan.md", markdown(&findings, by, rules)),
    })
}

/// Answers with a file to keep.
pub fn file(kind: &'static str, name: &str, text: String) -> Response {
    ([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))], text)
        .into_response()
}

/// Reads every finding of a filter; one that finds too many says so.
pub async fn all(store: &dyn Store, filter: Filter) -> Result<Vec<Finding>, Problem> {
    let asked = PageQuery { filter, sort: FindingSort::Severity, cursor: None, limit: MOST };
    let page = store.findings(&asked).await?;
    if page.next.is_some() {
        let detail = format!("more than {MOST} findings: narrow it, for example to a namespace");
        return Err(Problem::query(vec![Flaw::of_parameter("namespace", detail)]));
    }
    Ok(page.items)
}
