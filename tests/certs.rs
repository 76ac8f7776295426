//! `gatepost certs` on real files.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn certs(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("certs").args(arguments).current_dir(dir).env_remove("KUBECONFIG");
    command.output().expect("gatepost runs")
}

/// Returns what tells the certificates apart: days that are left change while one looks.
fn fingerprints(view: &Value) -> [&Value; 2] {
    [&view["serving"]["fingerprint"], &view["authorities"][0]["fingerprint"]]
}

#[test]
fn makes_once_shows_and_never_prints_a_key() {
    let dir = TempDir::new().expect("a directory");
    let arguments = ["make", "--name", "gate.example", "--namespace", "policy", "-o", "json"];
    let made = certs(&arguments, dir.path());
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let view: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let names: Vec<&str> =
        view["serving"]["names"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    for name in ["localhost", "127.0.0.1", "gatepost.policy.svc", "gate.example"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(view["isAccepted"], true);
    // A second may have gone by since it was made.
    assert!((364..=365).contains(&view["serving"]["daysLeft"].as_i64().unwrap()), "{view}");
    assert_eq!(view["authorities"][0]["hasIssued"], true);
    assert!(fingerprints(&view).iter().all(|text| text.is_string()), "{view}");
    let again: Value = serde_json::from_slice(&certs(&arguments, dir.path()).stdout).expect("JSON");
    assert_eq!(fingerprints(&again), fingerprints(&view), "what there is, is used again");

    let text = String::from_utf8(certs(&["show"], dir.path()).stdout).expect("text");
    assert!(text.contains("365 days left") || text.contains("364 days left"), "{text}");
    assert!(text.ends_with("A client that trusts these authorities accepts it.\n"), "{text}");
    assert!(!text.contains("PRIVATE") && !String::from_utf8_lossy(&made.stdout).contains("PRIVATE"));
    let chain = certs(&["show", "--tls-cert", "gatepost-data/tls.crt", "-o", "json"], dir.path());
    let chain: Value = serde_json::from_slice(&chain.stdout).expect("JSON");
    assert_eq!(fingerprints(&chain), fingerprints(&view), "ca.crt beside it is its authority");
    assert_eq!(chain["isAccepted"], true);
}

#[test]
fn exit_codes_say_what_is_wrong() {
    let dir = TempDir::new().expect("a directory");
    let code = |arguments: &[&str]| certs(arguments, dir.path()).status.code();
    assert_eq!(code(&["show"]), Some(3), "there is nothing");
    assert_eq!(code(&["make", "--name", "no name"]), Some(2));
    assert_eq!(code(&["make", "--ca-lifetime", "1d"]), Some(2));
    assert_eq!(code(&["make", "--ca-lifetime", "30d", "--tls-lifetime", "10d"]), Some(0));
    assert_eq!(code(&["show"]), Some(0));
    let data = dir.path().join("gatepost-data");
    assert_eq!(code(&["make", "--out", "other"]), Some(0));
    for name in ["tls.crt", "tls.key"] {
        std::fs::copy(dir.path().join("other").join(name), data.join(name)).expect("a copy");
    }
    assert_eq!(code(&["show"]), Some(1), "of another authority");
    std::fs::write(data.join("ca.crt"), "?").expect("written");
    assert_eq!(code(&["show"]), Some(3));
}
