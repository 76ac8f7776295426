//! What every answer of the dashboard gets: headers that keep a page to itself, compression, and problems as pages.

use std::sync::Arc;

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;

use super::assets::{gzip, takes_gzip};
use super::shell::{Crumb, Shell, Visit, back};
use super::sign_in;
use crate::scan::ApiState;
use crate::scan::guard::{Door, RequestId, host, is_local};
use crate::scan::problem::Problem;

/// Nothing from anywhere else, no inline style or script, no frame around it. A form's Origin must come with it, so the
/// referrer is kept within the origin and not left out.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];
/// Less is not worth the work.
const WORTH_COMPRESSING: usize = 1024;
/// No page is larger.
const LARGEST: usize = 64 << 20;

/// What to do where a request seems to come from elsewhere.
const OF_ELSEWHERE: &str = "Gatepost takes forms from its own pages only. Open the page anew and try again. If it is \
    reached by another address than Gatepost knows, for example through a proxy, whoever runs it names that address by \
    --external-url.";

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    shell: Shell,
    status: u16,
    /// What tells the request apart in the log; empty where nobody knows.
    request: String,
    title: String,
    detail: String,
    flaws: Vec<String>,
    advice: &'static str,
    /// Where to go on, and what that is called.
    next: (&'static str, &'static str),
}

/// Gives an answer its headers, and turns a problem into a page.
pub async fn dress(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let visit = Visit::of(request.headers(), request.uri());
    // Whoever signs in goes on where they were: a form's address shows nothing by itself.
    let place = if request.method().is_safe() { visit.here.clone() } else { back(request.headers()) };
    let is_strict = stays_with_tls(&state, host(&request).as_deref());
    let is_page = !request.uri().path().starts_with("/api/");
    let compresses = takes_gzip(request.headers());
    let id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone()).unwrap_or_default();
    let mut response = next.run(request).await;
    if is_page && let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem_page(&state, &visit, &place, problem, id).await;
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if is_strict {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // What only some may read is kept nowhere, whatever an API's answer would say of itself.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let response = rebased(&state, response).await;
    if compresses { compressed(response).await } else { response }
}

/// Puts the path that people's addresses begin with before those in a page.
async fn rebased(state: &ApiState, response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if state.reached.base().is_empty() || !kind.starts_with("text/html") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(page) = to_bytes(body, LARGEST).await else {
        return Problem::internal("the page is too large").into_answer(None);
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(state.reached.rebased(&String::from_utf8_lossy(&page))))
}

/// Returns whether browsers are told to keep to TLS for a host: where we speak it, on a host that is ours alone. A name of
/// this machine stands for whatever else runs there.
fn stays_with_tls(state: &ApiState, host: Option<&str>) -> bool {
    state.door == Door::Tokens && state.reached.base().is_empty() && host.is_some_and(|host| !is_local(host))
}

async fn problem_page(state: &ApiState, visit: &Visit, place: &str, problem: Problem, request: String) -> Response {
    let status = problem.status();
    if status == StatusCode::UNAUTHORIZED && state.door == Door::Tokens {
        let fault = if visit.shows_token() { problem.detail().to_owned() } else { String::new() };
        let asked = sign_in::ask(state, visit, fault, place).await;
        let mut response = asked.unwrap_or_else(|problem| problem.into_answer(None));
        *response.status_mut() = status;
        return response;
    }
    // Whoever asks for a page that is none has shown nothing yet, and a page from elsewhere is told nothing.
    let is_foreign = problem.is_foreign();
    let is_told = state.door == Door::Open && !is_foreign;
    let shell = Shell::of(state, visit, problem.title(), &[Crumb::here(problem.title())], is_told).await;
    // There are no numbers here.
    let shell = Shell { caveats: Vec::new(), ..shell };
    let page = ProblemPage {
        shell,
        status: status.as_u16(),
        request,
        title: problem.title().to_owned(),
        detail: problem.detail().to_owned(),
        flaws: problem.flaws().iter().skip(1).map(|flaw| flaw.detail.clone()).collect(),
        advice: if is_foreign { OF_ELSEWHERE } else { advice(status) },
        next: if is_foreign {
            ("/", "To the first page")
        } else if visit.here.starts_with("/modes") {
            ("/modes", "Back to the modes")
        } else if visit.here.starts_with("/settings") {
            ("/settings", "Back to the settings")
        } else {
            ("/findings", "To the findings")
        },
    };
    let mut response = page_of(&page).unwrap_or_else(|problem| problem.into_answer(None));
    *response.status_mut() = status;
    response
}

/// Returns what somebody may do who reads such a problem.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "You may read less than this page shows, or not do what its button does.",
        StatusCode::NOT_FOUND => {
            "The link may be old: a finding is kept until its history ends, and a rule as long as it is in force."
        }
        StatusCode::BAD_REQUEST => "The address of this page holds something that Gatepost does not know.",
        StatusCode::SERVICE_UNAVAILABLE => "Try again in a moment.",
        _ => "",
    }
}

/// Returns a page as a response.
pub fn page_of(page: &impl Template) -> Result<Response, Problem> {
    let text = page.render().map_err(|error| {
        tracing::error!(%error, "a page could not be written");
        Problem::internal("the page could not be written; Gatepost's log says why")
    })?;
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

async fn compressed(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if !is_text(&parts.headers) || parts.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let Ok(plain) = to_bytes(body, LARGEST).await else {
        return Problem::internal("the page is too large").into_answer(None);
    };
    parts.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if plain.len() < WORTH_COMPRESSING {
        return Response::from_parts(parts, Body::from(plain));
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(gzip(&plain, Compression::new(5))))
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/") || kind.contains("json")
}
