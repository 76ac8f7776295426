//! `gatepost decisions`, as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::server::{Server, creation, eventually};

fn decisions(data_dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let Output { status, stdout, stderr } =
        command.arg("decisions").args(arguments).env("GATEPOST_DATA_DIR", data_dir).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn line(incident: &str, name: &str) -> String {
    let line = json!({
        "time": "2026-06-01T08:00:00Z", "incident": incident, "until": "2026-06-01T09:00:00Z", "operation": "CREATE",
        "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": name, "user": "jane",
        "rules": ["container-privileged", "resource-name"], "uid": "u", "verified": true,
    });
    format!("{line}\n")
}

#[test]
fn lists_what_came_in_under_break_glass_oldest_first() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("break-glass.jsonl.1"), line("INC-1", "first")).expect("a file");
    let newer = line("INC-2", "second\u{1b}[2J") + &line("INC-1", "third");
    std::fs::write(folder.path().join("break-glass.jsonl"), newer).expect("a file");

    let (code, text, _) = decisions(folder.path(), &["--break-glass"]);
    let expected =
        "2026-06-01T08:00:00Z  INC-1  CREATE Deployment shop/first by jane: container-privileged, resource-name";
    assert_eq!((code, text.lines().next()), (0, Some(expected)));
    assert!(text.lines().count() == 3 && !text.contains('\u{1b}'), "{text}");

    let (_, text, _) = decisions(folder.path(), &["--break-glass", "INC-1", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let names: Vec<&Value> = list["items"].as_array().expect("a list").iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["first", "third"]);
    assert_eq!(list["items"][0]["apiVersion"], "apps/v1");
    let (code, text, _) = decisions(folder.path(), &["--break-glass", "INC-9"]);
    assert_eq!((code, text.as_str()), (0, "Nothing came in under break-glass.\n"));
}

#[test]
fn says_what_it_cannot_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text, _) = decisions(folder.path(), &["--break-glass"]);
    assert_eq!((code, text.as_str()), (0, "Nothing came in under break-glass.\n"));
    let (code, _, error) = decisions(&folder.path().join("elsewhere"), &["--break-glass"]);
    assert!(code == 3 && error.contains("elsewhere"), "{error}");
    let (code, _, error) = decisions(folder.path(), &[]);
    assert!(code == 2 && error.contains("--break-glass"), "{error}");
    std::fs::write(folder.path().join("break-glass.jsonl"), format!("{{\"time\": \n{}", line("A", "x")))
        .expect("a file");
    let (code, text, error) = decisions(folder.path(), &["--break-glass"]);
    assert!(code == 3 && text.contains("shop/x") && error.contains("1 lines cannot be read"), "{text}{error}");
}

#[test]
fn a_change_of_modes_is_kept_with_what_held_before() {
    let server = Server::start(&[], &[], &[]);
    let namespace = |labels: Value| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels,
            "annotations": {"gatepost.dev/enforce-severity": "high"}}})
    };
    let (before, after) = (json!({"gatepost.dev/warn": "baseline"}), json!({"gatepost.dev/enforce": "strict"}));
    let mut request = creation("shop", &namespace(after));
    request["operation"] = json!("UPDATE");
    request["oldObject"] = namespace(before);
    assert_eq!(server.review(&request)["allowed"], true);
    let uid = request["uid"].as_str().expect("a uid");
    let decision = eventually("the decision", || {
        let (status, body) = server.ask("GET", &format!("/api/v1/decisions/{uid}"), "", "");
        (status == 200).then(|| serde_json::from_str::<Value>(&body).expect("JSON"))
    });
    let changes: Vec<String> = decision["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|change| format!("{}: {} to {}", change["slot"], change["from"], change["to"]))
        .collect();
    assert!(changes.iter().any(|change| change.contains("enforce\": \"off\" to \"strict")), "{changes:?}");
    let (_, page) = server.ask("GET", &format!("/decisions/{uid}"), "", "");
    assert!(page.contains("Modes that it changed") && page.contains("strict"), "{page}");
}
