//! What is wanted, what differs from it, CA bundles, probes, and the keeper against a mock API server.

mod api_server;
mod keeper;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{MatchCondition, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::ObjectMeta;
use kube::core::{ApiResource, Status};
use kube::discovery::{ApiCapabilities, Scope};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::authorities::Authorities;
use super::compare::missing_deletions;
use super::kept::Kept;
use super::obstacle::{Obstacle, Place};
use super::patience::Patience;
use super::probe::Probe;
use super::reach::{Advice, Reach};
use super::state::{Record, State, deleted};
use super::wanted::{CLUSTER, Deleted, NAMESPACED, PROBE};
use super::{Address, Configuration as _, Entry, FailurePolicy, Field, Wanted, compare, deletions, probe};
use crate::policy::kinds::KindSelector;

fn deletion(group: &str, resource: &str, is_namespaced: bool) -> Deleted {
    Deleted { group: group.into(), resource: resource.into(), is_namespaced }
}

fn text(entries: Vec<Entry>) -> Value {
    serde_json::to_value(ValidatingWebhookConfiguration::new(ObjectMeta::default(), entries)).unwrap()
}

#[test]
fn every_field_that_the_api_server_would_fill_in_is_set() {
    let shipped = Wanted::shipped("gatepost");
    for webhook in text(shipped.validating())["webhooks"].as_array().unwrap() {
        assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
        assert_eq!(webhook["clientConfig"]["service"]["path"], "/validate");
        assert!(webhook["clientConfig"].get("caBundle").is_none(), "the manifests hold no CA");
        for (field, value) in [
            ("admissionReviewVersions", json!(["v1"])),
            ("failurePolicy", json!("Ignore")),
            ("matchPolicy", json!("Equivalent")),
            ("objectSelector", json!({})),
            ("sideEffects", json!("None")),
            ("timeoutSeconds", json!(3)),
        ] {
            assert_eq!(webhook[field], value, "{field}");
        }
        let left_out = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(left_out["key"], "kubernetes.io/metadata.name");
        assert_eq!(left_out["values"], json!(["kube-system", "kube-node-lease", "gatepost"]));
    }
    let mutating = shipped.mutating();
    assert_eq!(mutating.len(), 1);
    assert_eq!(mutating[0].reinvocation_policy.as_deref(), Some("IfNeeded"));
    assert_eq!(mutating[0].timeout_seconds, Some(2));
}

#[test]
fn deletion_is_asked_about_where_rules_ask_and_in_the_entry_of_its_scope() {
    let deleted = vec![
        deletion("apps", "statefulsets", true),
        deletion("", "namespaces", false),
        deletion("apps", "deployments", true),
        deletion("apps", "deployments", true),
    ];
    let wanted = Wanted { deleted, ..Wanted::shipped("gatepost") };
    let entries = text(wanted.validating());
    let rules = |entry: usize| entries["webhooks"][entry]["rules"].clone();
    assert_eq!(
        rules(0)[1],
        json!({"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["DELETE"],
            "resources": ["deployments", "statefulsets"], "scope": "Namespaced"})
    );
    assert_eq!(rules(1)[1]["resources"], json!(["namespaces"]));
    assert_eq!(rules(1)[1]["scope"], "Cluster");
    assert_eq!(rules(0).as_array().unwrap().len(), 2);
    let shipped = Wanted::shipped("gatepost").validating();
    assert_eq!(missing_deletions(&shipped, &wanted.validating()), 3);
    assert_eq!(missing_deletions(&wanted.validating(), &wanted.validating()), 0);
    assert_eq!(missing_deletions(&[], &wanted.validating()), 3);
}

#[test]
fn a_local_process_is_asked_by_its_url_and_has_no_namespace_to_leave_out() {
    let wanted = Wanted {
        address: Address::Local("127.0.0.1:8443".parse().unwrap()),
        ca_bundle: Some("pem".into()),
        ..Wanted::shipped("")
    };
    let webhook = &text(wanted.validating())["webhooks"][0];
    assert_eq!(webhook["clientConfig"], json!({"url": "https://127.0.0.1:8443/validate", "caBundle": "cGVt"}));
    let left_out = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
    assert_eq!(left_out, &json!(["kube-system", "kube-node-lease"]));
}

#[test]
fn nothing_differs_from_what_is_wanted() {
    let wanted = Wanted { deleted: vec![deletion("*", "*", true)], ..Wanted::shipped("gatepost") };
    assert_eq!(compare::differences(&wanted.validating(), &wanted.validating()), []);
    let with_probe: Vec<Entry> = wanted.validating().into_iter().chain([wanted.probe()]).collect();
    assert_eq!(compare::differences(&with_probe, &wanted.validating()), [], "the probe is ours too");
    assert_eq!(compare::differences(&wanted.mutating(), &wanted.mutating()), []);
}

/// Changes the shipped entry for namespaced objects and returns what is told, as field and text.
fn told(change: impl Fn(&mut Entry)) -> Vec<(Field, String)> {
    let wanted = Wanted { deleted: vec![deletion("apps", "deployments", true)], ..Wanted::shipped("gatepost") };
    let mut live = wanted.validating();
    change(&mut live[0]);
    let found = compare::differences(&live, &wanted.validating());
    found.into_iter().map(|difference| (difference.field, difference.says)).collect()
}

#[test]
fn each_difference_is_told_with_what_follows() {
    type Change = fn(&mut Entry);
    let table: [(Change, Field, &str); 14] = [
        (|entry| entry.failure_policy = Some("Fail".into()), Field::FailurePolicy, "requests are refused"),
        (|entry| entry.failure_policy = None, Field::FailurePolicy, "is Fail, not Ignore"),
        (|entry| entry.timeout_seconds = Some(10), Field::Manner, "timeoutSeconds is 10, not 3"),
        (|entry| entry.match_policy = Some("Exact".into()), Field::Manner, "matchPolicy is Exact, not Equivalent"),
        (
            |entry| entry.client_config.service.as_mut().unwrap().namespace = "other".into(),
            Field::Address,
            "asks Service other/gatepost at port 443 and path /validate, not Service gatepost/gatepost",
        ),
        (|entry| entry.client_config.service = None, Field::Address, "asks nobody"),
        (|entry| entry.rules = None, Field::Deletions, "does not ask about DELETE of apps/deployments"),
        (
            |entry| entry.rules.as_mut().unwrap()[0].operations = Some(vec!["CREATE".into()]),
            Field::Rules,
            "does not ask about UPDATE of */*, UPDATE of */pods/ephemeralcontainers",
        ),
        (
            |entry| entry.rules.as_mut().unwrap()[0].resources = Some(vec!["*".into()]),
            Field::Rules,
            "does not ask about CREATE of */pods/ephemeralcontainers",
        ),
        (
            |entry| entry.rules.as_mut().unwrap()[0].scope = Some("Cluster".into()),
            Field::Rules,
            "does not ask about CREATE of */*",
        ),
        (
            |entry| entry.rules.as_mut().unwrap()[1].operations = Some(vec!["*".into()]),
            Field::Rules,
            "asks about more than is judged: * of apps/deployments",
        ),
        (
            |entry| {
                let expressions = entry.namespace_selector.as_mut().unwrap().match_expressions.as_mut().unwrap();
                expressions[0].values.as_mut().unwrap().push("shop".into());
            },
            Field::NamespaceSelector,
            "asks only about namespaces where kubernetes.io/metadata.name NotIn [gatepost, kube-node-lease, kube-system, shop]",
        ),
        (
            |entry| entry.object_selector.as_mut().unwrap().match_labels = Some([("a".into(), "b".into())].into()),
            Field::ObjectSelector,
            "asks only about objects where a In [b]",
        ),
        (
            |entry| {
                let never = MatchCondition { name: "never".into(), expression: "false".into() };
                entry.match_conditions.as_mut().unwrap().push(never);
            },
            Field::MatchConditions,
            "asks only where the match condition never holds: false",
        ),
    ];
    for (change, field, text) in table {
        let told = told(change);
        assert!(told.iter().any(|(at, says)| *at == field && says.contains(text)), "{field:?} {text}: {told:?}");
    }
    assert_eq!(
        told(|entry| entry.match_conditions = None).len(),
        Wanted::shipped("").validating()[0].match_conditions.as_ref().unwrap().len(),
        "each missing condition is told"
    );
}

#[test]
fn wider_rules_cover_narrower_ones() {
    let told = told(|entry| {
        let rule = &mut entry.rules.as_mut().unwrap()[0];
        rule.resources = Some(vec!["*/*".into()]);
        rule.operations = Some(vec!["*".into()]);
        rule.scope = Some("*".into());
    });
    assert_eq!(told.iter().map(|(field, _)| *field).collect::<Vec<_>>(), [Field::Rules], "{told:?}");
    assert!(told[0].1.starts_with("asks about more"), "{told:?}");
}

#[test]
fn missing_and_foreign_entries_are_told() {
    let wanted = Wanted::shipped("gatepost").validating();
    let mut live = wanted.clone();
    live[0].name = "theirs.example.com".into();
    let told: Vec<String> = compare::differences(&live, &wanted).iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(&format!("{NAMESPACED}: is missing")), "{told:?}");
    assert!(told[1].starts_with("theirs.example.com: is not one of Gatepost's"), "{told:?}");
    assert_eq!(wanted[1].name, CLUSTER);
}

#[test]
fn what_is_written_whole_is_told_as_what_becomes_of_it() {
    let wanted = Wanted::shipped("gatepost");
    let full: Vec<Entry> = wanted.validating().into_iter().chain([wanted.probe()]).collect();
    let narrow = [wanted.probe()];
    let each = |words: &str| vec![format!("{NAMESPACED} {words}"), format!("{CLUSTER} {words}")];
    assert_eq!(compare::changes(&full, &narrow), each("is taken out"));
    assert_eq!(compare::changes(&narrow, &full), each("is added"));
    let mut slow = full.clone();
    slow[0].timeout_seconds = Some(10);
    let changed = format!("{NAMESPACED} is put right: timeoutSeconds is 10, not 3");
    assert_eq!(compare::changes(&slow, &full), [changed]);
    slow[0] = Entry { name: "theirs.example.com".into(), ..Entry::default() };
    let told = compare::changes(&slow, &full);
    assert_eq!(
        told,
        [format!("{NAMESPACED} is added"), "theirs.example.com is taken out".into()],
        "nothing is left alone"
    );
}

#[test]
fn what_the_api_server_says_is_quoted_and_what_never_reached_it_is_told_with_its_cause() {
    assert_eq!(super::said(&error(403, "you may not")), "you may not");
    let cause = anyhow::anyhow!("connection refused").context("client error");
    let unsaid = kube::Error::Service(cause.into());
    assert_eq!(super::said(&unsaid), "ServiceError: client error: connection refused");
}

#[test]
fn failure_policy_is_only_that_of_validation() {
    let wanted = Wanted { failure_policy: FailurePolicy::Fail, ..Wanted::shipped("gatepost") };
    assert!(wanted.validating().iter().all(|entry| entry.failure_policy.as_deref() == Some("Fail")));
    assert_eq!(wanted.mutating()[0].failure_policy.as_deref(), Some("Ignore"));
}

/// Makes an authority that ends with a year.
fn authority(name: &str, year: i32) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.not_after = date_time_ymd(year, 1, 1);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn bundles_are_compared_as_sets_of_certificates() {
    let (old, new) = (authority("old", 2040), authority("new", 2040));
    let parse = |text: &str| Authorities::parse(text.as_bytes());
    let both = parse(&format!("{old}{new}"));
    assert_eq!(both.missing_in(&parse(&format!("# comment\n{new}\n\n{old}{old}"))), 0);
    assert_eq!(both.missing_in(&parse(&new)), 1);
    assert_eq!(both.missing_in(&Authorities::default()), 2);
    assert_eq!(parse(&both.to_pem()), both, "what is written is read back");
    for garbage in ["", "\n", "no PEM", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
        assert!(parse(garbage).is_empty(), "{garbage}");
    }
}

#[test]
fn what_another_replica_trusts_stays_until_it_expires() {
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let (ours, theirs, expired) = (authority("ours", 2040), authority("theirs", 2040), authority("expired", 2026));
    let live = Authorities::parse(format!("{expired}{theirs}").as_bytes());
    let merged = Authorities::parse(ours.as_bytes()).with_unexpired_of(&live, now);
    assert_eq!(merged, Authorities::parse(format!("{ours}{theirs}").as_bytes()));
    // And the other replica has nothing left to write.
    assert_eq!(Authorities::parse(theirs.as_bytes()).missing_in(&merged), 0);
}

/// Returns an entry that trusts these, as PEM.
fn trusting(pem: &str) -> Entry {
    let wanted = Wanted { ca_bundle: Some(pem.into()), ..Wanted::shipped("gatepost") };
    wanted.validating().remove(0)
}

#[tokio::test]
async fn an_authority_that_nobody_uses_any_more_goes_after_a_while() {
    let client = Client::new(axum::Router::new(), "default");
    let mut kept = Kept::<ValidatingWebhookConfiguration>::new(&client);
    let (old, new) = (authority("old", 2040), authority("new", 2040));
    let parse = |text: &str| Authorities::parse(text.as_bytes());
    let start: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let minutes = |count: i64| start + SignedDuration::from_mins(count);
    let both = format!("{new}{old}");

    let due = kept.due(&[trusting(&old), trusting(&both)], &parse(&new), start);
    assert_eq!(due, Some(parse(&both)), "what is missing in one is added, and nothing taken away");
    let live = [trusting(&both), trusting(&both)];
    assert_eq!(kept.due(&live, &parse(&new), minutes(9)), None);
    assert_eq!(kept.due(&live, &parse(&new), minutes(11)), Some(parse(&new)));
    assert_eq!(kept.due(&live, &parse(&both), minutes(12)), None, "now another replica is heard of");
    assert_eq!(kept.due(&live, &parse(&new), minutes(13)), None, "and the time begins anew");
    assert_eq!(kept.due(&live, &Authorities::default(), minutes(60)), None, "nothing is known yet");
    assert_eq!(kept.due(&[], &parse(&new), minutes(60)), None);
}

#[test]
fn what_every_entry_trusts_is_what_is_published() {
    let (old, new) = (authority("old", 2040), authority("new", 2040));
    let common = |texts: &[&str]| Authorities::common(&texts.iter().map(|text| trusting(text)).collect::<Vec<_>>());
    assert_eq!(common(&[&format!("{new}{old}"), &old]), Authorities::parse(old.as_bytes()));
    assert!(common(&[&new, &old]).is_empty());
    assert!(common(&[]).is_empty());
    assert!(common(&[&new, ""]).is_empty());
}

#[test]
fn the_state_remembers_each_kind_by_itself() {
    let record = |uid: &str| Record { uid: Some(uid.into()), deleted: None };
    let state = State::default().with("ValidatingWebhookConfiguration", record("a"));
    let state = state.with("MutatingWebhookConfiguration", record("b"));
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    let state = state.with("ValidatingWebhookConfiguration", deleted(Some("a".into()), now));
    let found = state.record("ValidatingWebhookConfiguration");
    assert_eq!(found, Record { uid: Some("a".into()), deleted: Some("2026-06-01T00:00:00Z".into()) });
    assert_eq!(state.record("MutatingWebhookConfiguration"), record("b"));
    let cleared = state.with("ValidatingWebhookConfiguration", Record::default());
    assert_eq!(cleared.record("ValidatingWebhookConfiguration"), Record::default());
    assert_eq!(State::of(Some(&ConfigMap::default())), State::default());
    assert_eq!(State::of(None), State::default());
}

fn error(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::default() }))
}

#[test]
fn a_probe_arrived_only_where_its_own_number_comes_back() {
    let denied = format!("admission webhook \"{PROBE}\" denied the request: {}", probe::denial("17"));
    assert_eq!(probe::read("17", &error(403, &denied)), Probe::Arrived);
    assert!(matches!(probe::read("18", &error(403, &denied)), Probe::Unclear(_)));
    let other = "admission webhook \"policy.example.com\" denied the request: no 17 here";
    assert!(matches!(probe::read("17", &error(403, other)), Probe::Unclear(_)));
    let theirs = "Internal error occurred: failed calling webhook \"policy.example.com\": connection refused";
    assert!(matches!(probe::read("17", &error(500, theirs)), Probe::Unclear(_)));
    let ours = format!("Internal error occurred: failed calling webhook \"{PROBE}\": EOF");
    assert!(matches!(probe::read("17", &error(500, &ours)), Probe::Unreachable(..)));
}

#[test]
fn what_the_api_server_says_names_the_obstacle() {
    let post = |cause: &str| {
        format!(
            "Internal error occurred: failed calling webhook \"{PROBE}\": failed to call webhook: Post \
             \"https://gatepost.gatepost.svc:443/validate?timeout=3s\": {cause}"
        )
    };
    let place = Place { namespace: "gatepost".into(), service_port: 443, pod_port: 8443 };
    let table = [
        ("dial tcp 10.0.0.7:443: connect: connection refused", Obstacle::Refused, "port 8443"),
        ("context deadline exceeded", Obstacle::Lost, "firewall"),
        ("net/http: request canceled while waiting for connection (Client.Timeout exceeded)", Obstacle::Lost, "8443"),
        ("dial tcp 10.0.0.7:443: i/o timeout", Obstacle::Lost, "NetworkPolicy"),
        ("dial tcp 10.0.0.7:443: connect: no route to host", Obstacle::NoRoute, "route"),
        (
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            Obstacle::Certificate,
            "caBundle",
        ),
        ("x509: certificate is valid for localhost, not gatepost.gatepost.svc", Obstacle::Certificate, "certificate"),
        ("EOF", Obstacle::NotTls, "proxy"),
        ("http: server gave HTTP response to HTTPS client", Obstacle::NotTls, "TLS"),
        ("service \"gatepost\" not found", Obstacle::NoService, "apply the manifests"),
        ("no endpoints available for service \"gatepost\"", Obstacle::NoEndpoints, "no Pod that is ready"),
        ("dial tcp: lookup gatepost.gatepost.svc: no such host", Obstacle::NoName, "name is not found"),
        ("No agent available", Obstacle::Tunnel, "Konnectivity"),
        (
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            Obstacle::Stranger,
            "something else",
        ),
        ("something new", Obstacle::Other, "cannot reach port 8443 of the Pods behind Service gatepost/gatepost"),
    ];
    for (cause, obstacle, text) in table {
        assert_eq!(Obstacle::read(&post(cause)), obstacle, "{cause}");
        assert!(obstacle.explain(&place).contains(text), "{cause}: {}", obstacle.explain(&place));
    }
}

fn unreachable() -> Probe {
    Probe::Unreachable(Obstacle::Refused, "connection refused".into())
}

#[test]
fn three_failures_in_a_row_narrow_and_one_arrival_widens() {
    let now = Instant::now();
    let mut reach = Reach::new(now, Duration::from_secs(30));
    let mut take = |probe| reach.take(probe, now);
    assert_eq!(
        [take(unreachable()), take(unreachable()), take(Probe::Arrived)],
        [Advice::Stay, Advice::Stay, Advice::Widen]
    );
    assert_eq!([take(unreachable()), take(Probe::Unclear("busy".into())), take(unreachable())], [Advice::Stay; 3]);
    assert_eq!(take(unreachable()), Advice::Narrow, "what nothing follows from does not count either way");
    reach.narrowed(now);
    assert_eq!(reach.take(Probe::Arrived, now), Advice::Widen);
    let again: Vec<Advice> = (0..6).map(|_| reach.take(unreachable(), now)).collect();
    assert_eq!(again.iter().filter(|advice| **advice == Advice::Narrow).count(), 1, "to and fro takes more: {again:?}");
    let now = now + Duration::from_hours(2);
    reach.take(Probe::Arrived, now);
    let later: Vec<Advice> = (0..3).map(|_| reach.take(unreachable(), now)).collect();
    assert_eq!(later, [Advice::Stay, Advice::Stay, Advice::Narrow], "after an hour it is forgotten");
}

#[test]
fn probes_are_rare_while_they_arrive_and_quick_after_a_write() {
    let now = Instant::now();
    let mut reach = Reach::new(now, Duration::from_secs(33));
    assert_eq!(reach.next, now);
    reach.take(Probe::Arrived, now);
    assert_eq!(reach.next - now, Duration::from_secs(33));
    reach.take(unreachable(), now);
    assert_eq!(reach.next - now, Duration::from_secs(10));
    reach.hurry(now);
    assert_eq!(reach.next - now, Duration::from_secs(1));
    let intervals: Vec<u64> = (0..6)
        .map(|_| {
            reach.take(Probe::Unclear("not yet".into()), now);
            (reach.next - now).as_secs()
        })
        .collect();
    assert_eq!(intervals, [1, 1, 1, 1, 1, 10]);
}

#[test]
fn a_fight_is_given_more_and_more_time() {
    let mut now = Instant::now();
    let mut patience = Patience::default();
    let mut waited = Vec::new();
    for _ in 0..14 {
        let pause = patience.pause(now).unwrap_or_default();
        waited.push(pause.as_secs());
        now += pause;
        assert_eq!(patience.pause(now), None, "then it may be written");
        patience.wrote(now);
    }
    assert_eq!(waited, [0, 0, 0, 0, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]);
    now += Duration::from_hours(1);
    patience.wrote(now);
    assert_eq!(patience.pause(now), None, "and forgotten");
}

fn served(group: &str, kind: &str, plural: &str, scope: Scope, operations: &[&str]) -> (ApiResource, ApiCapabilities) {
    let version = "v1".to_owned();
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    let resource = ApiResource { group: group.into(), version, api_version, kind: kind.into(), plural: plural.into() };
    let operations = operations.iter().map(|&verb| verb.to_owned()).collect();
    (resource, ApiCapabilities { scope, subresources: Vec::new(), operations })
}

#[test]
fn kinds_become_the_resources_that_the_cluster_serves() {
    let all = ["create", "delete"];
    let cluster = [
        served("apps", "Deployment", "deployments", Scope::Namespaced, &all),
        served("extensions", "Deployment", "deployments", Scope::Namespaced, &all),
        served("", "Pod", "pods", Scope::Namespaced, &all),
        served("", "Namespace", "namespaces", Scope::Cluster, &all),
        served("", "Binding", "bindings", Scope::Namespaced, &["create"]),
    ];
    let table: [(&[&str], &[&str], &[&str]); 6] = [
        (&["apps/Deployment"], &["apps/deployments"], &[]),
        (&["*/Deployment"], &["apps/deployments", "extensions/deployments"], &[]),
        (&["core/*"], &["/namespaces cluster", "/pods"], &[]),
        (&["core/Namespace", "core/Namespace"], &["/namespaces cluster"], &[]),
        (&["example.com/Widget", "core/Binding"], &[], &["example.com/Widget", "core/Binding"]),
        (
            &["workloads"],
            &["/pods", "apps/deployments"],
            &[
                "apps/StatefulSet",
                "apps/DaemonSet",
                "apps/ReplicaSet",
                "core/ReplicationController",
                "batch/Job",
                "batch/CronJob",
            ],
        ),
    ];
    for (kinds, resources, unknown) in table {
        let kinds: Vec<KindSelector> = kinds.iter().map(|kind| kind.parse().unwrap()).collect();
        let found = deletions::find(&cluster, &kinds);
        let words: Vec<String> = found
            .deleted
            .iter()
            .map(|deleted| {
                let scope = if deleted.is_namespaced { "" } else { " cluster" };
                format!("{}/{}{scope}", deleted.group, deleted.resource)
            })
            .collect();
        assert_eq!(words, resources, "{kinds:?}");
        assert_eq!(found.unknown, unknown, "{kinds:?}");
    }
}
