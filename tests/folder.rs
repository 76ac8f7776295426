//! A folder of manifests in a cluster's place: audited at the start and as files change, with the life of findings.

use std::fs;

use serde_json::{Value as Json, json};

use crate::support::server::{Server, creation, eventually};

const SHOP: &str =
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {gatepost.dev/enforce: recommended}}\n";

fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  selector: \
         {{matchLabels: {{app: a}}}}\n  template:\n    metadata: {{labels: {{app: a}}}}\n    spec:\n      containers:\n      \
         - {{name: app, image: '{image}'}}\n"
    )
}

fn role(version: &str, name: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/{version}\nkind: Role\nmetadata: {{name: {name}, namespace: shop}}\nrules: []\n"
    )
}

fn start(files: &[(&str, &str)]) -> Server {
    Server::start(files, &["--manifests", "deploy"], &[])
}

fn items(server: &Server, path: &str) -> Vec<Json> {
    let (status, body) = server.ask("GET", &format!("/api/v1/{path}"), "", "");
    assert_eq!(status, 200, "{path}: {body}");
    let list: Json = serde_json::from_str(&body).expect("JSON");
    list["items"].as_array().cloned().expect("items")
}

/// Gives a file other contents at once, as git and editors do: an audit must not meet it while it is empty.
fn replace(server: &Server, file: &str, text: &str) {
    fs::write(server.path("next"), text).expect("a file");
    fs::rename(server.path("next"), server.path(file)).expect("the same folder");
}

/// Returns what is found of a rule, as object and state.
fn found(server: &Server, rule: &str) -> Vec<String> {
    let findings = items(server, &format!("findings?state=open,closed&rule={rule}"));
    let told = findings.iter().map(|finding| {
        let state = finding["closedBecause"].as_str().or(finding["state"].as_str()).unwrap_or_default();
        format!("{} {state}", finding["resource"]["name"].as_str().unwrap_or_default())
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

fn wait_for(server: &Server, rule: &str, expected: &[&str]) {
    eventually(&format!("{expected:?}"), || (found(server, rule) == expected).then_some(()));
}

#[test]
fn what_is_wrong_in_files_opens_and_closes_as_they_change() {
    let (web, db) = (deployment("web", "nginx:latest"), deployment("db", "postgres:latest"));
    let server = start(&[("deploy/shop.yaml", SHOP), ("deploy/web.yaml", &web), ("deploy/more/db.yaml", &db)]);
    wait_for(&server, "container-image-tag", &["db open", "web open"]);
    let finding = &items(&server, "findings?rule=container-image-tag&text=web")[0];
    assert_eq!(finding["action"], "deny", "its Namespace stands in the folder: {finding}");
    assert_eq!(items(&server, "audits")[0]["trigger"], "start");

    fs::write(server.path("deploy/web.yaml"), deployment("web", "nginx:1.27.3")).expect("a file");
    wait_for(&server, "container-image-tag", &["db open", "web fixed"]);
    let ended = || items(&server, "audits").into_iter().next().filter(|audit| audit["state"] != "running");
    let audit = eventually("the audit to end", ended);
    assert_eq!((&audit["trigger"], &audit["state"]), (&json!("change"), &json!("complete")), "{audit}");
    assert_eq!(audit["evaluated"], 1, "only what changed is judged again: {audit}");

    fs::remove_file(server.path("deploy/more/db.yaml")).expect("a file");
    wait_for(&server, "container-image-tag", &["db deleted", "web fixed"]);
    let open = items(&server, "findings?text=db");
    assert_eq!(open, Vec::<Json>::new(), "nothing of what is gone stays open");
}

#[test]
fn each_object_is_judged_in_the_version_that_its_file_says_and_once() {
    let (old, new) = (role("v1beta1", "old"), role("v1", "new"));
    let (first, last) = (deployment("web", "nginx:latest"), deployment("web", "nginx:1.27.3"));
    let server = start(&[
        ("deploy/a.yaml", &first),
        ("deploy/b.yaml", &last),
        ("deploy/roles.yaml", &format!("{old}---\n{new}")),
    ]);
    wait_for(&server, "deprecated-api-1-17", &["old open"]);
    assert_eq!(found(&server, "container-image-tag"), Vec::<String>::new(), "the last file counts");
    let role = &items(&server, "findings?rule=deprecated-api-1-17")[0];
    assert_eq!(role["resource"]["apiVersion"], "rbac.authorization.k8s.io/v1beta1", "{role}");
}

#[test]
fn a_file_that_cannot_be_read_closes_nothing_and_is_named() {
    let server = start(&[("deploy/web.yaml", &deployment("web", "nginx:latest"))]);
    wait_for(&server, "container-image-tag", &["web open"]);
    replace(&server, "deploy/web.yaml", "a: [\n");
    let partial = || {
        // Asked again, since one may have begun before the file was broken.
        let _ = server.ask("POST", "/api/v1/audits", "", "");
        items(&server, "audits").into_iter().find(|audit| audit["state"] == "partial")
    };
    let audit = eventually("an audit that could not read everything", partial);
    assert!(audit["unread"].to_string().contains("deploy/web.yaml:"), "{audit}");
    assert_eq!(found(&server, "container-image-tag"), ["web open"]);
    replace(&server, "deploy/web.yaml", &deployment("web", "nginx:1.27.3"));
    wait_for(&server, "container-image-tag", &["web fixed"]);
}

#[test]
fn an_audit_that_is_asked_for_is_told_by_its_id() {
    let server = start(&[("deploy/web.yaml", &deployment("web", "nginx:latest"))]);
    wait_for(&server, "container-image-tag", &["web open"]);
    let (head, body) = eventually("an audit to begin", || {
        let (status, head, body) = server.ask_with_head("POST", "/api/v1/audits", "", "");
        (status == 202).then_some((head, body))
    });
    let begun: Json = serde_json::from_str(&body).expect("JSON");
    let place = format!("/api/v1/audits/{}", begun["id"]);
    assert!(head.to_lowercase().contains(&format!("location: {place}\r\n")), "{head}");
    let (status, body) = server.ask("GET", &place, "", "");
    assert_eq!(status, 200, "{body}");
    let audit: Json = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&audit["id"], &audit["trigger"]), (&begun["id"], &"request".into()));
}

#[test]
fn a_cluster_that_gets_a_name_finds_everything_anew_under_it() {
    let (web, shop) = (deployment("web", "nginx:latest"), SHOP);
    let server = start(&[("deploy/web.yaml", &web), ("deploy/shop.yaml", shop)]);
    wait_for(&server, "container-image-tag", &["web open"]);
    assert_eq!(items(&server, "findings")[0].get("cluster"), None, "it has no name");
    let server = server.kill().start(&["--manifests", "deploy", "--cluster-name", "west"]);
    wait_for(&server, "container-image-tag", &["web open", "web outOfScope"]);
    for finding in items(&server, "findings") {
        assert_eq!(finding["cluster"], "west", "{finding}");
    }
    assert_eq!(items(&server, "audits")[0]["cluster"], "west");
    let object: Json = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "nginx"}]},
    }))
    .expect("JSON");
    server.review(&creation("shop", &object));
    let decision = eventually("the decision", || items(&server, "decisions").into_iter().next());
    assert_eq!(decision["cluster"], "west", "{decision}");
    let (_, page) = server.ask("GET", "/findings", "", "");
    assert!(page.contains("west · Gatepost</title>"), "{page}");
}
