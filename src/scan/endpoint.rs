//! What each path of the API takes: the one table that requests are checked by and OpenAPI is written from.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};

use super::ApiState;
use super::access::Scope;
use super::guard;
use super::problem::{Flaw, Problem};
use crate::policy::nearest;

/// A method of HTTP that the API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes.
    Post,
    /// Takes away.
    Delete,
}

impl Method {
    /// Returns the word of OpenAPI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// What the values of a query parameter may be.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// Any one text.
    Text,
    /// Texts with commas between them.
    List,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Some of these, with commas between them.
    Some(&'static [&'static str]),
    /// A number, at least 1 and at most this.
    Number(usize),
    /// `true` or `false`.
    Flag,
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it may be.
    pub values: Values,
}

impl Parameter {
    /// Builds one.
    pub const fn new(name: &'static str, values: Values, about: &'static str) -> Self {
        Self { name, about, values }
    }
}

/// A method of a path.
#[derive(Debug)]
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` where something varies.
    pub path: &'static str,
    /// What a token needs; none where nobody needs one.
    pub scope: Option<Scope>,
    /// What it does.
    pub about: &'static str,
    /// What the query may have.
    pub parameters: &'static [&'static [Parameter]],
    /// The types of bodies that it takes.
    pub takes: &'static [&'static str],
    /// The types of answers.
    pub gives: &'static [&'static str],
    /// The schema of bodies that are JSON, by its name in `openapi/schemas.json`; empty where there is none.
    pub body: &'static str,
    /// The schema of answers that are JSON.
    pub answer: &'static str,
    /// The status of success, and what else it may be beside the problems that every path has.
    pub statuses: &'static [u16],
}

impl Endpoint {
    /// What most paths are; the rest is said where they differ.
    pub const GET: Self = Self {
        method: Method::Get,
        path: "",
        scope: Some(Scope::Read),
        about: "",
        parameters: &[],
        takes: &[],
        gives: &["application/json"],
        body: "",
        answer: "",
        statuses: &[200],
    };

    /// Returns every query parameter.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> + Clone {
        self.parameters.iter().copied().flatten()
    }
}

/// Collects paths, with what answers them.
pub struct Routes {
    state: Arc<ApiState>,
    router: Router<Arc<ApiState>>,
    /// What has been added.
    pub endpoints: Vec<&'static Endpoint>,
}

impl Routes {
    /// Begins with none.
    pub fn new(state: Arc<ApiState>) -> Self {
        Self { state, router: Router::new(), endpoints: Vec::new() }
    }

    /// Adds a path: its handler runs only for whoever may ask it, and with a query that it knows.
    pub fn add<H, T>(mut self, endpoint: &'static Endpoint, handler: H) -> Self
    where
        H: Handler<T, Arc<ApiState>>,
        T: 'static,
    {
        let guard = from_fn_with_state((self.state.clone(), endpoint), guard::enter);
        let route = on(endpoint.method.filter(), handler).route_layer(guard);
        self.router = self.router.route(endpoint.path, route);
        self.endpoints.push(endpoint);
        self
    }

    /// Returns the router, to which others may be added.
    pub fn unfinished(self) -> Router<Arc<ApiState>> {
        self.router
    }

    /// Returns the router.
    pub fn finish(self) -> Router {
        self.router
            .fallback(async || Problem::no_path())
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .with_state(self.state)
    }
}

/// The query of a request, checked.
#[derive(Debug, Clone, Default)]
pub struct Query(BTreeMap<&'static str, Vec<String>>);

impl Query {
    /// Reads the query of a request by what its endpoint takes; everything that is wrong comes back.
    pub fn read(endpoint: &Endpoint, parts: &Parts) -> Result<Self, Problem> {
        let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::malformed("the query cannot be read"))?;
        let mut query = Self::default();
        let mut flaws = Vec::new();
        for (name, value) in pairs.0 {
            match endpoint.parameters().find(|parameter| parameter.name == name) {
                Some(parameter) => query.take(parameter, &value, &mut flaws),
                None => flaws.push(unknown(endpoint, &name)),
            }
        }
        if flaws.is_empty() { Ok(query) } else { Err(Problem::query(flaws)) }
    }

    fn take(&mut self, parameter: &'static Parameter, value: &str, flaws: &mut Vec<Flaw>) {
        let mut flaw = |detail: String| flaws.push(Flaw::of_parameter(parameter.name, detail));
        let is_list = matches!(parameter.values, Values::List | Values::Some(_));
        let known = self.0.entry(parameter.name).or_default();
        if !is_list && !known.is_empty() {
            return flaw(format!("{} stands twice", parameter.name));
        }
        if !is_list {
            if let Err(detail) = check(parameter, value) {
                return flaw(detail);
            }
            known.push(value.to_owned());
            return;
        }
        for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match check(parameter, part) {
                Ok(()) => known.push(part.to_owned()),
                Err(detail) => flaw(detail),
            }
        }
    }

    /// Returns the values of a parameter.
    pub fn list(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the one value of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.list(name).first().map(String::as_str)
    }

    /// Returns the one value of a parameter that is a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// Returns whether a parameter says yes.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text != "false")
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

fn check(parameter: &Parameter, value: &str) -> Result<(), String> {
    let name = parameter.name;
    match parameter.values {
        Values::Text | Values::List => Ok(()),
        Values::OneOf(known) | Values::Some(known) if known.contains(&value) => Ok(()),
        Values::OneOf(known) | Values::Some(known) => {
            Err(format!("{name}: there is no \"{value}\"{}", hint(value, known.iter().copied())))
        }
        Values::Number(most) => match value.parse::<usize>() {
            Ok(number) if (1..=most).contains(&number) => Ok(()),
            _ => Err(format!("{name}: \"{value}\" is no number from 1 to {most}")),
        },
        Values::Flag if ["", "true", "false"].contains(&value) => Ok(()),
        Values::Flag => Err(format!("{name} is true or false, not \"{value}\"")),
    }
}

fn unknown(endpoint: &Endpoint, name: &str) -> Flaw {
    let known = endpoint.parameters().map(|parameter| parameter.name);
    Flaw::of_parameter(name, format!("there is no parameter \"{name}\"{}", hint(name, known)))
}

/// Returns what may have been meant, and everything that there is.
pub fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = nearest(name, known.clone()).map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
    let all: Vec<&str> = known.collect();
    if all.is_empty() { " here, nor any other".to_owned() } else { format!("{near} (known: {})", all.join(", ")) }
}
