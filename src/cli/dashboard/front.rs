//! The near end of the tunnel: an address of this machine that one browser of one person may use.
//!
//! Whoever follows the one-time link has a cookie from then on, and what they ask goes on to Gatepost with a token that
//! no browser ever sees. Gatepost takes whatever shows a token for meant, so what a page from elsewhere has a browser
//! send is turned away here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE, TRANSFER_ENCODING,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use tokio::time::Instant;

use crate::cluster::tunnel::{Bearer, NoBearer};
use crate::scan::client::chain;
use crate::scan::guard::{SESSION, cookie};
use crate::scan::random::{self, hashed};

/// How long the link may be followed.
pub const LINK_HOLDS: Duration = Duration::from_mins(1);
const HTML: &str = "text/html; charset=utf-8";
/// Where it leads.
const ENTRANCE: &str = "/sign-in/once/";
/// What belongs to one connection and not to what is sent on (RFC 9110, 7.6.1).
const OF_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
];

/// Gives the header that shows a valid token.
#[async_trait]
pub trait Shows: Send + Sync {
    /// Returns it; it may have to be made.
    async fn header(&self) -> Result<HeaderValue, NoBearer>;
}

#[async_trait]
impl Shows for Bearer {
    async fn header(&self) -> Result<HeaderValue, NoBearer> {
        Self::header(self).await
    }
}

/// What every request shares.
pub struct Front<C> {
    /// The port of this machine.
    port: u16,
    /// The hash of what the link ends in, and when it was made; nothing once it was followed.
    link: Mutex<Option<([u8; 32], Instant)>>,
    /// The hash of what the cookie holds.
    /// The name of its cookie.
    name: String,
    session: [u8; 32],
    cookie: String,
    bearer: Box<dyn Shows>,
    client: Client<C, Body>,
}

impl<C: Connect + Clone + Send + Sync + 'static> Front<C> {
    /// Prepares it, and returns the one-time link; none where the system has no random numbers.
    pub fn new(port: u16, bearer: Box<dyn Shows>, client: Client<C, Body>) -> Option<(Self, String)> {
        let (link, session) = (random::base64::<32>()?, random::base64::<32>()?);
        // Cookies know no ports, so another tunnel's must have another name.
        let name = format!("gatepost-{port}");
        let front = Self {
            port,
            link: Mutex::new(Some((hashed(&link), Instant::now()))),
            session: hashed(&session),
            cookie: format!("{name}={session}"),
            name,
            bearer,
            client,
        };
        Some((front, format!("http://127.0.0.1:{port}{ENTRANCE}{link}")))
    }

    /// Returns what answers.
    pub fn router(self) -> Router {
        Router::new().fallback(answer::<C>).with_state(Arc::new(self))
    }

    /// Asks Gatepost something by the token, without any browser.
    pub async fn ask(&self, path: &str) -> Result<StatusCode, String> {
        let request = Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
        self.send(request).await.map(|answer| answer.status())
    }

    async fn send(&self, mut request: Request) -> Result<Response, String> {
        let header = self.bearer.header().await.map_err(|error| error.to_string())?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://gatepost{path}").parse().map_err(|_| "that is no address".to_owned())?;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        for name in &OF_CONNECTION {
            headers.remove(name);
        }
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(AUTHORIZATION, header);
        let kept = without_ours(headers, &self.name);
        headers.remove(COOKIE);
        headers.extend(kept.map(|kept| (COOKIE, kept)));
        let mut answer = self.client.request(request).await.map_err(|error| chain(&error))?;
        for name in &OF_CONNECTION {
            answer.headers_mut().remove(name);
        }
        Ok(answer.map(Body::new))
    }

    /// Follows the link: once, and not for long.
    fn follow(&self, given: &str) -> Response {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = link.is_some_and(|(hash, made)| hash == hashed(given) && made.elapsed() < LINK_HOLDS);
        if !is_it {
            return told(StatusCode::FORBIDDEN, "This link was followed already, or is older than a minute.");
        }
        *link = None;
        let cookie = format!("{}; Path=/; HttpOnly; SameSite=Strict", self.cookie);
        // Not a redirect: a browser that comes from elsewhere would keep a strict cookie to itself on the way.
        let page = "<!doctype html><meta name=\"referrer\" content=\"no-referrer\"><title>Gatepost</title>\
                    <meta http-equiv=\"refresh\" content=\"0; url=/\">";
        ([(SET_COOKIE, cookie.as_str()), (CONTENT_TYPE, HTML), (CACHE_CONTROL, "no-store")], page).into_response()
    }

    /// Returns what is told to whoever sends a request that is not the person's own; nothing where it is.
    fn objection(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        if cookie(headers, &self.name).is_none_or(|held| hashed(held) != self.session) {
            return Some(told(StatusCode::UNAUTHORIZED, "Nobody has signed in with this browser."));
        }
        let is_ours = |origin: &HeaderValue| origin.as_bytes() == format!("http://127.0.0.1:{}", self.port).as_bytes();
        let is_own = method.is_safe() || headers.get(ORIGIN).is_some_and(is_ours);
        (!is_own).then(|| told(StatusCode::FORBIDDEN, "A page from elsewhere sent this."))
    }
}

async fn answer<C: Connect + Clone + Send + Sync + 'static>(
    State(front): State<Arc<Front<C>>>,
    request: Request,
) -> Response {
    let (method, headers) = (request.method(), request.headers());
    // A name that was made to mean this machine is none of ours.
    let host = format!("127.0.0.1:{}", front.port);
    if headers.get(HOST).is_none_or(|given| given.as_bytes() != host.as_bytes()) {
        return told(StatusCode::MISDIRECTED_REQUEST, &format!("The address is http://{host}."));
    }
    if let Some(given) = request.uri().path().strip_prefix(ENTRANCE).filter(|_| *method == Method::GET) {
        return front.follow(given);
    }
    if let Some(objection) = front.objection(method, headers) {
        return objection;
    }
    front.send(request).await.unwrap_or_else(|cause| told(StatusCode::BAD_GATEWAY, &cause))
}

/// Returns the cookies that are meant for Gatepost: theme and colours, and not what signs in here or there.
fn without_ours(headers: &HeaderMap, ours: &str) -> Option<HeaderValue> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let kept = cookies.flat_map(|value| value.split(';')).map(str::trim).filter(|cookie| {
        let name = cookie.split('=').next().unwrap_or_default();
        name != ours && name != SESSION
    });
    let kept: Vec<&str> = kept.collect();
    HeaderValue::from_str(&kept.join("; ")).ok().filter(|kept| !kept.is_empty())
}

/// Tells something in a page of plain text.
fn told(status: StatusCode, what: &str) -> Response {
    let text = format!("{what}\n\nStart gatepost dashboard again, and follow the link that it prints.\n");
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
