//! `/applications`: findings by what delivers their objects, an Argo CD Application, a Flux Kustomization or a Helm release.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::dress::page_of;
use super::findings::{Part, Row as FindingRow, bar, shares};
use super::links::{Place, encoded};
use super::nothing::{Nothing, nothing_yet};
use super::resources;
use super::rules::Share;
use super::shell::{Crumb, Shell, Visit};
use super::stopped::{Stopped, stopped};
use super::words::{count, number};
use crate::cluster::applications::source::Source;
use crate::policy::Severity;
use crate::report::finding::Application;
use crate::scan::access::Caller;
use crate::scan::applications::{Told, all};
use crate::scan::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use crate::scan::problem::Problem;
use crate::scan::{ApiState, lists};
use crate::store::{Facet, Filter, FindingSort, PageQuery, ResourceSort};

/// Applications of the list.
const LISTED: usize = 200;
/// Findings, rules and objects that the page of one shows.
const SHOWN: usize = 12;

const APPLICATIONS: Endpoint =
    Endpoint { path: "/applications", about: "The page of applications", gives: &["text/html"], ..Endpoint::GET };

const APPLICATION: Endpoint = Endpoint {
    path: "/applications/{name}",
    about: "The page of one application",
    parameters: &[&[
        Parameter::new("kind", Values::Text, "Its kind, where several have the name"),
        Parameter::new("in", Values::Text, "The namespace that it is in"),
    ]],
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&APPLICATIONS, applications).add(&APPLICATION, application)
}

#[derive(Template)]
#[template(path = "applications.html")]
struct ApplicationsPage {
    shell: Shell,
    nothing: Option<Nothing>,
    stopped: Vec<Stopped>,
    /// Why Argo CD's Applications could not be read; empty where they were.
    unread: String,
    rows: Vec<Row>,
    /// How many more have findings.
    more: usize,
    /// Findings of objects that nothing delivers.
    others: u64,
}

#[derive(Template)]
#[template(path = "application.html")]
struct ApplicationPage {
    shell: Shell,
    name: String,
    deliverer: String,
    /// Others of the same name: what they are, and their pages.
    namesakes: Vec<(String, String)>,
    sources: Vec<Source>,
    stopped: Vec<Stopped>,
    total: String,
    severities: Vec<(&'static str, String, String)>,
    denied: String,
    rows: Vec<FindingRow>,
    rules: Vec<Share>,
    namespaces: Vec<Share>,
    objects: Vec<(String, String, String, u64)>,
    all: String,
}

/// An application in the list.
struct Row {
    name: String,
    href: String,
    deliverer: String,
    total: String,
    findings: String,
    bar: Vec<Part>,
    denied: u64,
    warned: u64,
}

/// Words what delivers: `Argo CD Application in argocd`.
fn deliverer(application: &Application) -> String {
    let tool = match application.kind.as_str() {
        "Application" => "Argo CD Application",
        "Kustomization" => "Flux Kustomization",
        "HelmRelease" => "Flux HelmRelease",
        other => other,
    };
    if application.namespace.is_empty() { tool.to_owned() } else { format!("{tool} in {}", application.namespace) }
}

fn open(state: &ApiState, caller: &Caller) -> Filter {
    Filter { state: vec!["open".into()], visible: lists::visible(&state.app, caller), ..Filter::default() }
}

async fn applications(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Applications", &[Crumb::here("Applications")]).await;
    let nothing = nothing_yet(&state).await?;
    let (mut rows, others, stopped, unread) = match &state.kept {
        Some(kept) => {
            let (all, unread) = all(&state, &caller).await?;
            let delivered_by_nothing = Filter { application: vec![String::new()], ..open(&state, &caller) };
            let others = kept.store.facet(&delivered_by_nothing, Facet::Application, 1).await?;
            let others = others.first().map_or(0, |(_, findings)| *findings);
            let rows = if nothing.is_none() { rows(&all) } else { Vec::new() };
            (rows, others, stopped(all, &visit), unread.unwrap_or_default())
        }
        None => (Vec::new(), 0, Vec::new(), String::new()),
    };
    let more = rows.len().saturating_sub(LISTED);
    rows.truncate(LISTED);
    page_of(&ApplicationsPage { shell, nothing, stopped, unread, rows, more, others })
}

/// Returns the applications that have findings, those with most first.
fn rows(all: &BTreeMap<String, Told>) -> Vec<Row> {
    let total = |told: &Told| told.found.open.values().sum::<u64>();
    let mut found: Vec<(u64, &Told)> = all.values().map(|told| (total(told), told)).collect();
    found.retain(|(total, _)| *total > 0);
    found.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.application.name.cmp(&y.application.name)));
    let row = |(total, told): (u64, &Told)| {
        let (denied, warned) = told.found.told;
        Row {
            name: told.application.name.clone(),
            href: href(&told.application),
            deliverer: deliverer(&told.application),
            total: number(total),
            findings: of_name(&told.application.name),
            bar: bar(&told.found.open),
            denied,
            warned,
        }
    };
    found.into_iter().map(row).collect()
}

/// Returns the page of an application.
pub fn href(application: &Application) -> String {
    let Application { kind, namespace, name } = application;
    let within = if namespace.is_empty() { String::new() } else { format!("&in={}", encoded(namespace)) };
    format!("/applications/{}?kind={}{within}", encoded(name), encoded(kind))
}

/// Returns every finding of applications of a name.
fn of_name(name: &str) -> String {
    of_all(Place::at("/findings").with("application", name))
}

/// Returns a list of findings with those that are only recorded.
fn of_all(place: Place) -> String {
    ["enforce", "warn", "audit"].into_iter().fold(place, |at, mode| at.toggled("mode", mode)).href()
}

async fn application(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let (mut all, _) = all(&state, &caller).await?;
    // What delivers nothing that has findings and was not stopped has no page.
    let is_told = |told: &Told| {
        let is_stopped = told.argo.as_ref().is_some_and(|argo| argo.failed_sync.is_some());
        told.application.name == name && (is_stopped || !told.found.open.is_empty())
    };
    all.retain(|_, told| is_told(told));
    let is_meant = |told: &Told| {
        let Application { kind, namespace, .. } = &told.application;
        let said = |name: &str, value: &str| query.text(name).is_none_or(|wanted| wanted == value);
        // A finding may leave open which namespace that is.
        said("kind", kind) && (said("in", namespace) || told.found.said.iter().any(|other| said("in", other)))
    };
    let chosen = all.iter().find(|(_, told)| is_meant(told)).map(|(key, _)| key.clone());
    let missing = || {
        Problem::not_found(
            "of no application of this name anything has an open finding, or was denied in its last sync",
        )
    };
    let told = chosen.and_then(|key| all.remove(&key)).ok_or_else(missing)?;
    let namesakes = all.values().map(|told| (deliverer(&told.application), href(&told.application))).collect();
    let deliverer = deliverer(&told.application);
    let sources = told.argo.as_ref().map(|argo| argo.sources.clone()).unwrap_or_default();
    let filter = Filter {
        application: vec![name.clone()],
        deliverer: Some((told.application.kind.clone(), told.found.said.clone())),
        ..open(&state, &caller)
    };
    let stopped = stopped(BTreeMap::from([(String::new(), told)]), &visit);
    let store = &*kept.store;
    let severities = store.facet(&filter, Facet::Severity, SHOWN).await?;
    let actions = store.facet(&filter, Facet::Action, SHOWN).await?;
    let asked = PageQuery { filter: filter.clone(), sort: FindingSort::Severity, cursor: None, limit: SHOWN };
    let found = store.findings(&asked).await?.items;
    let objects = PageQuery { filter: filter.clone(), sort: ResourceSort::Findings, cursor: None, limit: SHOWN };
    let objects = store.resources(&objects).await?.items;
    let place = Place::at("/findings").with("application", &name);
    let within = |parameter: &'static str| {
        let place = place.clone();
        move |value: &str| of_all(place.with(parameter, value))
    };
    let total: u64 = severities.iter().map(|(_, findings)| findings).sum();
    let of = |list: &[(String, u64)], word: &str| {
        list.iter().find(|(known, _)| known == word).map_or(0, |(_, findings)| *findings)
    };
    let crumbs = [Crumb::to("/applications", "Applications"), Crumb::here(&name)];
    page_of(&ApplicationPage {
        shell: Shell::new(&state, &visit, &name, &crumbs).await,
        deliverer,
        namesakes,
        sources,
        stopped,
        total: count(total, "open finding", "open findings"),
        severities: Severity::ALL
            .into_iter()
            .rev()
            .map(|severity| {
                let word = severity.as_str();
                (word, number(of(&severities, word)), of_all(place.with("severity", word)))
            })
            .collect(),
        denied: number(of(&actions, "deny")),
        rows: found.iter().map(|finding| FindingRow::of(finding, &visit)).collect(),
        rules: shares(store.facet(&filter, Facet::Rule, SHOWN).await?, within("rule")),
        namespaces: shares(store.facet(&filter, Facet::Namespace, SHOWN).await?, within("namespace")),
        objects: objects
            .iter()
            .map(|found| {
                let object = &found.object;
                let label = format!("{}/{}", object.kind, object.name);
                (label, object.namespace.clone(), resources::href(object), found.open.values().sum())
            })
            .collect(),
        all: of_name(&name),
        name,
    })
}
