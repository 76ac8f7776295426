//! A store that cannot be opened when the process starts.

use serde_json::json;

use crate::support::server::{Server, creation, eventually};

const CONFIG: (&str, &str) = ("config.yaml", "defaults: {enforce: baseline, warn: off, audit: off}\n");
const ARGUMENTS: [&str; 2] = ["--config", "config.yaml"];
const LOGGED: &str = "the store cannot be opened, requests are answered without it; it is tried again";

fn judges(server: &Server) {
    let container = json!({"name": "app", "image": "nginx:1.27.3", "securityContext": {"privileged": true}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [container]}});
    let response = server.review(&creation("shop", &pod));
    assert_eq!(response["allowed"], false, "{response}");
}

/// Asserts that it is said everywhere why nothing is kept.
fn tells(server: &Server, cause: &str) {
    assert_eq!(server.metric("gatepost_store_open"), 0);
    let (status, page) = server.ask("GET", "/status", "", "");
    assert!(status == 200 && page.contains(cause), "{status} {page}");
    let (status, answer) = server.ask("GET", "/api/v1/findings", "", "");
    assert!(status == 503 && answer.contains(cause), "{status} {answer}");
    let log = server.log();
    let line = log.iter().find(|line| line["message"] == LOGGED).unwrap_or_else(|| panic!("{log:?}"));
    assert!(line["store"].as_str().is_some_and(|text| text.contains(cause)), "{line}");
    assert!(server.readiness().contains("[!]store is not open, nothing is kept"), "{}", server.readiness());
}

#[test]
fn requests_are_judged_without_it_and_it_is_opened_as_soon_as_that_works() {
    let server = Server::start(&[CONFIG, ("data/gatepost.db/in-the-way", "")], &ARGUMENTS, &[]);
    judges(&server);
    tells(&server, "opening the store");
    std::fs::remove_dir_all(server.path("data/gatepost.db")).expect("a folder that goes");
    eventually("the store to be open", || (server.metric("gatepost_store_open") == 1).then_some(()));
    eventually("the decision to be kept", || {
        let (status, answer) = server.ask("GET", "/api/v1/decisions", "", "");
        (status == 200 && answer.contains("\"allowed\":false")).then_some(())
    });
    assert!(!server.readiness().contains("[!]store"), "{}", server.readiness());
}

#[test]
fn requests_are_judged_beside_the_store_of_a_newer_gatepost() {
    let server = Server::start(&[CONFIG], &ARGUMENTS, &[]);
    let file = server.path("data/gatepost.db");
    let killed = server.kill();
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
        SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1";
    let connection = rusqlite::Connection::open(file).expect("the store");
    assert_eq!(connection.execute(newer, []).expect("a row"), 1);
    drop(connection);
    let server = killed.start(&ARGUMENTS);
    judges(&server);
    tells(&server, "schema version 99");
}
