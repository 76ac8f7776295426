//! `/settings`: the configuration that is in force with where each value comes from, who has a token, and who is notified.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::code::Code;
use super::dress::page_of;
use super::shell::{Crumb, Shell, Visit};
use super::targets;
use super::words::When;
use crate::scan::ApiState;
use crate::scan::access::{Caller, Scope};
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::store::Token;

const SETTINGS: Endpoint = Endpoint {
    path: "/settings",
    about: "The page of the configuration and of tokens",
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&SETTINGS, settings)
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    shell: Shell,
    may_see: bool,
    configuration: Option<Code>,
    is_kept: bool,
    tokens: Vec<Row>,
    targets: Vec<targets::Row>,
}

/// A token in words; its value is nowhere but with its bearer.
struct Row {
    id: String,
    label: String,
    scopes: String,
    namespaces: String,
    created: When,
    expires: Option<When>,
    state: (&'static str, &'static str),
}

impl Row {
    fn of(token: &Token, visit: &Visit) -> Self {
        let state = match token.expires {
            Some(end) if end <= visit.now => ("", "ended"),
            Some(_) => ("good", "good until its end"),
            None => ("warn", "has no end"),
        };
        Self {
            id: token.id.clone(),
            label: token.label.clone(),
            scopes: token.scopes.join(", "),
            namespaces: token.namespaces.join(", "),
            created: visit.when(token.created),
            expires: token.expires.map(|end| visit.when(end)),
            state,
        }
    }
}

async fn settings(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    // Whoever may do everything may also see what everything is set to: paths, addresses, targets.
    let may_see = caller.may(Scope::Admin);
    let tokens = match state.kept.as_ref().filter(|_| may_see) {
        Some(kept) => kept.store.tokens().await?,
        None => Vec::new(),
    };
    let targets = match state.kept.as_ref().filter(|_| may_see) {
        Some(kept) => kept.notifier.status(),
        None => Vec::new(),
    };
    let in_force = state.app.in_force.load();
    let is_written = may_see && !in_force.written.is_empty();
    page_of(&SettingsPage {
        shell: Shell::new(&state, &visit, "Settings", &[Crumb::here("Settings")]).await,
        may_see,
        configuration: is_written.then(|| Code::plain("The configuration in force", &in_force.written)),
        is_kept: state.kept.is_some(),
        tokens: tokens.iter().map(|token| Row::of(token, &visit)).collect(),
        targets: targets.iter().map(|status| targets::Row::of(status, &visit)).collect(),
    })
}
