//! `GET /api/v1/findings/facets`: how many findings a filter finds, by what they could be narrowed to next.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::findings::{FILTERS, filter};
use super::problem::Problem;
use crate::store::{Facet, Filter};

/// Values of a facet when nobody says how many, and at most.
const VALUES: usize = 20;
const MOST_VALUES: usize = 1000;

const FACETS: [(&str, Facet); 9] = [
    ("severity", Facet::Severity),
    ("namespace", Facet::Namespace),
    ("application", Facet::Application),
    ("owner", Facet::Owner),
    ("rule", Facet::Rule),
    ("category", Facet::Category),
    ("kind", Facet::Kind),
    ("state", Facet::State),
    ("mode", Facet::Action),
];

const ASKED: &[Parameter] = &[
    Parameter::new(
        "facet",
        Values::Some(&["severity", "namespace", "application", "owner", "rule", "category", "kind", "state", "mode"]),
        "What is counted by; everything but owner if nobody says, for that counts row by row",
    ),
    Parameter::new(
        "limit",
        Values::Number(MOST_VALUES),
        "Values of each at most, the most frequent first; 20 if nobody says",
    ),
];

const COUNTED: Endpoint = Endpoint {
    path: "/api/v1/findings/facets",
    about: "How many findings a filter finds, and by facet; each facet is counted without its own part of the filter",
    parameters: &[FILTERS, ASKED],
    answer: "Facets",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&COUNTED, facets)
}

async fn facets(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let store = &state.kept()?.store;
    let filter = filter(&state.app, &caller, &query)?;
    let limit = query.number("limit").unwrap_or(VALUES);
    let asked = query.list("facet");
    let wanted = FACETS.into_iter().filter(|(name, facet)| {
        if asked.is_empty() { *facet != Facet::Owner } else { asked.iter().any(|word| word == name) }
    });
    let wanted: Vec<(&str, Facet)> = wanted.collect();
    let mut each: Vec<(Filter, Facet)> = wanted.iter().map(|(_, facet)| (filter.without(*facet), *facet)).collect();
    each.push((filter, Facet::State));
    let mut found = store.facets(&each, limit.max(VALUES)).await?;
    let by_state = found.pop().unwrap_or_default();
    let mut counted = Map::new();
    for ((name, facet), values) in wanted.into_iter().zip(found) {
        let told = values
            .into_iter()
            .take(limit)
            .filter(|(value, _)| !matches!(facet, Facet::Application | Facet::Owner) || !value.is_empty());
        let told = told.map(|(value, count)| json!({"value": word(facet, value), "count": count}));
        counted.insert(name.to_owned(), told.collect::<Vec<_>>().into());
    }
    let total = by_state.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    Ok(Json(json!({"facets": counted, "total": total})))
}

/// Returns a value in the words of the filters.
fn word(facet: Facet, value: String) -> String {
    match (facet, value.as_str()) {
        (Facet::Action, "deny") => "enforce".into(),
        (Facet::Action, "record") => "audit".into(),
        _ => value,
    }
}
