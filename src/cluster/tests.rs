//! The watch of Namespaces on made-up events, and the one read of an unknown one against a mock API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::stream;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use super::Namespaces;

/// Far longer than any wait of these tests, far shorter than for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// An API server that answers for namespaces, once it may.
#[derive(Clone)]
struct ApiServer {
    requests: Arc<AtomicUsize>,
    asked: Arc<Notify>,
    may_answer: Arc<Semaphore>,
}

impl ApiServer {
    fn ready() -> Self {
        let server = Self::stuck();
        server.may_answer.add_permits(1000);
        server
    }

    fn stuck() -> Self {
        Self { requests: Arc::default(), asked: Arc::default(), may_answer: Arc::new(Semaphore::new(0)) }
    }

    fn namespaces(&self) -> Namespaces {
        let router = Router::new().route("/api/v1/namespaces/{name}", get(Self::answer)).with_state(self.clone());
        let mut namespaces = Namespaces::new(Client::new(router, "default"));
        namespaces.read_timeout = PATIENCE;
        namespaces
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    async fn answer(State(server): State<Self>, Path(name): Path<String>) -> Response {
        server.requests.fetch_add(1, Ordering::SeqCst);
        server.asked.notify_one();
        let Ok(permit) = server.may_answer.acquire().await else { return StatusCode::GONE.into_response() };
        permit.forget();
        let status = |code: u16, reason: &str| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code});
        match name.as_str() {
            "missing" => (StatusCode::NOT_FOUND, status(404, "NotFound").to_string()).into_response(),
            "forbidden" => (StatusCode::FORBIDDEN, status(403, "Forbidden").to_string()).into_response(),
            "garbled" => "{".into_response(),
            name => {
                let metadata = json!({"name": name, "labels": {"env": "prod"}, "annotations": {"a": "b"}});
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
                    .to_string()
                    .into_response()
            }
        }
    }
}

type Observed = Result<Event<PartialObjectMeta<Namespace>>, watcher::Error>;

fn namespace(name: &str, env: &str) -> PartialObjectMeta<Namespace> {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        labels: Some(BTreeMap::from([("env".into(), env.into())])),
        ..ObjectMeta::default()
    };
    PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
}

fn listed(list: &[(&str, &str)]) -> Vec<Observed> {
    let mut events = vec![Ok(Event::Init)];
    events.extend(list.iter().map(|(name, env)| Ok(Event::InitApply(namespace(name, env)))));
    events.push(Ok(Event::InitDone));
    events
}

/// Follows events to their end; returns what is known then as `name=env`, and how often a full list was taken in.
async fn known_after(events: Vec<Observed>) -> (Vec<String>, usize) {
    let namespaces = ApiServer::ready().namespaces();
    let synced = AtomicUsize::new(0);
    let count = || {
        synced.fetch_add(1, Ordering::SeqCst);
    };
    namespaces.follow(stream::iter(events), count).await;
    let mut known: Vec<String> =
        namespaces.all().iter().map(|meta| format!("{}={}", meta.name, meta.labels["env"])).collect();
    known.sort();
    (known, synced.load(Ordering::SeqCst))
}

#[tokio::test]
async fn nothing_is_known_before_the_list_is_complete() {
    let mut events = listed(&[("a", "dev"), ("b", "prod")]);
    assert_eq!(known_after(listed(&[("a", "dev"), ("b", "prod")])).await, (vec!["a=dev".into(), "b=prod".into()], 1));
    events.pop();
    assert_eq!(known_after(events).await, (Vec::new(), 0));
    assert_eq!(known_after(listed(&[])).await, (Vec::new(), 1), "an empty cluster is in sync too");
}

#[tokio::test]
async fn changes_are_taken_in_as_they_come() {
    let mut events = listed(&[("a", "dev"), ("b", "dev"), ("c", "dev")]);
    events.extend([
        Ok(Event::Apply(namespace("a", "prod"))),
        Ok(Event::Apply(namespace("d", "prod"))),
        Ok(Event::Delete(namespace("b", "dev"))),
        Ok(Event::Delete(namespace("never-seen", "dev"))),
    ]);
    assert_eq!(known_after(events).await.0, ["a=prod", "c=dev", "d=prod"]);
}

#[tokio::test]
async fn an_error_in_between_loses_nothing_and_ends_nothing() {
    let mut events = listed(&[("a", "dev"), ("b", "dev")]);
    events.push(Err(watcher::Error::NoResourceVersion));
    events.push(Ok(Event::Apply(namespace("c", "dev"))));
    events.push(Err(watcher::Error::NoResourceVersion));
    let (known, synced) = known_after(events).await;
    assert_eq!((known, synced), (vec!["a=dev".into(), "b=dev".into(), "c=dev".into()], 1));
}

#[tokio::test]
async fn a_new_list_replaces_the_old_one_only_when_it_is_complete() {
    let mut events = listed(&[("a", "dev"), ("gone", "dev")]);
    events.extend([
        Ok(Event::Init),
        Ok(Event::InitApply(namespace("half", "dev"))),
        Err(watcher::Error::NoResourceVersion),
    ]);
    let half_way: Vec<Observed> = listed(&[("a", "dev"), ("gone", "dev")])
        .into_iter()
        .chain([Ok(Event::Init), Ok(Event::InitApply(namespace("half", "dev")))])
        .collect();
    assert_eq!(known_after(half_way).await.0, ["a=dev", "gone=dev"], "until then the old one holds");
    events.extend(listed(&[("a", "prod"), ("b", "dev")]));
    assert_eq!(
        known_after(events).await,
        (vec!["a=prod".into(), "b=dev".into()], 2),
        "a list that broke off leaves nothing"
    );
}

#[tokio::test]
async fn what_the_watch_knows_is_not_read() {
    let server = ApiServer::ready();
    let namespaces = server.namespaces();
    namespaces.follow(stream::iter(listed(&[("shop", "dev")])), || {}).await;
    let found = namespaces.get_or_read("shop", PATIENCE).await.unwrap();
    assert_eq!((found.labels["env"].as_str(), server.requests()), ("dev", 0));
}

#[tokio::test]
async fn an_unknown_namespace_is_read_with_its_labels_and_annotations() {
    let server = ApiServer::ready();
    let found = server.namespaces().get_or_read("shop", PATIENCE).await.unwrap();
    assert_eq!(
        (found.name.as_str(), found.labels["env"].as_str(), found.annotations["a"].as_str()),
        ("shop", "prod", "b")
    );
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn all_who_wait_for_a_namespace_share_one_read() {
    let server = ApiServer::stuck();
    let namespaces = Arc::new(server.namespaces());
    let ask = |name: &'static str| {
        let namespaces = namespaces.clone();
        async move { namespaces.get_or_read(name, PATIENCE).await.is_some() }
    };
    let waiters = futures::future::join_all((0..50).map(|_| ask("shop")));
    let answer = async {
        server.asked.notified().await;
        server.may_answer.add_permits(1000);
    };
    let (found, ()) = tokio::join!(waiters, answer);
    assert!(found.into_iter().all(|found| found));
    assert_eq!(server.requests(), 1);
    assert!(ask("bar").await, "another name is another read");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_namespace_that_cannot_be_read_is_none_and_is_asked_for_again() {
    for name in ["missing", "forbidden", "garbled"] {
        let server = ApiServer::ready();
        let namespaces = server.namespaces();
        assert!(namespaces.get_or_read(name, PATIENCE).await.is_none(), "{name}");
        assert!(namespaces.get_or_read(name, PATIENCE).await.is_none(), "{name}");
        assert_eq!(server.requests(), 2, "{name}: a failure is not remembered");
    }
}

#[tokio::test]
async fn a_slow_server_is_waited_for_no_longer_than_the_limit() {
    let server = ApiServer::stuck();
    let mut namespaces = server.namespaces();
    namespaces.read_timeout = Namespaces::new(Client::new(Router::new(), "default")).read_timeout;
    for deadline in [PATIENCE, Duration::from_millis(5), Duration::ZERO] {
        let waited = tokio::time::timeout(PATIENCE, namespaces.get_or_read("shop", deadline)).await;
        assert_eq!(waited, Ok(None), "{deadline:?}");
    }
    server.may_answer.add_permits(1000);
    assert!(namespaces.get_or_read("shop", PATIENCE).await.is_some(), "and is asked again when it is back");
}

#[tokio::test]
async fn one_who_gives_up_early_does_not_make_the_others_read_again() {
    let server = ApiServer::stuck();
    let namespaces = Arc::new(server.namespaces());
    let patient = namespaces.get_or_read("shop", PATIENCE);
    let others = async {
        server.asked.notified().await;
        assert!(namespaces.get_or_read("shop", Duration::from_millis(1)).await.is_none());
        let late = namespaces.get_or_read("shop", PATIENCE);
        let answer = async { server.may_answer.add_permits(1000) };
        tokio::join!(late, answer).0
    };
    let (patient, late) = tokio::join!(patient, others);
    assert!(patient.is_some() && late.is_some());
    assert_eq!(server.requests(), 1);
}
