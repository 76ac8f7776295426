//! Signing in: a browser cannot show a token by itself, so a form takes it, and a cookie shows it from then on. Whoever
//! signs in with a provider (`oidc`) has a session instead, which the same cookie names.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Query as Fields, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dress::page_of;
use super::links::encoded;
use super::oidc;
use super::shell::{Crumb, Shell, Visit, plain};
use crate::config::auth::Oidc;
use crate::scan::ApiState;
use crate::scan::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use crate::scan::guard::{Door, SESSION, cookie, kept};
use crate::scan::problem::Problem;

/// How long a browser shows the token, in seconds.
const SHOWN: u64 = 12 * 60 * 60;
/// A form is no longer than this.
const LONGEST: usize = 16 << 10;

const PAGE: Endpoint = Endpoint {
    path: "/sign-in",
    scope: None,
    about: "Asks who somebody is",
    parameters: &[&[Parameter::new("left", Values::Flag, "Whether somebody has just signed out")]],
    ..Endpoint::GET
};

const ENTER: Endpoint = Endpoint {
    method: Method::Post,
    path: "/sign-in",
    scope: None,
    about: "Takes a token for the browser to show",
    statuses: &[303, 401],
    ..Endpoint::GET
};

const LEAVE: Endpoint = Endpoint {
    method: Method::Post,
    path: "/sign-out",
    scope: None,
    about: "Ends a session, and has the browser show no token any more",
    statuses: &[303],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&PAGE, page).add(&ENTER, enter).add(&LEAVE, leave)
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    shell: Shell,
    /// Why the token that was given is not taken.
    fault: String,
    /// Where to go on.
    next: String,
    /// What people call the provider, where they sign in with one, and the address that leads there.
    provider: Option<(String, String)>,
    /// Whether somebody has just signed out.
    has_left: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    token: String,
    #[serde(default)]
    next: String,
}

async fn page(State(state): State<Arc<ApiState>>, visit: Visit, query: Query) -> Result<Response, Problem> {
    if state.door == Door::Open {
        return Ok((StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response());
    }
    page_of(&SignIn { has_left: query.flag("left"), ..SignIn::of(&state, &visit, String::new(), "/").await })
}

/// Returns the page that asks who somebody is, which leads to `next`.
pub async fn ask(state: &ApiState, visit: &Visit, fault: String, next: &str) -> Result<Response, Problem> {
    page_of(&SignIn::of(state, visit, fault, next).await)
}

impl SignIn {
    async fn of(state: &ApiState, visit: &Visit, fault: String, next: &str) -> Self {
        let shell = Shell::of(state, visit, "Sign in", &[Crumb::here("Sign in")], false).await;
        let next = plain(next);
        let way = |oidc: Oidc| (oidc.name, format!("/sign-in/oidc?next={}", encoded(&next)));
        Self { shell, fault, provider: oidc::provider(state).map(way), next, has_left: false }
    }
}

async fn enter(State(state): State<Arc<ApiState>>, visit: Visit, body: Bytes) -> Result<Response, Problem> {
    let Form { token, next } = form(&body)?;
    match check(&state, token.trim()).await {
        Ok(token) => {
            let cookie = kept(SESSION, token, SHOWN).ok_or_else(|| Problem::malformed("that is no token"))?;
            let next = HeaderValue::from_str(&plain(&next)).unwrap_or(HeaderValue::from_static("/"));
            Ok((StatusCode::SEE_OTHER, [(LOCATION, next), (SET_COOKIE, cookie)]).into_response())
        }
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            let mut answer = ask(&state, &visit, problem.detail().to_owned(), &next).await?;
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(answer)
        }
        Err(problem) => Err(problem),
    }
}

/// Returns a token that is somebody's, and that a cookie can hold as it is.
async fn check<'a>(state: &ApiState, token: &'a str) -> Result<&'a str, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_plain) {
        return Err(Problem::unauthorized("that is no token"));
    }
    state.bearer(token).await.map(|_| token)
}

/// Reads a form, which is written as a query is.
pub fn form<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = || Problem::malformed("the form cannot be read");
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= LONGEST).ok_or_else(malformed)?;
    let uri: Uri = format!("/?{text}").parse().map_err(|_| malformed())?;
    Fields::try_from_uri(&uri).map(|Fields(form)| form).map_err(|_| malformed())
}

/// Has a browser go on to a place, with a cookie.
pub fn go(place: &str, cookie: Option<HeaderValue>) -> Result<Response, Problem> {
    let headers = HeaderValue::from_str(place).ok().zip(cookie);
    let (place, cookie) = headers.ok_or_else(|| Problem::internal("there is no such address"))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, place), (SET_COOKIE, cookie)]).into_response())
}

async fn leave(State(state): State<Arc<ApiState>>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(shown) = cookie(&headers, SESSION) {
        state.sign_in.sessions.end(shown);
    }
    go("/sign-in?left=true", kept(SESSION, "", 0))
}
