//! Reports sent to `gatepost serve`, and what is kept of them.

use std::process::{Command, Output};

use gatepost::store::{self, Filter, PageQuery, TimeSort};
use serde_json::{Value as Json, json};

use crate::support::server::Server;

const JSON: &str = "Content-Type: application/json\r\n";

fn decision(uid: &str) -> Json {
    json!({
        "uid": uid, "time": "2026-05-01T00:00:00Z", "operation": "CREATE", "group": "apps", "kind": "Deployment",
        "namespace": "shop", "name": "web", "user": "jane", "verified": true, "dryRun": false, "allowed": true,
        "reason": "judged", "durationUs": 300,
        "results": [{"rule": "r", "policy": "p", "severity": "high", "result": "fail", "action": "warn", "message": "m"}],
    })
}

fn report(key: &str, decisions: &[Json]) -> String {
    let report = json!({
        "apiVersion": "gatepost.dev/v1", "kind": "Report", "key": key, "source": "webhook/a", "decisions": decisions,
    });
    report.to_string()
}

/// Returns the uids of the decisions that a server keeps, as its store has them.
fn kept(server: &Server) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let query = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit: 100 };
    let page = runtime.block_on(async {
        let store = store::open(&server.path("data"), None).await.expect("the store");
        store.decisions(&query).await.expect("decisions")
    });
    let mut uids: Vec<String> = page.items.into_iter().map(|decision| decision.uid).collect();
    uids.sort();
    uids
}

#[test]
fn a_report_is_taken_in_once_for_each_key_of_a_source_and_whole_or_not_at_all() {
    let server = Server::start(&[], &[], &[]);
    let send = |body: &str| server.ask("POST", "/api/v1/reports", JSON, body);
    let first = report("1", &[decision("a"), decision("b")]);
    let (status, answer) = send(&first);
    assert_eq!((status, answer.contains("\"state\":\"stored\"")), (201, true), "{answer}");
    let (status, answer) = send(&first);
    assert_eq!((status, answer.contains("\"state\":\"known\"")), (200, true), "{answer}");
    let mut wrong = decision("d");
    wrong["results"][0]["severity"] = json!("grave");
    let (status, answer) = send(&report("2", &[decision("c"), wrong]));
    assert_eq!((status, answer.contains("/decisions/1/results/0/severity")), (422, true), "{answer}");
    assert_eq!(kept(&server), ["a", "b"], "nothing of the wrong one");
    let (status, answer) = send(&report("2", &[decision("c"), decision("d")]));
    assert_eq!(status, 201, "the key of what was refused is free: {answer}");
    assert_eq!(kept(&server), ["a", "b", "c", "d"]);
}

#[test]
fn what_is_no_report_is_refused_in_words() {
    let server = Server::start(&[], &[], &[]);
    for (header, body, expected, said) in [
        (JSON, "{", 400, "no JSON"),
        (JSON, "{}", 422, "missing field `apiVersion`"),
        ("Content-Type: text/yaml\r\n", "{}", 415, "application/json"),
        ("Origin: https://evil.example\r\n", "{}", 403, "Origin"),
    ] {
        let (status, answer) = server.ask("POST", "/api/v1/reports", header, body);
        assert_eq!((status, answer.contains(said)), (expected, true), "{answer}");
    }
}

#[test]
fn a_webhook_says_that_it_is_there_and_nothing_else_is_taken_for_it() {
    let server = Server::start(&[], &[], &[]);
    for (body, expected, said) in [
        (r#"{"source": "webhook/a", "since": "2026-05-01T08:00:00Z"}"#, 200, "\"heard\":"),
        (r#"{"source": "webhook/a", "since": "2026-05-01T08:00:00Z", "cluster": "west"}"#, 200, "\"heard\":"),
        (r#"{"source": "", "since": "2026-05-01T08:00:00Z"}"#, 422, "source: is empty"),
        (r#"{"source": "webhook/a", "since": "2999-05-01T08:00:00Z"}"#, 422, "lies in the future"),
        (r#"{"source": "webhook/a"}"#, 422, "missing field `since`"),
        (r#"{"source": "webhook/a", "since": "2026-05-01T08:00:00Z", "until": 1}"#, 422, "unknown field `until`"),
        ("[", 400, "no JSON"),
    ] {
        let (status, answer) = server.ask("POST", "/api/v1/presence", JSON, body);
        assert_eq!((status, answer.contains(said)), (expected, true), "{body}: {answer}");
    }
}

#[test]
fn a_webhook_alone_keeps_nothing() {
    let server = Server::start(&[], &["--role", "webhook", "--scanner", "http://127.0.0.1:1"], &[]);
    let (status, answer) = server.ask("POST", "/api/v1/reports", JSON, &report("1", &[decision("a")]));
    assert_eq!((status, answer.contains("scanner")), (409, true), "{answer}");
    assert!(!server.path("data/gatepost.db").exists());
}

/// Scans a Pod without a tag, and reports it.
fn scan(address: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: nginx}]}\n";
    std::fs::write(folder.path().join("pod.yaml"), pod).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["scan", "pod.yaml", "--rule", "container-image-tag", "-o", "json"]).args(more);
    command.args(["--report", &format!("http://{address}")]).current_dir(folder.path());
    command.env("GITHUB_REPOSITORY", "acme/shop").env("GITHUB_SHA", "c0ffee");
    command.output().expect("it runs")
}

#[test]
fn a_scan_reports_its_verdict_and_what_ci_says_of_it() {
    let server = Server::start(&[], &[], &[]);
    let run = scan(&server.http(), &[]);
    assert_eq!(run.status.code(), Some(1), "the verdict is the exit code: {}", String::from_utf8_lossy(&run.stderr));
    let run = scan(&server.http(), &["--fail-on", "none", "--report-source", "laptop/jane", "--report-commit", "beef"]);
    assert_eq!(run.status.code(), Some(0));
    let (_, body) = server.ask("GET", "/api/v1/checks", "", "");
    let checks: Json = serde_json::from_str(&body).expect("JSON");
    let told = |number: usize| {
        let check = &checks["items"][number];
        ["source", "commit", "passed"].map(|field| check[field].to_string()).join(" ")
    };
    assert_eq!(told(0), "\"laptop/jane\" \"beef\" true", "{body}");
    assert_eq!(told(1), "\"ci/acme/shop\" \"c0ffee\" false", "{body}");
    let failed = &checks["items"][1];
    assert_eq!((&failed["violations"]["high"], &failed["summary"]["objects"]), (&json!(1), &json!(1)), "{body}");
    let (_, body) = server.ask("GET", &format!("/api/v1/checks/{}", failed["id"]), "", "");
    let check: Json = serde_json::from_str(&body).expect("JSON");
    assert_eq!(check["results"][0]["path"], "/spec/containers/0/image", "{body}");
}

#[test]
fn a_verdict_that_cannot_be_reported_is_printed_all_the_same() {
    let run = scan("127.0.0.1:1", &[]);
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.status.code(), Some(5), "{err}");
    assert!(out.contains("\"fail\":1") || out.contains("\"fail\": 1"), "{out}");
    assert!(err.contains("the verdict above stands, but it was not reported"), "{err}");
    let run = scan("gatepost.example:80", &["--report-token-file", "token"]);
    let err = String::from_utf8_lossy(&run.stderr);
    assert_eq!((run.status.code(), err.contains("https")), (Some(2), true), "{err}");
}
