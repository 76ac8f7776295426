//! `/checks`: what was judged elsewhere – by CI jobs, on laptops, in other clusters – by who judged it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::Value;

use super::decisions::ages;
use super::dress::page_of;
use super::facets::{self, Chip, Choice, Menu};
use super::links::Place;
use super::shell::{Crumb, Shell, Visit};
use super::words::{When, count, number};
use crate::policy::Severity;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::decisions::{CHECK_FILTERS, check_filter, sees_checks};
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::lists::PAGES;
use crate::scan::problem::Problem;
use crate::store::{Check, PageQuery, TimeSort};

/// Checks of a page when nobody says how many.
const PAGE: usize = 50;

const CHECKS: Endpoint = Endpoint {
    path: "/checks",
    about: "The page of checks",
    parameters: &[CHECK_FILTERS, PAGES],
    gives: &["text/html"],
    ..Endpoint::GET
};

const CHECK: Endpoint = Endpoint {
    path: "/checks/{id}",
    about: "The page of one check",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&CHECKS, checks).add(&CHECK, check)
}

/// Why a list of checks holds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// There is no store.
    NotKept,
    /// The reader may not see any.
    NotSeen,
    /// Nothing is left by filters.
    Narrowed,
    /// Nobody has reported one.
    Never,
}

#[derive(Template)]
#[template(path = "checks.html")]
struct ChecksPage {
    shell: Shell,
    tabs: Vec<Choice>,
    menus: Vec<Menu>,
    chips: Vec<Chip>,
    api: String,
    rows: Vec<Row>,
    empty: Option<Empty>,
    next: Option<String>,
    first: Option<String>,
}

#[derive(Template)]
#[template(path = "check.html")]
struct CheckPage {
    shell: Shell,
    check: Row,
    policies: String,
    cluster: String,
    results: Vec<Told>,
}

/// A check in words.
struct Row {
    id: i64,
    source: String,
    source_href: String,
    commit: String,
    when: When,
    verdict: (&'static str, &'static str),
    objects: String,
    passed: String,
    violations: Vec<(&'static str, String)>,
    unjudged: u64,
    exempt: u64,
}

impl Row {
    fn of(check: &Check, visit: &Visit) -> Self {
        let summary = |word: &str| check.summary.get(word).copied().unwrap_or_default();
        let violations = Severity::ALL.into_iter().rev().filter_map(|severity| {
            let found = check.violations.get(severity.as_str()).copied().filter(|found| *found > 0)?;
            Some((severity.as_str(), number(found)))
        });
        Self {
            id: check.id,
            source: check.source.clone(),
            source_href: Place::at("/checks").with("source", &check.source).href(),
            commit: check.commit.clone(),
            when: visit.when(check.time),
            verdict: if check.passed { ("good", "passed") } else { ("deny", "failed") },
            objects: count(summary("objects"), "object", "objects"),
            passed: number(summary("pass")),
            violations: violations.collect(),
            unjudged: summary("error").saturating_add(summary("skip")),
            exempt: summary("exempt"),
        }
    }
}

/// A result of a check, as far as it says what a page shows.
struct Told {
    severity: &'static str,
    result: String,
    rule: String,
    object: String,
    namespace: String,
    file: String,
    message: String,
}

impl Told {
    fn of(result: &Value) -> Self {
        let text = |pointer: &str| result.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let severity = text("/severity");
        let line = result.pointer("/source/line").and_then(Value::as_u64);
        let object = [text("/resource/kind"), text("/resource/name")].join("/");
        Self {
            severity: Severity::ALL.map(Severity::as_str).into_iter().find(|word| *word == severity).unwrap_or("info"),
            result: text("/result"),
            rule: text("/rule"),
            object: if object == "/" { String::new() } else { object },
            namespace: text("/resource/namespace"),
            file: line.map_or_else(|| text("/source/file"), |line| format!("{}:{line}", text("/source/file"))),
            message: text("/message"),
        }
    }
}

async fn checks(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Checks", &[Crumb::here("Checks")]).await;
    let place = Place::of(&CHECKS, &query);
    let asked = PageQuery {
        filter: check_filter(&query)?,
        sort: TimeSort::Newest,
        cursor: query.text("cursor").map(str::to_owned),
        limit: query.number("limit").unwrap_or(PAGE),
    };
    let (mut found, mut next) = (Vec::new(), None);
    if let Some(kept) = state.kept.as_ref().filter(|_| sees_checks(&caller)) {
        let page = kept.store.checks(&asked).await?;
        (found, next) = (page.items, page.next);
    }
    let empty = match (&state.kept, place.kept().next()) {
        _ if !found.is_empty() => None,
        (None, _) => Some(Empty::NotKept),
        _ if !sees_checks(&caller) => Some(Empty::NotSeen),
        (_, Some(_)) => Some(Empty::Narrowed),
        _ => Some(Empty::Never),
    };
    let sources: Vec<&str> = found.iter().map(|check| check.source.as_str()).collect();
    page_of(&ChecksPage {
        shell,
        tabs: facets::states(&[("Failed", "failed"), ("Passed", "passed")], &place),
        menus: vec![facets::some_names("Source", "source", &sources, &place), ages(&place)],
        chips: facets::chips(&place, &[("source", "Source"), ("since", "Since")]),
        api: place.on_path("/api/v1/checks"),
        rows: found.iter().map(|check| Row::of(check, &visit)).collect(),
        empty,
        next: next.map(|cursor| place.on(&cursor).href()),
        first: query.text("cursor").map(|_| place.without("cursor").href()),
    })
}

async fn check(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("there is no such check");
    let number = id.parse().ok().filter(|_| sees_checks(&caller)).ok_or_else(missing)?;
    let check = state.kept()?.store.check(number).await?.ok_or_else(missing)?;
    let title = format!("Check {} of {}", check.id, check.source);
    let crumbs = [Crumb::to("/checks", "Checks"), Crumb::here(&title)];
    page_of(&CheckPage {
        shell: Shell::new(&state, &visit, &title, &crumbs).await,
        policies: check.policies.clone(),
        cluster: check.cluster.clone(),
        results: check.results.iter().map(Told::of).collect(),
        check: Row::of(&check, &visit),
    })
}
