//! What stands before every handler: request ids, where a request comes from, who asks, and the query.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, IF_NONE_MATCH, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::access::{Caller, Scope};
use super::cached;
use super::endpoint::{Endpoint, Method, Query};
use super::problem::Problem;
use super::random;
use super::reached::Reached;

/// The header that tells requests apart, in and out.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The cookie by which a browser shows a token, once somebody has signed in; only over TLS, and only to this host.
pub const SESSION: &str = "__Host-gatepost";
/// Longer ids are somebody else's data.
const LONGEST_ID: usize = 64;

/// Who may come in at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Everybody on this machine; a token that is shown counts.
    Open,
    /// Whoever shows a token.
    Tokens,
}

/// What tells a request apart in the log, for whoever says something of it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Gives every request an id, and puts it into the answer.
pub async fn receive(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.to_str().unwrap_or_default().to_owned()));
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.into_answer(id.to_str().ok());
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Turns away what a page from elsewhere sends. Stands before all paths, and within what gives their answers a dress.
pub async fn check(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    match check_source(state.door, &state.reached, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Lets through who may ask this endpoint, with a query that it takes; counts what became of the request.
pub async fn enter(
    State((state, endpoint)): State<(Arc<ApiState>, &'static Endpoint)>,
    request: Request,
    next: Next,
) -> Response {
    let is_read = endpoint.method == Method::Get;
    let has = request.headers().get(IF_NONE_MATCH).cloned();
    let response = match admit(&state, endpoint, request).await {
        Ok(request) if is_read => cached::answer(has.as_ref(), next.run(request).await).await,
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    state.app.metrics.api.count(endpoint.method.as_str(), endpoint.path, response.status().as_u16());
    response
}

async fn admit(state: &ApiState, endpoint: &'static Endpoint, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    if let Some(scope) = endpoint.scope {
        let caller = caller(state, &parts.headers).await?;
        if !caller.may(scope) {
            return Err(Problem::forbidden(scope));
        }
        // Reports are bounded by how many are taken in at a time; webhooks of one account are many.
        if scope != Scope::Report {
            state.rates.take(&caller.name, Instant::now()).map_err(Problem::too_fast)?;
        }
        parts.extensions.insert(caller);
    }
    let query = Query::read(endpoint, &parts)?;
    parts.extensions.insert(query);
    Ok(Request::from_parts(parts, body))
}

/// Returns the token that a request shows: in its header, or in the cookie where a browser shows one by itself.
pub fn shown(door: Door, headers: &HeaderMap) -> Option<&str> {
    match (headers.get(AUTHORIZATION), door) {
        (Some(value), _) => bearer(value),
        (None, Door::Tokens) => cookie(headers, SESSION),
        (None, Door::Open) => None,
    }
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn caller(state: &ApiState, headers: &HeaderMap) -> Result<Caller, Problem> {
    let shown = headers.get(AUTHORIZATION);
    match (shown, state.door) {
        (None, Door::Open) => Ok(Caller::local()),
        (None, Door::Tokens) => match cookie(headers, SESSION) {
            Some(token) => state.bearer(token).await,
            None => Err(Problem::unauthorized("this address needs a token: gatepost tokens create makes one")),
        },
        (Some(value), _) => {
            let token = bearer(value).ok_or_else(|| Problem::unauthorized("Authorization must be: Bearer TOKEN"))?;
            state.bearer(token).await
        }
    }
}

/// Returns the value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = cookies.flat_map(|value| value.split(';'));
    let value = values.find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='));
    value.filter(|value| !value.is_empty())
}

/// Returns the header that has a browser keep a secret for so many seconds; 0 has it forget it. Only this host is shown it,
/// over TLS, and no script.
pub fn kept(name: &str, secret: &str, seconds: u64) -> Option<HeaderValue> {
    let cookie = format!("{name}={secret}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    let mut cookie = HeaderValue::from_str(&cookie).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::unauthorized("nobody asks"))
    }
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let given = headers.get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(is_plain)
    });
    let own = || HeaderValue::from_str(&random::hex::<8>()).unwrap_or_else(|_| HeaderValue::from_static("0"));
    given.cloned().unwrap_or_else(own)
}

/// Turns away what a page from elsewhere has a browser send.
///
/// Where everybody on this machine may ask, it could use a name that was made to mean this machine. Where a browser shows
/// a token by itself, a form could change something, so whatever is no mere reading comes from a page of this host.
fn check_source(door: Door, reached: &Reached, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(AUTHORIZATION) {
        return Ok(());
    }
    let host = host(request);
    let origin = headers.get(ORIGIN);
    let is_of = |scheme: &str, host: &str| {
        origin.is_some_and(|origin| origin.as_bytes() == format!("{scheme}://{host}").as_bytes())
    };
    let is_own = match door {
        Door::Open => {
            let Some(host) = host.filter(|host| is_local(host)) else {
                return Err(Problem::foreign(
                    "Host must be localhost, 127.0.0.1 or [::1]; anything else needs a token",
                ));
            };
            origin.is_none_or(|origin| reached.is_origin(origin)) || is_of("http", &host)
        }
        Door::Tokens => {
            let is_reached = origin.is_some_and(|origin| reached.is_origin(origin));
            request.method().is_safe() || is_reached || host.is_some_and(|host| is_of("https", &host))
        }
    };
    if is_own { Ok(()) } else { Err(Problem::foreign("Origin is another page's, or missing")) }
}

/// Returns the host that is asked, with its port where one is named.
pub fn host(request: &Request) -> Option<String> {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    authority.or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok().map(str::to_owned)))
}

/// Returns whether a host is a name of this machine, with or without a port.
pub fn is_local(host: &str) -> bool {
    let is_port = |port: &str| port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_ok());
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let rest = host.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name));
        rest.and(host.get(name.len()..)).is_some_and(|rest| rest.is_empty() || (rest.starts_with(':') && is_port(rest)))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_this_machines_names_are_local() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:1", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("localhost.evil.example", false),
            ("localhost:8080.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example", false),
            ("", false),
            ("localhost:", false),
        ] {
            assert_eq!(is_local(host), expected, "{host}");
        }
    }

    #[test]
    fn pages_from_elsewhere_are_turned_away() {
        let request = |headers: &[(&str, &str)]| {
            let builder =
                headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
            builder.body(Body::empty()).unwrap()
        };
        let local = ("host", "localhost:8080");
        for (headers, expected) in [
            (&[local][..], true),
            (&[local, ("origin", "http://localhost:8080")], true),
            (&[local, ("origin", "http://localhost:9999")], false),
            (&[local, ("origin", "https://evil.example")], false),
            (&[local, ("origin", "null")], false),
            (&[("host", "evil.example")], false),
            (&[], false),
            (&[("host", "evil.example"), ("authorization", "Bearer x")], true),
        ] {
            let reached = Reached::default();
            assert_eq!(check_source(Door::Open, &reached, &request(headers)).is_ok(), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_browser_that_shows_a_token_by_itself_changes_things_only_from_our_pages() {
        let ask = |method: &str, headers: &[(&str, &str)]| {
            let builder =
                headers.iter().fold(Request::builder().method(method), |b, (name, value)| b.header(*name, *value));
            let reached = Reached::at(&"https://proxy.example/gatepost".parse().unwrap());
            check_source(Door::Tokens, &reached, &builder.body(Body::empty()).unwrap()).is_ok()
        };
        let (host, shown) = (("host", "gatepost.example"), ("cookie", "a=b; __Host-gatepost=gp_a_b"));
        let table = [
            ("GET", &[host, shown][..], true),
            ("POST", &[host, shown], false),
            ("POST", &[host, shown, ("origin", "https://evil.example")], false),
            ("POST", &[host, shown, ("origin", "http://gatepost.example")], false),
            ("POST", &[host, shown, ("origin", "https://gatepost.example")], true),
            ("POST", &[host, shown, ("origin", "https://proxy.example")], true),
            ("POST", &[host, shown, ("origin", "https://proxy.example.evil.example")], false),
            ("POST", &[host, ("authorization", "Bearer gp_a_b")], true),
            ("POST", &[("origin", "https://")], false),
        ];
        for (method, headers, expected) in table {
            assert_eq!(ask(method, headers), expected, "{method} {headers:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("__Host-gatepostx=1; theme=dark;__Host-gatepost=gp_a_b"));
        assert_eq!(cookie(&headers, SESSION), Some("gp_a_b"));
        assert_eq!((super::shown(Door::Tokens, &headers), super::shown(Door::Open, &headers)), (Some("gp_a_b"), None));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert_eq!(super::shown(Door::Tokens, &headers), Some("abc"), "what is shown on purpose counts");
    }

    #[test]
    fn ids_of_requests_are_taken_over_where_they_are_plain() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
        for other in ["", "a b", "<script>", &"x".repeat(65)] {
            let made = id(other);
            assert!(made.len() == 16 && made != other, "{made}");
        }
    }
}
