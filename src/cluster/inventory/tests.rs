//! Which kinds are watched, against an API server that serves one of them.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;

use super::*;

const LIMITS: &str = "core/LimitRange";
const SCALED: &str = "keda.sh/ScaledObject";

/// Serves LimitRanges, one in the namespace `shop`, and nothing else; watches end at once.
fn client() -> Client {
    let resources = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "limitranges", "singularName": "", "namespaced": true, "kind": "LimitRange", "verbs": ["list", "watch"]},
    ]});
    let item = json!({"metadata": {"name": "small", "namespace": "shop"}});
    let list =
        json!({"kind": "LimitRangeList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [item]});
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    let answer = |body: serde_json::Value| get(async move || body.to_string());
    let router = Router::new()
        .route("/api", answer(json!({"kind": "APIVersions", "versions": ["v1"]})))
        .route("/apis", answer(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})))
        .route("/api/v1", answer(resources))
        .route("/api/v1/limitranges", answer(list))
        .fallback(async move || (StatusCode::NOT_FOUND, missing.to_string()));
    Client::new(router, "default")
}

fn kinds(kinds: &[&str]) -> Reads {
    kinds.iter().map(|kind| ((*kind).to_owned(), Kept::whole())).collect()
}

/// Returns the kinds that are known for `shop`.
fn known(inventory: &InventoryWatch) -> Vec<String> {
    inventory.of_namespace("shop").into_keys().collect()
}

async fn comes_to_know(inventory: &InventoryWatch, expected: &[&str]) {
    let reached = async {
        while known(inventory) != expected {
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{:?} instead of {expected:?}", known(inventory));
}

#[tokio::test]
async fn follows_the_kinds_that_it_is_told() {
    let inventory = InventoryWatch::start(&client(), &kinds(&[SCALED]));
    // What the cluster does not serve is known to be empty.
    comes_to_know(&inventory, &[SCALED]).await;
    inventory.follow(&kinds(&[SCALED, LIMITS]));
    comes_to_know(&inventory, &[LIMITS, SCALED]).await;
    let found = inventory.of_namespace("shop")[LIMITS].to_string();
    assert!(found.contains("small"), "{found}");
    inventory.follow(&kinds(&[LIMITS]));
    assert_eq!(known(&inventory), [LIMITS], "what is not asked for is forgotten at once");
    inventory.follow(&kinds(&[]));
    assert!(known(&inventory).is_empty());
    inventory.follow(&kinds(&[LIMITS]));
    comes_to_know(&inventory, &[LIMITS]).await;
}
