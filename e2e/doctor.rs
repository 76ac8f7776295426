//! `gatepost doctor` and `gatepost uninstall`, beside a Gatepost that registers itself.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::kubectl::kubectl;
use crate::support::manifests::NAMESPACE;
use crate::support::objects::read;
use crate::support::registered::{SELF_RIGHTS, Scene};
use crate::support::serving::Serving;
use crate::support::wait::eventually;

fn gatepost(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).args(["--namespace", NAMESPACE, "--kubeconfig"]).arg(scene.control_plane().kubeconfig());
    command.output().expect("gatepost runs")
}

/// What the doctor says of each check: its state, and the words.
type Diagnosis = BTreeMap<String, (String, String)>;

fn doctor(scene: &Scene, serving: &Serving) -> (Option<i32>, Diagnosis) {
    let data_dir = serving.directory().join("data");
    let data_dir = data_dir.to_str().expect("a path");
    let output = gatepost(scene, &["doctor", "-o", "json", "--data-dir", data_dir]);
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let one = |finding: &Value| {
        let words = format!("{} {}", text(finding, "says"), text(finding, "mend"));
        (text(finding, "check"), (text(finding, "state"), words))
    };
    (output.status.code(), findings.iter().map(one).collect())
}

#[track_caller]
fn says(diagnosis: &Diagnosis, check: &str, state: &str, words: &str) {
    let found = &diagnosis[check];
    assert!(found.0 == state && found.1.contains(words), "{check} should be {state} ({words}): {diagnosis:#?}");
}

#[test]
fn the_doctor_names_what_is_wrong_and_nothing_else() {
    let Some(mut scene) = Scene::start() else { return };
    let mut serving = scene.serving("self", scene.port);
    serving.launch();
    scene.until_full();
    let (code, well) = doctor(&scene, &serving);
    for check in ["API server", "process", "CA bundle", "requests", "rights", "clock", "certificates"] {
        says(&well, check, "ok", "");
    }
    says(&well, "watch of namespaces", "ok", "");
    // The shipped port is 443; this scene's is another, and its Service leads there.
    says(&well, "registration", "ok", "probe.validate.gatepost.dev");
    // There are no nodes for Pods to run on.
    says(&well, "Deployment", "problem", "0 of 2");
    assert_eq!(code, Some(1));

    let rights = kubectl("delete clusterrolebinding gatepost-self-registration");
    scene.kubectl().accepts(rights);
    let (_, without_rights) = doctor(&scene, &serving);
    scene.kubectl().accepts(kubectl("apply --server-side -f -").reading(&read(SELF_RIGHTS)));
    says(&without_rights, "rights", "problem", "update mutatingwebhookconfigurations");

    serving.kill();
    let (_, without_process) = doctor(&scene, &serving);
    assert_ne!(without_process["process"].0, "ok", "{without_process:#?}");
    assert_ne!(without_process["requests"].0, "ok", "{without_process:#?}");
}

#[test]
fn what_somebody_deleted_is_told_and_resumed() {
    let Some(mut scene) = Scene::start() else { return };
    let mut serving = scene.serving("self", scene.port);
    serving.launch();
    scene.until_full();
    scene.kubectl().accepts(kubectl("delete validatingwebhookconfiguration/gatepost"));
    let paused = || (serving.metric("gatepost_registration_paused") == Some(1.0)).then_some(());
    eventually("the pause", paused);
    let (code, diagnosis) = doctor(&scene, &serving);
    says(&diagnosis, "registration", "problem", "doctor --resume");
    says(&diagnosis, "requests", "problem", "do not arrive");
    assert_eq!(code, Some(1));
    let resumed = gatepost(&scene, &["doctor", "--resume"]);
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("written again"), "{resumed:?}");
    scene.until_full();
}

#[test]
fn uninstall_takes_the_registration_first_and_says_what_is_left() {
    let Some(mut scene) = Scene::start() else { return };
    let mut serving = scene.serving("self", scene.port);
    serving.launch();
    scene.until_full();
    let said = |arguments: &[&str]| {
        let output = gatepost(&scene, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(said(&["uninstall", "--dry-run"]).contains("Would remove ValidatingWebhookConfiguration gatepost"));
    assert!(scene.live().is_some(), "a dry run removes nothing");
    let text = said(&["uninstall"]);
    assert!(text.contains("Removed ValidatingWebhookConfiguration gatepost"), "{text}");
    assert!(text.contains(&format!("kubectl delete namespace {NAMESPACE}")), "{text}");
    let roles = text.lines().find(|line| line.contains("kubectl delete clusterrolebinding")).unwrap_or_default();
    assert!(roles.contains("gatepost-webhook"), "{text}");
    let paused = || (serving.metric("gatepost_registration_paused") == Some(1.0)).then_some(());
    eventually("Gatepost to leave it so", paused);
    assert!(scene.live().is_none());
    assert!(said(&["uninstall"]).contains("There is no webhook configuration"));
}
