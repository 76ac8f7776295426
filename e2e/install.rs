//! Gatepost as `manifests/install.yaml` installs it, with the rights of its ServiceAccount and no others.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::installed::Installed;
use crate::support::kubectl::Answer;
use crate::support::manifests;
use crate::support::objects::{Object, exemption, namespace, privileged, untagged};
use crate::support::rights::{self, Asked, Right, granted};
use crate::support::wait::{eventually, wait_for};
use crate::support::{apply, create, kubectl};

/// Rights that these tests do not come to use: the scanner is shown one, not the API server; nothing is renewed in so short a time, and a registration is read by itself
/// only to make sure that it is gone, which the tests of the registration see.
const SPARE: [&str; 4] = [
    "create reports.gatepost.dev ",
    "update secrets gatepost-certificates",
    "get validatingwebhookconfigurations.admissionregistration.k8s.io gatepost",
    "get mutatingwebhookconfigurations.admissionregistration.k8s.io gatepost",
];

#[test]
fn nothing_is_blocked_by_default_and_people_are_told() {
    let Some(installed) = Installed::shared() else { return };
    let shop = installed.namespace("by-default", &[]);
    shop.accepts(apply(&privileged("web"))).warns_of("container-privileged");
    installed.kubectl().accepts(create(&namespace("by-default-too"))).is_silent();
}

#[test]
fn a_label_has_a_namespace_deny() {
    let Some(installed) = Installed::shared() else { return };
    let shop = installed.namespace("enforced", &["enforce=baseline"]);
    shop.rejects(apply(&privileged("web"))).denies_for("Deployment/web: container-privileged");
    let mistyped = namespace("mistyped").with("/metadata/labels/gatepost.dev~1enforce", "basline");
    installed.kubectl().rejects(create(&mistyped)).denies_for("baseline");
}

#[test]
fn the_manifests_are_applied_without_a_warning() {
    let Some(installed) = Installed::shared() else { return };
    assert_eq!(
        installed.applied.stderr, "",
        "Pod Security, deprecated fields or Gatepost itself have something to say"
    );
}

#[test]
fn its_pods_are_let_in_where_pod_security_is_restricted() {
    let Some(installed) = Installed::shared() else { return };
    let there = installed.kubectl().in_namespace(manifests::NAMESPACE);
    eventually("two webhooks and a scanner", || {
        let pods = there.accepts(kubectl("get pods -o name"));
        (pods.stdout.lines().count() == 3).then_some(())
    });
}

#[test]
fn what_is_applied_is_what_is_read_back() {
    let Some(installed) = Installed::shared() else { return };
    let live = installed.kubectl().accepts(kubectl("get validatingwebhookconfiguration gatepost -o json"));
    let live = live.objects().remove(0);
    let webhooks = |object: &Object| -> Vec<Value> { object.0["webhooks"].as_array().cloned().unwrap_or_default() };
    let without_what_differs = |webhook: Value| {
        let webhook = Object(webhook).without("/clientConfig/caBundle");
        webhook.without("/clientConfig/service/port").0
    };
    let shipped = manifests::object("ValidatingWebhookConfiguration");
    assert!(webhooks(&live).iter().all(|webhook| webhook["clientConfig"]["caBundle"].is_string()), "{live}");
    assert_eq!(
        webhooks(&live).into_iter().map(without_what_differs).collect::<Vec<_>>(),
        webhooks(&shipped).into_iter().map(without_what_differs).collect::<Vec<_>>(),
    );
}

#[test]
fn what_a_cluster_lives_on_is_not_sent() {
    let Some(installed) = Installed::shared() else { return };
    let shop = installed.namespace("unsent", &[]);
    let named = |object: Value, name: &str| Object(object).with("/metadata/name", format!("unsent-{name}"));

    for system in ["kube-system", "kube-node-lease", manifests::NAMESPACE] {
        let there = installed.kubectl().in_namespace(system);
        there.accepts(create(&untagged("unsent-system")).dry_run()).is_silent();
        installed.kubectl().accepts(kubectl(&format!("label namespace {system} example.com/unsent=yes")));
    }
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "me"}});
    shop.accepts(create(&named(lease, "lease")));
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "reason": "Unsent", "message": "none",
        "involvedObject": {"kind": "Pod", "namespace": "unsent", "name": "web"},
    });
    shop.accepts(create(&named(event, "event")));
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "none"}});
    installed.kubectl().accepts(create(&Object(token)));
    shop.accepts(kubectl("auth can-i get pods"));
    let node = named(json!({"apiVersion": "v1", "kind": "Node"}), "node");
    installed.kubectl().accepts(create(&node));
    let kubelet = |command: &str| {
        // Beside the rights that the node authorizer would give.
        let kubelet = kubectl(command).with("--as=system:node:unsent-node").with("--as-group=system:nodes");
        kubelet.with("--as-group=system:masters")
    };
    installed.kubectl().accepts(kubelet("annotate node unsent-node by=kubelet"));
    shop.accepts(kubelet("create configmap sent-of-a-kubelet"));

    let sent: BTreeSet<(String, String)> = installed
        .decisions_until_now(&shop, "unsent-mark")
        .into_iter()
        .filter(|decision| decision.name.contains("unsent") || decision.name.contains("sent-of"))
        // Taints, and the objects of a new namespace.
        .filter(|decision| !decision.user.starts_with("system:serviceaccount:kube-system:"))
        .map(|decision| (decision.operation, format!("{}/{}", decision.kind, decision.name)))
        .collect();
    let expected = [
        ("CREATE", "ConfigMap/sent-of-a-kubelet"),
        ("CREATE", "ConfigMap/unsent-mark"),
        ("CREATE", "Namespace/unsent"),
        ("CREATE", "Node/unsent-node"),
    ];
    let expected: BTreeSet<(String, String)> = expected.map(|(o, name)| (o.to_owned(), name.to_owned())).into();
    assert_eq!(sent, expected);
    let reviews = |kind: &str| kind.ends_with("Review");
    assert!(installed.decisions_until_now(&shop, "unsent-again").iter().all(|decision| !reviews(&decision.kind)));
}

/// Has somebody who may only edit namespaces try to take enforcement away.
fn an_editor_tries_to_weaken(installed: &Installed, name: &str) -> Answer {
    installed.namespace(name, &["enforce=baseline"]);
    for role in [
        format!("create clusterrole {name} --verb=get,patch --resource=namespaces"),
        format!("create clusterrolebinding {name} --clusterrole={name} --user=eve"),
    ] {
        installed.kubectl().accepts(kubectl(&role));
    }
    installed.kubectl().run(kubectl(&format!("label namespace {name} gatepost.dev/enforce- --as=eve")))
}

#[test]
fn an_editor_of_a_namespace_cannot_take_enforcement_away() {
    let Some(installed) = Installed::shared() else { return };
    an_editor_tries_to_weaken(installed, "weakened").denies_for("weakens enforce from baseline to off");
}

#[test]
fn rights_are_enough_and_none_is_needless() {
    let Some(installed) = Installed::shared() else { return };
    let roles = manifests::roles("webhook");
    let unused = || -> Vec<String> {
        let asked = Asked::read(&installed.audit_log(), rights::WEBHOOK);
        let is_unused = |right: &Right| !SPARE.contains(&right.to_string().as_str()) && !asked.has_used(right);
        granted(&roles).iter().filter(|right| is_unused(right)).map(Right::to_string).collect()
    };
    an_editor_tries_to_weaken(installed, "looked-up");
    let end = "2099-01-01";
    installed.kubectl().accepts(apply(&exemption("ClusterExemption", "right", "looked-up", end)));
    installed.kubectl().in_namespace("looked-up").accepts(apply(&exemption("Exemption", "right", "looked-up", end)));
    let mut namespaces = (0..).map(|index| namespace(&format!("right-away-{index}")));
    let used = wait_for("every right to be used", Duration::from_secs(30), || {
        // Sooner or later the watch does not know the namespace yet, and it is read.
        let namespace = namespaces.next().expect("one more");
        let first = privileged("web").with("/metadata/namespace", namespace.text("/metadata/name"));
        installed.kubectl().run(kubectl("apply -f -").reading([&namespace, &first]));
        unused().is_empty().then_some(())
    });
    assert!(used.is_ok(), "never used: {:#?}", unused());
    assert_eq!(Asked::read(&installed.audit_log(), rights::WEBHOOK).forbidden, Vec::<String>::new());
}
