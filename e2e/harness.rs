//! The ground the other tests stand on.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use crate::support::control_plane::ControlPlane;
use crate::support::objects::{config_map, deployment, namespace};
use crate::support::programs::kubernetes_version;
use crate::support::wait::eventually;
use crate::support::watchdog::Guarded;
use crate::support::{create, kubectl};

/// Set for the run that is to be killed.
const HOLD: &str = "GATEPOST_E2E_HOLD";

#[test]
fn the_api_server_is_of_the_version_that_go_mod_names() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let version = control_plane.kubectl().accepts(kubectl("get --raw /version"));
    let expected = kubernetes_version().expect("a version");
    let is_ours = std::env::var_os("KUBEBUILDER_ASSETS").is_none();
    assert!(!is_ours || version.stdout.contains(&format!("\"gitVersion\": \"{expected}\"")), "{version}");
}

#[test]
fn real_controllers_make_the_pods_of_a_deployment() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    control_plane.kubectl().accepts(create(&namespace("harness")));
    let kubectl_there = control_plane.kubectl().in_namespace("harness");
    kubectl_there.accepts(create(&deployment("web")));
    eventually("two Pods", || {
        let pods = kubectl_there.accepts(kubectl("get pods -o name"));
        (pods.stdout.lines().count() == 2).then_some(())
    });
}

#[test]
fn a_refusal_that_is_not_a_webhooks_is_no_denial() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let answer = control_plane.kubectl().run(create(&config_map("Not_A_Name", "key", "value")));
    assert!(!answer.succeeded() && answer.denial().is_none(), "{answer}");
}

#[test]
fn nothing_survives_a_test_process_that_is_killed() {
    let mut run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "harness::holds_a_process_until_killed", "--ignored", "--nocapture"])
        .env(HOLD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test program again");
    let mut said = BufReader::new(run.stderr.take().expect("the stderr asked for")).lines();
    let line = said.find_map(|line| line.ok()?.strip_prefix("held: ").map(str::to_owned)).expect("a line of two words");
    let (pid, state) = line.split_once(' ').expect("a pid and a directory");
    assert!(is_alive(pid));
    run.kill().expect("killed");
    run.wait().expect("gone");
    eventually("the held process to be gone", || (!is_alive(pid)).then_some(()));
    eventually("its state to be gone", || (!std::path::Path::new(state).exists()).then_some(()));
}

#[test]
#[ignore = "run, and killed, by nothing_survives_a_test_process_that_is_killed"]
fn holds_a_process_until_killed() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    let held = Guarded::spawn(Command::new("sleep").arg("600")).expect("sleep");
    eprintln!("held: {} {}", held.pid(), crate::support::watchdog::state_directory().display());
    // Until the other end is gone, that is until both are.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Returns whether a process runs; one that has ended and waits for its parent does not.
fn is_alive(pid: &str) -> bool {
    let status = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().expect("ps");
    let status = String::from_utf8_lossy(&status.stdout);
    !status.trim().is_empty() && !status.trim_start().starts_with('Z')
}
