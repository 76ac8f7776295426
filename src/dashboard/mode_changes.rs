//! Writing modes from the page that previews them, taking that back, and what was changed this way.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::links::encoded;
use super::shell::Visit;
use super::sign_in::form;
use super::words::When;
use crate::policy::enforcement::EnforceKeys;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Method, Routes};
use crate::scan::mode_changes::{Wanted, Writing};
use crate::scan::problem::Problem;
use crate::store::{ModeChanged, ModeKeys};

const WRITE: Endpoint = Endpoint {
    method: Method::Post,
    path: "/modes",
    about: "Writes what namespaces enforce, with the viewer's own Kubernetes token",
    statuses: &[303, 403, 409, 422],
    ..Endpoint::GET
};

const TAKE_BACK: Endpoint = Endpoint {
    method: Method::Post,
    path: "/modes/back",
    about: "Takes a change of modes back, with the viewer's own Kubernetes token",
    statuses: &[303, 403, 404, 409],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&WRITE, write).add(&TAKE_BACK, take_back)
}

/// The form that writes what was looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Names with commas between them.
    namespaces: String,
    enforce: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    from: String,
    reason: String,
}

/// The button that takes a change back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    id: i64,
}

async fn write(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let written: Written = form(&body)?;
    let Written { namespaces, enforce, severity, scope, from, reason } = &written;
    let keys = Wanted { enforce, severity, scope, from }.keys(&state.app.in_force.load().bundle)?;
    let writing = Writing::new(&state, &caller, &headers)?;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for namespace in namespaces.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match writing.write(namespace, &keys, reason).await {
            Ok(()) => done.push(namespace),
            Err(problem) => refused.push(problem),
        }
    }
    match refused.pop() {
        None => Ok(seen_at(&done)),
        Some(problem) if refused.is_empty() && done.is_empty() => Err(problem),
        Some(problem) => {
            refused.push(problem);
            Err(partly(&done, &refused))
        }
    }
}

/// Tells what was written and what was not.
fn partly(done: &[&str], refused: &[Problem]) -> Problem {
    let causes: Vec<&str> = refused.iter().map(Problem::detail).collect();
    let written = if done.is_empty() { "nothing".to_owned() } else { done.join(", ") };
    Problem::refused(format!("{}. Written: {written}.", causes.join("; ")))
}

async fn take_back(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Back { id } = form(&body)?;
    let writing = Writing::new(&state, &caller, &headers)?;
    let namespace = writing.take_back(id, &format!("takes back change {id}")).await?;
    Ok(seen_at(&[&namespace]))
}

/// Leads to the page that shows what was done.
fn seen_at(namespaces: &[&str]) -> Response {
    let names: Vec<String> = namespaces.iter().map(|name| encoded(name)).collect();
    (StatusCode::SEE_OTHER, [(LOCATION, format!("/modes?namespace={}#history", names.join(",")))]).into_response()
}

/// A change in the history.
pub struct Past {
    pub id: i64,
    pub when: When,
    pub namespace: String,
    pub user: String,
    pub reason: String,
    /// What stood there, key by key.
    pub before: Vec<String>,
    /// What stands there since, key by key.
    pub after: Vec<String>,
    /// Whether it is the last of its namespace, which can be taken back.
    pub is_last: bool,
}

impl Past {
    /// Words changes, the newest first.
    pub fn all(changes: Vec<ModeChanged>, visit: &Visit) -> Vec<Self> {
        let words = |ModeKeys { labels, annotations }| {
            let words = EnforceKeys { labels, annotations }.in_words();
            words.split(", ").map(str::to_owned).collect()
        };
        let mut seen = BTreeSet::new();
        let of = |change: ModeChanged| Self {
            id: change.id,
            when: visit.when(change.time),
            is_last: seen.insert(change.namespace.clone()),
            namespace: change.namespace,
            user: change.user,
            reason: change.reason,
            before: words(change.before),
            after: words(change.after),
        };
        changes.into_iter().map(of).collect()
    }
}
