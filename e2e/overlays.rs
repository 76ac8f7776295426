//! What people build on the base with kustomize, as kubectl builds it and a real API server takes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::control_plane::ControlPlane;
use crate::support::installed::Installed;
use crate::support::kubectl;
use crate::support::kubectl::Kubectl;
use crate::support::manifests;
use crate::support::objects::{Object, documents, read};
use crate::support::watchdog::state_directory;

/// Kinds that only an operator's CustomResourceDefinitions bring, and the Service, which the tests have lead elsewhere.
const LEFT_OUT: [&str; 4] = ["PodMonitor", "PrometheusRule", "Service", "ServiceMonitor"];

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

/// Builds an overlay over the base.
fn build(kubectl_there: &Kubectl, more: &str) -> Vec<Object> {
    let folder = tempfile::tempdir_in(state_directory()).expect("a folder for the overlay");
    // kustomize takes no absolute paths.
    symlink(shipped(), folder.path().join("manifests")).expect("a link to the manifests");
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [manifests/base]\n{more}"
    );
    fs::write(folder.path().join("kustomization.yaml"), text).expect("a kustomization");
    let built = kubectl_there.accepts(kubectl("kustomize").with(&folder.path().to_string_lossy()));
    assert_eq!(built.stderr, "", "{more}");
    read(&built.stdout)
}

fn with_component(kubectl_there: &Kubectl, component: &str) -> Vec<Object> {
    build(kubectl_there, &format!("components: [manifests/components/{component}]\n"))
}

fn is(kind: &'static str) -> impl Fn(&&Object) -> bool {
    move |object| object.text("/kind") == kind
}

#[test]
fn the_base_is_what_install_yaml_holds() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let built = control_plane.kubectl().accepts(kubectl("kustomize").with(&shipped().join("base").to_string_lossy()));
    assert_eq!(documents(&read(&built.stdout)), documents(&manifests::objects()));
}

#[test]
fn each_component_goes_with_the_base() {
    let Some(installed) = Installed::shared() else { return };
    let components = fs::read_dir(shipped().join("components")).expect("components");
    for component in components {
        let component = component.expect("a component").file_name().to_string_lossy().into_owned();
        let objects = with_component(installed.kubectl(), &component);
        let known = objects.iter().filter(|object| !LEFT_OUT.contains(&object.text("/kind")));
        let request =
            kubectl("apply --server-side --force-conflicts --field-manager=e2e -f -").reading(known).dry_run();
        let answer = installed.kubectl().accepts(request);
        assert_eq!(answer.stderr, "", "{component}");
    }
}

#[test]
fn who_registers_itself_has_no_registration_from_here() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let objects = with_component(control_plane.kubectl(), "self-registration");
    assert!(!objects.iter().any(|object| object.text("/kind").ends_with("WebhookConfiguration")));
    let deployment = objects.iter().find(is("Deployment")).expect("a Deployment");
    let variables = deployment.0.pointer("/spec/template/spec/containers/0/env").expect("variables");
    assert!(variables.to_string().contains(r#"{"name":"GATEPOST_REGISTRATION","value":"self"}"#), "{variables}");
}

#[test]
fn another_namespace_is_told_to_everything_that_names_it() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let elsewhere = "namespace: policy
replacements:
- source: {kind: Namespace, fieldPath: metadata.name}
  targets:
  - select: {kind: ValidatingWebhookConfiguration}
    fieldPaths: ['webhooks.*.namespaceSelector.matchExpressions.0.values.2']
";
    let objects = build(control_plane.kubectl(), elsewhere);
    for object in &objects {
        assert_ne!(object.text("/metadata/namespace"), manifests::NAMESPACE, "{object}");
        assert_ne!(object.text("/subjects/0/namespace"), manifests::NAMESPACE, "{object}");
    }
    let registration = objects.iter().find(is("ValidatingWebhookConfiguration")).expect("a registration");
    for webhook in registration.0["webhooks"].as_array().expect("webhooks") {
        assert_eq!(webhook["clientConfig"]["service"]["namespace"], "policy");
        let left_out = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
        assert_eq!(left_out, &json!(["kube-system", "kube-node-lease", "policy"]));
    }
}
