//! The registration, kept by Gatepost with the rights of its ServiceAccount and asked for by a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use gatepost::cluster::{Installation, connect, registration};
use serde_json::{Value, json};

use crate::support::kubectl::{Kubectl, kubectl, patch};
use crate::support::manifests::NAMESPACE;
use crate::support::objects::{Object, config_map, namespace, privileged};
use crate::support::registered::{Scene, entries, names, trusts};
use crate::support::rights::{self, Asked, Right, granted};
use crate::support::serving::Serving;
use crate::support::wait::{eventually, wait_for};
use crate::support::{apply, create};

const TARGET: &str = "validatingwebhookconfiguration/gatepost";

/// Makes a namespace that enforces, and waits until the API server asks Gatepost about it.
#[track_caller]
fn is_judged(scene: &Scene, name: &str) -> Kubectl {
    let object = namespace(name).with("/metadata/labels/gatepost.dev~1enforce", "baseline");
    scene.kubectl().accepts(create(&object));
    let there = scene.kubectl().in_namespace(name);
    eventually("a denial", || there.run(apply(&privileged("web")).dry_run()).denial().map(drop));
    there
}

fn resource_version(object: &Object) -> String {
    object.text("/metadata/resourceVersion").to_owned()
}

/// Returns the fields that a manager owns in the entries, as `entry: fields`.
fn owned_by(registration: &Object, manager: &str) -> Vec<Value> {
    let fields = registration.0["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    fields.into_iter().filter(|entry| entry["manager"] == manager).map(|entry| entry["fieldsV1"].clone()).collect()
}

#[test]
fn of_a_registration_from_git_only_the_ca_bundle_is_written_and_once() {
    let Some(mut scene) = Scene::start() else { return };
    let shipped = scene.shipped();
    let theirs = entries(&shipped)[0].clone();
    let theirs = Object(theirs).with("/name", "theirs.example.com").with("/clientConfig/service/name", "theirs");
    let with_theirs = shipped.clone().with("/webhooks/2", theirs.0);
    scene.kubectl().accepts(kubectl("apply --server-side -f -").reading([&with_theirs]));
    let mut gatepost = scene.serving("manifest", scene.port);
    gatepost.launch();
    let ours = |live: &Object| Object(live.0.clone()).without("/webhooks/2");
    let without_theirs = |live: &Object| {
        let mut live = ours(live);
        if let Some(list) = live.0["webhooks"].as_array_mut() {
            list.retain(|entry| entry["name"] != "theirs.example.com");
        }
        live
    };
    let live = scene.until("caBundle", |live| trusts(&without_theirs(live), &gatepost));
    let foreign = entries(&live).into_iter().find(|entry| entry["name"] == "theirs.example.com").expect("their entry");
    assert!(foreign["clientConfig"].get("caBundle").is_none(), "what is not ours is left alone: {foreign}");

    let entry = |name: &str| {
        (format!("k:{{\"name\":\"{name}\"}}"), json!({".": {}, "f:clientConfig": {"f:caBundle": {}}, "f:name": {}}))
    };
    let expected: Value = json!({"f:webhooks": serde_json::Map::from_iter(["namespaced", "cluster"].map(|scope| entry(&format!("{scope}.validate.gatepost.dev"))))});
    assert_eq!(owned_by(&live, "gatepost"), [expected]);
    let without_bundle = |object: &Object| -> Vec<Value> {
        entries(object).into_iter().map(|entry| Object(entry).without("/clientConfig/caBundle").0).collect()
    };
    assert_eq!(without_bundle(&live), without_bundle(&with_theirs), "nothing else was changed or filled in");
    is_judged(&scene, "shop-manifest");

    // Every start looks at it anew.
    for _ in 0..2 {
        gatepost.kill();
        gatepost.launch();
        eventually("the CA to match", || (gatepost.metric("gatepost_registration_ca_matches")? > 0.5).then_some(()));
        assert_eq!(gatepost.metric("gatepost_registration_writes_total"), Some(0.0));
    }
    // GitOps applies the same again and again.
    scene.kubectl().accepts(kubectl("apply --server-side --force-conflicts -f -").reading([&with_theirs]));
    assert_eq!(resource_version(&scene.live().expect("it")), resource_version(&live));

    scene.kubectl().accepts(patch(TARGET, &json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])));
    scene.until("caBundle again", |live| trusts(&without_theirs(live), &gatepost));
    assert_eq!(scene.forbidden(), Vec::<String>::new());
}

#[test]
fn a_registration_from_git_that_is_deleted_is_not_made_again() {
    let Some(mut scene) = Scene::start() else { return };
    let mut gatepost = scene.serving("manifest", scene.port);
    gatepost.launch();
    let absent = "gatepost_registration_state{state=\"absent\"}";
    eventually("its absence to be told", || (gatepost.metric(absent)? > 0.5).then_some(()));
    says(&gatepost, "no ValidatingWebhookConfiguration gatepost");
    scene.kubectl().accepts(kubectl("apply --server-side -f -").reading([&scene.shipped()]));
    scene.until("caBundle", |live| trusts(live, &gatepost));
    scene.kubectl().accepts(kubectl(&format!("delete {TARGET}")));
    eventually("its absence to be told", || (gatepost.metric(absent)? > 0.5).then_some(()));
    assert!(scene.live().is_none());
    assert_eq!(gatepost.metric("gatepost_registration_paused"), Some(0.0), "Git says what is there");
}

#[test]
fn registers_itself_once_a_probe_arrived_and_then_leaves_it() {
    let Some(mut scene) = Scene::start() else { return };
    let mut gatepost = scene.serving("self", scene.port);
    gatepost.launch();
    let live = scene.until_full();
    assert!(trusts(&live, &gatepost), "{live}");
    let there = scene.kubectl().accepts(kubectl(&format!("get namespace {NAMESPACE} -o json"))).objects().remove(0);
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": NAMESPACE, "uid": there.text("/metadata/uid")});
    assert_eq!(live.0["metadata"]["ownerReferences"], json!([owner]));
    let mutating = eventually("the mutating one", || scene.find("mutatingwebhookconfiguration/gatepost"));
    assert_eq!(names(&mutating), ["mutate.gatepost.dev"]);
    assert!(trusts(&mutating, &gatepost), "{mutating}");
    let shop = is_judged(&scene, "shop-self");
    shop.rejects(apply(&privileged("web"))).denies_for("Deployment/web: container-privileged");
    assert!(gatepost.metric("gatepost_registration_probes_total{result=\"arrived\"}").is_some_and(|count| count > 0.5));

    gatepost.kill();
    gatepost.launch();
    let registered = "gatepost_registration_state{state=\"registered\"}";
    eventually("the state", || (gatepost.metric(registered)? > 0.5).then_some(()));
    assert_eq!(gatepost.metric("gatepost_registration_writes_total"), Some(0.0), "a restart changes nothing");
    assert_eq!(resource_version(&scene.live().expect("it")), resource_version(&live));
    assert!(!gatepost.readiness().contains("registration"), "{}", gatepost.readiness());

    assert_eq!(scene.forbidden(), Vec::<String>::new());
    let rights = crate::support::objects::read(crate::support::registered::SELF_RIGHTS);
    let used = || Asked::read(&scene.control_plane().audit_log(), rights::WEBHOOK);
    let unused = |asked: &Asked| -> BTreeSet<Right> {
        let granted = granted(rights.iter().filter(|object| object.text("/kind").ends_with("Role")));
        // What makes an object by apply is a patch to the audit log; the mutating one is only written anew when narrowed.
        let is_seen = |right: &Right| right.verb != "create" && !right.resource.starts_with("mutating");
        granted.into_iter().filter(|right| is_seen(right) && !asked.has_used(right)).collect()
    };
    assert_eq!(unused(&used()), BTreeSet::new(), "a right that is never used is too much");
}

#[test]
fn what_somebody_changes_is_written_again() {
    let Some(mut scene) = Scene::start() else { return };
    let mut gatepost = scene.serving("self", scene.port);
    gatepost.launch();
    let live = scene.until_full();
    let never = json!({"name": "never", "expression": "false"});
    scene
        .kubectl()
        .accepts(patch(TARGET, &json!([{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": never}])));
    let is_whole = |now: &Object| entries(now) == entries(&live);
    scene.until("what was there", is_whole);
    scene.kubectl().accepts(patch(TARGET, &json!([{"op": "remove", "path": "/webhooks/1"}])));
    scene.until("what was there", is_whole);
}

#[test]
fn what_cannot_be_reached_is_narrowed_and_widened_again() {
    let Some(mut scene) = Scene::start() else { return };
    let (port, [elsewhere]) = (scene.port, crate::support::control_plane::free_ports().expect("a free port"));
    let mut asked = scene.serving("self", port);
    asked.launch();
    let full = scene.until_full();
    // Another replica, which the API server never asks: the Service leads to the first.
    let mut other = scene.serving("self", elsewhere);
    share_authority(&asked, &other);
    other.launch();
    eventually("a probe of the other", || {
        (other.metric("gatepost_registration_probes_total{result=\"arrived\"}")? > 0.5).then_some(())
    });
    asked.kill();
    let narrow = scene.until("it to be narrowed", |live| names(live) == ["probe.validate.gatepost.dev"]);
    assert_eq!(entries(&narrow)[0]["failurePolicy"], "Fail");
    eventually("the state", || {
        (other.metric("gatepost_registration_state{state=\"probe_only\"}")? > 0.5).then_some(())
    });
    let says = other.readiness();
    assert!(
        says.contains(&format!("cannot reach port {elsewhere} of the Pods behind Service gatepost/gatepost")),
        "{says}"
    );
    assert!(says.contains("the connection is refused") && says.contains("readyz check passed"), "{says}");
    asked.launch();
    let wide = scene.until_full();
    assert_eq!(entries(&wide), entries(&full));
}

#[test]
fn a_gate_that_is_to_fail_closed_is_never_opened() {
    let Some(mut scene) = Scene::start() else { return };
    let (port, [elsewhere]) = (scene.port, crate::support::control_plane::free_ports().expect("a free port"));
    let mut asked = scene.serving("self", port);
    asked.with(["--failure-policy", "fail"]);
    asked.launch();
    let full = scene.until_full();
    assert!(entries(&full).iter().all(|entry| entry["failurePolicy"] == "Fail"), "{full}");
    let mut other = scene.serving("self", elsewhere);
    other.with(["--failure-policy", "fail"]);
    share_authority(&asked, &other);
    other.launch();
    asked.kill();
    let failed = "gatepost_registration_probes_total{result=\"unreachable\"}";
    // Ten seconds apart at the least, and each may take as long as the API server waits.
    let failures = wait_for("more failures than narrow another", Duration::from_mins(4), || {
        (other.metric(failed)? > 3.5).then_some(())
    });
    failures.unwrap_or_else(|error| panic!("{error}\n{}", other.log_end()));
    says(&other, "requests are refused, as failurePolicy is Fail");
    assert_eq!(resource_version(&scene.live().expect("it")), resource_version(&full));
    scene.kubectl().run(kubectl(&format!("delete {TARGET}")));
}

/// Gives one process the authority of another, as a Secret that they share would.
fn share_authority(from: &Serving, to: &Serving) {
    let (from, to) = (from.directory().join("data"), to.directory().join("data"));
    fs::create_dir_all(&to).expect("a data directory");
    for file in ["ca.crt", "ca.key"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).expect("a copy");
        }
    }
}

#[test]
fn what_somebody_deleted_stays_deleted_until_it_is_resumed() {
    let Some(mut scene) = Scene::start() else { return };
    let mut gatepost = scene.serving("self", scene.port);
    gatepost.launch();
    scene.until_full();
    scene.kubectl().accepts(kubectl(&format!("delete {TARGET}")));
    let paused = || (gatepost_paused(&gatepost) == Some(1.0)).then_some(());
    eventually("the pause to be told", paused);
    says(&gatepost, "gatepost doctor --resume");
    gatepost.kill();
    gatepost.launch();
    eventually("the pause to be told after a restart", || (gatepost_paused(&gatepost) == Some(1.0)).then_some(()));
    assert!(scene.live().is_none(), "it stays deleted");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let resumed = runtime.block_on(async {
        let client = connect(Some(scene.control_plane().kubeconfig())).await.expect("a client").expect("a cluster");
        registration::resume(&Installation { client, namespace: NAMESPACE.to_owned() }).await
    });
    assert!(resumed.expect("the state can be written"), "there was something to resume");
    scene.until_full();
    eventually("no pause", || (gatepost_paused(&gatepost) == Some(0.0)).then_some(()));
}

/// Waits for a note beside readiness; it comes a moment after the metric.
#[track_caller]
fn says(gatepost: &Serving, note: &str) {
    eventually(note, || gatepost.readiness().contains(note).then_some(()));
}

fn gatepost_paused(gatepost: &Serving) -> Option<f64> {
    gatepost.metric("gatepost_registration_paused")
}

#[test]
fn with_its_namespace_the_registration_goes_and_does_not_come_back() {
    let Some(scene) = Scene::start() else { return };
    let name = format!("gatepost-{}", scene.port);
    let other =
        Object(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gatepost", "namespace": name},
        "spec": {"type": "ExternalName", "externalName": "localhost"}}));
    scene.kubectl().accepts(kubectl("apply -f -").reading([&namespace(&name), &other]));
    let mut gatepost = Serving::new(&name);
    gatepost.with(["--namespace", &name, "--registration", "self", "--port-of-service", &scene.port.to_string()]);
    gatepost.with(["--kubeconfig".into(), scene.control_plane().kubeconfig().as_os_str().to_owned()]);
    gatepost.listen(scene.port);
    gatepost.launch();
    scene.until_full();
    scene.kubectl().accepts(kubectl(&format!("delete namespace {name} --timeout=50s")));
    eventually("it to go", || scene.live().is_none().then_some(()));
    let absent = "gatepost_registration_state{state=\"absent\"}";
    eventually("its absence to be told", || (gatepost.metric(absent)? > 0.5).then_some(()));
    assert_eq!(gatepost_paused(&gatepost), Some(0.0), "nobody deleted it");
    assert!(scene.live().is_none(), "it does not come back");
    assert!(scene.find("mutatingwebhookconfiguration/gatepost").is_none());
}

#[test]
fn deletion_is_registered_where_a_rule_asks_about_it() {
    let Some(mut scene) = Scene::start() else { return };
    let mut gatepost = scene.serving("self", scene.port);
    let policies = gatepost.directory().join("policies");
    fs::write(policies.join("keep.rego"), KEEP).expect("a rule");
    fs::write(policies.join("keep.yaml"), KEEP_POLICY).expect("a policy");
    gatepost.launch();
    let live = scene.until_full();
    let rules = &entries(&live)[0]["rules"];
    let expected = json!({"apiGroups": [""], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["configmaps"], "scope": "Namespaced"});
    assert_eq!(rules[1], expected, "{rules}");
    assert_eq!(entries(&live)[1]["rules"].as_array().map(Vec::len), Some(1), "nothing outside namespaces: {live}");
    assert_eq!(gatepost.metric("gatepost_registration_missing_delete_kinds"), Some(0.0));
    let object = namespace("kept").with("/metadata/labels/gatepost.dev~1enforce", "keep");
    scene.kubectl().accepts(create(&object));
    let there = scene.kubectl().in_namespace("kept");
    there.accepts(create(&config_map("kept", "key", "value")));
    eventually("the deletion to be denied", || {
        there.run(kubectl("delete configmap kept --dry-run=server")).denial().map(drop)
    });
    drop(gatepost);

    // The same from Git: told, not written.
    scene.kubectl().run(kubectl(&format!("delete {TARGET}")));
    scene.kubectl().accepts(kubectl("apply --server-side -f -").reading([&scene.shipped()]));
    let mut gatepost = scene.serving("manifest", scene.port);
    let policies = gatepost.directory().join("policies");
    fs::write(policies.join("keep.rego"), KEEP).expect("a rule");
    fs::write(policies.join("keep.yaml"), KEEP_POLICY).expect("a policy");
    gatepost.launch();
    let missing = "gatepost_registration_missing_delete_kinds";
    eventually("the missing kind to be counted", || (gatepost.metric(missing)? > 0.5).then_some(()));
    says(&gatepost, "does not ask about DELETE of core/configmaps");
}

const KEEP: &str = r#"# METADATA
# title: Nothing is deleted
# custom:
#   id: keep
#   severity: high
#   category: workload
#   kinds: [core/ConfigMap]
#   operations: [DELETE]
#   fix: Keep it.
package gatepost.rules.keep

violation contains {"message": "keep it", "path": []} if input.operation == "DELETE"
"#;

const KEEP_POLICY: &str = "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: keep}
spec: {rules: [{id: keep}]}
";
