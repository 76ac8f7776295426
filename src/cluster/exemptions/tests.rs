//! What the watch delivers, and what it is read from, against made-up objects and API servers.

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};

use super::*;

/// Notes what it is told of uses.
#[derive(Default, Clone)]
struct Notes(Arc<Mutex<BTreeMap<String, Timestamp>>>);

impl Follower for Notes {
    fn put_in_force(&self, _all: Vec<Arc<Written>>) {}

    fn note_use(&self, name: &ExemptionName, last: Timestamp) {
        self.0.lock().unwrap().insert(name.to_string(), last);
    }

    fn standing(&self, _written: &Arc<Written>, _now: Timestamp) -> Standing {
        Standing::Accepted
    }

    fn last_used(&self, _name: &ExemptionName) -> Option<Timestamp> {
        None
    }
}

fn object(name: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "gatepost.dev/v1alpha1", "kind": "Exemption",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"rules": ["a"], "match": {"users": ["jane"]}, "reason": "r", "owner": "o", "expires": "2099-01-01"},
        "status": status,
    })
}

#[tokio::test]
async fn a_use_that_a_status_tells_of_is_known_whichever_process_it_was() {
    let (notes, client) = (Notes::default(), Client::new(Router::new(), "default"));
    let follower = Box::new(notes.clone());
    let watch = ExemptionWatch { client, follower, known: Mutex::default(), changed: Notify::new() };
    let used = json!({"lastUsed": "2026-06-01T12:00:00Z", "conditions": []});
    for (name, status) in [("used", &used), ("unused", &json!({})), ("new", &Value::Null)] {
        let object = serde_json::from_value(object(name, status)).unwrap();
        watch.change(|known| known.extend(read(ExemptionKind::Exemption, object)));
    }
    let told = notes.0.lock().unwrap().clone();
    assert_eq!(told, BTreeMap::from([("Exemption shop/used".to_owned(), "2026-06-01T12:00:00Z".parse().unwrap())]));
}

/// An API server that has Exemptions on two pages, and answers for ClusterExemptions as it is told.
fn api_server(cluster_exemptions: StatusCode) -> Client {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": ["list", "watch"]});
    let version = json!({"groupVersion": "gatepost.dev/v1alpha1", "version": "v1alpha1"});
    let group = json!({"name": "gatepost.dev", "versions": [version], "preferredVersion": version});
    let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]});
    let resources = json!({"kind": "APIResourceList", "groupVersion": "gatepost.dev/v1alpha1", "resources": [
        resource("exemptions", "Exemption", true), resource("clusterexemptions", "ClusterExemption", false)]});
    let page = |next: &str, name: &str| {
        json!({"kind": "ExemptionList", "apiVersion": "gatepost.dev/v1alpha1",
        "metadata": {"continue": next}, "items": [object(name, &Value::Null)]})
    };
    let (first, second) = (page("more", "a"), page("", "b"));
    let list = async move |Query(asked): Query<BTreeMap<String, String>>| {
        if asked.contains_key("continue") { second.to_string() } else { first.to_string() }
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "it is not for you",
        "reason": "", "code": cluster_exemptions.as_u16()});
    let answer = |body: Value| get(async move || body.to_string());
    let router = Router::new()
        .route("/apis", answer(groups))
        .route("/apis/gatepost.dev/v1alpha1", answer(resources))
        .route("/apis/gatepost.dev/v1alpha1/exemptions", get(list))
        .route(
            "/apis/gatepost.dev/v1alpha1/clusterexemptions",
            get(async move || (cluster_exemptions, status.to_string())),
        );
    Client::new(router, "default")
}

#[tokio::test]
async fn all_pages_are_read_once_and_what_may_not_be_is_told() {
    for (answer, told) in [
        (StatusCode::NOT_FOUND, None),
        (StatusCode::FORBIDDEN, Some("it is not for you; what they excuse is told as a violation")),
    ] {
        let Once { written, unread } = list(&api_server(answer)).await;
        let names: Vec<String> = written.iter().map(|written| written.name.to_string()).collect();
        assert_eq!(names, ["Exemption shop/a", "Exemption shop/b"]);
        assert_eq!(unread.get("gatepost.dev/ClusterExemption").map(String::as_str), told);
        assert_eq!(unread.len(), usize::from(told.is_some()), "{unread:?}");
    }
    let none = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []});
    let empty = Router::new().route("/apis", get(async move || none.to_string()));
    let Once { written, unread } = list(&Client::new(empty, "default")).await;
    assert!(written.is_empty() && unread.is_empty(), "{unread:?}");
}
