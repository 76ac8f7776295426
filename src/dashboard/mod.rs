//! The dashboard: pages for people, on the API's listener, made of what the API answers from.
//!
//! Each area is a file with its paths and handlers; `shell` is the frame around every page, `dress` what every answer
//! gets, `templates/components.html` what pages are made of. A page reads the store and what is in force, decides
//! nothing, and reads well without a script. Every value is escaped where it is written.

mod accept;
mod applications;
mod arrival;
mod assets;
mod audits;
mod caveats;
mod chart;
mod checks;
mod code;
mod counts;
mod decision;
mod decisions;
mod dress;
mod enforce;
mod exemptions;
mod facets;
mod feed;
mod finding;
mod findings;
mod groups;
mod highlights;
mod links;
mod manifest;
mod messages;
mod mode_changes;
mod modes;
mod namespace;
mod namespaces;
mod nothing;
mod oidc;
mod overview;
mod playground;
mod policies;
mod resources;
mod rules;
mod settings;
mod shell;
mod sign_in;
mod standing;
mod status;
mod stopped;
mod styleguide;
mod targets;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
mod traffic;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};

use crate::scan::ApiState;
use crate::scan::endpoint::Routes;
use crate::scan::guard;
use crate::scan::problem::Problem;

/// Returns every page, and what pages load.
pub fn routes(state: Arc<ApiState>) -> Router {
    let routes = Routes::new(state.clone());
    let routes = overview::routes(routes);
    let routes = findings::routes(routes);
    let routes = finding::routes(routes);
    let routes = accept::routes(routes);
    let routes = namespaces::routes(routes);
    let routes = namespace::routes(routes);
    let routes = rules::routes(routes);
    let routes = policies::routes(routes);
    let routes = audits::routes(routes);
    let routes = decisions::routes(routes);
    let routes = decision::routes(routes);
    let routes = feed::routes(routes);
    let routes = checks::routes(routes);
    let routes = applications::routes(routes);
    let routes = resources::routes(routes);
    let routes = exemptions::routes(routes);
    let routes = enforce::routes(routes);
    let routes = modes::routes(routes);
    let routes = mode_changes::routes(routes);
    let routes = messages::routes(routes);
    let routes = playground::routes(routes);
    let routes = status::routes(routes);
    let routes = settings::routes(routes);
    let routes = targets::routes(routes);
    let routes = styleguide::routes(routes);
    let routes = shell::routes(routes);
    let routes = sign_in::routes(routes);
    let routes = oidc::routes(routes);
    routes
        .unfinished()
        .route(oidc::CALLBACK, get(oidc::back))
        .method_not_allowed_fallback(async || Problem::only_by_form())
        .route("/{*path}", any(nothing))
        .layer(from_fn_with_state(state.clone(), guard::check))
        .layer(from_fn_with_state(state.clone(), dress::dress))
        .with_state(state.clone())
        .merge(assets::routes().layer(from_fn_with_state(state, guard::check)))
}

/// Answers paths that are none; of those of the API in its own way.
async fn nothing(uri: Uri) -> Problem {
    if uri.path().starts_with("/api/") {
        Problem::no_path()
    } else {
        Problem::not_found(format!("there is no page {}", uri.path()))
    }
}
