//! The lists of the API, on a store that was filled by hand.

use serde_json::Value as Json;

use crate::support::seed::{Seeded, fill};
use crate::support::server::Server;

const CONFIG: &str = "defaults: {warn: recommended}\nstatic:\n  shop: {labels: {gatepost.dev/enforce: baseline}}\n  \
    bank: {}\n  kube-system: {}\n  argocd: {}\n";

fn filled() -> (Server, Seeded) {
    let server = Server::start(&[("config.yaml", CONFIG)], &["--config", "config.yaml"], &[]);
    let seeded = fill(&server.path("data"));
    (server, seeded)
}

fn get(server: &Server, path: &str) -> Json {
    let (status, body) = server.ask("GET", path, "", "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// Returns one field of each item, joined by spaces.
fn told(server: &Server, path: &str, field: &str) -> String {
    let list = get(server, path);
    let items = list["items"].as_array().expect("items");
    let text = |item: &Json| item.pointer(field).and_then(Json::as_str).unwrap_or("-").to_owned();
    items.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_list_is_narrowed_as_its_filters_say() {
    let (server, seeded) = filled();
    for (path, field, expected) in [
        ("decisions", "/uid", "allowed-1 denied-1"),
        ("decisions?state=denied", "/uid", "denied-1"),
        ("decisions?namespace=bank", "/uid", "allowed-1"),
        ("decisions?rule=CONTAINERS_MISSING_IMAGE_VALUE_VERSION&mode=enforce", "/uid", "denied-1"),
        ("decisions?rule=container-privileged", "/uid", ""),
        ("decisions?severity=low", "/uid", ""),
        ("decisions?since=1m", "/uid", ""),
        ("decisions?text=web&limit=1", "/uid", "allowed-1"),
        ("checks", "/source", "ci/shop"),
        ("checks?source=ci/other", "/source", ""),
        ("checks?state=passed", "/source", ""),
        ("checks?state=failed&since=1d", "/commit", "abc"),
        ("resources", "/name", "dns db web"),
        ("resources?namespace=shop&severity=critical", "/name", "web"),
        ("resources?text=db", "/name", "db"),
        ("findings?namespace=shop&sort=object", "/resource/name", "db web web"),
        ("findings?state=fixed", "/resource/name", "old"),
        ("findings?since=1m", "/resource/name", ""),
    ] {
        assert_eq!(told(&server, &format!("/api/v1/{path}"), field), expected, "{path}");
    }
    let first = get(&server, "/api/v1/decisions?limit=1");
    let next = first["next"].as_str().expect("another page");
    assert_eq!(told(&server, &format!("/api/v1/decisions?limit=1&cursor={next}"), "/uid"), "denied-1");
    let (status, problem) = server.ask("GET", &format!("/api/v1/checks?cursor={next}"), "", "");
    assert_eq!(status, 400, "{problem}");
    assert!(get(&server, "/api/v1/checks")["items"][0].get("results").is_none());
    let check = get(&server, &format!("/api/v1/checks/{}", seeded.check));
    assert_eq!(check["results"][0]["rule"], "container-image-tag", "{check}");
    let (status, problem) = server.ask("GET", "/api/v1/checks/none", "", "");
    assert_eq!(status, 404, "{problem}");
}
