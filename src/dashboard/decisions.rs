//! `/decisions`: what was answered at admission, narrowed by what stands in the address.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::dress::page_of;
use super::facets::{self, Chip, Choice, Menu};
use super::links::{Place, encoded};
use super::shell::{Crumb, Shell, Visit};
use super::traffic::Traffic;
use super::words::When;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::decisions::{DECISION_FILTERS, decision_filter};
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::lists::PAGES;
use crate::scan::problem::Problem;
use crate::scan::traffic::Answer;
use crate::store::{Decision, DecisionResult, Page, PageQuery, TimeSort};

/// Decisions of a page when nobody says how many.
const PAGE: usize = 50;
/// Rules that a row names.
const NAMED: usize = 3;
/// How far back one may look with one click.
const AGES: [(&str, &str); 4] = [("1h", "Last hour"), ("24h", "Last day"), ("7d", "Last week"), ("30d", "Last month")];
/// Filters that are shown as chips, with their names; what tabs say is no chip.
const CHIPS: [(&str, &str); 9] = [
    ("namespace", "Namespace"),
    ("rule", "Rule"),
    ("policy", "Policy"),
    ("severity", "Severity"),
    ("kind", "Kind"),
    ("application", "Application"),
    ("owner", "Owner"),
    ("since", "Since"),
    ("text", "Text"),
];

const DECISIONS: Endpoint = Endpoint {
    path: "/decisions",
    about: "The page of decisions",
    parameters: &[DECISION_FILTERS, PAGES],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&DECISIONS, decisions)
}

#[derive(Template)]
#[template(path = "decisions.html")]
struct DecisionsPage {
    shell: Shell,
    is_kept: bool,
    tabs: Vec<Choice>,
    menus: Vec<Menu>,
    chips: Vec<Chip>,
    clear: String,
    text: String,
    hidden: Vec<(&'static str, String)>,
    api: String,
    rows: Vec<Row>,
    next: Option<String>,
    first: Option<String>,
    is_narrowed: bool,
    traffic: Option<Traffic>,
}

/// A decision in a list.
pub struct Row {
    /// Its page.
    pub href: String,
    /// When it was answered.
    pub when: When,
    /// What was answered: class, and word.
    pub verdict: (&'static str, &'static str),
    /// CREATE and the like, in small letters.
    pub operation: String,
    /// `Kind/name`.
    pub object: String,
    /// The namespace, empty outside any.
    pub namespace: String,
    /// Who asked.
    pub user: String,
    /// What kind of account that is; empty for people.
    pub account: String,
    /// Rules that were told, the first of them.
    pub rules: Vec<String>,
    /// How many more rules there are.
    pub more: usize,
    /// How long it took.
    pub took: String,
    /// Whether it was only a trial.
    pub is_trial: bool,
}

impl Row {
    /// Words a decision.
    pub fn of(decision: &Decision, visit: &Visit) -> Self {
        let mut rules: Vec<String> = Vec::new();
        for result in told(decision) {
            if !rules.contains(&result.rule) {
                rules.push(result.rule.clone());
            }
        }
        let more = rules.len().saturating_sub(NAMED);
        rules.truncate(NAMED);
        let (user, account) = requester(&decision.user);
        Self {
            href: href(&decision.uid),
            when: visit.when(decision.time),
            verdict: verdict(decision),
            operation: decision.operation.to_lowercase(),
            object: format!("{}/{}", decision.kind, decision.name),
            namespace: decision.namespace.clone(),
            user,
            account,
            rules,
            more,
            took: microseconds(decision.duration_us),
            is_trial: decision.dry_run,
        }
    }
}

/// Returns the page of a decision.
pub fn href(uid: &str) -> String {
    format!("/decisions/{}", encoded(uid))
}

/// Returns what somebody was told of, and only if nobody was, what was recorded.
fn told(decision: &Decision) -> Vec<&DecisionResult> {
    let told: Vec<_> = decision.results.iter().filter(|result| result.action != "record").collect();
    if told.is_empty() { decision.results.iter().collect() } else { told }
}

/// Returns what was answered: the class of the style sheet, and the word.
pub fn verdict(decision: &Decision) -> (&'static str, &'static str) {
    match Answer::of(decision) {
        Answer::Denied => ("deny", "denied"),
        _ if decision.break_glass.is_some() => ("warn", "glass broken"),
        Answer::Warned => ("warn", "warned"),
        Answer::Allowed => ("good", "allowed"),
    }
}

/// Returns who asked, and what kind of account that is if it is not a person's.
pub fn requester(user: &str) -> (String, String) {
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => (name.to_owned(), format!("service account in {namespace}")),
        None => (user.to_owned(), String::new()),
    }
}

/// Returns a time that is short: `850 µs`, `12.3 ms`, `1.2 s`.
pub fn microseconds(duration: u64) -> String {
    match duration {
        0..1000 => format!("{duration} µs"),
        1000..1_000_000 => format!("{}.{} ms", duration / 1000, duration % 1000 / 100),
        _ => format!("{}.{} s", duration / 1_000_000, duration % 1_000_000 / 100_000),
    }
}

async fn decisions(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Decisions", &[Crumb::here("Decisions")]).await;
    let place = Place::of(&DECISIONS, &query);
    let (mut rows, mut next, mut traffic) = (Vec::new(), None, None);
    if let Some(kept) = &state.kept {
        let asked = PageQuery {
            filter: decision_filter(&state.app, &caller, &query)?,
            sort: TimeSort::Newest,
            cursor: query.text("cursor").map(str::to_owned),
            limit: query.number("limit").unwrap_or(PAGE),
        };
        let page: Page<Decision> = kept.store.decisions(&asked).await?;
        rows = page.items.iter().map(|decision| Row::of(decision, &visit)).collect();
        next = page.next.map(|cursor| place.on(&cursor).href());
        if caller.sees_all() && place.kept().next().is_none() && query.text("cursor").is_none() {
            traffic = Traffic::new(&kept.feed.traffic(visit.now), &visit);
        }
    }
    page_of(&DecisionsPage {
        shell,
        is_kept: state.kept.is_some(),
        tabs: tabs(&place),
        menus: menus(&state, &caller, &place),
        chips: facets::chips(&place, &CHIPS),
        clear: cleared(&place),
        text: place.list("text").first().cloned().unwrap_or_default(),
        hidden: place.kept().filter(|(name, _)| *name != "text").collect(),
        api: place.on_path("/api/v1/decisions"),
        is_narrowed: place.kept().next().is_some(),
        first: query.text("cursor").map(|_| place.without("cursor").href()),
        rows,
        next,
        traffic,
    })
}

fn tabs(place: &Place) -> Vec<Choice> {
    let plain = place.without("state").without("mode");
    let tab = |label: &str, state: &str, mode: &str| {
        let set = |at: Place, name, value: &str| if value.is_empty() { at } else { at.with(name, value) };
        let at = set(set(plain.clone(), "state", state), "mode", mode);
        Choice {
            label: label.to_owned(),
            count: String::new(),
            is_chosen: ["state", "mode"].iter().all(|name| at.list(name) == place.list(name)),
            href: at.href(),
        }
    };
    vec![
        tab("All", "", ""),
        tab("Denied", "denied", ""),
        tab("Warned", "allowed", "warn"),
        tab("Allowed", "allowed", ""),
    ]
}

/// Returns the page without any filter, but with the tab that one is on.
fn cleared(place: &Place) -> String {
    let tab = ["state", "mode"].into_iter().fold(Place::at("/decisions"), |at, name| {
        place.list(name).iter().fold(at, |at, value| at.toggled(name, value))
    });
    tab.href()
}

fn menus(state: &ApiState, caller: &Caller, place: &Place) -> Vec<Menu> {
    let known = state.app.known_namespaces(&state.app.in_force.load());
    let names: Vec<&str> = known.iter().map(|known| &*known.name).filter(|name| caller.sees(name)).collect();
    let severities = ["critical", "high", "medium", "low", "info"].map(|word| (word, word));
    vec![
        facets::names("Namespace", "namespace", &names, place),
        facets::words("Severity", "severity", &severities, place),
        ages(place),
    ]
}

/// Returns a menu of how far back one looks, of which one is chosen at most.
pub fn ages(place: &Place) -> Menu {
    let choices = AGES.iter().map(|(value, label)| {
        let is_chosen = place.has("since", value);
        let at = if is_chosen { place.without("since") } else { place.with("since", value) };
        Choice { label: (*label).to_owned(), count: String::new(), href: at.href(), is_chosen }
    });
    Menu { label: "Since", chosen: place.list("since").len(), choices: choices.collect(), field: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_told_apart_from_people() {
        for (user, name, account) in [
            ("jane", "jane", ""),
            ("system:serviceaccount:argocd:sync", "sync", "service account in argocd"),
            ("system:node:a", "system:node:a", ""),
        ] {
            assert_eq!(requester(user), (name.to_owned(), account.to_owned()));
        }
    }

    #[test]
    fn short_times_keep_their_unit() {
        for (duration, expected) in [(0, "0 µs"), (999, "999 µs"), (12_345, "12.3 ms"), (1_250_000, "1.2 s")] {
            assert_eq!(microseconds(duration), expected);
        }
    }
}
