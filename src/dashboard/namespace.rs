//! `/namespaces/{name}`: one namespace, what is done with violations there, how it stands, and what enforcing more would deny.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;

use super::caveats::unless_away;
use super::chart::Trend;
use super::counts::Counts;
use super::dress::page_of;
use super::findings::{Part, Row as FindingRow, shares};
use super::links::encoded;
use super::namespaces::{LADDER, day, open, worded};
use super::nothing::Nothing;
use super::overview::{AUDITS, Scored, recent, score, trend};
use super::rules::Share;
use super::shell::{Crumb, Shell, Visit, last_audits};
use super::words::number;
use crate::admission::speak::countdown;
use crate::policy::modes::Grants;
use crate::policy::{Grant, GrantOrigin, Mode, NamespaceMeta, Scope};
use crate::report::finding::ObjectKey;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Filter, FindingSort, PageQuery};
use crate::webhook::in_force::InForce;

/// Findings and rules that are shown.
const SHOWN: usize = 15;

const NAMESPACE: Endpoint = Endpoint {
    path: "/namespaces/{name}",
    about: "The page of one namespace",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&NAMESPACE, namespace)
}

#[derive(Template)]
#[template(path = "namespace.html")]
struct NamespacePage {
    shell: Shell,
    name: String,
    slots: Vec<Slot>,
    notices: Vec<String>,
    ahead: Vec<Ahead>,
    bar: Vec<Part>,
    bar_words: String,
    total: String,
    findings_href: String,
    rows: Vec<FindingRow>,
    /// What is wrong with the Namespace itself, which is outside any.
    own: Vec<FindingRow>,
    own_href: String,
    rules: Vec<Share>,
    labels: Vec<(String, String)>,
    nothing: Option<Nothing>,
    is_counted: bool,
    /// Whether the last audit judged anything there.
    is_judged: bool,
    score: Scored,
    trend: Option<Trend>,
    is_kept: bool,
}

/// One mode of a namespace, with what it comes from.
struct Slot {
    mode: &'static str,
    policy: String,
    origin: &'static str,
    details: Vec<String>,
}

/// What enforcing a policy would deny.
struct Ahead {
    policy: &'static str,
    findings: u64,
    rules: usize,
    /// How many of its rules nothing asks for there.
    unjudged: usize,
    is_enforced: bool,
    command: String,
}

/// Returns where a grant comes from, in words.
const fn origin(origin: GrantOrigin) -> &'static str {
    match origin {
        GrantOrigin::Label => "the namespace's label",
        GrantOrigin::Configuration => "the configuration",
        GrantOrigin::Default => "the default",
        GrantOrigin::Floor => "a floor of the configuration",
    }
}

impl Slot {
    fn of(grant: &Grant, now: Timestamp) -> Self {
        let mut details = Vec::new();
        if let Some(severity) = grant.severity {
            details.push(format!("denies from {severity} up, warns below"));
        }
        if grant.mode == Mode::Enforce && grant.scope == Scope::All {
            details.push("denies also what was there before".to_owned());
        } else if grant.mode == Mode::Enforce {
            details.push("denies only what a change brings in".to_owned());
        }
        if let Some(from) = grant.from {
            details.push(announced(from, now));
        }
        Self { mode: grant.mode.as_str(), policy: grant.policy.to_string(), origin: origin(grant.origin), details }
    }
}

/// Returns from when something is denied, and how long that is still.
fn announced(from: Timestamp, now: Timestamp) -> String {
    match countdown(from, now) {
        Some(left) => format!("warns, and denies from {} on, {left}", day(from)),
        None => format!("denies since {}", day(from)),
    }
}

async fn namespace(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let known = state.app.known_namespaces(&in_force);
    let found = known.iter().find(|namespace| namespace.name == name && caller.sees(&name));
    let among = if caller.globs().is_some() { " among those that you may see" } else { "" };
    let namespace = found.ok_or_else(|| Problem::not_found(format!("there is no namespace \"{name}\"{among}")))?;
    let Grants { grants, notices } = in_force.config.modes.grants(namespace, &*in_force.bundle);
    let filter = Filter { namespace: vec![name.clone()], ..open(&state, &caller) };
    let (nothing, counts) = Counts::read(&state, &filter).await?;
    let object = ObjectKey { kind: "Namespace".to_owned(), name: name.clone(), ..ObjectKey::default() };
    let itself = Filter { kind: vec![object.kind.clone()], name: vec![name.clone()], ..open(&state, &caller) };
    let itself = Filter { namespace: vec![String::new()], ..itself };
    let shown = match &state.kept {
        Some(kept) if counts.is_some() => unless_away(shown(&state, kept, (&filter, &itself), &visit).await)?,
        _ => None,
    };
    // Findings may be counted, and the store go away before they are read.
    let counts = counts.filter(|_| shown.is_some());
    let (is_counted, counts) = (counts.is_some(), counts.unwrap_or_default());
    let Shown { rows, own, score, trend } = shown.unwrap_or_default();
    let severities = counts.severities(&name);
    let (bar, bar_words) = worded(&severities);
    let mut by_rule = counts.rules(&name);
    by_rule.truncate(SHOWN);
    let here = format!("/findings?namespace={}&mode=enforce,warn,audit", encoded(&name));
    let page = NamespacePage {
        shell: Shell::new(&state, &visit, &name, &[Crumb::to("/namespaces", "Namespaces"), Crumb::here(&name)]).await,
        slots: grants.iter().map(|grant| Slot::of(grant, visit.now)).collect(),
        notices: notices.iter().map(ToString::to_string).collect(),
        ahead: ahead(&in_force, &counts, namespace, &grants),
        total: number(severities.values().sum()),
        bar,
        bar_words,
        rules: shares(by_rule, |rule| format!("{here}&rule={}", encoded(rule))),
        findings_href: here,
        rows,
        own,
        own_href: super::resources::href(&object),
        labels: namespace.labels.clone().into_iter().collect(),
        is_judged: counts.is_judged(&name),
        is_kept: state.kept.is_some(),
        nothing,
        is_counted,
        score,
        trend,
        name,
    };
    page_of(&page)
}

/// Returns what each policy of the ladder would deny in a namespace if it were enforced.
fn ahead(in_force: &InForce, counts: &Counts, namespace: &NamespaceMeta, grants: &[Grant]) -> Vec<Ahead> {
    let (name, audited) = (&namespace.name, in_force.audited_rules(namespace));
    let of = |policy: &'static str| {
        in_force.bundle.policy(policy)?;
        let wanted = in_force.bundle.rules_of([policy]);
        let (findings, rules) = counts.ahead(name, &wanted);
        let unjudged = wanted.difference(&audited).count();
        let is_enforced = grants.iter().any(|grant| grant.mode == Mode::Enforce && &*grant.policy == policy);
        let command = format!("kubectl label namespace {name} gatepost.dev/enforce={policy} --overwrite");
        Some(Ahead { policy, findings, rules, unjudged, is_enforced, command })
    };
    LADDER.into_iter().filter_map(of).collect()
}

/// What the store tells of a namespace beside counts.
#[derive(Default)]
struct Shown {
    rows: Vec<FindingRow>,
    own: Vec<FindingRow>,
    score: Scored,
    trend: Option<Trend>,
}

async fn shown(
    state: &ApiState,
    kept: &Kept,
    (filter, itself): (&Filter, &Filter),
    visit: &Visit,
) -> Result<Shown, Problem> {
    let recent = recent(&last_audits(kept, AUDITS).await?, visit.now);
    let points = crate::scan::trends::trend(state, kept, filter, &recent).await?;
    Ok(Shown {
        rows: worst(kept, filter, visit).await?,
        own: worst(kept, itself, visit).await?,
        score: score(&points, visit.now),
        trend: trend(&points, visit),
    })
}

async fn worst(kept: &Kept, filter: &Filter, visit: &Visit) -> Result<Vec<FindingRow>, Problem> {
    let asked = PageQuery { filter: filter.clone(), sort: FindingSort::Severity, cursor: None, limit: SHOWN };
    Ok(kept.store.findings(&asked).await?.items.iter().map(|finding| FindingRow::of(finding, visit)).collect())
}
