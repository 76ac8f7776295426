//! Errors of the API, as problem details (RFC 9457).

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::access::Scope;
use crate::store::StoreError;

/// What every problem's type begins with; docs/api.md explains them.
const TYPES: &str = "urn:gatepost:problem:";
const FOREIGN: &str = "foreign-origin";

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// JSON Pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of a query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong.
    pub detail: String,
}

impl Flaw {
    /// Builds what is wrong at a place of the body.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, detail: detail.into() }
    }

    /// Builds what is wrong with a query parameter.
    pub fn of_parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), detail: detail.into() }
    }
}

/// Why a request is not answered as asked.
#[derive(Debug, Clone)]
pub struct Problem(Box<Said>);

/// What a problem says; behind a pointer, since every handler returns room for one.
#[derive(Debug, Clone)]
struct Said {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<Flaw>,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Flaw],
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Said { status, kind, title, detail: detail.into(), errors: Vec::new(), header: None }))
    }

    fn with(mut self, errors: Vec<Flaw>) -> Self {
        self.0.errors = errors;
        self
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The query has parameters that mean nothing here, or values that cannot be.
    pub fn query(errors: Vec<Flaw>) -> Self {
        let detail = errors.first().map(|flaw| flaw.detail.clone()).unwrap_or_default();
        Self::new(StatusCode::BAD_REQUEST, "query", "The query is wrong", detail).with(errors)
    }

    /// The request cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    /// The body can be read, and is not what it must be.
    pub fn body(errors: Vec<Flaw>) -> Self {
        let detail = errors.first().map(|flaw| flaw.detail.clone()).unwrap_or_default();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "body", "The body is not what it must be", detail).with(errors)
    }

    /// Nothing, or a wrong token, was shown.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gatepost\""))
    }

    /// The token does not have the scope.
    pub fn forbidden(missing: Scope) -> Self {
        let detail = format!("this needs a token of scope {}", missing.as_str());
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The token does not reach that far", detail)
    }

    /// What is asked for goes beyond the namespaces that the caller may see.
    pub fn beyond_namespaces(what: &str) -> Self {
        let detail = format!("{what}, and you may see some namespaces only: this needs a token without --namespace");
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The token does not reach that far", detail)
    }

    /// The cluster does not let the caller do it.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "refused", "The cluster does not let you", detail)
    }

    /// What is asked for stands in a repository, and would be undone from there.
    pub fn delivered(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "delivered", "It is changed where it comes from", detail)
    }

    /// The request came through a name or page that is not ours.
    pub fn foreign(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, FOREIGN, "The request comes from elsewhere", detail)
    }

    /// What was asked for is not there, or not for this reader.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    /// The API has no such path.
    pub fn no_path() -> Self {
        Self::not_found("there is no such path: see /api/v1/openapi.json")
    }

    /// The path is there, but not with this method.
    pub fn method_not_allowed() -> Self {
        let detail = "this path takes other methods: see /api/v1/openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The path does not take this method", detail)
    }

    /// The address takes what a page's form sends, and shows nothing.
    pub fn only_by_form() -> Self {
        let detail = "this address takes what a button of a page sends, and shows nothing by itself";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "There is nothing to see here", detail)
    }

    /// What was asked for contradicts what is going on.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Something else is going on", detail)
    }

    /// This process keeps nothing.
    pub fn nothing_kept() -> Self {
        let detail = "with --role webhook nothing is kept here: ask the scanner that it reports to";
        Self::new(StatusCode::CONFLICT, "nothing-kept", "Nothing is kept here", detail)
    }

    /// Nothing is audited.
    pub fn nothing_audited() -> Self {
        let detail = "nothing is audited here: it takes a cluster or --manifests, and --audit-interval";
        Self::new(StatusCode::CONFLICT, "nothing-audited", "Nothing is audited here", detail)
    }

    /// The body is longer than is taken.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is longer than {limit} bytes; send less, or raise the limit");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// The body is of a type that is not taken.
    pub fn media_type(given: &str, taken: &str) -> Self {
        let detail = format!("the body is said to be {given}; this takes {taken}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is of another type", detail)
    }

    /// More is asked for at a time than there is room for.
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too much at a time", detail)
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The caller asks more often than it may; the next request may come after so long.
    pub fn too_fast(wait: Duration) -> Self {
        Self::later(wait, "more requests than --api-requests-per-second allows to each caller")
    }

    /// Nobody of whom it is not known who they are may ask before so long.
    pub fn too_many_unknown(wait: Duration) -> Self {
        Self::later(wait, "more tokens that are not known yet than the API server is asked about")
    }

    fn later(wait: Duration, detail: &str) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail)
            .header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// It cannot be done for now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This cannot be answered for now", detail)
            .header(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// Somebody else does not take what was sent.
    pub fn not_delivered(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "not-delivered", "It did not arrive", detail)
    }

    /// Something is wrong with Gatepost itself.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Gatepost failed", detail)
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns whether the request came through a name or page that is not ours.
    pub fn is_foreign(&self) -> bool {
        self.0.kind == FOREIGN
    }

    /// Returns what kind of problem it is, in a few words.
    pub fn title(&self) -> &'static str {
        self.0.title
    }

    /// Returns what is wrong.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns everything that is wrong with the request.
    pub fn flaws(&self) -> &[Flaw] {
        &self.0.errors
    }

    /// Returns the response, with the request's id in it.
    pub fn into_answer(self, request_id: Option<&str>) -> Response {
        let document = Document {
            kind: format!("{TYPES}{}", self.0.kind),
            title: self.0.title,
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            instance: request_id,
            errors: &self.0.errors,
        };
        let text = serde_json::to_string(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.0.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.0.header.clone() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_answer(None)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor => Self::query(vec![Flaw::of_parameter("cursor", error.to_string())]),
            // It is in the log already, once for each try to open it.
            StoreError::Unopened { .. } => Self::unavailable(error.to_string()),
            other => {
                tracing::warn!(error = %other, "the store did not answer the API");
                Self::unavailable("the store does not answer; Gatepost's log says why")
            }
        }
    }
}
