//! Which objects tell of a namespace, and what they say.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::policy::{RuleId, Severity};
use crate::report::finding::{Application, Fingerprint, ObjectKey, State};

/// Bytes that the API server's own fields of an object may take.
const OVERHEAD: usize = 64 << 10;
/// What etcd takes.
const ETCD: usize = 1_500_000;

fn finding(name: &str) -> Finding {
    let object = ObjectKey {
        cluster: String::new(),
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: name.into(),
    };
    let rule = RuleId::from("container-image-tag");
    Finding {
        id: Fingerprint::new(&object, &rule, "/spec"),
        object,
        api_version: "apps/v1".into(),
        uid: "u-1".into(),
        owner: String::new(),
        application: None,
        content: String::new(),
        rule,
        place: "/spec".into(),
        result: Verdict::Fail,
        severity: Severity::Critical,
        category: "workload".into(),
        policies: vec!["recommended".into()],
        action: Action::Deny,
        path: "/spec".into(),
        message: "write a tag".into(),
        state: State::Open,
        closed_because: None,
        closed_at: None,
        first_seen: "2026-05-01T12:00:00.5Z".parse().unwrap(),
        last_seen: Timestamp::UNIX_EPOCH,
        reopened: 0,
        brought_in: None,
        exemption: None,
    }
}

fn many(count: usize) -> Vec<Finding> {
    (0..count).map(|number| finding(&format!("web-{number}"))).collect()
}

fn counted(findings: &[Finding], more: u64) -> Counts {
    let mut counts = Counts { pass: 7, skip: 2, ..Counts::default() };
    for finding in findings {
        counts.add(finding.result, finding.action, 1);
    }
    counts.add(Verdict::Fail, Action::Warn, more);
    counts
}

fn told(findings: &[Finding], more: u64) -> Vec<Report> {
    let picture = Picture { namespace: "shop", findings, counts: counted(findings, more) };
    reports(picture, Dialect::WgPolicy, Severities::All)
}

fn sum(reports: &[Report], field: &str) -> u64 {
    reports.iter().map(|report| report.object["summary"][field].as_u64().unwrap()).sum()
}

fn results(reports: &[Report]) -> usize {
    reports.iter().map(|report| report.object["results"].as_array().unwrap().len()).sum()
}

#[test]
fn a_result_says_what_a_finding_is() {
    let mut other = finding("cache");
    other.action = Action::Record;
    other.result = Verdict::Error;
    other.policies.push("strict".into());
    other.application = Some(Application { kind: "Application".into(), namespace: String::new(), name: "shop".into() });
    let findings = [finding("web"), other];
    let reports = told(&findings, 0);
    assert_eq!(reports.len(), 1);
    let object = &reports[0].object;
    assert_eq!((&object["apiVersion"], &object["kind"]), (&"wgpolicyk8s.io/v1alpha2".into(), &"PolicyReport".into()));
    assert_eq!(object["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "gatepost"}));
    assert_eq!(object["metadata"]["annotations"], json!({"gatepost.dev/content": reports[0].content}));
    assert_eq!(object["summary"], json!({"pass": 7, "fail": 1, "warn": 0, "error": 1, "skip": 2}));
    let expected = json!({
        "source": "gatepost",
        "policy": "recommended",
        "rule": "container-image-tag",
        "category": "workload",
        "severity": "critical",
        "result": "fail",
        "scored": true,
        "message": "write a tag",
        "resources": [{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u-1"}],
        "timestamp": {"seconds": 1_777_636_800, "nanos": 500_000_000},
        "properties": {"mode": "enforce", "path": "/spec", "resultID": findings[0].id.0},
    });
    assert_eq!(object["results"][0], expected);
    let properties = json!({
        "mode": "audit", "path": "/spec", "policies": "recommended,strict", "application": "Application/shop",
        "resultID": findings[1].id.0,
    });
    assert_eq!((&object["results"][1]["result"], &object["results"][1]["properties"]), (&"error".into(), &properties));
}

#[test]
fn what_is_in_no_namespace_and_what_other_definitions_take_is_said_in_their_words() {
    let findings = [finding("web")];
    let picture = Picture { namespace: "", findings: &findings, counts: counted(&findings, 0) };
    let open = &reports(picture, Dialect::OpenReports, Severities::All)[0].object;
    assert_eq!((&open["kind"], &open["source"]), (&"ClusterReport".into(), &"gatepost".into()));
    assert_eq!((&open["results"][0]["source"], &open["metadata"]["namespace"]), (&Json::Null, &Json::Null));
    let narrow = &reports(picture, Dialect::WgPolicy, Severities::Three)[0].object;
    assert_eq!(narrow["results"][0]["severity"], "high");
    assert_eq!(narrow["results"][0]["properties"]["severity"], "critical");
}

#[test]
fn many_results_are_shared_out_and_the_summaries_count_each_once() {
    let findings = many(1500);
    let reports = told(&findings, 0);
    assert_eq!(
        reports.iter().map(|report| &*report.name).collect::<Vec<_>>(),
        ["gatepost", "gatepost-2", "gatepost-3", "gatepost-4"]
    );
    assert_eq!(results(&reports), 1500);
    assert_eq!((sum(&reports, "fail"), sum(&reports, "pass"), sum(&reports, "skip")), (1500, 7, 2));
    let alone = |number: usize| reports[number].object["results"].as_array().unwrap().len() as u64;
    assert_eq!(reports[1].object["summary"]["fail"], alone(1), "each but the first counts its own");
    assert!((0..4).all(|number| (250..=500).contains(&alone(number))), "they are about as large");
}

#[test]
fn a_new_finding_changes_one_object_alone() {
    let mut findings = many(1500);
    let before = told(&findings, 0);
    assert_eq!(told(&findings, 0), before);
    findings.push(finding("new"));
    let after = told(&findings, 0);
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before.content != after.content).count(), 1);
}

#[test]
fn what_is_too_much_is_counted_and_said() {
    let findings = many(MOST_WRITTEN);
    let reports = told(&findings, 100_000);
    assert_eq!(reports.len(), MOST_OBJECTS);
    assert_eq!(results(&reports) as u64 + reports[0].left_out, MOST_WRITTEN as u64 + 100_000);
    assert_eq!((sum(&reports, "fail"), sum(&reports, "warn")), (MOST_WRITTEN as u64, 100_000));
    assert_eq!(reports[0].object["metadata"]["annotations"][LEFT_OUT], reports[0].left_out.to_string());
    assert_eq!(reports[1].object["metadata"]["annotations"][LEFT_OUT], Json::Null);
}

#[test]
fn no_object_nears_what_etcd_takes() {
    let long = |length: usize| "\u{1f512}\"".repeat(length);
    let mut findings = many(MOST_WRITTEN);
    for finding in &mut findings {
        (finding.message, finding.path, finding.owner) = (long(600), long(600), long(600));
        finding.policies = vec![long(900), long(900)];
    }
    let reports = told(&findings, 0);
    let largest = reports.iter().map(|report| report.object.to_string().len()).max().unwrap();
    assert!(largest + OVERHEAD < ETCD, "{largest} bytes");
    assert!(reports[0].left_out > 0);
    assert_eq!(sum(&reports, "fail"), MOST_WRITTEN as u64);
}
