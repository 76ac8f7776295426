//! `/exemptions`: who may break which rule, until when, why, and whether anybody does.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

use super::dress::page_of;
use super::facets::{self, Chip, Choice};
use super::links::Place;
use super::shell::{Crumb, Shell, Visit};
use super::words::{When, number};
use crate::policy::ExemptionNote;
use crate::policy::exemption::{Exemption, ExemptionKind, ExemptionState, MatchSpec};
use crate::report::finding::Finding;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::exemptions::{FILTERS, Item, asked_for, covering, page, visible};
use crate::scan::lists::PAGES;
use crate::scan::problem::Problem;

/// States that have a tab: the word of the address, and of the page.
const STATES: [(&str, &str); 5] = [
    ("active", "In force"),
    ("ending", "Ending soon"),
    ("unused", "Unused"),
    ("expired", "Expired"),
    ("refused", "Refused"),
];
const CHIPS: [(&str, &str); 4] = [("namespace", "Namespace"), ("rule", "Rule"), ("owner", "Owner"), ("text", "Text")];

const EXEMPTIONS: Endpoint = Endpoint {
    path: "/exemptions",
    about: "The page of exemptions",
    parameters: &[FILTERS, PAGES],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&EXEMPTIONS, exemptions)
}

#[derive(Template)]
#[template(path = "exemptions.html")]
struct ExemptionsPage {
    shell: Shell,
    tabs: Vec<Choice>,
    chips: Vec<Chip>,
    text: String,
    hidden: Vec<(&'static str, String)>,
    api: String,
    rows: Vec<Row>,
    next: Option<String>,
    first: Option<String>,
    is_narrowed: bool,
}

struct Row {
    name: String,
    kind: &'static str,
    namespace: String,
    state: (&'static str, &'static str),
    is_unused: bool,
    cause: String,
    rules: Vec<String>,
    about: Vec<(&'static str, String)>,
    reason: String,
    owner: String,
    ends: Option<When>,
    last_used: Option<When>,
    source: String,
}

impl Row {
    fn of(item: &Item, visit: &Visit) -> Self {
        let spec = &item.spec;
        let named = spec.rules.iter().chain(&spec.families).cloned();
        Self {
            name: item.name.name.to_string(),
            kind: item.name.kind.as_str(),
            namespace: item.name.namespace.to_string(),
            state: state(item.state),
            is_unused: item.is_in("unused"),
            cause: item.cause.clone().unwrap_or_default(),
            rules: named.collect(),
            about: about(&spec.matches),
            reason: spec.reason.clone(),
            owner: spec.owner.clone(),
            ends: item.ends.map(|end| visit.when(end)),
            last_used: item.last_used.map(|used| visit.when(used)),
            source: item.source.to_string(),
        }
    }
}

fn state(state: ExemptionState) -> (&'static str, &'static str) {
    match state {
        ExemptionState::Active => ("good", "in force"),
        ExemptionState::Ending => ("warn", "ending soon"),
        ExemptionState::Expired => ("", "expired"),
        ExemptionState::Refused => ("deny", "refused"),
    }
}

/// Words which objects are meant.
fn about(spec: &MatchSpec) -> Vec<(&'static str, String)> {
    let lists = [
        ("namespaces", &spec.namespaces),
        ("kinds", &spec.kinds),
        ("names", &spec.names),
        ("containers", &spec.containers),
        ("images", &spec.images),
        ("users", &spec.users),
    ];
    let lists = lists.into_iter().filter_map(|(word, list)| Some((word, list.as_ref()?.join(", "))));
    let selector = spec.selector.as_ref().and_then(|selector| serde_json::to_string(selector).ok());
    lists.chain(selector.map(|selector| ("labels", selector))).collect()
}

async fn exemptions(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Exemptions", &[Crumb::here("Exemptions")]).await;
    let place = Place::of(&EXEMPTIONS, &query);
    let seen = visible(&state, &caller, visit.now);
    let tabs = tabs(&place, &seen);
    let found = page(asked_for(&state, seen, &query)?, &query)?;
    page_of(&ExemptionsPage {
        shell,
        tabs,
        chips: facets::chips(&place, &CHIPS),
        text: place.list("text").first().cloned().unwrap_or_default(),
        hidden: place.kept().filter(|(name, _)| *name != "text").collect(),
        api: place.on_path("/api/v1/exemptions"),
        rows: found.items.iter().map(|item| Row::of(item, &visit)).collect(),
        next: found.next.map(|cursor| place.on(&cursor).href()),
        first: query.text("cursor").map(|_| place.without("cursor").href()),
        is_narrowed: place.kept().next().is_some(),
    })
}

/// Returns a tab for each state; how many there are is counted before any other filter.
fn tabs(place: &Place, seen: &[Item]) -> Vec<Choice> {
    let tab = |label: &str, at: Place, found: usize| Choice {
        label: label.to_owned(),
        count: number(u64::try_from(found).unwrap_or(u64::MAX)),
        is_chosen: at.list("state") == place.list("state"),
        href: at.href(),
    };
    let all = tab("All", place.without("state"), seen.len());
    let each = STATES.iter().map(|(word, label)| {
        tab(label, place.with("state", word), seen.iter().filter(|item| item.is_in(word)).count())
    });
    std::iter::once(all).chain(each).collect()
}

/// An exemption beside a finding that it is about.
pub struct Beside {
    /// Its name.
    pub name: String,
    /// Its page; empty where it has none.
    pub href: String,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// When it ends.
    pub ends: Option<When>,
}

impl Beside {
    fn of(exemption: &Exemption, visit: &Visit) -> Self {
        Self {
            name: exemption.name.to_string(),
            href: Place::at("/exemptions").with("text", &exemption.name.name).href(),
            reason: exemption.reason.to_string(),
            owner: exemption.owner.to_string(),
            ends: exemption.expires.map(|end| visit.when(end)),
        }
    }

    /// Returns what is kept of one that excused a finding, whether or not it is still there.
    pub fn of_note(note: &ExemptionNote, visit: &Visit) -> Self {
        let href = match note.name.kind {
            ExemptionKind::Annotation => String::new(),
            _ => Place::at("/exemptions").with("text", &note.name.name).href(),
        };
        Self {
            name: note.name.to_string(),
            href,
            reason: note.reason.to_string(),
            owner: note.owner.to_string(),
            ends: note.expires.map(|end| visit.when(end)),
        }
    }
}

/// Returns the exemptions in force that are about a finding, as its object was judged, but for the one that excuses it.
pub fn beside(state: &ApiState, finding: &Finding, object: Option<&Value>, visit: &Visit) -> Vec<Beside> {
    let in_force = state.app.in_force.load();
    let covering = covering(&in_force, finding, object, Timestamp::now());
    let is_other = |other: &&&Arc<Exemption>| finding.exemption.as_ref().is_none_or(|by| by.name != other.name);
    covering.iter().filter(is_other).map(|exemption| Beside::of(exemption, visit)).collect()
}
