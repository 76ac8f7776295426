//! `/playground`: a manifest is judged as `POST /api/v1/scan` would, and nothing is kept.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::dress::page_of;
use super::facets::{LONGEST, OFFERED};
use super::findings::action;
use super::shell::{Crumb, Shell, Visit};
use super::words::count;
use crate::report::finding::Fingerprint;
use crate::report::result::ScanEntry;
use crate::report::{FileReport, Tally, Verdict, yaml};
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use crate::scan::evaluate::{Asked, judged, read};
use crate::scan::problem::Problem;

/// What is judged when nobody says by what.
const DEFAULT: &str = "recommended";
/// A form writes most characters of YAML as themselves, and some as three.
const ENCODED: usize = 3;
/// What stands there at first: it breaks a few rules.
const EXAMPLE: &str = include_str!("assets/example.yaml");

const PAGE: Endpoint = Endpoint {
    path: "/playground",
    about: "The page to try manifests on",
    parameters: &[&[Parameter::new(
        "finding",
        Values::Text,
        "The finding whose object stands there at first, as it was judged",
    )]],
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

const TRY: Endpoint = Endpoint {
    method: Method::Post,
    path: "/playground",
    about: "Judges a manifest, and shows what is wrong with it; nothing is kept",
    takes: &["application/x-www-form-urlencoded"],
    gives: &["text/html"],
    statuses: &[200, 413, 429],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&PAGE, page).add(&TRY, attempt)
}

#[derive(Template)]
#[template(path = "playground.html")]
struct Playground {
    shell: Shell,
    manifest: String,
    /// Policies, and namespaces: each with whether it is chosen.
    policies: Vec<(String, bool)>,
    namespaces: Vec<(String, bool)>,
    /// The namespace that is written, where there are more than a menu holds.
    written: Option<String>,
    largest: String,
    command: String,
    /// What came of it, where something was tried.
    result: Option<Outcome>,
}

/// What came of a manifest.
struct Outcome {
    tone: &'static str,
    verdict: String,
    detail: String,
    faults: Vec<String>,
    rows: Vec<Row>,
}

/// Something that was found.
struct Row {
    severity: &'static str,
    rule: String,
    result: &'static str,
    is_wrong: bool,
    action: Option<(&'static str, &'static str)>,
    object: String,
    line: usize,
    path: String,
    message: String,
}

impl Row {
    fn of(entry: &ScanEntry) -> Self {
        Self {
            severity: entry.severity.as_str(),
            rule: entry.rule.to_string(),
            result: entry.result.as_str(),
            is_wrong: entry.result == Verdict::Fail,
            action: entry.action.map(action),
            object: format!("{}/{}", entry.resource.kind, entry.resource.name),
            line: entry.source.as_ref().map_or(0, |source| source.line),
            path: entry.path.as_ref().map(ToString::to_string).unwrap_or_default(),
            message: entry.message.clone().unwrap_or_default(),
        }
    }
}

impl Outcome {
    fn of(report: &FileReport, tally: &Tally) -> Self {
        let summary = &tally.summary;
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let wrong = report.entries.iter().filter(|entry| entry.result == Verdict::Fail).count();
        let mut rows: Vec<&ScanEntry> = report.entries.iter().collect();
        rows.sort_by_key(|entry| Reverse((entry.result, entry.severity)));
        let faults = report.faults.iter().map(|fault| match fault.line {
            Some(line) => format!("line {line}: {}", fault.cause),
            None => fault.cause.clone(),
        });
        let (tone, verdict) = match (summary.objects, wrong) {
            (0, _) => ("warn", "There is no Kubernetes object in it".to_owned()),
            (_, 0) => ("good", "Nothing is wrong with it".to_owned()),
            (_, wrong) => ("bad", format!("{} in it", count(number(wrong), "violation", "violations"))),
        };
        let objects = count(number(summary.objects), "object", "objects");
        Self {
            tone,
            verdict,
            detail: format!("{objects} judged; {} passed", count(number(summary.pass), "answer", "answers")),
            faults: faults.collect(),
            rows: rows.into_iter().map(Row::of).collect(),
        }
    }
}

/// A form as somebody filled it in.
#[derive(Debug, Default)]
struct Filled {
    manifest: String,
    policy: String,
    namespace: String,
}

impl Filled {
    fn read(body: &[u8]) -> Self {
        let mut filled = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "manifest" => filled.manifest = value.into_owned(),
                "policy" => filled.policy = value.into_owned(),
                "namespace" => filled.namespace = value.into_owned(),
                _ => {}
            }
        }
        filled
    }
}

async fn page(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let filled = match query.text("finding") {
        Some(id) => kept_object(&state, &caller, id).await?,
        None => Filled { manifest: EXAMPLE.to_owned(), ..Filled::default() },
    };
    show(&state, &caller, &visit, filled, None).await
}

/// Returns the object of a finding as it was judged, for its namespace.
async fn kept_object(state: &ApiState, caller: &Caller, id: &str) -> Result<Filled, Problem> {
    let store = &state.kept()?.store;
    let found = store.finding(&Fingerprint(id.to_owned())).await?;
    let found = found.filter(|finding| caller.sees(&finding.object.namespace));
    let finding = found.ok_or_else(|| Problem::not_found("there is no such finding"))?;
    let content = store.content(&finding.content).await?;
    let object: Option<serde_json::Value> = content.and_then(|text| serde_json::from_str(&text).ok());
    let object = object.ok_or_else(|| Problem::not_found("the object of this finding is not kept any more"))?;
    Ok(Filled { manifest: yaml::text(&object), namespace: finding.object.namespace, ..Filled::default() })
}

async fn attempt(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    request: Request,
) -> Result<Response, Problem> {
    let limit = state.max_scan_bytes;
    let filled = Filled::read(&read(request, limit.saturating_mul(ENCODED)).await?);
    if filled.manifest.len() > limit {
        return Err(Problem::too_large(limit));
    }
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let asked = Asked {
        policies: some(&filled.policy).into_iter().collect(),
        namespace: some(&filled.namespace),
        ..Asked::default()
    };
    let (report, tally) = judged(&state, &caller, &asked, filled.manifest.clone().into()).await?;
    let outcome = Outcome::of(&report, &tally);
    show(&state, &caller, &visit, filled, Some(outcome)).await
}

async fn show(
    state: &ApiState,
    caller: &Caller,
    visit: &Visit,
    filled: Filled,
    result: Option<Outcome>,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let chosen = if filled.policy.is_empty() { DEFAULT } else { &filled.policy };
    let policies = in_force.bundle.policies().keys().map(|name| (name.to_string(), **name == *chosen)).collect();
    let known = state.app.known_namespaces(&in_force);
    let seen: BTreeSet<&str> = known.iter().map(|known| &*known.name).filter(|name| caller.sees(name)).collect();
    let written = (seen.len() > LONGEST).then(|| filled.namespace.clone());
    let namespaces = seen.into_iter().take(OFFERED).map(|name| (name.to_owned(), name == filled.namespace)).collect();
    page_of(&Playground {
        shell: Shell::new(state, visit, "Playground", &[Crumb::here("Playground")]).await,
        policies,
        namespaces,
        written,
        largest: format!("{} KiB", state.max_scan_bytes >> 10),
        command: format!("gatepost scan web.yaml --policy {chosen}"),
        manifest: filled.manifest,
        result,
    })
}
