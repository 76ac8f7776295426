//! What `manifests/install.yaml` ships, put to work beside a control plane that has no nodes.
//!
//! Two things are changed for that, and no others: the Service leads to this machine, and the registration names the
//! port where Gatepost listens here, for the API server does not look up the port of a Service of type ExternalName.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::kubectl::{kubectl, replace};
use super::objects::{Object, read};
use super::serving::Serving;

/// Where the manifests install Gatepost.
pub const NAMESPACE: &str = "gatepost";

const INSTALL: &str = include_str!("../../manifests/install.yaml");

/// Returns the objects of `install.yaml`, in order.
pub fn objects() -> Vec<Object> {
    read(INSTALL)
}

/// Returns the one object of a kind.
pub fn object(kind: &str) -> Object {
    objects().into_iter().find(|object| object.text("/kind") == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// Returns the Roles and ClusterRoles of a component.
pub fn roles(component: &str) -> Vec<Object> {
    let is_role = |object: &Object| object.text("/kind").ends_with("Role");
    let is_of = |object: &Object| object.text("/metadata/labels/app.kubernetes.io~1component") == component;
    objects().into_iter().filter(|object| is_role(object) && is_of(object)).collect()
}

/// Returns the Service, leading to this machine.
pub fn service() -> Object {
    object("Service").with("/spec", json!({"type": "ExternalName", "externalName": "localhost"}))
}

/// Returns the registration, with the port of an address on this machine.
pub fn registration(address: &str) -> Object {
    reached_at(object("ValidatingWebhookConfiguration"), address)
}

/// Returns the registration of `components/mutation`, with the port of an address on this machine.
pub fn mutating(address: &str) -> Object {
    reached_at(read(include_str!("../../manifests/components/mutation/webhook.yaml")).remove(0), address)
}

fn reached_at(registration: Object, address: &str) -> Object {
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let entries = registration.0["webhooks"].as_array().expect("webhooks").len();
    (0..entries).fold(registration, |registration, entry| {
        registration.with(&format!("/webhooks/{entry}/clientConfig/service/port"), port)
    })
}

/// Returns a webhook that is run as its Deployment would run it: with those arguments, the files of the ConfigMap, and a
/// token of the ServiceAccount, which must be there.
pub fn serving(name: &str, control_plane: &ControlPlane) -> Serving {
    run_as("Deployment", "gatepost", name, control_plane, "https://gatepost-scanner")
}

/// Returns a webhook as [`serving`] does, that reports to a scanner on this machine.
pub fn reporting_to(scanner: &str, name: &str, control_plane: &ControlPlane) -> Serving {
    run_as("Deployment", "gatepost", name, control_plane, scanner)
}

/// Starts a webhook that reports to a scanner on this machine, and has the API server ask it.
pub fn registered(scanner: &str, name: &str, control_plane: &ControlPlane) -> Serving {
    let mut webhook = reporting_to(&format!("http://{scanner}"), name, control_plane);
    webhook.launch();
    let there = control_plane.kubectl();
    there.accepts(replace(&service()).with("--force"));
    there.accepts(kubectl("apply --server-side -f -").reading(&[registration(webhook.webhook())]));
    webhook
}

/// Returns a scanner that is run as its StatefulSet would run it.
pub fn scanner(name: &str, control_plane: &ControlPlane) -> Serving {
    run_as("StatefulSet", "gatepost-scanner", name, control_plane, "")
}

fn run_as(kind: &str, account: &str, name: &str, control_plane: &ControlPlane, scanner: &str) -> Serving {
    let mut serving = Serving::new(name);
    let directory = serving.directory().to_owned();
    let kubectl_there = control_plane.kubectl().in_namespace(NAMESPACE);
    kubectl_there.accepts(kubectl(&format!("wait --for=create serviceaccount/{account} --timeout=50s")));
    let token = |more: &str| {
        let made = kubectl_there.accepts(kubectl(&format!("create token {account} --duration=2h {more}")));
        made.stdout.trim().to_owned()
    };
    let kubeconfig = directory.join("kubeconfig");
    control_plane.kubeconfig_for(&token(""), &kubeconfig);
    fs::create_dir_all(directory.join("policies")).expect("an empty directory of policies");
    fs::write(directory.join("config.yaml"), object("ConfigMap").text("/data/config.yaml")).expect("a file");
    fs::write(directory.join("token"), token("--audience=gatepost")).expect("a file");
    serving.with(arguments(kind, &directory, scanner));
    serving.with([OsString::from("--kubeconfig"), kubeconfig.into()]);
    serving.with(["--namespace", NAMESPACE]);
    serving
}

/// Returns the container's arguments, with the paths of this machine.
fn arguments(kind: &str, directory: &Path, scanner: &str) -> Vec<String> {
    let workload = object(kind);
    let arguments = workload.0.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
    let arguments = arguments.expect("arguments").iter().map(|argument| argument.as_str().expect("a text"));
    let (command, flags): (Vec<&str>, Vec<&str>) = arguments.partition(|argument| !argument.starts_with('-'));
    assert_eq!(command, ["serve"]);
    // A process of the tests has its data where the tests look for it.
    let flags = flags.into_iter().filter(|flag| !flag.starts_with("--data-dir="));
    let here = directory.to_string_lossy();
    let places = [
        ("https://gatepost-scanner", scanner.to_owned()),
        ("/etc/gatepost", here.to_string()),
        ("/var/lib/gatepost", format!("{here}/data")),
        ("/var/run/secrets/gatepost.dev/scanner", here.to_string()),
    ];
    let moved = |flag: &str| places.iter().fold(flag.to_owned(), |flag, (from, to)| flag.replace(from, to));
    flags.map(moved).collect()
}
