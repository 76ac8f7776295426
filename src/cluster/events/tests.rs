use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Mutex;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};
use tower::service_fn;

use super::*;
use crate::admission::Action;
use crate::policy::{RuleId, Severity};
use crate::report::Verdict;
use crate::report::finding::{Finding, Fingerprint, ObjectKey, State};
use crate::store::{self, AuditState, Changes, Trigger};

/// An API server with one Application, which writes down the Events it is given; those at `refused` it refuses.
fn server(refused: &'static str) -> (Client, Arc<Mutex<Vec<Json>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let (log, names) = (events.clone(), Arc::new(Mutex::new(BTreeSet::new())));
    let answer = move |request: Request<Body>| {
        let (log, names) = (log.clone(), names.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let application = json!({
                "metadata": {"name": "shop", "namespace": "argocd", "uid": "app"}, "spec": {},
                "status": {"resources": [
                    {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop", "name": "web"},
                    {"version": "v1", "kind": "Service", "namespace": "shop", "name": "web"},
                ]},
            });
            let (code, answer) = match head.uri.path() {
                "/apis/argoproj.io" | "/apis" => {
                    let version = json!({"groupVersion": "argoproj.io/v1alpha1", "version": "v1alpha1"});
                    let group = json!({"name": "argoproj.io", "versions": [version], "preferredVersion": version});
                    (200, if head.uri.path() == "/apis" { json!({"groups": [group]}) } else { group })
                }
                "/apis/argoproj.io/v1alpha1" => (
                    200,
                    json!({"groupVersion": "argoproj.io/v1alpha1", "resources": [{"name": "applications",
                        "singularName": "application", "namespaced": true, "kind": "Application", "verbs": ["list"]}]}),
                ),
                "/apis/argoproj.io/v1alpha1/applications" => (200, json!({"metadata": {}, "items": [application]})),
                path if head.method == Method::POST && path.ends_with(refused) => (
                    403,
                    json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no", "reason": "Forbidden"}),
                ),
                _ if head.method == Method::POST => {
                    let event: Json = serde_json::from_slice(&body).unwrap();
                    let name = event.pointer("/metadata/name").and_then(Json::as_str).unwrap().to_owned();
                    if names.lock().unwrap().insert(name) {
                        log.lock().unwrap().push(event.clone());
                        (201, event)
                    } else {
                        (409, json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "AlreadyExists"}))
                    }
                }
                path => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "message": path})),
            };
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    };
    (Client::new(service_fn(answer), "default"), events)
}

fn finding(name: &str, rule: &str, action: Action) -> Finding {
    let object = ObjectKey {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: name.into(),
        ..ObjectKey::default()
    };
    let (rule, now) = (RuleId::from(rule), Timestamp::now());
    Finding {
        id: Fingerprint::new(&object, &rule, "/spec"),
        object,
        api_version: "apps/v1".into(),
        uid: name.into(),
        owner: String::new(),
        application: None,
        content: String::new(),
        rule,
        place: "/spec".into(),
        result: Verdict::Fail,
        severity: Severity::High,
        category: "workload".into(),
        policies: vec!["recommended".into()],
        action,
        path: "/spec".into(),
        message: "is wrong".into(),
        state: State::Open,
        closed_because: None,
        closed_at: None,
        first_seen: now,
        last_seen: now,
        reopened: 0,
        brought_in: None,
        exemption: None,
    }
}

struct Scene {
    writer: Writer,
    events: Arc<Mutex<Vec<Json>>>,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn new(most: usize, refused: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = store::open(directory.path(), None).await.unwrap();
        let (client, events) = server(refused);
        let metrics = EventMetrics::register(&mut Registry::default());
        let given = Given { client, cluster: String::new(), store, home: Some("gatepost".into()), most, metrics };
        Self { writer: Writer::new(given), events, _directory: directory }
    }

    /// Has an audit find something, and returns the Events that it leads to as `namespace kind/name: note`.
    async fn audited(&mut self, found: &[Finding]) -> Vec<String> {
        let store = &self.writer.given.store;
        let mut audit = store.begin_audit("", Trigger::Schedule, "p", Timestamp::now()).await.unwrap();
        store.change("", Changes { put: found.to_vec(), ..Changes::default() }, Timestamp::now()).await.unwrap();
        (audit.state, audit.finished) = (AuditState::Complete, Some(Timestamp::now()));
        store.end_audit(&audit, &[], &[]).await.unwrap();
        let written = self.writer.write(&audit).await;
        self.writer.tell(&audit, written);
        let of = |event: Json| {
            let text = |pointer: &str| event.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
            assert_eq!(text("/metadata/namespace"), text("/regarding/namespace"));
            let [kind, name] = [text("/regarding/kind"), text("/regarding/name")];
            format!("{} {kind}/{name}: {}", text("/metadata/namespace"), text("/note"))
        };
        std::mem::take(&mut *self.events.lock().unwrap()).into_iter().map(of).collect()
    }

    /// Returns what writes in the next process.
    fn another(&self) -> Writer {
        let Given { client, cluster, store, home, most, metrics } = &self.writer.given;
        Writer::new(Given {
            client: client.clone(),
            cluster: cluster.clone(),
            store: store.clone(),
            home: home.clone(),
            most: *most,
            metrics: metrics.clone(),
        })
    }

    /// Has an audit find something, and the process end before anything is told of it.
    async fn found_and_killed(&mut self, found: &[Finding]) {
        let store = &self.writer.given.store;
        let mut audit = store.begin_audit("", Trigger::Schedule, "p", Timestamp::now()).await.unwrap();
        store.change("", Changes { put: found.to_vec(), ..Changes::default() }, Timestamp::now()).await.unwrap();
        (audit.state, audit.finished) = (AuditState::Complete, Some(Timestamp::now()));
        store.end_audit(&audit, &[], &[]).await.unwrap();
        self.writer = self.another();
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.writer.given.metrics.counted(outcome)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_audit_is_one_event_and_later_ones_tell_what_is_new_once() {
    let mut scene = Scene::new(10, "none").await;
    let old: Vec<Finding> = (0..40).map(|number| finding(&format!("old-{number}"), "tag", Action::Warn)).collect();
    let told = scene.audited(&old).await;
    assert!(
        told.len() == 1 && told[0].starts_with("gatepost Namespace/gatepost: The first audit found 40 "),
        "{told:?}"
    );
    let new = [
        finding("web", "tag", Action::Warn),
        finding("web", "root", Action::Deny),
        finding("other", "tag", Action::Warn),
        finding("silent", "strict-one", Action::Record),
    ];
    let mut told = scene.audited(&new).await;
    told.sort();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].starts_with("argocd Application/shop: 2 new violations in what it delivers: shop Deployment/web: ")
    );
    assert_eq!(told[1], "shop Deployment/other: 1 new violation: tag (high): is wrong");
    assert!(told[2].starts_with("shop Deployment/web: 2 new violations: "), "{told:?}");
    assert!(["root (high): is wrong", "tag (high): is wrong"].iter().all(|rule| told[2].contains(rule)), "{told:?}");
    assert_eq!(scene.audited(&[]).await, Vec::<String>::new());
    assert_eq!(scene.counted(Outcome::Written), 4);
    scene.writer = scene.another();
    assert_eq!(scene.audited(&[]).await, Vec::<String>::new(), "a process that begins anew tells nothing again");
}

#[tokio::test(start_paused = true)]
async fn what_a_process_had_found_when_it_died_is_told_by_the_next() {
    let mut scene = Scene::new(10, "none").await;
    scene.audited(&[]).await;
    scene.found_and_killed(&[finding("other", "tag", Action::Warn)]).await;
    assert_eq!(scene.audited(&[]).await, ["shop Deployment/other: 1 new violation: tag (high): is wrong"]);
    assert_eq!(scene.audited(&[]).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_process_had_told_when_it_died_is_not_told_again_by_the_next() {
    let mut scene = Scene::new(10, "none").await;
    scene.audited(&[]).await;
    let target = target("");
    let before = scene.writer.given.store.notified(&target).await.unwrap()[TOLD];
    assert_eq!(scene.audited(&[finding("other", "tag", Action::Warn)]).await.len(), 1);
    scene.writer.given.store.set_notified(&target, TOLD, before).await.unwrap();
    scene.writer = scene.another();
    let told = scene.audited(&[finding("third", "tag", Action::Warn)]).await;
    assert_eq!(told, ["shop Deployment/third: 1 new violation: tag (high): is wrong"]);
    assert_eq!(scene.counted(Outcome::Failed), 0);
}

#[tokio::test(start_paused = true)]
async fn there_are_never_more_than_is_allowed() {
    let mut scene = Scene::new(5, "none").await;
    scene.audited(&[]).await;
    let many: Vec<Finding> = (0..30).map(|number| finding(&format!("many-{number}"), "tag", Action::Warn)).collect();
    let told = scene.audited(&many).await;
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(
        told[5].starts_with("gatepost Namespace/gatepost: 25 new violations have no Event of their own"),
        "{told:?}"
    );
    assert_eq!((scene.counted(Outcome::Written), scene.counted(Outcome::LeftOut)), (6, 25));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_asked_for_again_and_again() {
    let mut scene = Scene::new(100, "/namespaces/shop/events").await;
    scene.audited(&[]).await;
    let many: Vec<Finding> = (0..30).map(|number| finding(&format!("many-{number}"), "tag", Action::Warn)).collect();
    assert_eq!(scene.audited(&many).await, Vec::<String>::new());
    assert_eq!((scene.counted(Outcome::Written), scene.counted(Outcome::Failed)), (0, 30));
}
