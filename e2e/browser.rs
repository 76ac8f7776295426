//! The dashboard in a real Chromium, on a real audit of the real control plane: `e2e/browser/pages.mjs` drives it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::objects::{self, CONTAINER, Object, deployment, namespace, untagged};
use crate::support::serving::Serving;
use crate::support::skip::skip;
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, create, http, kubectl, manifests};

const CHROMIUM: &str = "/usr/bin/chromium";

/// Returns the directory of what drives the browser, and says that the running test is skipped where that, or a module that it
/// needs, is not there.
pub fn folder_with(module: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/browser");
    match missing(&folder, module) {
        None => Some(folder),
        Some(reason) => {
            skip("a browser", &reason);
            None
        }
    }
}

/// Returns why the browser tests cannot run here; nothing where they can.
fn missing(folder: &Path, module: &str) -> Option<String> {
    if !Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some("there is no node".to_owned());
    }
    if !Path::new(CHROMIUM).exists() {
        return Some(format!("there is no {CHROMIUM}: apt-get install chromium"));
    }
    let is_there = [module, "playwright-core"].iter().all(|module| folder.join("node_modules").join(module).exists());
    (!is_there).then(|| format!("run npm ci in {}", folder.display()))
}

/// Returns a control plane of its own with what the manifests install, but for the registrations.
fn unregistered(name: &str) -> Option<ControlPlane> {
    let control_plane = ControlPlane::own(name)?;
    let there = control_plane.kubectl();
    there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    there.accepts(kubectl("delete validatingwebhookconfigurations --all"));
    Some(control_plane)
}

fn hostile(name: &str) -> Object {
    let script = "<script>alert('from an annotation')</script>";
    objects::privileged(name)
        .with("/metadata/annotations/note", script)
        .with(&format!("{CONTAINER}/args"), json!(["--title", "</code><img src=x onerror=alert(1)>"]))
        .without(&format!("{CONTAINER}/resources"))
}

/// Returns an object as Argo CD marks what it delivers.
fn delivered(object: Object) -> Object {
    object
        .with("/metadata/annotations", json!({"argocd.argoproj.io/tracking-id": "shop-front:apps/Deployment:shop/web"}))
}

/// Exemptions as they stand in a file: one that is never used, and one that has ended.
const EXEMPTIONS: &str = "
apiVersion: gatepost.dev/v1alpha1
kind: ClusterExemption
metadata: {name: vendor-images}
spec:
  rules: [container-image-tag]
  match: {kinds: [workloads], names: [vendor-*]}
  reason: the vendor publishes no tags
  owner: team-platform
  expires: 2099-01-01
---
apiVersion: gatepost.dev/v1alpha1
kind: ClusterExemption
metadata: {name: last-year}
spec:
  rules: [container-privileged, container-image-tag]
  match: {kinds: [core/Pod], namespaces: [migration]}
  reason: moved with its own tools
  owner: team-shop
  expires: 2020-01-01
";

#[test]
fn every_page_is_accessible_quick_and_safe_in_a_browser() {
    let Some(folder) = folder_with("axe-core") else { return };
    let arguments = &["--audit-interval", "1h"];
    let policies = &[("exemptions.yaml", EXEMPTIONS)];
    let Some(gatepost) = Gatepost::start(&Options { policies, arguments, ..Options::default() }) else { return };
    let shop = gatepost.namespace("shop", &["warn=recommended"]);
    for name in ["web", "cart", "ledger"] {
        shop.accepts(apply(&delivered(untagged(name))));
    }
    // What it breaks is mended by a diff.
    shop.accepts(apply(&delivered(deployment("checkout").without(&format!("{CONTAINER}/resources/limits")))));
    let payments = gatepost.namespace("payments", &["warn=strict"]);
    for name in ["api", "worker"] {
        payments.accepts(apply(&hostile(name)));
    }
    payments.accepts(apply(&deployment("good")));
    // Names without a place to break at, nearly as long as they may be.
    let long = gatepost.namespace(&"w".repeat(45), &["warn=recommended"]);
    long.accepts(apply(&untagged("long").with("/metadata/name", "m".repeat(200))));
    let address = eventually("the address of the API", || {
        let addresses = fs::read(gatepost.serving().directory().join("data/addresses.json")).ok()?;
        let addresses: Value = serde_json::from_slice(&addresses).ok()?;
        addresses["http"].as_str().map(str::to_owned)
    });
    let mut command = Command::new("node");
    command
        .arg("pages.mjs")
        .env("KUBE_TOKEN", administrator(&gatepost))
        .env("SHOP", &shop.name)
        .env("LONG", &long.name);
    command.env("SCREENSHOTS", screenshots());
    if std::env::var_os("GATEPOST_IMAGES").is_some() {
        command.env("IMAGES", Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images"));
    }
    succeeds(command.env("GATEPOST_URL", format!("http://{address}")).current_dir(&folder));
}

/// Runs a program that says by its exit code whether all is well.
fn succeeds(command: &mut Command) {
    let output = command.output().expect("node runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
}

#[test]
fn pages_work_behind_a_proxy_that_takes_a_path_off_and_an_audit_is_cancelled_there() {
    let Some(folder) = folder_with("axe-core") else { return };
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let url: &str = format!("http://127.0.0.1:{port}/tools/gatepost").leak();
    // At one request a second the first audit is still under way when the browser comes.
    let arguments: &[&str] = vec!["--audit-interval", "1h", "--audit-qps", "1", "--external-url", url].leak();
    let Some(gatepost) = Gatepost::start(&Options { arguments, ..Options::default() }) else { return };
    let address = gatepost.serving().http().expect("an address");
    let mut command = Command::new("node");
    command.arg("proxied.mjs").env("PROXY_PORT", port.to_string()).env("GATEPOST_URL", format!("http://{address}"));
    succeeds(command.current_dir(&folder));
}

#[test]
fn pages_say_what_is_the_matter_with_a_cluster() {
    let Some(folder) = folder_with("axe-core") else { return };
    let Some(control_plane) = unregistered("states") else { return };
    let there = control_plane.kubectl();
    for name in ["shop", "bank"] {
        there.accepts(create(&namespace(name)));
        there.in_namespace(name).accepts(apply(&untagged(if name == "shop" { "web" } else { "safe" })));
    }
    // Nobody serves this group, so its kinds cannot be read.
    there.accepts(create(&Object(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.nobody.example"},
        "spec": {"group": "nobody.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"namespace": "shop", "name": "nobody"}},
    }))));
    let [mut slow, mut scanner] = ["states-slow", "states"].map(|name| manifests::scanner(name, &control_plane));
    slow.with(["--audit-interval", "1h", "--audit-qps", "1"]);
    scanner.with(["--audit-interval", "1h"]);
    scanner.launch();
    eventually("an audit", || scanner.logged("what stands was audited").pop());
    let limited = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args([
            "tokens",
            "create",
            "--label",
            "shop",
            "--scope",
            "read",
            "--namespace",
            "shop",
            "-o",
            "json",
            "--data-dir",
        ])
        .arg(scanner.directory().join("data"))
        .output()
        .expect("gatepost runs");
    let limited: Value = serde_json::from_slice(&limited.stdout).expect("a token");
    slow.launch();
    let [slow, scanner] = [&slow, &scanner].map(|serving| format!("http://{}", serving.http().expect("an address")));
    // Neither of these has a cluster: one finds nothing wrong with a folder, the other's database is not there.
    let [mut clean, mut away] = ["states-clean", "states-away"].map(Serving::new);
    let folder_of_one = clean.directory().join("manifests");
    fs::create_dir_all(&folder_of_one).expect("a folder");
    fs::write(folder_of_one.join("web.json"), deployment("web").0.to_string()).expect("a manifest");
    clean.with(["--audit-interval", "1h", "--manifests", "manifests"]);
    away.with(["--database-url", "postgres://nobody@127.0.0.1:1/nothing"]);
    clean.launch();
    away.launch();
    let [clean, away] = [&clean, &away].map(|serving| format!("http://{}", serving.http().expect("an address")));
    let mut command = Command::new("node");
    command.env("CLEAN_URL", clean).env("AWAY_URL", away);
    command.arg("states.mjs").env("SLOW_URL", slow).env("GATEPOST_URL", scanner).env("SCREENSHOTS", screenshots());
    succeeds(command.env("LIMITED_TOKEN", limited["token"].as_str().expect("a token")).current_dir(&folder));
}

#[test]
fn an_exemption_made_in_the_browser_is_honoured_at_admission() {
    let Some(folder) = folder_with("axe-core") else { return };
    let Some(control_plane) = unregistered("exempting") else { return };
    let there = control_plane.kubectl();
    let mut scanner = manifests::scanner("exempting-scanner", &control_plane);
    scanner.with(["--audit-interval", "2s"]);
    scanner.launch();
    let address = scanner.http().expect("an address");
    there.accepts(create(&namespace("moved")));
    let moved = there.in_namespace("moved");
    moved.accepts(apply(&untagged("web")));
    let _webhook = manifests::registered(&address, "exempting-webhook", &control_plane);
    there.accepts(kubectl("label namespace moved gatepost.dev/enforce=recommended"));
    there.accepts(kubectl("annotate namespace moved gatepost.dev/enforce-scope=all"));
    let touch = || kubectl("annotate --overwrite deployment/web touched=yes").dry_run();
    eventually("it to be enforced", || moved.run(touch()).denial().map(drop));
    let findings = |state: &str| -> Option<Value> {
        let path = format!("/api/v1/findings?namespace=moved&rule=container-image-tag&state={state}");
        let answer: Value = serde_json::from_str(&http::body_of(&address, &path)?).ok()?;
        let [one] = answer["items"].as_array()?.as_slice() else { return None };
        (one["resource"]["kind"] == "Deployment").then(|| one.clone())
    };
    eventually("the audit to say so, of the Deployment alone", || {
        findings("open").filter(|open| open["action"] == "deny")
    });

    let file = scanner.directory().join("accepted.yaml");
    let browse = |step: &str| {
        let mut command = Command::new("node");
        command.arg("exempting.mjs").env("STEP", step).env("NAMESPACE", "moved").env("FILE", &file);
        succeeds(command.env("GATEPOST_URL", format!("http://{address}")).current_dir(&folder));
    };
    browse("make");
    moved.rejects(touch()).denies_for("container-image-tag");
    there.accepts(kubectl(&format!("apply -f {}", file.display())));
    eventually("the exemption to be honoured", || moved.run(touch()).succeeded().then_some(()));
    moved.rejects(create(&untagged("other")).dry_run()).denies_for("container-image-tag");
    eventually("the audit to excuse it, too", || findings("exempt"));
    browse("seen");
}

/// Returns the token of somebody who may do everything in the cluster, made for Gatepost and for the API server.
fn administrator(gatepost: &Gatepost) -> String {
    let people = gatepost.namespace("people", &[]);
    people.accepts(kubectl("create serviceaccount ann"));
    let bind = format!("create clusterrolebinding ann-{} --clusterrole=cluster-admin", people.name);
    gatepost.kubectl().accepts(kubectl(&format!("{bind} --serviceaccount={}:ann", people.name)));
    let audiences = "--audience=gatepost --audience=https://kubernetes.default.svc";
    people.accepts(kubectl(&format!("create token ann {audiences}"))).stdout.trim().to_owned()
}

/// Returns where screenshots are kept.
pub fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots")
}
