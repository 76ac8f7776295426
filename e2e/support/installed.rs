//! Gatepost as `kubectl apply` of its manifests installs it, on a control plane of its own.

use std::sync::OnceLock;
use std::thread;

use serde_json::json;

use super::control_plane::ControlPlane;
use super::decisions::Decision;
use super::kubectl::{Answer, Kubectl, create, kubectl, replace};
use super::manifests;
use super::objects::{Object, config_map, namespace, untagged};
use super::serving::Serving;
use super::wait::eventually;

static SHARED: OnceLock<Option<Installed>> = OnceLock::new();

/// A Gatepost that the whole cluster's API server asks, with the rights of its ServiceAccount.
#[derive(Debug)]
pub struct Installed {
    control_plane: ControlPlane,
    serving: Serving,
    /// What kubectl said to the manifests as they are shipped.
    pub applied: Answer,
}

impl Installed {
    /// Returns the installation that the tests of this process share; `None` where there is no control plane.
    pub fn shared() -> Option<&'static Self> {
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        let control_plane = ControlPlane::own("installed")?;
        let kubectl_there = control_plane.kubectl();
        kubectl_there.accepts(create(&scaled_objects()));
        let applied = kubectl_there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
        let mut serving = manifests::serving("installed-gatepost", &control_plane);
        serving.launch();
        kubectl_there.accepts(replace(&manifests::service()).with("--force"));
        let registrations = [manifests::registration(serving.webhook()), manifests::mutating(serving.webhook())];
        kubectl_there.accepts(kubectl("apply --server-side -f -").reading(&registrations));
        let installed = Self { control_plane, serving, applied };
        installed.wait_until_asked();
        Some(installed)
    }

    fn wait_until_asked(&self) {
        let probe = self.namespace("probe", &[]);
        let asked = || (!probe.run(create(&untagged("probe")).dry_run()).warnings().is_empty()).then_some(());
        eventually("the API server to ask Gatepost", asked);
    }

    /// Returns kubectl, in no namespace.
    pub fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// Makes a namespace with settings such as `enforce=baseline`, and returns kubectl at work in it.
    #[track_caller]
    pub fn namespace(&self, name: &str, settings: &[&str]) -> Kubectl {
        let object = settings.iter().fold(namespace(name), |object, setting| {
            let (key, value) = setting.split_once('=').expect("key=value");
            object.with(&format!("/metadata/labels/gatepost.dev~1{key}"), value)
        });
        self.kubectl().accepts(create(&object));
        let there = self.kubectl().in_namespace(name);
        there.accepts(kubectl("wait --for=create serviceaccount/default --timeout=50s"));
        there
    }

    /// Returns everything that was sent to Gatepost up to this moment.
    pub fn decisions_until_now(&self, there: &Kubectl, mark: &str) -> Vec<Decision> {
        there.accepts(create(&config_map(mark, "key", "value")));
        eventually("the decision about an object sent last", || {
            let decisions = self.serving.decisions();
            decisions.iter().any(|decision| decision.name == mark).then_some(decisions)
        })
    }

    /// Returns what the API server says this Gatepost asked of it.
    pub fn audit_log(&self) -> String {
        self.control_plane.audit_log()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.serving.log_end());
        }
    }
}

/// KEDA's kind, with as much of it as a watch needs.
fn scaled_objects() -> Object {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Object(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh",
            "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
            "scope": "Namespaced",
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))
}
