//! `/findings`: what is wrong, narrowed by what stands in the address, as a list or in groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::decisions::ages;
use super::dress::page_of;
use super::facets::{self, COUNTED, Chip, Choice, Counts, Menu};
use super::groups::{GROUPINGS, Groups, groupings, groups};
use super::links::{Place, encoded};
use super::nothing::{Nothing, nothing_yet};
use super::rules::Share;
use super::shell::{Crumb, Shell, Visit};
use super::words::{When, count, number};
use crate::admission::decide::Action;
use crate::engine::pointer::unescaped;
use crate::policy::Severity;
use crate::report::Verdict;
use crate::report::finding::Finding;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use crate::scan::findings::{FILTERS, SORT, filter, sort};
use crate::scan::lists::PAGES;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Page, PageQuery};

/// Findings of a page when nobody says how many.
const PAGE: usize = 30;
const SORTS: [(&str, &str); 5] = [
    ("severity", "Severity"),
    ("firstSeen", "Newest first"),
    ("oldest", "Oldest first"),
    ("object", "Object"),
    ("rule", "Rule"),
];
/// States that are no default, as the address and the page call them.
const STATES: [(&str, &str); 6] = [
    ("open", "Open"),
    ("fixed", "Fixed"),
    ("deleted", "Object deleted"),
    ("exempt", "Exempt"),
    ("ruleOff", "Rule off"),
    ("outOfScope", "Out of scope"),
];
/// Exports of exactly what is listed, and what asks for them.
const EXPORTS: [(&str, &str); 3] =
    [("CSV", "format=csv"), ("Lines of JSON", "format=ndjson"), ("SARIF", "format=sarif")];
/// Plans of what is to be mended, and what asks for them.
const PLANS: [(&str, &str); 4] = [
    ("By owner, as Markdown", "by=owner"),
    ("By owner, as CSV", "by=owner&format=csv"),
    ("By application, as Markdown", "by=application"),
    ("By application, as CSV", "by=application&format=csv"),
];
const EFFORTS: [(&str, &str); 3] = [("easy", "Easy"), ("medium", "Medium"), ("hard", "Hard")];
/// Filters that are shown as chips, with their names.
pub const CHIPS: [(&str, &str); 10] = [
    ("namespace", "Namespace"),
    ("application", "Application"),
    ("owner", "Owner"),
    ("rule", "Rule"),
    ("policy", "Policy"),
    ("kind", "Kind"),
    ("effort", "Effort"),
    ("state", "State"),
    ("since", "First seen since"),
    ("text", "Text"),
];

const FINDINGS: Endpoint = Endpoint {
    path: "/findings",
    about: "The page of findings",
    parameters: &[
        FILTERS,
        SORT,
        PAGES,
        &[Parameter::new("group", Values::OneOf(&["rule", "namespace", "owner", "application", "kind"]), "Groups")],
    ],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&FINDINGS, findings)
}

#[derive(Template)]
#[template(path = "findings.html")]
struct FindingsPage {
    shell: Shell,
    nothing: Option<Nothing>,
    list: List,
}

/// What the page lists, and what narrows it.
#[derive(Default)]
struct List {
    total: String,
    tabs: Vec<Choice>,
    severities: Vec<(&'static str, Choice)>,
    menus: Vec<Menu>,
    chips: Vec<Chip>,
    clear: String,
    text: String,
    hidden: Vec<(&'static str, String)>,
    sorts: Vec<(&'static str, &'static str, bool)>,
    groupings: Vec<Choice>,
    grouped_by: &'static str,
    rows: Vec<Row>,
    groups: Groups,
    next: Option<String>,
    first: Option<String>,
    api: String,
    /// Plans of what is to be mended: what each is called, and where it is.
    plans: Vec<(&'static str, String)>,
    /// Exports of what is listed: the same of each.
    exports: Vec<(&'static str, String)>,
    accept: String,
    /// Objects of the whole cluster; nothing where only some namespaces are seen.
    looked_at: Option<String>,
    is_narrowed: bool,
}

/// A finding in a list.
pub struct Row {
    /// Its page.
    pub href: String,
    /// `critical` and the like.
    pub severity: &'static str,
    /// What is wrong.
    pub message: String,
    /// The rule.
    pub rule: String,
    /// The place, by names.
    pub place: String,
    /// `Kind/name`.
    pub object: String,
    /// The namespace, empty outside any.
    pub namespace: String,
    /// What delivers it, or its owner.
    pub owner: String,
    /// What the mode makes of it: class, and word.
    pub action: (&'static str, &'static str),
    /// When it was first seen.
    pub first_seen: When,
    /// Whether the rule could not be evaluated.
    pub is_error: bool,
    /// Why it does not stand any more; empty where it does.
    pub closed: &'static str,
}

/// A part of a bar.
pub struct Part {
    /// The severity.
    pub severity: &'static str,
    /// How many.
    pub count: u64,
    /// Where it begins, in hundredths of the bar.
    pub from: f64,
    /// How long it is.
    pub length: f64,
}

impl Row {
    /// Words a finding.
    pub fn of(finding: &Finding, visit: &Visit) -> Self {
        let application = finding.application.as_ref().map(|app| format!("{}/{}", app.kind, app.name));
        Self {
            href: format!("/findings/{}", finding.id),
            severity: finding.severity.as_str(),
            message: finding.message.clone(),
            rule: finding.rule.to_string(),
            place: short(&place(&finding.place)).to_owned(),
            is_error: finding.result == Verdict::Error,
            object: format!("{}/{}", finding.object.kind, finding.object.name),
            namespace: finding.object.namespace.clone(),
            owner: application.unwrap_or_else(|| finding.owner.clone()),
            action: action(finding.action),
            first_seen: visit.when(finding.first_seen),
            closed: finding.closed_because.map_or("", super::finding::closed),
        }
    }
}

/// Returns a place as people write it: `spec.template.spec.containers[app].image`.
pub fn place(place: &str) -> String {
    let text = place.strip_prefix('/').unwrap_or(place).replace("/[", "[").replace('/', ".");
    unescaped(&text).into_owned()
}

/// Returns a place without the way to a pod template, which every workload has.
fn short(place: &str) -> &str {
    let templates = ["spec.jobTemplate.spec.template.", "spec.template."];
    templates
        .into_iter()
        .find_map(|way| place.strip_prefix(way))
        .map_or(place, |rest| rest.strip_prefix("spec.").unwrap_or(rest))
}

/// Returns what a mode makes of a finding: the class of the style sheet, and the word.
pub const fn action(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Deny => ("deny", "denied"),
        Action::Warn => ("warn", "warned"),
        Action::Record => ("record", "recorded"),
    }
}

async fn findings(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Findings", &[Crumb::here("Findings")]).await;
    let nothing = nothing_yet(&state).await?;
    let list = match &state.kept {
        Some(kept) if nothing.is_none() => list(&state, kept, &caller, &query, &visit).await?,
        _ => List::default(),
    };
    page_of(&FindingsPage { shell, nothing, list })
}

async fn list(state: &ApiState, kept: &Kept, caller: &Caller, query: &Query, visit: &Visit) -> Result<List, Problem> {
    let place = Place::of(&FINDINGS, query);
    let mut filter = filter(&state.app, caller, query)?;
    if leaves_recorded_out(&place) {
        filter.action = vec!["deny".into(), "warn".into()];
    }
    let store = &*kept.store;
    let Counts { severities, actions, counted } = facets::counts(store, &filter).await?;
    let is_of = |severity: &str| filter.severity.is_empty() || filter.severity.iter().any(|known| known == severity);
    let total = severities.iter().filter(|(severity, _)| is_of(severity)).map(|(_, findings)| findings).sum();
    let mut menus: Vec<Menu> =
        COUNTED.iter().zip(&counted).map(|(of, found)| facets::menu(found, of, &place)).collect();
    let in_force = state.app.in_force.load();
    let policies: Vec<&str> = in_force.bundle.policies().keys().map(|name| &**name).collect();
    menus.push(facets::names("Policy", "policy", &policies, &place));
    menus.push(facets::words("Effort", "effort", &EFFORTS, &place));
    menus.push(facets::words("State", "state", &STATES, &place));
    menus.push(ages(&place));
    let grouped_by = GROUPINGS.iter().find(|(word, _)| place.has("group", word));
    let mut list = List {
        total: count(total, "finding", "findings"),
        tabs: tabs(&place, &actions),
        severities: severity_choices(&place, &severities),
        menus,
        chips: facets::chips(&place, &CHIPS),
        clear: kept_tab(&place),
        text: place.list("text").first().cloned().unwrap_or_default(),
        hidden: place.kept().filter(|(name, _)| !["text", "sort"].contains(name)).collect(),
        sorts: SORTS.iter().map(|(word, label)| (*word, *label, place.has("sort", word))).collect(),
        groupings: groupings(&place),
        grouped_by: grouped_by.map_or("", |(_, label)| label),
        plans: downloads(&told(&place).without("sort"), "/api/v1/findings/plan", &PLANS),
        exports: downloads(&told(&place), "/api/v1/findings/export", &EXPORTS),
        accept: told(&place).without("sort").on_path("/findings/accept"),
        api: told(&place).on_path("/api/v1/findings"),
        is_narrowed: place.kept().any(|(name, _)| !["sort", "group", "mode"].contains(&name)),
        ..List::default()
    };
    let audits = super::shell::last_audits(kept, 5).await?;
    let objects = audits.iter().find(|audit| audit.finished.is_some()).map_or(0, |audit| audit.objects);
    list.looked_at = caller.sees_all().then(|| count(objects, "object", "objects"));
    // Owners are counted row by row, so only those of the page are offered, and others are written.
    let mut owners: Vec<String> = Vec::new();
    if let Some((word, _)) = grouped_by {
        list.groups = groups(store, &filter, in_force.bundle.catalogue(), &place, word).await?;
    } else {
        let asked = PageQuery {
            filter,
            sort: sort(query.text("sort")),
            cursor: query.text("cursor").map(str::to_owned),
            limit: query.number("limit").unwrap_or(PAGE),
        };
        let Page { items, next } = kept.store.findings(&asked).await?;
        list.rows = items.iter().map(|finding| Row::of(finding, visit)).collect();
        owners = items.into_iter().map(|finding| finding.owner).filter(|owner| !owner.is_empty()).collect();
        list.next = next.map(|cursor| place.on(&cursor).href());
        list.first = query.text("cursor").map(|_| place.without("cursor").href());
    }
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    list.menus.insert(COUNTED.len(), facets::some_names("Owner", "owner", &owners, &place));
    Ok(list)
}

/// Returns whether only findings are asked for that do not stand any more: of these nobody is told, whatever the mode was.
fn is_of_closed(place: &Place) -> bool {
    let states = place.list("state");
    !states.is_empty() && !states.iter().any(|state| state == "open")
}

/// Returns whether the page leaves out by itself what nobody is told of: that is one click away.
fn leaves_recorded_out(place: &Place) -> bool {
    place.list("mode").is_empty() && !is_of_closed(place)
}

/// Returns the same findings for other paths: what the page leaves out by itself is said there.
fn told(place: &Place) -> Place {
    let place = place.without("group");
    if leaves_recorded_out(&place) { place.toggled("mode", "enforce").toggled("mode", "warn") } else { place }
}

/// Returns what is downloaded of the findings of a place: what each is called, and where it is.
fn downloads(place: &Place, path: &str, kinds: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let path = place.on_path(path);
    let joint = if path.contains('?') { '&' } else { '?' };
    kinds.iter().map(|(label, asked)| (*label, format!("{path}{joint}{asked}"))).collect()
}

/// Returns the page without any filter, but with the tab that one is on.
fn kept_tab(place: &Place) -> String {
    let modes = place.list("mode").iter().fold(Place::at("/findings"), |at, mode| at.toggled("mode", mode));
    place.list("group").iter().fold(modes, |at, group| at.with("group", group)).href()
}

fn tabs(place: &Place, actions: &[(String, u64)]) -> Vec<Choice> {
    let of = |words: &[&str]| -> u64 {
        actions.iter().filter(|(action, _)| words.contains(&action.as_str())).map(|(_, findings)| findings).sum()
    };
    let plain = place.without("mode");
    let tab = |label: &str, modes: &[&str], words: &[&str]| {
        let at = modes.iter().fold(plain.clone(), |at, mode| at.toggled("mode", mode));
        Choice {
            label: label.to_owned(),
            count: number(of(words)),
            is_chosen: at.list("mode") == place.list("mode"),
            href: at.href(),
        }
    };
    if is_of_closed(place) {
        let is_chosen = matches!(place.list("mode").len(), 0 | 3);
        return vec![
            Choice { is_chosen, ..tab("All", &[], &["deny", "warn", "record"]) },
            tab("Denied or warned", &["enforce", "warn"], &["deny", "warn"]),
            tab("Only recorded", &["audit"], &["record"]),
        ];
    }
    vec![
        tab("Denied or warned", &[], &["deny", "warn"]),
        tab("Denied", &["enforce"], &["deny"]),
        tab("Only recorded", &["audit"], &["record"]),
        tab("All", &["enforce", "warn", "audit"], &["deny", "warn", "record"]),
    ]
}

fn severity_choices(place: &Place, counts: &[(String, u64)]) -> Vec<(&'static str, Choice)> {
    let of = |severity: Severity| {
        let word = severity.as_str();
        let findings = counts.iter().find(|(known, _)| known == word).map_or(0, |(_, findings)| *findings);
        let choice = Choice {
            label: word.to_owned(),
            count: number(findings),
            href: place.toggled("severity", word).href(),
            is_chosen: place.has("severity", word),
        };
        (word, choice)
    };
    Severity::ALL.into_iter().rev().map(of).collect()
}

/// Returns a bar of severities, the gravest first.
#[allow(clippy::cast_precision_loss, reason = "a bar is a few hundred points long")]
pub fn bar(severities: &BTreeMap<String, u64>) -> Vec<Part> {
    let total: u64 = severities.values().sum();
    let mut from = 0.0;
    let mut parts = Vec::new();
    for severity in Severity::ALL.into_iter().rev() {
        let count = severities.get(severity.as_str()).copied().unwrap_or_default();
        if count > 0 {
            let length = count as f64 * 100.0 / total.max(1) as f64;
            parts.push(Part { severity: severity.as_str(), count, from, length });
            from += length;
        }
    }
    parts
}

/// Returns the address of the findings of a rule.
pub fn of_rule(rule: &str) -> String {
    format!("/findings?rule={}&mode=enforce,warn,audit", encoded(rule))
}

/// Returns values with their shares of the largest.
pub fn shares(values: Vec<(String, u64)>, href: impl Fn(&str) -> String) -> Vec<Share> {
    let most = values.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
    let share = |(label, count): (String, u64)| Share {
        href: if label.is_empty() { String::new() } else { href(&label) },
        label: if label.is_empty() { "outside any namespace".to_owned() } else { label },
        count: number(count),
        hundredths: count.saturating_mul(100) / most,
    };
    values.into_iter().map(share).collect()
}
