//! `/api/v1/messages`: how another message of a rule reads in front of kubectl, and the policy that says it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::ApiState;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::plans::file;
use super::problem::{Flaw, Problem};
use crate::admission::rehearse::{Rehearsed, rehearse};
use crate::engine::{Bundle, Check, Machines};
use crate::policy::set::{Entry, is_name};
use crate::report::judge::policy;
use crate::report::suggest::message_yaml;

/// A message is no longer than this, in characters.
const LONGEST: usize = 1000;

/// What is asked of a message.
pub const PARAMETERS: &[Parameter] = &[
    Parameter::new("policy", Values::Text, "The policy that is taken over; recommended if nobody says"),
    Parameter::new("rule", Values::Text, "The rule, by id or another name"),
    Parameter::new(
        "message",
        Values::Text,
        "What it says, with {{kind}}, {{name}}, {{namespace}}, {{container}} and {{path}}; the rule's own if nobody says",
    ),
    Parameter::new("name", Values::Text, "Name of the new policy; own if nobody says"),
];

const FORMAT: &[Parameter] =
    &[Parameter::new("format", Values::OneOf(&["json", "yaml"]), "The format; json if nobody says")];

const MESSAGES: Endpoint = Endpoint {
    path: "/api/v1/messages",
    about: "How another message of a rule reads in front of kubectl, and the policy that says it; nothing is changed",
    parameters: &[PARAMETERS, FORMAT],
    gives: &["application/json", "application/yaml"],
    statuses: &[200, 503],
    answer: "Message",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&MESSAGES, messages)
}

async fn messages(State(state): State<Arc<ApiState>>, query: Query) -> Result<Response, Problem> {
    let composed = composed(&state, &query).await?;
    if query.text("format") == Some("yaml") {
        return Ok(file("application/yaml", &format!("{}.yaml", composed.name), composed.yaml));
    }
    let Composed { policy, rule, reads, yaml, .. } = composed;
    let (warnings, denial) = reads.map_or((Vec::new(), None), |reads| (reads.warnings, Some(reads.denial)));
    Ok(Json(json!({"policy": policy, "rule": rule, "warnings": warnings, "denial": denial, "yaml": yaml}))
        .into_response())
}

/// A message that was composed.
pub struct Composed {
    /// The policy that is taken over.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// What the message is now.
    pub message: String,
    /// The new policy's name.
    pub name: String,
    /// How it reads; none where the rule has no example.
    pub reads: Option<Rehearsed>,
    /// The new policy.
    pub yaml: String,
}

/// Returns what a policy makes of a rule.
fn found<'b>(bundle: &'b Bundle, policy: &str, rule: &str) -> Option<(&'b Arc<Check>, &'b Entry)> {
    let entries = &bundle.policy(policy)?.entries;
    entries.iter().find_map(|(check, entry)| {
        let check = bundle.checks().get(*check)?;
        (check.rule_id().as_str() == rule).then_some((check, entry))
    })
}

/// Composes what a query asks for.
pub async fn composed(state: &ApiState, query: &Query) -> Result<Composed, Problem> {
    let flaw = |of: &str, cause: String| Problem::query(vec![Flaw::of_parameter(of, format!("{of}: {cause}"))]);
    let said = |name: &str, default: &str| {
        let text = query.text(name).map(str::trim).filter(|text| !text.is_empty());
        text.unwrap_or(default).to_owned()
    };
    let (base, rule, name) = (said("policy", "recommended"), said("rule", "container-image-tag"), said("name", "own"));
    let in_force = state.app.in_force.load();
    policy(&in_force.bundle, &base).map_err(|unknown| flaw("policy", unknown.0))?;
    if !is_name(&name) || name == base {
        return Err(flaw("name", format!("\"{name}\" is no name for a new policy")));
    }
    let id = in_force.bundle.catalogue().rule(&rule).map(|rule| rule.id.to_string());
    let id = id.map_err(|unknown| flaw("rule", unknown.clone()))?;
    let (check, entry) = found(&in_force.bundle, &base, &id)
        .ok_or_else(|| flaw("rule", format!("{base} does not have the rule {id}")))?;
    let message = said("message", entry.message.as_deref().unwrap_or_default());
    if message.chars().count() > LONGEST || message.chars().any(char::is_control) {
        return Err(flaw("message", format!("one line of at most {LONGEST} characters")));
    }
    let told = Some(message.as_str()).filter(|message| !message.is_empty()).map(Arc::from);
    let entry = Entry { message: told, ..entry.clone() };
    let (check, limits, named) = (check.clone(), in_force.limits, Arc::from(name.as_str()));
    let job = move |machines: &mut Machines| rehearse(&named, &check, &entry, limits, machines);
    let answer = state.pool.try_submit(job).map_err(|_| Problem::unavailable("too many scans wait for a thread"))?;
    let reads = answer.await.map_err(|panicked| {
        tracing::error!(%panicked, "a message could not be tried");
        Problem::internal("the message could not be tried")
    })?;
    let yaml = message_yaml(&name, &base, &id, &message);
    Ok(Composed { policy: base, rule: id, message, name, reads, yaml })
}
