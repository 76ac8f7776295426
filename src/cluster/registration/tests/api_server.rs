//! An API server with a registration or none, a state or none, and one answer to whoever writes what.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch};
use bytes::Bytes;
use futures::stream;
use kube::Client;
use serde_json::{Value, json};

use super::super::probe::{self, OBJECT};
use super::super::wanted::{PROBE, PROBE_LABEL};

/// Status code for writes, by the resource; 200, or none, echoes what was written.
pub type Answers = Arc<Mutex<HashMap<&'static str, u16>>>;

/// Refuses what is written to one resource, with this status code.
pub fn refusing(resource: &'static str, code: u16) -> Answers {
    Arc::new(Mutex::new(HashMap::from([(resource, code)])))
}

/// Resources, each with its kind.
pub type Served = Vec<(&'static str, &'static str)>;

/// What becomes of a probe.
#[derive(Debug, Clone, Copy, Default)]
pub enum Way {
    /// No webhook is asked.
    #[default]
    Unasked,
    /// Gatepost denies it.
    Open,
    /// Gatepost cannot be asked.
    Blocked,
}

#[derive(Clone, Default)]
pub struct ApiServer {
    pub registration: Option<Value>,
    /// The mutating registration, or none.
    pub mutating: Option<Value>,
    pub state: Option<Value>,
    /// What there is by now, by the resource, where the watches have not told of it yet.
    pub now: HashMap<&'static str, Option<Value>>,
    pub answers: Answers,
    /// A resource that nobody may list or watch.
    pub hidden: Option<&'static str>,
    pub probes: Arc<Mutex<Way>>,
    /// Resources of the group `apps` as discovery names them; none where discovery fails.
    pub served: Arc<Mutex<Option<Served>>>,
    pub written: Arc<Mutex<Vec<(String, Value)>>>,
}

impl ApiServer {
    pub fn client(&self) -> Client {
        let router = Router::new()
            .route(
                "/apis/admissionregistration.k8s.io/v1/{resource}",
                get(async |state, path, query| Self::list(state, path, query)),
            )
            .route(
                "/apis/admissionregistration.k8s.io/v1/{resource}/{name}",
                patch(async |state, path, body| Self::write(state, path, body))
                    .put(async |state, path, body| Self::write(state, path, body))
                    .get(async |state, path| Self::read(state, path)),
            )
            .route(
                "/api/v1/namespaces/{namespace}/{resource}",
                get(async |state, path, query| Self::list_in(state, path, query)),
            )
            .route(
                "/api/v1/namespaces/{namespace}/{resource}/{name}",
                patch(async |state, path, body| Self::write_in(state, path, body)),
            )
            .route("/api/v1/namespaces/gatepost", get(async || Self::namespace()))
            .route("/apis", get(async |state| Self::discover(state)))
            .route("/api", get(async || groups(&json!([]))))
            .with_state(self.clone());
        Client::new(router, "default")
    }

    fn list_in(
        state: State<Self>,
        Path((_, resource)): Path<(String, String)>,
        query: Query<HashMap<String, String>>,
    ) -> Response {
        Self::list(state, Path(resource), query)
    }

    fn list(
        State(server): State<Self>,
        Path(resource): Path<String>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Response {
        assert!(query.get("fieldSelector").is_some_and(|selector| selector.starts_with("metadata.name=gatepost")));
        if server.hidden == Some(resource.as_str()) {
            return (StatusCode::FORBIDDEN, status(403, "you may not")).into_response();
        }
        if query.contains_key("watch") {
            return Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()).into_response();
        }
        // A watch begins with a list in pages.
        let is_watch = query.contains_key("limit");
        let items: Vec<Value> =
            if is_watch { server.told(&resource) } else { server.there(&resource) }.into_iter().collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items})
            .to_string()
            .into_response()
    }

    /// Returns what watches tell of.
    fn told(&self, resource: &str) -> Option<Value> {
        match resource {
            "validatingwebhookconfigurations" => self.registration.clone(),
            "mutatingwebhookconfigurations" => self.mutating.clone(),
            "configmaps" => self.state.clone(),
            _ => None,
        }
    }

    /// Returns what there is.
    fn there(&self, resource: &str) -> Option<Value> {
        self.now.get(resource).cloned().unwrap_or_else(|| self.told(resource))
    }

    fn namespace() -> String {
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "gatepost", "uid": "ns"}}).to_string()
    }

    fn read(State(server): State<Self>, Path((resource, _)): Path<(String, String)>) -> Response {
        match server.there(&resource) {
            Some(object) => object.to_string().into_response(),
            None => (StatusCode::NOT_FOUND, status(404, "not found")).into_response(),
        }
    }

    fn write_in(
        state: State<Self>,
        Path((_, resource, name)): Path<(String, String, String)>,
        body: String,
    ) -> Response {
        if name == OBJECT { Self::probe(&state, body) } else { Self::write(state, Path((resource, name)), body) }
    }

    fn probe(server: &Self, body: String) -> Response {
        let object: Value = serde_json::from_str(&body).unwrap();
        let number = object["metadata"]["labels"][PROBE_LABEL].as_str().unwrap();
        let (code, says) = match *server.probes.lock().unwrap() {
            Way::Unasked => return body.into_response(),
            Way::Open => (403, format!("admission webhook \"{PROBE}\" denied the request: {}", probe::denial(number))),
            Way::Blocked => (500, format!("failed calling webhook \"{PROBE}\": connection refused")),
        };
        (StatusCode::from_u16(code).unwrap(), status(code, &says)).into_response()
    }

    fn write(State(server): State<Self>, Path((resource, _)): Path<(String, String)>, body: String) -> Response {
        let object: Value = serde_json::from_str(&body).unwrap();
        server.written.lock().unwrap().push((resource.clone(), object));
        match server.answers.lock().unwrap().get(resource.as_str()) {
            None | Some(200) => body.into_response(),
            Some(code) => (StatusCode::from_u16(*code).unwrap(), status(*code, "you may not")).into_response(),
        }
    }

    fn discover(State(server): State<Self>) -> Response {
        let Some(resources) = server.served.lock().unwrap().clone() else {
            return (StatusCode::SERVICE_UNAVAILABLE, status(503, "try again")).into_response();
        };
        let resource = |(resource, kind): &(&str, &str)| {
            json!({"resource": resource, "responseKind": {"group": "apps", "version": "v1", "kind": kind},
                "scope": "Namespaced", "singularResource": kind.to_lowercase(), "verbs": ["create", "delete"]})
        };
        let resources: Vec<Value> = resources.iter().map(resource).collect();
        let versions = json!([{"version": "v1", "freshness": "Current", "resources": resources}]);
        groups(&json!([{"metadata": {"name": "apps"}, "versions": versions}])).into_response()
    }

    /// Returns what was written to a resource.
    pub fn written(&self, resource: &str) -> Vec<Value> {
        let written = self.written.lock().unwrap();
        written.iter().filter(|(to, _)| to == resource).map(|(_, object)| object.clone()).collect()
    }

    pub fn wrote_nothing(&self) -> bool {
        self.written.lock().unwrap().is_empty()
    }
}

fn groups(items: &Value) -> String {
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    list.to_string()
}

fn status(code: u16, message: &str) -> String {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code});
    status.to_string()
}
