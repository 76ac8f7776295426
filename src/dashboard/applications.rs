//! `/applications`: findings by what delivers their objects, an Argo CD Application, a Flux Kustomization or a Helm release.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::dress::page_of;
use super::findings::{Part, Row as FindingRow, bar, shares};
use super::links::{Place, encoded};
use super::resources;
use super::rules::Share;
use super::shell::{Crumb, Nothing, Shell, Visit, nothing_yet};
use super::stopped::{Stopped, stopped};
use super::words::{count, number};
use crate::policy::Severity;
use crate::report::finding::Application;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept, lists};
use crate::store::{Facet, Filter, FindingSort, PageQuery};

/// Applications of the list.
const LISTED: usize = 200;
/// Pairs of an application and a severity that are read.
const PAIRS: usize = 1000;
/// Findings, rules and objects that the page of one shows.
const SHOWN: usize = 12;

const APPLICATIONS: Endpoint =
    Endpoint { path: "/applications", about: "The page of applications", gives: &["text/html"], ..Endpoint::GET };

const APPLICATION: Endpoint = Endpoint {
    path: "/applications/{name}",
    about: "The page of one application",
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
    /// Findings of objects that nothing delivers.
    others: u64,
}

#[derive(Template)]
#[template(path = "application.html")]
struct ApplicationPage {
    shell: Shell,
    name: String,
    deliverer: String,
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
    let (rows, others) = match &state.kept {
        Some(kept) if nothing.is_none() => rows(kept, &open(&state, &caller)).await?,
        _ => (Vec::new(), 0),
    };
    let (stopped, unread) =
        if state.kept.is_some() { stopped(&state, &caller, &visit).await? } else { (Vec::new(), None) };
    let unread = unread.unwrap_or_default();
    page_of(&ApplicationsPage { shell, nothing, stopped, unread, rows, others })
}

async fn rows(kept: &Kept, filter: &Filter) -> Result<(Vec<Row>, u64), Problem> {
    let store = &*kept.store;
    let counts = store.facet(filter, Facet::Application, LISTED).await?;
    let severities = by_application(store.cross(filter, [Facet::Application, Facet::Severity], PAIRS).await?);
    let actions = by_application(store.cross(filter, [Facet::Application, Facet::Action], PAIRS).await?);
    let (mut rows, mut others) = (Vec::new(), 0);
    for (name, total) in counts {
        if name.is_empty() {
            others = total;
            continue;
        }
        let of = |word: &str| actions.get(&name).and_then(|each| each.get(word)).copied().unwrap_or_default();
        let one = one(kept, &Filter { application: vec![name.clone()], ..filter.clone() }).await?;
        rows.push(Row {
            href: href(&name),
            deliverer: one.as_ref().map(deliverer).unwrap_or_default(),
            total: number(total),
            findings: all(&name),
            bar: bar(&severities.get(&name).cloned().unwrap_or_default()),
            denied: of("deny"),
            warned: of("warn"),
            name,
        });
    }
    Ok((rows, others))
}

/// Returns what delivers the objects of a filter, from one of its findings.
async fn one(kept: &Kept, filter: &Filter) -> Result<Option<Application>, Problem> {
    let asked = PageQuery { filter: filter.clone(), sort: FindingSort::Severity, cursor: None, limit: 1 };
    let found = kept.store.findings(&asked).await?.items;
    Ok(found.into_iter().next().and_then(|finding| finding.application))
}

fn by_application(pairs: Vec<(String, String, u64)>) -> BTreeMap<String, BTreeMap<String, u64>> {
    pairs.into_iter().fold(BTreeMap::new(), |mut all, (application, word, findings)| {
        all.entry(application).or_insert_with(BTreeMap::new).insert(word, findings);
        all
    })
}

/// Returns the page of an application.
pub fn href(name: &str) -> String {
    format!("/applications/{}", encoded(name))
}

/// Returns every finding of an application.
fn all(name: &str) -> String {
    of_all(Place::at("/findings").with("application", name))
}

/// Returns a list of findings with those that are only recorded.
fn of_all(place: Place) -> String {
    ["enforce", "warn", "audit"].into_iter().fold(place, |at, mode| at.toggled("mode", mode)).href()
}

async fn application(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let filter = Filter { application: vec![name.clone()], ..open(&state, &caller) };
    let known = one(kept, &filter).await?;
    let (mut stopped, _) = stopped(&state, &caller, &visit).await?;
    stopped.retain(|stopped| stopped.name == name);
    let missing = || {
        Problem::not_found(
            "of no application of this name anything has an open finding, or was denied in its last sync",
        )
    };
    let argo = stopped.first().map(|stopped| Application {
        kind: "Application".to_owned(),
        namespace: stopped.namespace.clone(),
        name: name.clone(),
    });
    let known = known.or(argo).ok_or_else(missing)?;
    let store = &*kept.store;
    let severities = store.facet(&filter, Facet::Severity, SHOWN).await?;
    let actions = store.facet(&filter, Facet::Action, SHOWN).await?;
    let asked = PageQuery { filter: filter.clone(), sort: FindingSort::Severity, cursor: None, limit: SHOWN };
    let found = store.findings(&asked).await?.items;
    let objects = PageQuery { filter: filter.clone(), sort: (), cursor: None, limit: SHOWN };
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
        deliverer: deliverer(&known),
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
        all: all(&name),
        name,
    })
}
