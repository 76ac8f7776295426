//! How people reach the pages where a proxy stands before them: under which path, and from which origin.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::ApiState;
use crate::config::WebAddress;

/// The address that people know, as far as it differs from ours.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// What every path begins with, without a slash at its end; empty where paths are as they are here.
    base: String,
    /// Scheme and host, as browsers write them.
    origin: String,
}

impl Reached {
    /// Reads it from the address that somebody gave.
    pub fn at(address: &WebAddress) -> Self {
        Self { base: address.path().to_owned(), origin: address.origin() }
    }

    /// Returns what every path begins with.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the address of a path for people; none where nobody said how they reach us.
    pub fn address(&self, path: &str) -> Option<String> {
        (!self.origin.is_empty()).then(|| format!("{}{}{path}", self.origin, self.base))
    }

    /// Returns whether a page of ours has this origin.
    pub fn is_origin(&self, origin: &HeaderValue) -> bool {
        !self.origin.is_empty() && origin.as_bytes() == self.origin.as_bytes()
    }

    /// Returns an address without what people's paths begin with; nothing where it begins otherwise, for a proxy may have
    /// taken that away.
    fn inside(&self, uri: &Uri) -> Option<Uri> {
        let rest = uri.path().strip_prefix(&self.base).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        let path = if rest.is_empty() { "/" } else { rest };
        let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(text.parse::<PathAndQuery>().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Returns where a redirect leads for people; nothing where it says so already, or leads elsewhere.
    fn outside(&self, place: &HeaderValue) -> Option<HeaderValue> {
        let place = place.to_str().ok()?;
        let is_here = place.starts_with('/') && !place.starts_with("//");
        let is_done = place.strip_prefix(&self.base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_here && !is_done { format!("{}{place}", self.base).parse().ok() } else { None }
    }

    /// Returns a page with every address in it as people reach it. Whatever is no attribute of ours has its quotation
    /// marks escaped, so nothing else looks like one.
    pub fn rebased(&self, page: &str) -> String {
        ["href", "action", "src", "data-stream"].into_iter().fold(page.to_owned(), |page, attribute| {
            page.replace(&format!(" {attribute}=\"/"), &format!(" {attribute}=\"{}/", self.base))
        })
    }
}

/// Takes what people's paths begin with off a request, and puts it before where a redirect leads.
pub async fn translate(State(state): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    if let Some(inside) = state.reached.inside(request.uri()) {
        *request.uri_mut() = inside;
    }
    let mut response = next.run(request).await;
    if let Some(outside) = response.headers().get(LOCATION).and_then(|place| state.reached.outside(place)) {
        response.headers_mut().insert(LOCATION, outside);
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn reached() -> Reached {
        Reached::at(&"https://tools.example/gatepost/".parse().unwrap())
    }

    #[test]
    fn paths_are_taken_as_people_write_them_or_as_a_proxy_leaves_them() {
        for (from, expected) in [
            ("/gatepost/findings?severity=high", Some("/findings?severity=high")),
            ("/gatepost", Some("/")),
            ("/gatepost/", Some("/")),
            ("/gatepost?x=1", Some("/?x=1")),
            ("/gateposts", None),
            ("/findings", None),
        ] {
            let inside = reached().inside(&from.parse().unwrap());
            assert_eq!(inside.map(|uri| uri.to_string()).as_deref(), expected, "{from}");
        }
    }

    #[test]
    fn redirects_lead_where_people_are() {
        for (from, expected) in [
            ("/", Some("/gatepost/")),
            ("/audits", Some("/gatepost/audits")),
            ("/gatepost/audits", None),
            ("//elsewhere", None),
            ("https://elsewhere/", None),
        ] {
            let outside = reached().outside(&HeaderValue::from_static(from));
            assert_eq!(outside.as_ref().and_then(|place| place.to_str().ok()), expected, "{from}");
        }
    }

    #[test]
    fn only_attributes_of_a_page_are_addresses() {
        let page =
            "<a class=\"x\" href=\"/findings\">href=&#34;/</a><use href=\"#g\"/><form action=\"/theme?set=dark\">";
        let expected = "<a class=\"x\" href=\"/gatepost/findings\">href=&#34;/</a><use href=\"#g\"/><form \
            action=\"/gatepost/theme?set=dark\">";
        assert_eq!(reached().rebased(page), expected);
    }

    #[test]
    fn an_origin_is_as_browsers_write_it() {
        for (address, expected) in [
            ("https://tools.example/gatepost", "https://tools.example"),
            ("https://tools.example:443", "https://tools.example"),
            ("http://tools.example:8080/a/b", "http://tools.example:8080"),
        ] {
            let reached = Reached::at(&address.parse().unwrap());
            assert!(reached.is_origin(&expected.parse().unwrap()), "{address}: {reached:?}");
            assert!(!reached.is_origin(&"https://elsewhere".parse().unwrap()));
        }
        assert!(!Reached::default().is_origin(&HeaderValue::from_static("")));
    }
}
