//! `/messages`: what a rule says in a policy of one's own, as people in front of kubectl read it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::code::Code;
use super::dress::page_of;
use super::links::Place;
use super::shell::{Crumb, Shell, Visit};
use crate::cluster::registration::wanted::NAMESPACED;
use crate::engine::Bundle;
use crate::scan::ApiState;
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::messages::{Composed, PARAMETERS, composed};
use crate::scan::problem::Problem;

const MESSAGES: Endpoint = Endpoint {
    path: "/messages",
    about: "The page that tries messages",
    parameters: &[PARAMETERS],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&MESSAGES, messages)
}

#[derive(Template)]
#[template(path = "messages.html")]
struct MessagesPage {
    shell: Shell,
    policies: Vec<(String, bool)>,
    rules: Vec<(String, bool)>,
    message: String,
    name: String,
    subject: String,
    /// What kubectl prints where the policy warns, and where it denies.
    warned: String,
    denied: String,
    yaml: Code,
    href: String,
}

async fn messages(State(state): State<Arc<ApiState>>, query: Query, visit: Visit) -> Result<Response, Problem> {
    let Composed { policy, rule, message, name, reads, yaml } = composed(&state, &query).await?;
    let in_force = state.app.in_force.load();
    let reads = reads.as_ref();
    let warned: Vec<String> =
        reads.iter().flat_map(|reads| &reads.warnings).map(|line| format!("Warning: {line}")).collect();
    let denied = reads.map(|reads| {
        format!(
            "Error from server (Forbidden): admission webhook \"{NAMESPACED}\" denied the request: {}",
            reads.denial
        )
    });
    page_of(&MessagesPage {
        shell: Shell::new(&state, &visit, "Messages", &[Crumb::here("Messages")]).await,
        policies: in_force.bundle.policies().keys().map(|known| (known.to_string(), **known == *policy)).collect(),
        rules: rules(&in_force.bundle, &policy).into_iter().map(|id| (id.clone(), id == rule)).collect(),
        subject: reads.map(|reads| reads.subject.clone()).unwrap_or_default(),
        warned: warned.join("\n"),
        denied: denied.unwrap_or_default(),
        yaml: Code::plain("The policy as YAML", &yaml),
        href: Place::of(&MESSAGES, &query).with("format", "yaml").on_path("/api/v1/messages"),
        message,
        name,
    })
}

/// Returns the rules of a policy by name.
fn rules(bundle: &Bundle, policy: &str) -> Vec<String> {
    let entries = bundle.policy(policy).into_iter().flat_map(|policy| policy.entries.keys());
    let mut rules: Vec<String> =
        entries.filter_map(|check| bundle.checks().get(*check)).map(|check| check.rule_id().to_string()).collect();
    rules.sort();
    rules
}
