//! What `gatepost serve` says of itself in its metrics, seen from outside.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::support::server::{Server, creation, eventually};

const RULES: usize = 500;
const NAMESPACES: usize = 200;
/// More series than this cost whoever collects them more than they are worth.
const MOST_SERIES: usize = 3_000;

fn own_rule(id: &str, body: &str) -> String {
    let package = id.replace('-', "_");
    format!(
        "# METADATA\n# title: t\n# custom:\n#   id: {id}\n#   severity: high\n#   category: test\n\
         #   kinds: [core/ConfigMap]\n#   fix: mend it\npackage gatepost.rules.{package}\n\n{body}\n"
    )
}

fn policy(name: &str, rules: &str) -> String {
    format!("apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  rules: {rules}\n")
}

fn config_map(name: &str, data: &Json) -> Json {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data})
}

#[test]
fn five_hundred_rules_and_two_hundred_namespaces_stay_within_the_series_that_there_may_be() {
    // Every rule finds something, and is an error where a violation has no message.
    let body = "violation contains {\"message\": \"found\"} if not input.object.data.break\n\n\
                violation contains {\"path\": []} if input.object.data.break";
    let mut files: Vec<(String, String)> =
        (0..RULES).map(|n| (format!("policies/own-{n}.rego"), own_rule(&format!("own-{n}"), body))).collect();
    let select = "[{select: {family: own}}]";
    files.push(("policies/plain.yaml".into(), policy("plain", select)));
    files.push(("policies/grave.yaml".into(), policy("grave", "[{select: {family: own}, severity: critical}]")));
    let mut config = String::from("static:\n");
    for number in 0..NAMESPACES {
        let mode = ["enforce", "warn", "audit"][number % 3];
        let policy = ["plain", "grave"][number / 3 % 2];
        writeln!(config, "  ns-{number}: {{labels: {{gatepost.dev/{mode}: {policy}}}}}").expect("a String takes all");
    }
    files.push(("config.yaml".into(), config));
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let server = Server::start(&files, &["--config", "config.yaml", "--policies", "policies"], &[]);

    for number in 0..NAMESPACES {
        for data in [json!({}), json!({"break": "yes"})] {
            let mut request = creation(&format!("ns-{number}"), &config_map("a", &data));
            request["dryRun"] = json!(number % 2 == 0);
            if number % 4 == 3 {
                request["operation"] = "UPDATE".into();
                request["oldObject"] = config_map("a", &json!({"was": "there"}));
            }
            server.review(&request);
        }
    }
    server.review(&json!({"uid": "u", "operation": "DELETE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "ns-1", "name": "a", "oldObject": {}, "userInfo": {}}));
    assert_eq!(server.post("/validate", "", "{").0, 400);
    let is_recorded = |metrics: &str| metrics.contains("action=\"record\"");
    eventually("what only records", || is_recorded(&server.metrics()).then_some(()));

    let metrics = server.metrics();
    let series: Vec<&str> = metrics.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(series.len() <= MOST_SERIES, "{} series", series.len());
    for (name, least) in [("gatepost_rule_violations_total{", 1_500), ("gatepost_rule_errors_total{", RULES)] {
        let count = series.iter().filter(|line| line.starts_with(name)).count();
        assert!(count >= least, "{count} series of {name}");
    }
    let histogram = |line: &&&str| line.contains("_bucket{") && line.contains("rule=");
    assert_eq!(series.iter().find(histogram), None);
    assert_eq!(server.metric("gatepost_namespaces{mode=\"enforce\"}"), NAMESPACES.div_ceil(3));
    assert_eq!(server.metric("gatepost_bundle_rules"), RULES + 21);
    assert!(server.metric("process_resident_memory_bytes") > 1_000_000);
}

/// The evaluators differ on an object of sets: the VM makes one set of `by_value`.
const TWINS: &str = "violation contains {\"message\": \"is bad\"} if input.object.metadata.name == \"bad\"\n\n\
                     by_value[value] contains key if some key, value in input.object.data\n\n\
                     violation contains {\"message\": \"has a twin\"} if {\n\tsome keys in by_value\n\tcount(keys) > 1\n}";

#[test]
fn a_users_rule_that_the_vm_gets_wrong_is_found_out_at_work_and_leaves_it() {
    let rule = own_rule("own", TWINS);
    let policy = policy("mine", "[{id: own}]");
    let files = [
        ("policies/rules/test/own/rule.rego", rule.as_str()),
        ("policies/rules/test/own/pass.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: good}}"),
        ("policies/rules/test/own/fail.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad}}"),
        ("policies/sets/mine.yaml", policy.as_str()),
        ("config.yaml", "defaults: {enforce: mine}"),
    ];
    let server =
        Server::start(&files, &["--config", "config.yaml", "--policies", "policies", "--vm-repeat-one-in", "1"], &[]);
    let on_interpreter = || server.metric("gatepost_bundle_rules_by_backend{backend=\"interpreter\"}");
    let before = on_interpreter();
    assert_eq!(server.review(&creation("shop", &config_map("bad", &json!({}))))["allowed"], false);
    eventually("a repeated evaluation", || (server.metric("gatepost_vm_repeats_total") >= 1).then_some(()));
    assert_eq!(server.metric("gatepost_vm_differences_total"), 0);

    let twins = creation("shop", &config_map("c", &json!({"a": "hunter2", "b": "hunter2"})));
    assert_eq!(server.review(&twins)["allowed"], true, "the VM has come to judge this rightly: find another rule");
    eventually("a difference", || (server.metric("gatepost_vm_differences_total") == 1).then_some(()));
    let response = server.review(&twins);
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(on_interpreter(), before + 1);

    let log = server.stop();
    let told: Vec<&Json> = log.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["rule"], told[0]["digest"].as_str().map(str::len)), (&json!("own"), Some(64)));
    assert!(!told[0].to_string().contains("hunter2"), "{}", told[0]);
}
