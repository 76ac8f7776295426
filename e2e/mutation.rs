//! Objects that are mended as they are made, and those that are left alone.

use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::objects::{Object, cron_job, deployment, pod, read};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Namespace, Options, apply, create, generate, kubectl, patch, replace};

const POLICIES: &[(&str, &str)] = &[
    (
        "deadlines.yaml",
        "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: deadlines}
spec:
  rules:
  - {id: cronjob-starting-deadline, mutate: true, parameters: {seconds: 300}}
  - {id: marked-pod, mutate: true}
",
    ),
    (
        "marked-pod.rego",
        r#"# METADATA
# title: Pods say that they were seen
# custom:
#   id: marked-pod
#   severity: info
#   category: test
#   kinds: [core/Pod, apps/ReplicaSet]
#   fix: set the annotation
package gatepost.rules.marked_pod

violation contains {"message": "set the annotation", "patch": [{"path": path, "value": "yes"}]} if {
	not object.get(input.object.metadata, "annotations", {})["example.com/seen"]
}

path := ["metadata", "annotations", "example.com/seen"]
"#,
    ),
];
const DEADLINE: &str = "/spec/startingDeadlineSeconds";

/// A Gatepost that the API server asks what to mend too; the registration is gone when dropped.
struct Mending(Gatepost);

impl Mending {
    fn start() -> Option<Self> {
        let gatepost = Gatepost::start(&Options { policies: POLICIES, ..Options::default() })?;
        let mending = Self(gatepost);
        let webhook = json!({
            "name": "mutate.gatepost.dev",
            "clientConfig": mending.0.client_config("/mutate"),
            "rules": [{
                "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE", "UPDATE"],
                "scope": "Namespaced",
            }],
            "namespaceSelector": mending.0.selector(),
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
        });
        let registration = Object(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": mending.0.registration()},
            "webhooks": [webhook],
        }));
        mending.0.kubectl().accepts(create(&registration));
        let probe = mending.0.namespace("mending", &["mutate=deadlines"]);
        eventually("the API server to ask what to mend", || {
            let made = returned(&probe, &cron_job("probe"));
            made.pointer(DEADLINE).map(drop)
        });
        Some(mending)
    }
}

impl Drop for Mending {
    fn drop(&mut self) {
        let name = self.0.registration();
        self.0.kubectl().run(kubectl(&format!("delete mutatingwebhookconfiguration {name} --ignore-not-found")));
    }
}

/// Returns what the API server would store.
fn returned(namespace: &Namespace, object: &Object) -> Value {
    let answer = namespace.accepts(create(object).dry_run().with("-o=json"));
    answer.objects().remove(0).0
}

fn stored(namespace: &Namespace, what: &str) -> Value {
    namespace.accepts(kubectl(&format!("get {what} -o json --show-managed-fields"))).objects().remove(0).0
}

#[test]
fn a_cron_job_is_mended_and_then_accepted_where_its_rule_is_enforced() {
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    let shop = gatepost.namespace("shop", &["mutate=deadlines", "enforce=deadlines", "warn=off"]);
    shop.accepts(create(&cron_job("report"))).is_silent();
    assert_eq!(stored(&shop, "cronjob/report").pointer(DEADLINE), Some(&json!(300)));

    shop.accepts(create(&cron_job("own").with(DEADLINE, 60))).is_silent();
    assert_eq!(stored(&shop, "cronjob/own").pointer(DEADLINE), Some(&json!(60)));

    let strict = gatepost.namespace("strict", &["enforce=deadlines"]);
    strict.rejects(create(&cron_job("report"))).denies_for("cronjob-starting-deadline");
    let off = gatepost.namespace("off", &["enforce=deadlines", "mutate=off"]);
    off.rejects(create(&cron_job("report"))).denies_for("cronjob-starting-deadline");
}

#[test]
fn the_api_servers_audit_log_says_what_was_done() {
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    let shop = gatepost.namespace("shop", &["mutate=deadlines"]);
    shop.accepts(create(&cron_job("audited")));
    let annotations = eventually("the audit log to tell of the CronJob", || {
        let log = gatepost.control_plane().audit_log();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let event = events.find(|event| event["objectRef"]["namespace"] == *shop.name)?;
        Some(event["annotations"].clone())
    });
    let done = "cronjob-starting-deadline: /spec/startingDeadlineSeconds";
    assert_eq!(annotations["mutate.gatepost.dev/mutated"], done, "{annotations}");
}

#[test]
fn an_update_is_judged_and_not_mended() {
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    let shop = gatepost.namespace("shop", &["mutate=deadlines", "enforce=deadlines"]);
    let job = cron_job("report");
    shop.accepts(apply(&job));
    shop.accepts(apply(&job));
    let kept = stored(&shop, "cronjob/report");
    assert_eq!(kept.pointer(DEADLINE), Some(&json!(300)), "apply keeps what Git leaves out");
    assert!(!kept["metadata"]["managedFields"].to_string().contains("f:startingDeadlineSeconds"), "{kept}");
    let remove = json!([{"op": "remove", "path": DEADLINE}]);
    shop.rejects(patch("cronjob/report", &remove)).denies_for("cronjob-starting-deadline");
    shop.rejects(replace(&job)).denies_for("cronjob-starting-deadline");

    shop.set("enforce-");
    let bare = eventually("the update to be admitted", || {
        shop.run(replace(&job)).succeeded().then(|| stored(&shop, "cronjob/report"))
    });
    assert_eq!(bare.pointer(DEADLINE), None);
}

#[test]
fn server_side_apply_keeps_what_was_set() {
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    let shop = gatepost.namespace("shop", &["mutate=deadlines", "enforce=deadlines"]);
    let applied = || {
        let server_side = "apply -f - --server-side --force-conflicts --field-manager=argocd-controller";
        shop.accepts(kubectl(server_side).reading([&cron_job("report")]))
    };
    applied();
    let first = stored(&shop, "cronjob/report");
    assert_eq!(first.pointer(DEADLINE), Some(&json!(300)));
    let owners = first["metadata"]["managedFields"].to_string();
    assert!(owners.contains("f:schedule") && !owners.contains("f:startingDeadlineSeconds"), "{owners}");
    applied();
    assert_eq!(stored(&shop, "cronjob/report").pointer(DEADLINE), Some(&json!(300)));
}

#[test]
fn what_controllers_make_is_left_alone() {
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    let shop = gatepost.namespace("shop", &["mutate=deadlines"]);
    let seen = |made: &Value| made["metadata"]["annotations"].get("example.com/seen").is_some();
    shop.accepts(create(&pod("own")));
    assert!(seen(&stored(&shop, "pod/own")));
    shop.accepts(create(&deployment("web").with("/spec/replicas", 1)));
    let made = eventually("a ReplicaSet and its Pod", || {
        let list = stored(&shop, "replicasets,pods -l app=web");
        let made = list["items"].as_array()?.clone();
        (made.len() == 2).then_some(made)
    });
    assert!(!made.iter().any(seen), "{made:?}");
}

#[test]
fn a_namespace_and_a_cron_job_in_one_apply_do_not_miss_each_other() {
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    for index in 0..10 {
        let namespace = gatepost.namespace_object(&format!("shop-{index}"), &["mutate=deadlines", "enforce=deadlines"]);
        let job = cron_job("report").with("/metadata/namespace", namespace.text("/metadata/name"));
        gatepost.kubectl().accepts(kubectl("apply -f -").reading([&namespace, &job]));
    }
}

#[test]
fn nothing_else_of_generated_objects_differs() {
    const COUNT: usize = 100;
    let Some(Mending(ref gatepost)) = Mending::start() else { return };
    let made_in = |namespace: &Namespace| {
        let all = kubectl("create -f - -o json").reading(&generate::objects(COUNT)).dry_run();
        let objects = namespace.accepts(all).objects();
        assert_eq!(objects.len(), COUNT);
        objects.iter().map(without_chance).collect::<Vec<_>>()
    };
    let plain = made_in(&gatepost.namespace("plain", &["warn=off"]));
    let mended = made_in(&gatepost.namespace("mended", &["warn=off", "mutate=recommended"]));
    let mut set = 0;
    for (plain, mended) in plain.into_iter().zip(mended) {
        let lacks = plain["kind"] == "CronJob" && plain.pointer(DEADLINE).is_none();
        set += usize::from(lacks);
        let expected = if lacks { Object(plain).with(DEADLINE, 600).0 } else { plain };
        assert_eq!(mended, expected);
    }
    assert!(set > 0, "no object lacked anything");
}

#[test]
fn the_shipped_registration_is_read_back_as_it_is_applied() {
    let Some(control_plane) = ControlPlane::shared() else { return };
    let shipped = read(include_str!("../manifests/components/mutation/webhook.yaml")).remove(0);
    let applied = kubectl("apply --server-side -f - -o json").reading([&shipped]).dry_run();
    let answer = control_plane.kubectl().accepts(applied);
    assert_eq!(answer.stderr, "");
    assert_eq!(answer.objects()[0].0["webhooks"], shipped.0["webhooks"]);
}

/// Returns an object without what the API server makes up anew each time, and without the namespace.
fn without_chance(object: &Object) -> Value {
    const TOKEN: &str = "kube-api-access-";
    let mut text = object.to_string();
    let token = text.find(TOKEN).map(|at| text[at..at + TOKEN.len() + 5].to_owned());
    for made_up in [Some(object.text("/metadata/uid").to_owned()), token].into_iter().flatten() {
        text = if made_up.is_empty() { text } else { text.replace(&made_up, "") };
    }
    let object = Object(serde_json::from_str(&text).expect("JSON"));
    let places = ["/metadata/namespace", "/metadata/creationTimestamp", "/spec/clusterIP", "/spec/clusterIPs"];
    places.into_iter().fold(object, Object::without).without("/spec/ports/0/nodePort").0
}
