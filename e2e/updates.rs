//! Updates: what they bring in is judged, what was there is not held against them.

use serde_json::json;

use crate::support::objects::{Object, container, privileged};
use crate::support::{Gatepost, Namespace, Options, create, kubectl, patch, replace};

/// Returns a namespace where a privileged Deployment `web` stood before privileged containers were denied.
pub fn enforced_too_late(gatepost: &Gatepost, settings: &[&str]) -> Namespace {
    let shop = gatepost.namespace("shop", settings);
    // Not applied: kubectl would refresh the annotation that apply leaves, with any later write.
    shop.accepts(create(&privileged("web"))).warns_of("container-privileged");
    shop.accepts(kubectl("wait --for=jsonpath={.status.replicas}=2 deployment/web --timeout=50s"));
    shop.set("enforce=baseline");
    shop.comes_to_reject(&privileged("probe"));
    shop
}

#[test]
fn a_bad_deployment_can_be_restarted_scaled_annotated_and_given_another_image() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &[]);
    for change in [
        "rollout restart deployment/web",
        "set image deployment/web app=nginx:1.28.0",
        "annotate deployment/web team=a",
    ] {
        shop.accepts(kubectl(change)).warns_of("container-privileged");
    }
    shop.accepts(patch("deployment/web", &json!({"spec": {"replicas": 3}}))).warns_of("container-privileged");
    shop.accepts(kubectl("scale deployment/web --replicas=1"));
}

#[test]
fn a_privileged_sidecar_is_denied_beside_a_container_that_was_privileged() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &[]);
    let add = |sidecar: &Object| {
        patch("deployment/web", &json!([{"op": "add", "path": "/spec/template/spec/containers/-", "value": sidecar}]))
    };
    let sidecar = Object(container("sidecar"));
    shop.rejects(add(&sidecar.clone().with("/securityContext/privileged", true))).denies_for("sidecar");
    shop.accepts(add(&sidecar)).warns_of("container-privileged");
}

#[test]
fn scope_all_denies_what_was_there_too() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &["enforce-scope=all"]);
    shop.rejects(kubectl("rollout restart deployment/web")).denies_for("container-privileged");
}

#[test]
fn an_update_that_changes_nothing_is_not_judged() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &["enforce-scope=all"]);
    let current =
        || shop.accepts(kubectl("get deployment web -o json")).objects().remove(0).without("/metadata/resourceVersion");
    shop.accepts(replace(&current())).is_silent();
    shop.rejects(replace(&current().with("/metadata/labels/team", "a")));
}

#[test]
fn finalizers_come_and_go_on_a_bad_object() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &["enforce-scope=all"]);
    shop.accepts(patch("deployment/web", &json!({"metadata": {"finalizers": ["e2e.gatepost.dev/hold"]}})));
    shop.accepts(patch("deployment/web", &json!({"metadata": {"finalizers": null}})));
}

#[test]
fn a_status_that_is_written_with_the_whole_object_is_not_judged() {
    let Some(gatepost) = Gatepost::start(&Options { policies: WIDGETS, ..Options::default() }) else { return };
    gatepost.kubectl().accepts(create(&widget_definition()));
    gatepost.kubectl().accepts(kubectl("wait --for=condition=Established crd/widgets.e2e.gatepost.dev --timeout=60s"));
    let shop = gatepost.namespace("shop", &["warn=widgets", "enforce-scope=all"]);
    let grey = |name: &str| {
        Object(
            json!({"apiVersion": "e2e.gatepost.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"colour": "grey"}}),
        )
    };
    shop.accepts(create(&grey("old"))).warns_of("widget-colour");
    shop.set("enforce=widgets");
    shop.comes_to_reject(&grey("new"));

    let current = || shop.accepts(kubectl("get widget old -o json")).objects().remove(0);
    shop.accepts(replace(&current().with("/status/phase", "Ready"))).is_silent();
    assert_eq!(current().text("/status/phase"), "Ready");
    shop.rejects(replace(&current().with("/spec/size", 2))).denies_for("widget-colour");
    shop.accepts(replace(&current().with("/spec/colour", "green"))).is_silent();
}

#[test]
fn a_namespace_may_change_while_bad_objects_stand_in_it() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &["enforce-scope=all"]);
    shop.accepts(kubectl(&format!("label namespace {} team=a", shop.name)));
}

/// A kind without a status subresource: its controller writes status with the whole object, as Argo CD does.
fn widget_definition() -> Object {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Object(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.e2e.gatepost.dev"},
        "spec": {
            "group": "e2e.gatepost.dev",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))
}

const WIDGETS: &[(&str, &str)] = &[("widget-colour.rego", WIDGET_COLOUR), ("widgets.yaml", WIDGETS_POLICY)];

const WIDGET_COLOUR: &str = r#"# METADATA
# title: Widgets have a colour
# custom:
#   id: widget-colour
#   severity: high
#   category: workload
#   kinds: [e2e.gatepost.dev/Widget]
#   fix: Choose a colour.
package gatepost.rules.widget_colour

violation contains {"message": "grey is no colour", "path": ["spec", "colour"]} if {
	input.object.spec.colour == "grey"
}
"#;

const WIDGETS_POLICY: &str = "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: widgets}
spec: {rules: [{id: widget-colour}]}
";
