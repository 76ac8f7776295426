//! Signing in with a provider of OpenID Connect: the way there, and the way back.
//!
//! The way there is a link and no form, for the Content-Security-Policy lets a form lead nowhere else. The cookie of the
//! browser that leaves is what the way back is tied to: nobody can have somebody else's browser end a sign-in of theirs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::shell::{Visit, plain};
use super::sign_in;
use crate::auth::{Back, Begun, Fault, PATIENCE};
use crate::config::auth::Oidc;
use crate::scan::ApiState;
use crate::scan::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use crate::scan::guard::{Door, SESSION, cookie, kept};
use crate::scan::problem::Problem;

/// The cookie of a browser that has left for the provider.
const LEFT: &str = "__Host-gatepost-left";
/// Where the provider sends people back to.
pub const CALLBACK: &str = "/sign-in/oidc/callback";

const LEAVE: Endpoint = Endpoint {
    path: "/sign-in/oidc",
    scope: None,
    about: "Leads to the provider that says who somebody is",
    parameters: &[&[Parameter::new("next", Values::Text, "Path to go on to")]],
    statuses: &[303],
    ..Endpoint::GET
};

/// Adds the paths; the way back is not among the table's, since providers send more with it than anybody could list.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&LEAVE, leave)
}

/// Returns the provider, where people sign in with one.
pub fn provider(state: &ApiState) -> Option<Oidc> {
    let oidc = state.app.in_force.load().config.auth.oidc.clone();
    oidc.filter(|_| state.door == Door::Tokens)
}

async fn leave(
    State(state): State<Arc<ApiState>>,
    visit: Visit,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    let next = plain(query.text("next").unwrap_or("/"));
    let way = provider(&state).zip(state.reached.address(CALLBACK));
    let begun = match way {
        Some((oidc, redirect)) => state.sign_in.begin(&oidc, &redirect, &next, cookie(&headers, LEFT)).await,
        None => Err(Fault::NotConfigured),
    };
    match begun {
        Ok(Begun { url, browser }) => sign_in::go(&url, kept(LEFT, &browser, PATIENCE.as_secs())),
        Err(fault) => told(&state, &visit, &fault, &next).await,
    }
}

/// Takes in who comes back.
pub async fn back(State(state): State<Arc<ApiState>>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let visit = Visit::of(&headers, &uri);
    let (person, next) = match state.sign_in.finish(&brought(&headers, &uri)).await {
        Ok(known) => known,
        Err(fault) => return told(&state, &visit, &fault, "/").await,
    };
    if let Err(problem) = state.person(&person) {
        tracing::info!(user = person.name, groups = ?person.groups, "somebody signed in who may see nothing");
        let mut answer = sign_in::ask(&state, &visit, problem.detail().to_owned(), &next).await?;
        *answer.status_mut() = StatusCode::FORBIDDEN;
        return Ok(answer);
    }
    tracing::info!(user = person.name, groups = ?person.groups, until = %person.ends, "signed in");
    let seconds = person.ends.duration_since(visit.now).as_secs().max(1).unsigned_abs();
    let session = state.sign_in.sessions.begin(person);
    let session = session.ok_or_else(|| Problem::internal("the system has no random numbers"))?;
    sign_in::go(&plain(&next), kept(SESSION, &session, seconds))
}

/// Reads what a browser brings back; of what comes twice the first counts.
fn brought(headers: &HeaderMap, uri: &Uri) -> Back {
    let query = uri.query().unwrap_or_default();
    let given = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    Back {
        browser: cookie(headers, LEFT).unwrap_or_default().to_owned(),
        state: given("state").unwrap_or_default(),
        code: given("code").unwrap_or_default(),
        error: given("error").unwrap_or_default(),
        issuer: given("iss"),
    }
}

/// Tells why somebody is not signed in, where they can try again.
async fn told(state: &ApiState, visit: &Visit, fault: &Fault, next: &str) -> Result<Response, Problem> {
    let status = match fault {
        Fault::NotConfigured => StatusCode::NOT_FOUND,
        Fault::Unusable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Fault::NotBegun => StatusCode::BAD_REQUEST,
        Fault::Refused { .. } | Fault::Doubtful { .. } => StatusCode::FORBIDDEN,
    };
    let mut answer = sign_in::ask(state, visit, fault.to_string(), next).await?;
    *answer.status_mut() = status;
    Ok(answer)
}
