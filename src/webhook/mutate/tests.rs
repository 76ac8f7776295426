//! `POST /mutate` as the API server sees it: what comes back, and what is counted.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use crate::config::Config;
use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, ProgramCache};
use crate::input::Surroundings;
use crate::policy::NamespaceMeta;
use crate::policy::mutation::MUTATE;
use crate::telemetry::{Metrics, Traces};
use crate::webhook::handlers::{App, World, routes};
use crate::webhook::in_force::{InForce, Live};
use crate::webhook::journal::Journal;
use crate::webhook::memory::RequestMemory;
use crate::webhook::workers::Workers;

const LARGEST: usize = 16 << 10;

/// The webhook without a cluster, where the namespace `shop` asks for the patches of `recommended`.
fn app(queue: usize) -> Arc<App> {
    let bundle = Catalogue::read(&[])
        .and_then(|catalogue| Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven))
        .expect("the shipped policies");
    let metrics = Arc::new(Metrics::new());
    metrics.set_bundle(bundle.digest(), bundle.rules().keys(), bundle.policies().len());
    let labels = BTreeMap::from([(MUTATE.to_owned(), "recommended".to_owned())]);
    let mut surroundings = Surroundings::new([]);
    let shop = NamespaceMeta { labels, ..NamespaceMeta::named("shop") };
    surroundings.add_namespaces(&BTreeMap::from([("shop".to_owned(), shop)]));
    let in_force = InForce {
        kubernetes_version: None,
        bundle: Arc::new(bundle),
        config: Arc::new(Config::default()),
        exemptions: Arc::default(),
        surroundings: Arc::new(surroundings),
        judge_owned: false,
        limits: Limits { time: Duration::from_secs(5), instructions: 5_000_000 },
        max_body: LARGEST,
        written: Arc::default(),
    };
    Arc::new(App {
        in_force: Live::new(in_force),
        world: World::Static,
        own_namespace: None,
        workers: Workers::new(NonZeroUsize::MIN, queue).expect("a thread"),
        metrics,
        traces: Traces::default(),
        // Nothing comes to be listed there.
        journal: Journal::start(tempfile::tempdir().expect("a folder").path(), Counter::default()).expect("a thread"),
        memory: RequestMemory::new(96 << 20, 1),
        deferred_bytes: AtomicUsize::new(0),
        outbox: None,
        pages: None,
    })
}

fn cron_job(namespace: &str) -> Json {
    let object = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "report"}, "spec": {"schedule": "@daily"},
    });
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "batch", "version": "v1", "kind": "CronJob"}, "name": "report",
        "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "jane"}, "object": object,
    }})
}

async fn post(app: &Arc<App>, query: &str, body: impl Into<Body>) -> (StatusCode, Json) {
    let request = Request::post(format!("/mutate{query}")).body(body.into()).expect("a request");
    let response = routes(app.clone()).oneshot(request).await.expect("a response");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Json::Null))
}

/// Returns a counter of the results.
fn counted(app: &App, result: &str) -> u64 {
    let start = format!("gatepost_mutation_requests_total{{result=\"{result}\"}} ");
    let text = app.metrics.encode();
    text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).expect("the counter")
}

#[tokio::test]
async fn answers_with_what_the_policy_sets_and_counts_it() {
    let app = app(8);
    let (status, answer) = post(&app, "?timeout=2s", cron_job("shop").to_string()).await;
    assert_eq!((status, &answer["kind"]), (StatusCode::OK, &json!("AdmissionReview")));
    let response = &answer["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("u"), &json!(true)));
    let patch = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
    let patch: Json = serde_json::from_slice(&patch).expect("JSON");
    assert_eq!(patch, json!([{"op": "add", "path": "/spec/startingDeadlineSeconds", "value": 600}]));
    let annotations = json!({"mutated": "cronjob-starting-deadline: /spec/startingDeadlineSeconds"});
    assert_eq!(response["auditAnnotations"], annotations);

    let (_, answer) = post(&app, "", cron_job("elsewhere").to_string()).await;
    assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
    assert_eq!((counted(&app, "patched"), counted(&app, "unchanged"), counted(&app, "error")), (1, 1, 0));
    let text = app.metrics.encode();
    let rule = "gatepost_mutation_patches_total{rule=\"cronjob-starting-deadline\"} 1";
    assert!(text.lines().any(|line| line == rule), "{text}");
    assert!(
        text.contains(
            "gatepost_admission_requests_total{operation=\"CREATE\",decision=\"allowed\",dry_run=\"false\"} 0"
        )
    );
}

#[tokio::test]
async fn only_a_broken_envelope_is_an_error_of_http() {
    let app = app(8);
    let (status, _) = post(&app, "", "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let mut large = cron_job("shop");
    large["request"]["object"]["metadata"]["annotations"] = json!({"long": "x".repeat(LARGEST)});
    let (status, answer) = post(&app, "", large.to_string()).await;
    assert_eq!((status, &answer["response"]["allowed"]), (StatusCode::OK, &json!(true)));
    assert!(answer["response"].get("patch").is_none());
    let told = answer["response"]["auditAnnotations"]["not-mutated"].as_str().expect("a reason");
    assert!(told.contains("larger than 16384 bytes"), "{told}");
    assert_eq!((counted(&app, "patched"), counted(&app, "error")), (0, 2));
}

#[tokio::test]
async fn what_comes_too_late_leaves_the_object_as_it_was() {
    let app = app(8);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let held = app.workers.try_submit(move |_| released.recv().is_err()).expect("a place");
    let (status, answer) = post(&app, "?timeout=200ms", cron_job("shop").to_string()).await;
    assert_eq!((status, &answer["response"]["allowed"]), (StatusCode::OK, &json!(true)));
    assert!(answer["response"].get("patch").is_none());
    assert_eq!(counted(&app, "error"), 1);
    drop(release);
    assert_eq!(held.await, Ok(true));
}

#[tokio::test]
async fn refuses_at_once_what_cannot_wait() {
    let app = app(0);
    let (status, _) = post(&app, "", cron_job("shop").to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    // What nobody can ask to mend needs no thread.
    let mut update = cron_job("shop");
    update["request"]["operation"] = json!("UPDATE");
    for review in [update, cron_job("elsewhere")] {
        let (status, answer) = post(&app, "", review.to_string()).await;
        assert_eq!((status, &answer["response"]), (StatusCode::OK, &json!({"uid": "u", "allowed": true})));
    }
    assert_eq!(counted(&app, "error"), 1);
}
