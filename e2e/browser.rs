//! The dashboard in a real Chromium, on a real audit of the real control plane: `e2e/browser/pages.mjs` drives it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::objects::{self, CONTAINER, Object, deployment, untagged};
use crate::support::skip::skip;
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, kubectl};

const CHROMIUM: &str = "/usr/bin/chromium";

/// Returns why the browser tests cannot run here; nothing where they can.
pub fn missing(folder: &Path, module: &str) -> Option<String> {
    if !Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some("there is no node".to_owned());
    }
    if !Path::new(CHROMIUM).exists() {
        return Some(format!("there is no {CHROMIUM}: apt-get install chromium"));
    }
    let is_there = [module, "playwright-core"].iter().all(|module| folder.join("node_modules").join(module).exists());
    (!is_there).then(|| format!("run npm ci in {}", folder.display()))
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/browser");
    if let Some(reason) = missing(&folder, "axe-core") {
        return skip("a browser", &reason);
    }
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/browser");
    if let Some(reason) = missing(&folder, "axe-core") {
        return skip("a browser", &reason);
    }
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
