//! The endpoint as a whole, where the answer hangs on who asks; without sockets.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Json;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::cluster::{Access, InventoryWatch, Namespaces};
use crate::config::Config;
use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, ProgramCache};
use crate::input::Surroundings;
use crate::policy::NamespaceMeta;
use crate::telemetry::{Metrics, Traces};
use crate::webhook::handlers::{App, World, routes};
use crate::webhook::in_force::{InForce, Live};
use crate::webhook::journal::{self, Journal};
use crate::webhook::workers::Workers;

fn app(world: World, queue: usize, data_dir: &Path) -> Arc<App> {
    app_knowing(world, queue, data_dir, NamespaceMeta::named("other"))
}

fn app_knowing(world: World, queue: usize, data_dir: &Path, namespace: NamespaceMeta) -> Arc<App> {
    let mut surroundings = Surroundings::new([]);
    surroundings.add_namespaces(&BTreeMap::from([(namespace.name.clone(), namespace)]));
    let bundle = Bundle::build(Catalogue::read(&[]).unwrap(), &ProgramCache::default(), BackendChoice::Proven).unwrap();
    let mut config = Config::default();
    config.modes.authority.users.insert("ann".into());
    let metrics = Arc::new(Metrics::new());
    let in_force = InForce {
        kubernetes_version: None,
        bundle: Arc::new(bundle),
        config: Arc::new(config),
        exemptions: Arc::default(),
        surroundings: Arc::new(surroundings),
        judge_owned: false,
        limits: Limits { time: Duration::from_millis(500), instructions: 5_000_000 },
        max_body: 1 << 20,
        written: Arc::default(),
    };
    Arc::new(App {
        in_force: Live::new(in_force),
        world,
        own_namespace: None,
        workers: Workers::new(NonZeroUsize::MIN, queue).unwrap(),
        journal: Journal::start(data_dir, metrics.modes.break_glass_unrecorded.clone()).unwrap(),
        metrics,
        traces: Traces::default(),
        memory: crate::webhook::memory::RequestMemory::new(96 << 20, 1),
        deferred_bytes: AtomicUsize::new(0),
        outbox: None,
        pages: None,
    })
}

/// A cluster whose API server says the same of every access review, after so long.
fn cluster(allowed: bool, after: Duration) -> World {
    let answer = async move |Json(mut review): Json<Value>| {
        tokio::time::sleep(after).await;
        review["status"] = json!({"allowed": allowed});
        Json(review)
    };
    let reviews = Router::new().route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(answer));
    let client = Client::new(reviews, "default");
    World::Cluster {
        namespaces: Arc::new(Namespaces::new(client.clone())),
        inventory: InventoryWatch::start(&client, &BTreeMap::new()),
        access: Arc::new(Access::new(client)),
    }
}

/// Sends a Namespace UPDATE of a user and returns status and response.
async fn update(app: &Arc<App>, user: &str, before: Value, after: Value) -> (StatusCode, Value) {
    let object = |metadata: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Namespace"}, "name": "shop", "namespace": "shop",
        "operation": "UPDATE", "userInfo": {"username": user}, "object": object(after), "oldObject": object(before),
    }});
    send(app, &review).await
}

async fn send(app: &Arc<App>, review: &Value) -> (StatusCode, Value) {
    let request = Request::post("/validate?timeout=1s").body(Body::from(review.to_string())).unwrap();
    let answer = routes(app.clone()).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice::<Value>(&body).map_or(Value::Null, |review| review["response"].clone()))
}

fn enforced() -> Value {
    json!({"name": "shop", "labels": {"gatepost.dev/enforce": "baseline"}})
}

fn plain() -> Value {
    json!({"name": "shop"})
}

fn message(response: &Value) -> &str {
    response["status"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn without_a_cluster_only_the_configuration_names_who_may() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(World::Static, 8, folder.path());
    let (status, refused) = update(&app, "jane", enforced(), plain()).await;
    assert_eq!((status, &refused["allowed"], &refused["status"]["code"]), (StatusCode::OK, &json!(false), &json!(403)));
    assert!(message(&refused).contains("; otherwise it takes modes.admins; requested by"), "{refused}");
    assert_eq!(refused["auditAnnotations"]["mode-change"], "enforce: baseline -> off (authority: refused)");
    let (_, admitted) = update(&app, "ann", enforced(), plain()).await;
    assert_eq!(admitted["allowed"], true);
    let (_, stronger) = update(&app, "jane", plain(), enforced()).await;
    assert_eq!(stronger["allowed"], true);
    let metrics = app.metrics.encode();
    for line in [
        "gatepost_mode_changes_total{from=\"enforce\",to=\"warn\"} 1",
        "gatepost_mode_changes_total{from=\"warn\",to=\"enforce\"} 1",
        "gatepost_mode_changes_refused_total 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

#[tokio::test]
async fn the_clusters_roles_decide_within_the_requests_time() {
    let folder = tempfile::tempdir().unwrap();
    let soon = Duration::ZERO;
    for (allowed, after, expected, counted) in [
        (true, soon, "", "allowed"),
        (false, soon, "the verb weaken on modes.gatepost.dev", "denied"),
        (true, Duration::from_hours(1), "could not be asked (the API server took too long), which is a no", "error"),
    ] {
        let app = app(cluster(allowed, after), 8, folder.path());
        let (_, harmless) = update(&app, "jane", plain(), enforced()).await;
        assert_eq!(harmless["allowed"], true, "nobody is asked about it");
        let (status, response) = update(&app, "jane", enforced(), plain()).await;
        assert_eq!((status, response["allowed"] == true), (StatusCode::OK, expected.is_empty()), "{response}");
        assert!(message(&response).contains(expected), "{response}");
        let line = format!("gatepost_access_reviews_total{{result=\"{counted}\"}} 1");
        assert!(app.metrics.encode().lines().any(|found| found == line), "{line}");
    }
}

#[tokio::test]
async fn a_busy_webhook_still_refuses_what_weakens() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(World::Static, 0, folder.path());
    let (status, _) = update(&app, "jane", plain(), enforced()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let (status, refused) = update(&app, "jane", enforced(), plain()).await;
    assert_eq!((status, &refused["allowed"]), (StatusCode::OK, &json!(false)), "{refused}");
}

#[tokio::test]
async fn what_comes_in_under_break_glass_is_listed_but_for_dry_runs() {
    let folder = tempfile::tempdir().unwrap();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let metadata = json!({"name": "shop", "labels": {"gatepost.dev/enforce": "baseline"},
        "annotations": {"gatepost.dev/break-glass": "INC-1", "gatepost.dev/break-glass-until": until.to_string()}});
    let app = app_knowing(World::Static, 8, folder.path(), serde_json::from_value(metadata).unwrap());
    let container = json!({"name": "app", "image": "nginx:1.27.3", "securityContext": {"privileged": true}});
    for (name, dry_run) in [("tried", true), ("web", false)] {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": name, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "name": name, "namespace": "shop",
            "operation": "CREATE", "dryRun": dry_run, "userInfo": {"username": "jane"},
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}},
        }});
        let (_, response) = send(&app, &review).await;
        assert_eq!(response["allowed"], true, "{response}");
        assert!(response["warnings"][0].as_str().unwrap().contains("(break-glass INC-1 until "), "{response}");
    }
    assert!(app.metrics.encode().contains("gatepost_break_glass_admissions_total 1\n"));
    drop(app);
    let listing = journal::read(folder.path()).unwrap();
    let listed: Vec<&str> = listing.admitted.iter().map(|admitted| admitted.name.as_str()).collect();
    assert_eq!(listed, ["web"]);
}
