//! `/api/v1/mode-changes`: what was changed of modes through Gatepost, and changing it with the caller's own token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::applications;
use super::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use super::evaluate::read;
use super::guard::shown;
use super::lists::{self, NAMESPACE, PAGES, TIMES};
use super::names::Names;
use super::problem::{Flaw, Problem};
use super::tokens;
use crate::audit::delivered::delivered_by;
use crate::auth::is_session;
use crate::cluster::modes::{Found, NamespacesOf, WriteError};
use crate::engine::Bundle;
use crate::policy::enforcement::{EnforceKeys, Enforcement};
use crate::policy::metadata::UnknownWord;
use crate::policy::modes::OFF;
use crate::report::judge::policy;
use crate::store::{Filter, ModeChanged, ModeKeys, PageQuery, TimeSort};

/// A body is no longer than this.
const LONGEST: usize = 16 << 10;
/// A reason is no longer than this, in characters.
const LONGEST_REASON: usize = 500;

const CHANGES: Endpoint = Endpoint {
    path: "/api/v1/mode-changes",
    about: "What was changed of modes through Gatepost",
    parameters: &[
        &[
            NAMESPACE,
            Parameter::new("since", Values::Text, "Changed at or after this time (RFC 3339), or so long ago (7d)"),
        ],
        TIMES,
        PAGES,
    ],
    answer: "ModeChangeList",
    ..Endpoint::GET
};

const CHANGE: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/mode-changes",
    about: "Writes what a namespace enforces with the caller's own Kubernetes token, or takes a change back",
    takes: &["application/json"],
    statuses: &[201, 400, 403, 404, 409, 413, 422],
    answer: "ModeWritten",
    body: "AskedModeChange",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&CHANGES, changes).add(&CHANGE, change)
}

/// What is asked for: a namespace and what it is to enforce, or the number of a change to take back.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    enforce: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    takes_back: Option<i64>,
    reason: String,
}

/// What is to be enforced, as a body or a form says it; what is empty is not said.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The policy, or `off`.
    pub enforce: &'a str,
    /// Denies only from this severity on.
    pub severity: &'a str,
    /// `new` or `all`.
    pub scope: &'a str,
    /// From when it denies.
    pub from: &'a str,
}

impl Wanted<'_> {
    /// Returns the keys that say it; everything that is wrong comes back.
    pub fn keys(self, bundle: &Bundle) -> Result<EnforceKeys, Problem> {
        let mut flaws = Vec::new();
        let mut flaw = |of: &str, cause: String| flaws.push(Flaw::at(format!("/{of}"), format!("{of}: {cause}")));
        match self.enforce {
            "" => flaw("enforce", format!("name a policy, or {OFF}")),
            OFF => {}
            name => _ = policy(bundle, name).map_err(|unknown| flaw("enforce", unknown.0)),
        }
        let severity = Some(self.severity).filter(|word| !["", "any"].contains(word)).map(str::parse).transpose();
        let scope = Some(self.scope).filter(|word| !word.is_empty()).map(str::parse).transpose();
        let severity = severity.unwrap_or_else(|error: UnknownWord| {
            flaw("severity", error.to_string());
            None
        });
        let scope = scope.unwrap_or_else(|error: UnknownWord| {
            flaw("scope", error.to_string());
            None
        });
        let from = Some(self.from.to_owned()).filter(|from| !from.is_empty());
        let wanted =
            Enforcement { policy: Some(self.enforce.to_owned()), severity, scope: scope.unwrap_or_default(), from };
        _ = wanted.check().map_err(|cause| flaw("from", cause));
        if flaws.is_empty() { Ok(wanted.keys()) } else { Err(Problem::body(flaws)) }
    }
}

async fn changes(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let filter = Filter {
        namespace: Names::of(&query)?.known(&state.app),
        visible: lists::visible(&state.app, &caller),
        since: lists::since(&query)?,
        ..Filter::default()
    };
    Ok(lists::answer(state.kept()?.store.mode_changes(&lists::page(&query, filter, lists::time_sort(&query))).await?))
}

async fn change(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let writing = Writing::new(&state, &caller, &headers)?;
    let body = read(request, LONGEST).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| Problem::malformed(error.to_string()))?;
    if let Some(id) = asked.takes_back {
        let namespace = writing.take_back(id, &asked.reason).await?;
        return Ok((StatusCode::CREATED, Json(json!({"namespace": namespace}))).into_response());
    }
    let wanted = Wanted { enforce: &asked.enforce, severity: &asked.severity, scope: &asked.scope, from: &asked.from };
    let keys = wanted.keys(&state.app.in_force.load().bundle)?;
    writing.write(&asked.namespace, &keys, &asked.reason).await?;
    let then = keys.in_words();
    Ok((StatusCode::CREATED, Json(json!({"namespace": asked.namespace, "then": then}))).into_response())
}

/// Writes modes as whoever asks.
pub struct Writing<'a> {
    state: &'a ApiState,
    caller: &'a Caller,
    namespaces: NamespacesOf,
}

/// Returns the Kubernetes token that a request shows; none where it shows none, or one of ours.
pub fn kubernetes_token<'h>(state: &ApiState, headers: &'h HeaderMap) -> Option<&'h str> {
    shown(state.door, headers).filter(|token| tokens::id_of(token).is_none() && !is_session(token))
}

impl<'a> Writing<'a> {
    /// Begins, where the caller shows a token of the cluster.
    pub fn new(state: &'a ApiState, caller: &'a Caller, headers: &HeaderMap) -> Result<Self, Problem> {
        let no_cluster = || Problem::conflict("this Gatepost writes to no cluster: commit the change instead");
        let writer = state.writer.as_ref().ok_or_else(no_cluster)?;
        state.kept()?;
        let token = kubernetes_token(state, headers).ok_or_else(|| {
            Problem::refused(
                "modes are written with your own Kubernetes token, and you show none: commit the change instead",
            )
        })?;
        let namespaces = writer.bearing(token).map_err(|error| Problem::unavailable(error.to_string()))?;
        Ok(Self { state, caller, namespaces })
    }

    /// Reads a namespace that the caller may see, as it stands at the API server.
    async fn found(&self, name: &str) -> Result<Found, Problem> {
        // A name is a part of the path that is asked with the caller's token.
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || !self.caller.sees(name) {
            return Err(no_namespace(name));
        }
        self.namespaces.read(name).await.map_err(|error| refused(name, &error))
    }

    /// Writes what a namespace enforces, and remembers it.
    pub async fn write(&self, name: &str, keys: &EnforceKeys, reason: &str) -> Result<(), Problem> {
        let reason = checked(reason)?;
        let found = self.found(name).await?;
        self.put(&found, keys, reason, None).await
    }

    /// Writes what stood before a change; returns the namespace.
    pub async fn take_back(&self, id: i64, reason: &str) -> Result<String, Problem> {
        let reason = checked(reason)?;
        let change = self.state.kept()?.store.mode_change(id).await?;
        let change = change.filter(|change| self.caller.sees(&change.namespace));
        let change = change.ok_or_else(|| Problem::not_found(format!("there is no mode change {id}")))?;
        let found = self.found(&change.namespace).await?;
        let now = EnforceKeys::of(&found.meta);
        if kept(&now) != change.after {
            let detail =
                format!("{} has been changed since, to {}: change it from there", change.namespace, now.in_words());
            return Err(Problem::conflict(detail));
        }
        let ModeKeys { labels, annotations } = change.before;
        self.put(&found, &EnforceKeys { labels, annotations }, reason, Some(id)).await?;
        Ok(change.namespace)
    }

    async fn put(
        &self,
        found: &Found,
        keys: &EnforceKeys,
        reason: &str,
        takes_back: Option<i64>,
    ) -> Result<(), Problem> {
        let (namespace, before) = (&found.meta, EnforceKeys::of(&found.meta));
        let name = &namespace.name;
        if before == *keys {
            return Err(Problem::conflict(format!("{name} says so already: {}", keys.in_words())));
        }
        let known = applications::known(self.state).await;
        if let Some(by) = delivered_by(&namespace.labels, &namespace.annotations, &known) {
            let detail =
                format!("{} {} delivers Namespace {name} and would undo this: commit it there", by.kind, by.name);
            return Err(Problem::delivered(detail));
        }
        self.namespaces.write(found, keys.patch(namespace)).await.map_err(|error| refused(name, &error))?;
        tracing::info!(
            namespace = name,
            user = self.caller.name,
            reason,
            before = before.in_words(),
            after = keys.in_words(),
            "modes written for a viewer"
        );
        let change = ModeChanged {
            id: 0,
            time: Timestamp::now(),
            namespace: name.clone(),
            user: self.caller.name.clone(),
            reason: reason.to_owned(),
            before: kept(&before),
            after: kept(keys),
            takes_back,
        };
        self.state.kept()?.store.put_mode_change(&change).await.map_err(|error| {
            tracing::error!(namespace = name, %error, "a change of modes was written, but is missing in the history");
            Problem::unavailable(format!("{name} was written, but the history could not be: the log has the change"))
        })
    }
}

/// Returns the last changes of namespaces, the newest first.
pub async fn last(state: &ApiState, namespaces: Vec<String>, limit: usize) -> Result<Vec<ModeChanged>, Problem> {
    let Some(kept) = &state.kept else { return Ok(Vec::new()) };
    let filter = Filter { visible: Some(namespaces), ..Filter::default() };
    Ok(kept.store.mode_changes(&PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit }).await?.items)
}

fn kept(keys: &EnforceKeys) -> ModeKeys {
    ModeKeys { labels: keys.labels.clone(), annotations: keys.annotations.clone() }
}

fn checked(reason: &str) -> Result<&str, Problem> {
    let reason = reason.trim();
    let flaw = |detail: String| Err(Problem::body(vec![Flaw::at("/reason", detail)]));
    match reason.chars().count() {
        0 => flaw("reason: say why; it stands in the history".to_owned()),
        length if length > LONGEST_REASON => flaw(format!("reason: more than {LONGEST_REASON} characters")),
        _ if reason.chars().any(char::is_control) => flaw("reason: one line".to_owned()),
        _ => Ok(reason),
    }
}

fn no_namespace(name: &str) -> Problem {
    Problem::not_found(format!("there is no namespace \"{name}\""))
}

fn refused(namespace: &str, error: &WriteError) -> Problem {
    match error {
        WriteError::Refused { code: 404, .. } => no_namespace(namespace),
        WriteError::Conflict => Problem::conflict(format!("{namespace}: {error}")),
        WriteError::Token | WriteError::Refused { code: 400..=499, .. } => {
            Problem::refused(format!("{namespace}: {error}"))
        }
        WriteError::Refused { .. } | WriteError::Away(_) => Problem::unavailable(format!("{namespace}: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::engine::{BackendChoice, Catalogue, ProgramCache};

    #[test]
    fn what_is_wanted_is_read_strictly_and_every_fault_is_told() {
        let bundle = Catalogue::read(&[])
            .and_then(|catalogue| Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven))
            .unwrap();
        let keys = |[enforce, severity, scope, from]: [&'static str; 4]| {
            Wanted { enforce, severity, scope, from }.keys(&bundle)
        };
        for (said, expected) in [
            (["baseline", "", "", ""], "enforce=baseline"),
            (["baseline", "any", "new", ""], "enforce=baseline"),
            (["off", "high", "all", ""], "enforce=off"),
            (
                ["strict", "high", "all", "2026-12-01"],
                "enforce=strict, enforce-from=2026-12-01, enforce-scope=all, enforce-severity=high",
            ),
        ] {
            assert_eq!(keys(said).unwrap().in_words(), expected);
        }
        let refused = keys(["baselin", "grave", "some", "soon"]).unwrap_err();
        let at: Vec<&str> = refused.flaws().iter().filter_map(|flaw| flaw.pointer.as_deref()).collect();
        assert_eq!(at, ["/enforce", "/severity", "/scope", "/from"], "{:?}", refused.flaws());
        assert!(keys(["", "", "", ""]).is_err(), "nothing named is not off");
    }

    #[test]
    fn a_reason_is_one_line_that_says_something() {
        assert_eq!(checked(" clean for a month ").unwrap(), "clean for a month");
        for wrong in ["", "  ", "a\nb", &"x".repeat(501)] {
            assert_eq!(checked(wrong).unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
        }
    }

    #[test]
    fn what_the_api_server_says_is_told_as_what_it_is() {
        let of = |code| refused("shop", &WriteError::Refused { code, message: "denied the request".into() });
        assert_eq!((of(403).status(), of(403).detail()), (StatusCode::FORBIDDEN, "shop: denied the request"));
        assert_eq!(of(404).status(), StatusCode::NOT_FOUND);
        assert_eq!(of(500).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused("shop", &WriteError::Conflict).status(), StatusCode::CONFLICT);
        assert!(refused("shop", &WriteError::Token).detail().contains("for both audiences"));
    }
}
