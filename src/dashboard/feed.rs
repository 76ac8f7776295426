//! `/feed`: decisions as they are taken. The page itself is a list of the last ones; a script makes it live.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::decisions::Row;
use super::dress::page_of;
use super::facets::{self, Chip, Choice, Menu};
use super::links::Place;
use super::shell::{Crumb, Shell, Visit};
use super::words::When;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use crate::scan::lists::{self, NAMESPACE};
use crate::scan::names::Names;
use crate::scan::problem::Problem;
use crate::store::{Filter, PageQuery, TimeSort};

/// Decisions that the page begins with.
const LAST: usize = 50;

const FEED: Endpoint = Endpoint {
    path: "/feed",
    about: "The page of decisions as they are taken",
    parameters: &[&[NAMESPACE, Parameter::new("state", Values::Some(&["allowed", "denied"]), "What was answered")]],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&FEED, feed)
}

#[derive(Template)]
#[template(path = "feed.html")]
struct FeedPage {
    shell: Shell,
    is_kept: bool,
    as_of: When,
    tabs: Vec<Choice>,
    menu: Menu,
    chips: Vec<Chip>,
    stream: String,
    rows: Vec<Row>,
}

async fn feed(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Live feed", &[Crumb::here("Live feed")]).await;
    let place = Place::of(&FEED, &query);
    let mut rows = Vec::new();
    if let Some(kept) = &state.kept {
        let filter = Filter {
            namespace: Names::of(&query)?.known(&state.app),
            state: query.list("state").to_vec(),
            visible: lists::visible(&state.app, &caller),
            ..Filter::default()
        };
        let asked = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: LAST };
        let page = kept.store.decisions(&asked).await?;
        rows = page.items.iter().map(|decision| Row::of(decision, &visit)).collect();
    }
    let known = state.app.known_namespaces(&state.app.in_force.load());
    let names: Vec<&str> = known.iter().map(|known| &*known.name).filter(|name| caller.sees(name)).collect();
    page_of(&FeedPage {
        shell,
        is_kept: state.kept.is_some(),
        as_of: visit.when(visit.now),
        tabs: facets::states(&[("Denied", "denied"), ("Allowed", "allowed")], &place),
        menu: facets::names("Namespace", "namespace", &names, &place),
        chips: facets::chips(&place, &[("namespace", "Namespace")]),
        stream: place.on_path("/api/v1/decisions/stream"),
        rows,
    })
}
