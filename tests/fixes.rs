//! What mends a finding, as a diff: the real git applies it, and the finding is gone without another in its place.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use gatepost::engine::Catalogue;
use gatepost::policy::{Fixture, Rule};
use serde_json::{Value as Json, json};

use crate::support::server::{Server, eventually};

/// Rules of which no diff is made, whatever is wrong.
const BY_HAND: [&str; 4] =
    ["container-image-tag", "cronjob-schedule", "deprecated-api-1-16", "workload-default-namespace"];

fn git(directory: &Path, arguments: &[&str], input: &str) {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(directory).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", directory);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git starts");
    child.stdin.take().expect("an input").write_all(input.as_bytes()).expect("git reads");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {arguments:?}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
}

fn scan(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["scan", ".", "--fail-on", "none"]).args(arguments).current_dir(directory);
    let output = command.env_remove("GATEPOST_CONFIG").output().expect("gatepost starts");
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3 | 4)), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Returns what fails, as rule, file, document and place.
fn failing(directory: &Path) -> BTreeSet<String> {
    let told: Json = serde_json::from_str(&scan(directory, &["-o", "json", "--policy", "strict"])).expect("JSON");
    let results = told["results"].as_array().expect("results");
    let failed = results.iter().filter(|result| result["result"] == "fail");
    let name = |result: &Json| {
        let (rule, source) = (result["rule"].as_str().unwrap_or_default(), &result["source"]);
        format!("{rule} {} {} {}", source["file"], source["document"], result["path"])
    };
    failed.map(name).collect()
}

fn of_rule(rule: &Rule, found: &BTreeSet<String>) -> BTreeSet<String> {
    found.iter().filter(|found| found.starts_with(&format!("{} ", rule.id))).cloned().collect()
}

/// A Pod that is said to run to completion needs no probes; once the Deployment that it is in says so no more, it does.
fn is_revealed(rule: &Rule, new: &str) -> bool {
    rule.id.as_str() == "workload-restart-policy" && new.contains("-probe ")
}

/// Mends failing examples of a rule in a repository of their own; returns how many violations were mended and left.
fn mend(rule: &Rule, examples: &[&Fixture]) -> (usize, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::create_dir(path.join("deploy")).expect("a folder");
    let file = |fixture: &Fixture| {
        let name = fixture.source.file.rsplit('/').next().unwrap_or_default();
        path.join("deploy").join(name)
    };
    for fixture in examples {
        fs::write(file(fixture), format!("# before\n{}# after\n", fixture.source.text)).expect("a file");
    }
    git(path, &["init", "--quiet"], "");
    let before = failing(path);
    let wrong = of_rule(rule, &before);
    let diff = scan(path, &["-o", "patch", "--rule", rule.id.as_str()]);
    if diff.is_empty() {
        return (0, wrong.len());
    }
    git(path, &["apply", "--check"], &diff);
    git(path, &["apply"], &diff);
    let after = failing(path);
    let new: Vec<&String> = after.difference(&before).filter(|new| !is_revealed(rule, new)).collect();
    assert!(new.is_empty(), "{}: {new:?}\n{diff}", rule.id);
    for fixture in examples {
        let now = fs::read_to_string(file(fixture)).expect("a file");
        assert!(now.starts_with("# before\n") && now.ends_with("# after\n"), "{}:\n{now}", fixture.source.file);
    }
    let still = of_rule(rule, &after).len();
    (wrong.len() - still, still)
}

/// Mends every failing example of a rule. Examples with objects that a rule looks up are apart from each other.
fn mend_examples(rule: &Rule) -> (usize, usize) {
    let examples: Vec<&Fixture> = rule.fixtures.iter().filter(|fixture| !fixture.passes).collect();
    let size = if rule.inventory.is_empty() { examples.len() } else { 1 };
    let all = examples.chunks(size.max(1)).map(|examples| mend(rule, examples));
    all.fold((0, 0), |sum, (mended, left)| (sum.0 + mended, sum.1 + left))
}

#[test]
fn git_applies_what_mends_each_rule_and_nothing_else_goes_wrong() {
    let catalogue = Catalogue::read(&[]).expect("the built-in policies are whole");
    let mut by_hand = Vec::new();
    for rule in catalogue.rules().values() {
        if rule.mend.is_empty() {
            assert!(!rule.by_hand.is_empty(), "{}: there is no diff, and nobody says why", rule.id);
            by_hand.push(rule.id.as_str());
            continue;
        }
        let (mended, left) = mend_examples(rule);
        assert!(mended > 0, "{}: none of its examples is mended", rule.id);
        assert_eq!(left > 0, !rule.by_hand.is_empty(), "{}: {mended} mended, {left} left", rule.id);
    }
    assert_eq!(by_hand, BY_HAND);
}

const WEB: &str = "\
# The shop's front.
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app # ours
        image: nginx:1.27.3
        securityContext:
          privileged: true # for now
";

#[test]
fn several_rules_are_mended_at_once_in_the_files_that_were_scanned() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("my web.yaml"), WEB).expect("a file");
    fs::write(path.join("windows.yaml"), WEB.replace('\n', "\r\n").trim_end()).expect("a file");
    git(path, &["init", "--quiet"], "");
    git(path, &["apply"], &scan(path, &["-o", "patch"]));
    let left = failing(path);
    assert!(left.is_empty(), "{left:?}");
    let mended = fs::read_to_string(path.join("my web.yaml")).expect("a file");
    for kept in ["# The shop's front.\n", "- name: app # ours\n", "privileged: false # for now\n"] {
        assert!(mended.contains(kept), "{kept}\n{mended}");
    }
    assert!(mended.contains("memory: 256Mi # choose: what it needs as measured\n"), "{mended}");
    let windows = fs::read_to_string(path.join("windows.yaml")).expect("a file");
    assert_eq!(windows.matches('\n').count(), windows.matches("\r\n").count(), "{windows:?}");
}

#[test]
fn the_api_gives_the_diff_of_the_file_that_stands_in_for_a_cluster() {
    let server = Server::start(&[("deploy/web.yaml", WEB)], &["--manifests", "deploy"], &[]);
    git(&server.path(""), &["init", "--quiet"], "");
    let found = |state: &str| {
        let path = format!("/api/v1/findings?rule=container-privileged&state={state}");
        let (_, body) = server.ask("GET", &path, "", "");
        serde_json::from_str::<Json>(&body).ok()?["items"].as_array()?.first().cloned()
    };
    let finding = eventually("the finding", || found("open"));
    let id = finding["id"].as_str().expect("an id");
    let (status, head, diff) = server.ask_with_head("GET", &format!("/api/v1/findings/{id}/fix"), "", "");
    assert_eq!(status, 200, "{diff}");
    assert!(head.contains("text/x-diff") && head.contains(".patch\""), "{head}");
    assert!(diff.starts_with("--- a/deploy/web.yaml\n+++ b/deploy/web.yaml\n"), "{diff}");
    let (_, page) = server.ask("GET", &format!("/findings/{id}"), "", "");
    assert!(page.contains("The fix as a diff") && page.contains("+          privileged: false # for now"), "{page}");
    git(&server.path(""), &["apply"], &diff);
    let fixed = eventually("the finding to be fixed", || found("fixed"));
    assert_eq!(fixed["closedBecause"], json!("fixed"));
    let (status, body) = server.ask("GET", &format!("/api/v1/findings/{id}/fix"), "", "");
    assert_eq!(status, 404, "what is mended needs no diff: {body}");
    let (status, _) = server.ask("GET", "/api/v1/findings/00000000000000000000000000000000/fix", "", "");
    assert_eq!(status, 404);
}
