//! Audits of thousands of objects: all that stands is found, what became of it is told apart, and what has not changed
//! is neither read nor judged again.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::kubectl::{Kubectl, apply, create, kubectl};
use crate::support::load::Sender;
use crate::support::objects::{Object, config_map, namespace};
use crate::support::serving::Serving;
use crate::support::wait::wait_for;
use crate::support::{http, manifests};

const RULE: &str = r#"# METADATA
# title: Owner
# description: Everything names who owns it.
# custom:
#   id: label-owner
#   severity: low
#   category: own
#   impact: Nobody knows whom to ask.
#   effort: easy
#   kinds: [core/ConfigMap, shop.example/Widget, apps/Deployment, core/Pod]
#   fix: Add the label owner.
package own.label_owner

violation contains {"message": "add the label owner", "path": ["metadata", "labels", "owner"]} if {
	not input.object.metadata.labels.owner
}
"#;
const POLICY: &str = "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: own}
spec: {rules: [{id: label-owner}]}
";
/// Nothing is judged by other rules, which have tests of their own.
const CONFIG: &str = "defaults: {warn: off, audit: off}
clusterScoped: {warn: off, audit: off}
audit: {policies: [own]}
";
const EXEMPTION: &str = "apiVersion: gatepost.dev/v1alpha1
kind: ClusterExemption
metadata: {name: old}
spec:
  rules: [label-owner]
  match: {kinds: [core/ConfigMap], names: ['config-1*']}
  reason: They are as old as the shop.
  owner: team-shop
  expires: 2999-01-01
";

const NAMESPACES: usize = 10;
const COUNT: usize = 5000;

/// Returns objects of four kinds: `(the plural, the object)`. Every third one lacks its owner.
fn objects() -> Vec<Object> {
    (0..COUNT)
        .map(|number| {
            let (group, kind, name) = match number % 10 {
                0..=3 => ("v1", "ConfigMap", "config"),
                4..=6 => ("v1", "Pod", "pod"),
                // Controllers write to each of them for a while: few, so that things settle.
                7..=8 if number < COUNT / 20 => ("apps/v1", "Deployment", "web"),
                _ => ("shop.example/v1", "Widget", "widget"),
            };
            let mut object = json!({
                "apiVersion": group, "kind": kind,
                "metadata": {"name": format!("{name}-{number}"), "namespace": format!("team-{}", number % NAMESPACES)},
            });
            let containers = json!([{"name": "app", "image": "registry.example/app:1.2.3"}]);
            if number % 3 != 0 {
                object["metadata"]["labels"] = json!({"owner": "team"});
            }
            match kind {
                "ConfigMap" => object["data"] = json!({"key": "value ".repeat(100)}),
                "Pod" => object["spec"] = json!({"containers": containers}),
                // Nobody makes Pods of it: they would be told at their owner.
                "Deployment" => {
                    let labels = json!({"app": number.to_string()});
                    object["spec"] = json!({
                        "replicas": 0, "selector": {"matchLabels": labels},
                        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
                    });
                }
                _ => object["spec"] = json!({"size": number}),
            }
            Object(object)
        })
        .collect()
}

fn definition() -> Object {
    Object(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.shop.example"},
        "spec": {
            "group": "shop.example", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}],
        },
    }))
}

/// The right to read widgets, which the manifests cannot know of.
fn right() -> [Object; 2] {
    let (group, metadata) = ("rbac.authorization.k8s.io", json!({"name": "widgets"}));
    let rules = json!([{"apiGroups": ["shop.example"], "resources": ["widgets"], "verbs": ["list", "watch"]}]);
    let subjects = json!([{"kind": "ServiceAccount", "name": "gatepost-scanner", "namespace": "gatepost"}]);
    let api_version = format!("{group}/v1");
    [
        Object(json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": metadata, "rules": rules})),
        Object(json!({
            "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": metadata, "subjects": subjects,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "widgets"},
        })),
    ]
}

/// Waits for longer than others: what an audit computes lets every other process of the machine go first.
#[track_caller]
fn eventually<T>(what: &str, value: impl FnMut() -> Option<T>) -> T {
    wait_for(what, Duration::from_mins(8), value).unwrap_or_else(|error| panic!("{error}"))
}

/// A scanner, and how it is asked.
struct Scanner {
    serving: Serving,
    address: String,
}

impl Scanner {
    fn get(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&http::body_of(&self.address, path)?).ok()
    }

    /// Returns the latest audit that has ended.
    fn latest(&self) -> Option<Value> {
        let audits = self.get("/api/v1/audits")?;
        audits["items"].as_array()?.iter().find(|audit| audit["state"] != "running").cloned()
    }

    /// Returns an audit that began after all that have begun until now.
    #[track_caller]
    fn next(&self) -> Value {
        let before = eventually("audits", || self.get("/api/v1/audits")?["items"][0]["id"].as_i64());
        eventually("another audit", || self.latest().filter(|audit| audit["id"].as_i64() > Some(before)))
    }

    /// Returns who of the objects that the test made has a finding of the rule in a state, as `kind namespace/name`.
    fn found(&self, state: &str) -> BTreeSet<String> {
        let (mut found, mut cursor) = (BTreeSet::new(), String::new());
        loop {
            let path = format!("/api/v1/findings?rule=label-owner&state={state}&limit=500&sort=object{cursor}");
            let page = self.get(&path).unwrap_or_else(|| panic!("{path}"));
            for finding in page["items"].as_array().expect("items") {
                assert!(found.insert(called(&finding["resource"])), "twice: {finding}");
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found.into_iter().filter(|name| name.contains(" team-")).collect(),
            }
        }
    }

    fn cost(&self) -> f64 {
        self.serving.metric("gatepost_audit_read_bytes_total").expect("bytes")
    }
}

/// Names the object that a finding is about.
fn called(resource: &Value) -> String {
    let text = |key: &str| resource[key].as_str().unwrap_or_default();
    format!("{} {}/{}", text("kind"), text("namespace"), text("name"))
}

/// Returns what lacks its owner, from what kubectl reads.
fn expected(there: &Kubectl) -> BTreeSet<String> {
    let columns = "K:.kind,N:.metadata.namespace,A:.metadata.name,O:.metadata.labels.owner";
    let kinds = "configmaps,pods,deployments,widgets.shop.example";
    let listed = there.accepts(kubectl(&format!("get {kinds} -A --no-headers -o custom-columns={columns}")));
    let rows = listed.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lacking = rows.filter(|row| row[1].starts_with("team-") && row[3] == "<none>");
    lacking.map(|row| format!("{} {}/{}", row[0], row[1], row[2])).collect()
}

/// Returns the part of a set that is of a kind, and whose names begin so.
fn of(set: &BTreeSet<String>, beginning: &str) -> BTreeSet<String> {
    set.iter().filter(|name| name.starts_with(beginning)).cloned().collect()
}

#[test]
fn thousands_of_objects_are_found_followed_and_told_apart() {
    let Some(control_plane) = ControlPlane::own("thousands") else { return };
    let there = control_plane.kubectl();
    there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    there.accepts(create(&definition()));
    there.accepts(kubectl("apply -f -").reading(&right()));
    for number in 0..NAMESPACES {
        let name = format!("team-{number}");
        there.accepts(create(&namespace(&name)));
        there.accepts(kubectl(&format!("wait --for=create serviceaccount/default -n {name} --timeout=50s")));
    }
    there.accepts(kubectl("wait --for=condition=Established crd/widgets.shop.example --timeout=50s"));
    let sender = Sender::new(control_plane.kubeconfig()).expect("a client");
    assert_eq!(sender.create_all(&objects()), Vec::<String>::new());

    let mut serving = manifests::scanner("thousands-scanner", &control_plane);
    let policies = serving.directory().join("policies");
    fs::write(policies.join("label-owner.rego"), RULE).expect("a rule");
    fs::write(policies.join("own.yaml"), POLICY).expect("a policy");
    fs::write(serving.directory().join("config.yaml"), CONFIG).expect("a configuration");
    serving.with(["--audit-interval", "3s", "--audit-qps", "1000"]);
    serving.launch();
    let mut scanner = Scanner { address: serving.http().expect("an address"), serving };

    // A first audit finds what kubectl finds, and nothing else.
    let first = eventually("the first audit", || scanner.latest());
    assert_eq!((&first["state"], &first["unread"]), (&"complete".into(), &json!({})), "{first}");
    let (lacking, cost) = (expected(there), scanner.cost());
    assert_eq!(lacking.len(), COUNT.div_ceil(3) + NAMESPACES, "the objects, and a ConfigMap of each namespace");
    assert_eq!(scanner.found("open"), lacking);

    // Following ones judge and read next to nothing.
    let settled = eventually("an audit that judges nothing", || scanner.latest().filter(|it| it["evaluated"] == 0));
    let before = scanner.cost();
    let still = scanner.next();
    let passed = still["id"].as_i64().zip(settled["id"].as_i64()).map_or(0, |(now, then)| now - then);
    assert_eq!((&still["evaluated"], &still["objects"]), (&0.into(), &settled["objects"]), "{still}");
    #[expect(clippy::cast_precision_loss, reason = "a few audits")]
    let each = (scanner.cost() - before) / passed as f64;
    assert!(each <= cost / 5.0, "{each} bytes of a following audit, {cost} of the first");

    // What became of things is told apart.
    there.accepts(kubectl("label configmap/config-30 owner=team -n team-0"));
    there.accepts(kubectl("delete configmap/config-60 -n team-0"));
    there.in_namespace("team-1").accepts(apply(&config_map("new", "key", "value")));
    fs::write(policies.join("old.yaml"), EXEMPTION).expect("an exemption");
    let name = |kind: &str, number: usize, name: &str| format!("{kind} team-{}/{name}-{number}", number % NAMESPACES);
    let fixed = BTreeSet::from([name("ConfigMap", 30, "config")]);
    eventually("what was mended to be closed as fixed", || (scanner.found("fixed") == fixed).then_some(()));
    let exempt: BTreeSet<String> =
        of(&lacking, "ConfigMap").into_iter().filter(|name| name.contains("/config-1")).collect();
    assert!(exempt.len() > 100, "{exempt:?}");
    eventually("what is exempt to be closed as that", || (scanner.found("exempt") == exempt).then_some(()));
    let is_gone = || scanner.found("deleted").contains(&name("ConfigMap", 60, "config")).then_some(());
    eventually("what was deleted to be closed as that", is_gone);
    let stands = || -> BTreeSet<String> { expected(there).difference(&exempt).cloned().collect() };
    let open = stands();
    assert!(open.contains("ConfigMap team-1/new"));
    eventually("what stands to be open", || (scanner.found("open") == open).then_some(()));

    // What may no longer be read closes nothing, and is named. A watch that is there goes on, so the scanner begins anew.
    scanner.serving.kill();
    there.accepts(kubectl("delete clusterrolebinding/widgets"));
    there.accepts(kubectl("delete widget/widget-9 -n team-9"));
    scanner.serving.launch();
    scanner.address = scanner.serving.http().expect("an address");
    let unread = eventually("an audit that could not read widgets", || {
        scanner.latest().filter(|audit| audit["unread"]["shop.example/Widget"].is_string())
    });
    assert_eq!(unread["state"], "partial", "{unread}");
    assert!(scanner.found("open").contains("Widget team-9/widget-9"), "nobody knows that it is gone");

    // Once it may be read again, it is known.
    there.accepts(kubectl("apply -f -").reading(&right()));
    eventually("it to be known", || scanner.found("deleted").contains("Widget team-9/widget-9").then_some(()));
    assert_eq!(scanner.next()["state"], "complete");
    assert_eq!(scanner.found("open"), stands());
}
