//! The keeper against an API server that says no.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
use tokio::sync::watch;

use super::super::{Given, Keeper, Notes, Registration, Wanted};
use super::{authority, text};
use crate::cluster::Installation;
use crate::config::FailurePolicy;
use crate::policy::kinds::KindSelector;
use crate::telemetry::Metrics;

/// Far longer than any wait of these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// An API server with a registration or none, a state or none, and one answer to whoever writes what.
#[derive(Clone, Default)]
struct ApiServer {
    registration: Option<Value>,
    /// The mutating registration, or none.
    mutating: Option<Value>,
    state: Option<Value>,
    /// Status code for writes, by the resource; 200 echoes what was written.
    answers: HashMap<&'static str, u16>,
    /// A resource that nobody may list or watch.
    hidden: Option<&'static str>,
    written: Arc<Mutex<Vec<(String, Value)>>>,
}

impl ApiServer {
    fn client(&self) -> Client {
        let router = Router::new()
            .route(
                "/apis/admissionregistration.k8s.io/v1/{resource}",
                get(async |state, path, query| Self::list(state, path, query)),
            )
            .route(
                "/apis/admissionregistration.k8s.io/v1/{resource}/{name}",
                patch(async |state, path, body| Self::write(state, path, body))
                    .put(async |state, path, body| Self::write(state, path, body))
                    .get(async || Self::missing()),
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
        let items: Vec<Value> = match resource.as_str() {
            "validatingwebhookconfigurations" => server.registration.into_iter().collect(),
            "mutatingwebhookconfigurations" => server.mutating.into_iter().collect(),
            "configmaps" => server.state.into_iter().collect(),
            _ => Vec::new(),
        };
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items})
            .to_string()
            .into_response()
    }

    fn namespace() -> String {
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "gatepost", "uid": "ns"}}).to_string()
    }

    fn missing() -> Response {
        (StatusCode::NOT_FOUND, status(404, "not found")).into_response()
    }

    fn write_in(
        state: State<Self>,
        Path((_, resource, name)): Path<(String, String, String)>,
        body: String,
    ) -> Response {
        Self::write(state, Path((resource, name)), body)
    }

    fn write(State(server): State<Self>, Path((resource, _)): Path<(String, String)>, body: String) -> Response {
        let object: Value = serde_json::from_str(&body).unwrap();
        server.written.lock().unwrap().push((resource.clone(), object));
        match server.answers.get(resource.as_str()) {
            None | Some(200) => body.into_response(),
            Some(code) => (StatusCode::from_u16(*code).unwrap(), status(*code, "you may not")).into_response(),
        }
    }

    fn written(&self, resource: &str) -> Vec<Value> {
        let written = self.written.lock().unwrap();
        written.iter().filter(|(to, _)| to == resource).map(|(_, object)| object.clone()).collect()
    }
}

fn status(code: u16, message: &str) -> String {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code});
    status.to_string()
}

/// A keeper at work, until it is dropped.
struct Running {
    notes: watch::Receiver<Notes>,
    metrics: Arc<Metrics>,
    /// What was told to be held, each time.
    published: Arc<Mutex<Vec<String>>>,
    _senders: (watch::Sender<Option<Arc<str>>>, watch::Sender<()>, watch::Sender<bool>),
}

impl Running {
    fn start(server: &ApiServer, registration: Registration) -> Self {
        Self::with_deletions(server, registration, Vec::new())
    }

    fn with_deletions(server: &ApiServer, registration: Registration, kinds: Vec<KindSelector>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let published = Arc::<Mutex<Vec<String>>>::default();
        let held = published.clone();
        let (keeper, notes) = Keeper::new(Given {
            installation: Installation { client: server.client(), namespace: "gatepost".into() },
            registration,
            service_port: 443,
            pod_port: 8443,
            failure_policy: FailurePolicy::Ignore,
            deletion_kinds: Box::new(move || kinds.clone()),
            published: Box::new(move |pem| held.lock().unwrap().push(pem.to_owned())),
            metrics: metrics.clone(),
        });
        let trusted = watch::channel(Some(Arc::from(authority("ours", 2040))));
        let (in_force, stopped) = (watch::channel(()), watch::channel(false));
        tokio::spawn(keeper.run(trusted.1, in_force.1, stopped.1));
        Self { notes, metrics, published, _senders: (trusted.0, in_force.0, stopped.0) }
    }

    /// Waits for a note that holds a text.
    async fn is_told(&mut self, text: &str) {
        let told = |notes: &Notes| notes.iter().any(|note| note.says.contains(text));
        let found = tokio::time::timeout(PATIENCE, self.notes.wait_for(told)).await.is_ok_and(|told| told.is_ok());
        assert!(found, "{text}: {:?}", self.notes.borrow());
    }

    /// Waits for a line of the metrics.
    async fn shows(&self, line: &str) {
        let shown = async {
            while !self.metrics.encode().lines().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, shown).await.is_ok(), "{line}\n{}", self.metrics.encode());
    }
}

fn registered() -> Value {
    let mut registration = text(Wanted::shipped("gatepost").validating());
    registration["metadata"] = json!({"name": "gatepost", "uid": "u", "resourceVersion": "5"});
    registration
}

fn state(data: &Value) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "gatepost-state", "resourceVersion": "3"}, "data": data})
}

#[tokio::test]
async fn a_refused_ca_bundle_is_told_in_the_api_servers_words() {
    let answers = HashMap::from([("validatingwebhookconfigurations", 403)]);
    let server = ApiServer { registration: Some(registered()), answers, ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Manifest);
    running.is_told("ValidatingWebhookConfiguration gatepost cannot be given its caBundle: you may not").await;
    running.shows("gatepost_registration_ca_matches 0").await;
    running.shows("gatepost_registration_writes_total 0").await;
    let patch = server.written("validatingwebhookconfigurations").remove(0);
    assert_eq!(patch["metadata"], json!({"name": "gatepost", "uid": "u", "resourceVersion": "5"}));
    let entries = patch["webhooks"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!(entry.as_object().unwrap().keys().collect::<Vec<_>>(), ["clientConfig", "name"]);
        assert_eq!(entry["clientConfig"].as_object().unwrap().keys().collect::<Vec<_>>(), ["caBundle"]);
    }
}

#[tokio::test]
async fn nothing_is_made_where_git_has_taken_it_away() {
    let server = ApiServer::default();
    let mut running = Running::start(&server, Registration::Manifest);
    running.is_told("there is no ValidatingWebhookConfiguration gatepost").await;
    running.shows("gatepost_registration_state{state=\"absent\"} 1").await;
    assert!(server.written.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_made_that_could_not_stay_deleted() {
    let server = ApiServer { answers: HashMap::from([("configmaps", 403)]), ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Own);
    running.is_told("ConfigMap gatepost-state cannot be written: you may not").await;
    assert_eq!(server.written("validatingwebhookconfigurations"), Vec::<Value>::new());
}

#[tokio::test]
async fn what_was_deleted_is_remembered_and_not_made() {
    let written = state(&json!({"validatingwebhookconfiguration.uid": "u"}));
    let server = ApiServer { state: Some(written), ..ApiServer::default() };
    let mut running = Running::start(&server, Registration::Own);
    running.is_told("gatepost doctor --resume").await;
    running.shows("gatepost_registration_paused 1").await;
    let remembered = server.written("configmaps").remove(0);
    assert_eq!(remembered["data"]["validatingwebhookconfiguration.uid"], "u");
    assert!(remembered["data"]["validatingwebhookconfiguration.deleted"].is_string(), "{remembered}");
    assert_eq!(remembered["metadata"]["resourceVersion"], "3", "who read it earlier does not write over it");
    assert_eq!(server.written("validatingwebhookconfigurations"), Vec::<Value>::new());
}

#[tokio::test]
async fn at_first_only_probes_are_registered() {
    let server = ApiServer { state: Some(state(&json!({}))), ..ApiServer::default() };
    let running = Running::start(&server, Registration::Own);
    running.shows("gatepost_registration_state{state=\"probe_only\"} 1").await;
    let made = server.written("validatingwebhookconfigurations").remove(0);
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "ns");
    let names: Vec<&Value> = made["webhooks"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["probe.validate.gatepost.dev"]);
    assert_eq!(server.written("mutatingwebhookconfigurations"), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_nobody_may_look_at_holds_no_authority() {
    for hidden in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let server = ApiServer { hidden: Some(hidden), ..ApiServer::default() };
        let mut running = Running::start(&server, Registration::Manifest);
        let long = Duration::from_mins(5);
        let note = "WebhookConfiguration gatepost cannot be watched";
        let told = |notes: &Notes| notes.iter().any(|told| told.says.contains(note));
        let found = tokio::time::timeout(long, running.notes.wait_for(told)).await.is_ok_and(|told| told.is_ok());
        assert!(found, "{hidden}: {:?}", running.notes.borrow());
        let published = running.published.lock().unwrap();
        assert!(published.len() > 1 && published.iter().all(String::is_empty), "{hidden}: {published:?}");
    }
}

#[tokio::test]
async fn what_is_written_whole_holds_an_authority_where_nothing_did() {
    let uids = json!({"validatingwebhookconfiguration.uid": "u", "mutatingwebhookconfiguration.uid": "m"});
    let mutating = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "gatepost", "uid": "m", "resourceVersion": "6"}, "webhooks": []});
    let (registration, mutating, state) = (Some(registered()), Some(mutating), Some(state(&uids)));
    let server = ApiServer { registration, mutating, state, ..ApiServer::default() };
    let running = Running::start(&server, Registration::Own);
    running.shows("gatepost_registration_writes_total 2").await;
    for resource in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let written = server.written(resource).remove(0);
        for entry in written["webhooks"].as_array().unwrap() {
            assert!(!entry["clientConfig"]["caBundle"].as_str().unwrap().is_empty(), "{resource}: {entry}");
        }
    }
}
