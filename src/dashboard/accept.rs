//! `/findings/accept`: what is open of a filter as Exemptions, so that only what is new counts.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::code::Code;
use super::dress::page_of;
use super::facets::{self, Chip};
use super::findings::CHIPS;
use super::links::Place;
use super::shell::{Crumb, Shell, Visit};
use super::words::count;
use crate::scan::ApiState;
use crate::scan::acceptance::{Accepted, TERMS, accepted, in_a_month};
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::findings::FILTERS;
use crate::scan::problem::Problem;

const ACCEPT: Endpoint = Endpoint {
    path: "/findings/accept",
    about: "The page that accepts findings as they are",
    parameters: &[FILTERS, TERMS],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&ACCEPT, accept)
}

#[derive(Template)]
#[template(path = "accept.html")]
struct AcceptPage {
    shell: Shell,
    /// What the findings are narrowed to.
    chips: Vec<Chip>,
    /// Whether they are narrowed by nothing but their mode.
    is_all: bool,
    hidden: Vec<(&'static str, String)>,
    expires: String,
    accountable: String,
    reason: String,
    policies: Vec<(String, bool)>,
    /// Where the findings are listed.
    list: String,
    made: Option<Made>,
}

/// What was made of them.
struct Made {
    findings: String,
    exemptions: String,
    of_cluster: usize,
    is_empty: bool,
    yaml: Code,
    href: String,
}

impl Made {
    fn of(accepted: &Accepted, href: String) -> Self {
        let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let Accepted { findings, acceptance } = accepted;
        Self {
            findings: count(number(*findings), "finding", "findings"),
            exemptions: count(number(acceptance.exemptions), "exemption", "exemptions"),
            of_cluster: acceptance.of_cluster,
            is_empty: acceptance.exemptions == 0,
            yaml: Code::plain("The exemptions", &acceptance.yaml),
            href,
        }
    }
}

async fn accept(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let place = Place::of(&ACCEPT, &query);
    let said = |name: &str| query.text(name).map(str::trim).unwrap_or_default().to_owned();
    let is_said = ["accountable", "reason"].iter().all(|name| !said(name).is_empty());
    let made = if is_said {
        let accepted = accepted(&state, &caller, &query).await?;
        Some(Made::of(&accepted, place.on_path("/api/v1/findings/acceptance")))
    } else {
        None
    };
    let is_term = |name: &str| TERMS.iter().any(|term| term.name == name);
    let filters = TERMS.iter().fold(place.clone(), |place, term| place.without(term.name));
    let title = "Accept as it is";
    let list = filters.on_path("/findings");
    let in_force = state.app.in_force.load();
    let planned = said("enforce");
    page_of(&AcceptPage {
        shell: Shell::new(&state, &visit, title, &[Crumb::to(list.clone(), "Findings"), Crumb::here(title)]).await,
        is_all: !filters.kept().any(|(name, _)| name != "mode"),
        chips: facets::chips(&filters, &[&[("mode", "Mode"), ("severity", "Severity")], &CHIPS[..]].concat()),
        hidden: place.kept().filter(|(name, _)| !is_term(name)).collect(),
        expires: Some(said("expires")).filter(|day| !day.is_empty()).unwrap_or_else(|| in_a_month(visit.now)),
        accountable: said("accountable"),
        reason: said("reason"),
        policies: in_force.bundle.policies().keys().map(|name| (name.to_string(), **name == *planned)).collect(),
        list,
        made,
    })
}
