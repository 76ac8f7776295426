use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::judges::Judges;
use super::list::Lister;
use super::pass::{Outcome, Pass, Progress};
use super::said::Said;
use super::scope::Rules;
use super::sink::{Present, Sink, Tally};
use super::{Auditor, Memory, sink};
use crate::config::Config;
use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, ProgramCache};
use crate::policy::{Exemption, ExemptionTerms, Exemptions, KubernetesVersion, Source};
use crate::store::{AuditState, Store, Stored};
use crate::telemetry::audit::Cost;

const RULE: &str = "# METADATA\n# title: T\n# custom:\n#   id: no-latest\n#   severity: high\n\
                    #   category: test\n#   kinds: [workloads]\n#   fix: F\n\
                    package gatepost.rules.no_latest\n\
                    violation contains {\"message\": \"latest\", \"path\": c.path} if {\n\
                    \tsome c in input.containers\n\tendswith(c.container.image, \":latest\")\n}\n";
const POLICY: &str = "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: strict}\n\
                      spec:\n  rules:\n  - {id: no-latest}\n";

/// Answers by path and query, in the given order for each.
type Answers = BTreeMap<String, Vec<(u16, Json)>>;

fn client(answers: Answers) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (answers, log) = (Arc::new(Mutex::new(answers)), asked.clone());
    let answer = move |request: Request<Body>| {
        let at = request.uri().path_and_query().unwrap().to_string();
        log.lock().unwrap().push(at.clone());
        let key = match at.split_once("continue=") {
            Some((_, token)) => format!("{}?{token}", request.uri().path()),
            None => request.uri().path().to_owned(),
        };
        let mut answers = answers.lock().unwrap();
        let known = answers.get_mut(&key);
        let (code, body) = match known {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "message": key})),
        };
        async move {
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    };
    (Client::new(service_fn(answer), "default"), asked)
}

fn pod(name: &str, image: &str) -> Json {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"},
           "spec": {"containers": [{"name": "app", "image": image}]}})
}

/// Returns a ReplicaSet of these replicas, whose controller may make Pods.
fn replica_set(name: &str, image: &str, replicas: u32) -> Json {
    let template = json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"},
           "spec": {"replicas": replicas, "template": template}})
}

fn owned_by(mut object: Json, kind: &str, name: &str, uid: &str) -> Json {
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    object
}

fn page(items: &[Json], next: &str) -> (u16, Json) {
    (200, json!({"metadata": {"continue": next}, "items": items}))
}

fn status(code: u16, next: &str) -> (u16, Json) {
    let metadata = json!({"continue": next});
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "metadata": metadata}))
}

fn cluster(pods: Vec<(&str, (u16, Json))>) -> Answers {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": ["list", "watch"]});
    let core = json!({"groupVersion": "v1", "resources": [
        resource("pods", "Pod", true), resource("replicationcontrollers", "ReplicationController", true),
        resource("events", "Event", true)]});
    let namespaces = json!({"metadata": {}, "items": [
        {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "shop"}}]});
    let mut answers = Answers::from([
        ("/api/v1".to_owned(), vec![(200, core)]),
        ("/apis".to_owned(), vec![(200, json!({"groups": []}))]),
        ("/api/v1/namespaces".to_owned(), vec![(200, namespaces)]),
        ("/api/v1/replicationcontrollers".to_owned(), vec![status(403, "")]),
    ]);
    for (at, answer) in pods {
        answers.entry(format!("/api/v1/pods{at}")).or_default().push(answer);
    }
    answers
}

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Notes {
    failing: Vec<String>,
    /// What delivers what, as far as that is known.
    delivered: BTreeMap<String, String>,
    listed: Vec<(String, usize)>,
    /// Ends the pass, and cancels it when it has told of a page.
    cancel: CancellationToken,
    cancels: bool,
}

#[async_trait]
impl Sink for Notes {
    async fn page(&mut self, page: Vec<Said>) -> Stored<Tally> {
        let failing = page.iter().filter(|said| said.look.found.iter().any(|found| found.rule.as_str() == "no-latest"));
        self.failing.extend(failing.map(|said| said.look.object.name.clone()));
        let delivered = page.iter().filter_map(|said| Some((&said.look.object, said.look.application.as_ref()?)));
        self.delivered.extend(delivered.map(|(object, by)| (object.name.clone(), by.name.clone())));
        if self.cancels {
            self.cancel.cancel();
        }
        Ok(sink::Tally::default())
    }

    async fn listed(&mut self, _: &str, kind: &str, present: Present<'_>) -> Stored<Tally> {
        let (Present::Only(seen) | Present::Within(_, seen) | Present::AllBut(seen)) = present;
        self.listed.push((kind.to_owned(), seen.len()));
        Ok(Tally::default())
    }

    async fn served(&mut self, _: &HashSet<(String, String)>, _: &HashSet<(String, String)>) -> Stored<Tally> {
        Ok(Tally::default())
    }
}

fn rules() -> Rules {
    rules_of(RULE)
}

/// Returns rules of which one is the test's own.
fn rules_of(rule: &str) -> Rules {
    let files = vec![Source::new("own/rule.rego", rule), Source::new("strict.yaml", POLICY)];
    let catalogue = Catalogue::read(&[files]).unwrap();
    let bundle = Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::default()).unwrap();
    Rules {
        kubernetes_version: None,
        bundle: Arc::new(bundle),
        config: Arc::new(Config::default()),
        exemptions: Arc::default(),
        policies: vec!["strict".into()],
        limits: Limits { time: Duration::from_secs(5), instructions: 10_000_000 },
        judge_owned: false,
    }
}

/// Returns how often the test's own rule passed and failed.
fn counted(outcome: &Outcome) -> Vec<(&str, u64, u64)> {
    let own = outcome.counts.iter().filter(|count| count.rule == "no-latest");
    own.map(|count| (&*count.namespace, count.passed, count.failed)).collect()
}

async fn run(client: Client, rules: &Rules, memory: &mut Memory, notes: &mut Notes) -> Outcome {
    run_at(Timestamp::now, client, rules, memory, notes).await
}

async fn run_at(
    now: fn() -> Timestamp,
    client: Client,
    rules: &Rules,
    memory: &mut Memory,
    notes: &mut Notes,
) -> Outcome {
    let cancel = notes.cancel.clone();
    let pass = Pass {
        client,
        cluster: String::new(),
        rules: rules.clone(),
        secrets: false,
        lister: Arc::new(Lister::new(1000, Cost::default())),
        judges: Arc::new(Judges::new(2)),
        memory,
        sink: notes,
        progress: watch::Sender::new(Progress::default()),
        now,
        cancel,
    };
    pass.run().await.unwrap()
}

#[tokio::test]
async fn judges_each_object_of_a_large_page_once() {
    let image = |number: usize| if number.is_multiple_of(3) { "x:latest" } else { "x:1" };
    let pods: Vec<_> = (0..1203).map(|number| pod(&format!("pod-{number}"), image(number))).collect();
    let (client, _) = client(cluster(vec![("", page(&pods, ""))]));
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules(), &mut memory, &mut notes).await;
    let failing: HashSet<&String> = notes.failing.iter().collect();
    assert_eq!((notes.failing.len(), failing.len()), (401, 401));
    assert_eq!((outcome.objects, outcome.evaluated), (1203, 1203));
    assert_eq!(notes.listed, [("Pod".to_owned(), 1203)]);
}

#[tokio::test]
async fn reads_every_page_and_tells_what_it_could_not_read() {
    let (client, asked) = client(cluster(vec![
        ("", page(&[pod("a", "x:latest"), pod("b", "x:1")], "t1")),
        ("?t1", status(410, "t2")),
        ("?t2", page(&[pod("c", "y:latest")], "")),
    ]));
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules(), &mut memory, &mut notes).await;
    assert_eq!(notes.failing, ["a", "c"]);
    assert_eq!(notes.listed, [("Pod".to_owned(), 3)]);
    assert_eq!((outcome.objects, outcome.evaluated, outcome.state), (3, 3, Some(AuditState::Partial)));
    assert_eq!(outcome.unread.keys().collect::<Vec<_>>(), ["core/ReplicationController"]);
    assert!(outcome.unread["core/ReplicationController"].contains("403"), "{:?}", outcome.unread);
    assert_eq!(counted(&outcome), [("shop", 1, 2)]);
    let asked = asked.lock().unwrap();
    assert!(!asked.iter().any(|at| at.contains("events")), "they are left out: {asked:?}");
}

#[tokio::test]
async fn a_list_that_begins_again_counts_each_object_once() {
    let (client, _) = client(cluster(vec![
        ("", page(&[pod("a", "x:latest")], "t1")),
        ("?t1", status(410, "")),
        ("", page(&[pod("a", "x:latest"), pod("b", "x:1")], "")),
    ]));
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules(), &mut memory, &mut notes).await;
    assert_eq!((outcome.objects, counted(&outcome)), (2, vec![("shop", 1, 1)]));
    assert_eq!(notes.listed, [("Pod".to_owned(), 2)]);
    assert_eq!(notes.failing, ["a"], "it is told once");
}

#[tokio::test]
async fn an_object_that_changed_before_its_list_began_again_counts_as_it_is_last_where_it_is_followed() {
    let mut mended = pod("a", "x:1");
    mended["metadata"]["resourceVersion"] = "2".into();
    let answers = || {
        cluster(vec![
            ("", page(&[pod("a", "x:latest")], "t1")),
            ("?t1", status(410, "")),
            ("", page(std::slice::from_ref(&mended), "")),
        ])
    };
    for (mut memory, expected) in [(Memory::default(), (0, 1)), (Memory::following(), (1, 0))] {
        let mut notes = Notes::default();
        let outcome = run(client(answers()).0, &rules(), &mut memory, &mut notes).await;
        assert_eq!((outcome.objects, counted(&outcome)), (1, vec![("shop", expected.0, expected.1)]));
    }
}

#[tokio::test]
async fn a_cancelled_pass_closes_nothing_and_the_next_goes_over_everything() {
    let answers = || {
        cluster(vec![
            ("", page(&[pod("a", "x:latest"), pod("b", "x:1")], "t1")),
            ("?t1", page(&[pod("c", "y:latest")], "")),
        ])
    };
    let (rules, mut memory) = (rules(), Memory::default());
    let mut notes = Notes { cancels: true, ..Notes::default() };
    let outcome = run(client(answers()).0, &rules, &mut memory, &mut notes).await;
    assert_eq!((outcome.state, outcome.objects, outcome.covered.len()), (Some(AuditState::Cancelled), 2, 0));
    assert_eq!((notes.failing.as_slice(), notes.listed.as_slice()), (&["a".to_owned()][..], &[][..]));
    let mut notes = Notes::default();
    notes.cancel.cancel();
    let outcome = run(client(answers()).0, &rules, &mut memory, &mut notes).await;
    assert_eq!((outcome.state, outcome.objects), (Some(AuditState::Cancelled), 0), "before it has read anything");
    let mut notes = Notes::default();
    let outcome = run(client(answers()).0, &rules, &mut memory, &mut notes).await;
    assert_eq!((outcome.objects, outcome.evaluated), (3, 1), "what was judged is not judged again");
    assert_eq!(notes.listed, [("Pod".to_owned(), 3)]);
}

#[tokio::test]
async fn what_is_unchanged_is_counted_and_not_judged_again() {
    let answers = || cluster(vec![("", page(&[pod("a", "x:latest"), pod("b", "x:1")], ""))]);
    let (rules, mut memory, mut notes) = (rules(), Memory::default(), Notes::default());
    let first = run(client(answers()).0, &rules, &mut memory, &mut notes).await;
    let second = run(client(answers()).0, &rules, &mut memory, &mut notes).await;
    assert_eq!((first.evaluated, second.evaluated, second.objects), (2, 0, 2));
    assert_eq!(first.counts, second.counts);
    let mut changed = answers();
    changed.get_mut("/api/v1/pods").unwrap()[0].1["items"][1]["metadata"]["resourceVersion"] = "2".into();
    assert_eq!(run(client(changed).0, &rules, &mut memory, &mut notes).await.evaluated, 1);
    let mut labelled = answers();
    labelled.get_mut("/api/v1/namespaces").unwrap()[0].1["items"][0]["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(run(client(labelled).0, &rules, &mut memory, &mut notes).await.evaluated, 2);
}

#[tokio::test]
async fn another_release_of_the_cluster_has_everything_judged_again() {
    let answers = || cluster(vec![("", page(&[pod("a", "x:latest"), pod("b", "x:1")], ""))]);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let of = |minor| Rules { kubernetes_version: Some(KubernetesVersion { major: 1, minor }), ..rules() };
    for (minor, evaluated) in [(30, 2), (30, 0), (31, 2), (31, 0)] {
        let outcome = run(client(answers()).0, &of(minor), &mut memory, &mut notes).await;
        assert_eq!(outcome.evaluated, evaluated, "1.{minor}");
    }
}

#[tokio::test]
async fn what_no_rule_reads_of_looked_up_objects_has_nothing_judged_again() {
    let rule = RULE.replace("#   fix: F\n", "#   fix: F\n#   inventory: [core/ConfigMap]\n")
        + "violation contains {\"message\": \"switched off\", \"path\": []} if {\n\
         \tsome map in input.inventory[\"core/ConfigMap\"]\n\tmap.data.off == \"true\"\n}\n";
    let rules = rules_of(&rule);
    let map = |version: &str, data: Json| {
        let metadata = json!({"name": "switches", "namespace": "shop", "uid": "m", "resourceVersion": version});
        json!({"metadata": metadata, "data": data})
    };
    let answers = |map: Json| {
        let mut answers = cluster(vec![("", page(&[pod("a", "x:1"), pod("b", "x:1")], ""))]);
        let resources = answers.get_mut("/api/v1").unwrap()[0].1["resources"].as_array_mut().unwrap();
        resources.push(json!({"name": "configmaps", "singularName": "", "kind": "ConfigMap", "namespaced": true,
            "verbs": ["list", "watch"]}));
        answers.insert("/api/v1/configmaps".into(), vec![page(&[map], "")]);
        answers
    };
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    for (map, evaluated, failing) in [
        // The ConfigMap itself is judged as often as it changes.
        (map("1", json!({"off": "false", "other": "1"})), 3, 0),
        (map("2", json!({"off": "false", "other": "2", "more": "3"})), 1, 0),
        (map("3", json!({"off": "true", "other": "2"})), 3, 2),
        (map("4", json!({"off": "true"})), 1, 0),
    ] {
        notes.failing.clear();
        let outcome = run(client(answers(map.clone())).0, &rules, &mut memory, &mut notes).await;
        assert_eq!((outcome.evaluated, notes.failing.len()), (evaluated, failing), "{map}: {:?}", outcome.unread);
    }
}

#[tokio::test]
async fn who_wrote_which_field_is_told_to_a_rule_that_asks() {
    let mut written = pod("a", "x:1");
    written["metadata"]["managedFields"] = json!([{"manager": "kubectl-edit", "operation": "Update"}]);
    let asks = RULE.to_owned()
        + "violation contains {\"message\": \"by hand\", \"path\": []} if {\n\
           \tinput.object.metadata.managedFields[_].manager == \"kubectl-edit\"\n}\n";
    for (rule, failing) in [(RULE, 0), (&asks, 1)] {
        let (client, _) = client(cluster(vec![("", page(&[written.clone(), pod("b", "x:1")], ""))]));
        let (mut memory, mut notes) = (Memory::default(), Notes::default());
        let outcome = run(client, &rules_of(rule), &mut memory, &mut notes).await;
        assert_eq!((outcome.evaluated, notes.failing.len()), (2, failing), "{rule}");
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_closes_nothing() {
    let (client, _) = client(cluster(vec![("", page(&[pod("a", "x:latest")], "t1")), ("?t1", status(403, ""))]));
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules(), &mut memory, &mut notes).await;
    assert_eq!(notes.failing, ["a"]);
    assert!(notes.listed.is_empty() && outcome.covered.is_empty());
    assert!(outcome.unread.contains_key("core/Pod"));
}

/// Returns an exemption of one object from the test's own rule.
fn exemption(object: &str, expires: &str) -> Arc<Exemption> {
    let text = format!(
        "apiVersion: gatepost.dev/v1alpha1\nkind: Exemption\nmetadata: {{name: {object}, namespace: shop}}\n\
         spec: {{rules: [no-latest], match: {{names: [{object}]}}, reason: r, owner: o, expires: {expires}}}\n"
    );
    let files = vec![Source::new("own/rule.rego", RULE), Source::new("exemption.yaml", text)];
    Catalogue::read(&[files]).unwrap().exemptions()[0].clone()
}

fn exempt(rules: Rules, list: &[Arc<Exemption>]) -> Rules {
    Rules { exemptions: Arc::new(Exemptions::new(list.iter().cloned(), &ExemptionTerms::default())), ..rules }
}

/// Returns how often the test's own rule passed, failed, and was excused.
fn with_exempt(outcome: &Outcome) -> (u64, u64, u64) {
    let own = outcome.counts.iter().find(|count| count.rule == "no-latest").unwrap();
    (own.passed, own.failed, own.exempt)
}

/// When, by which exemptions, how many are evaluated, how many pass, fail and are excused, and whose violations are told.
type Step<'a> = (fn() -> Timestamp, &'a [Arc<Exemption>], u64, (u64, u64, u64), &'a [&'a str]);

#[tokio::test]
async fn what_an_exemption_excused_counts_from_its_end_without_a_new_evaluation() {
    let answers = || cluster(vec![("", page(&[pod("a", "x:latest"), pod("b", "x:latest"), pod("c", "x:1")], ""))]);
    let (first, second) = (exemption("a", "2026-07-01"), exemption("b", "2026-08-01"));
    let june = || "2026-06-01T00:00:00Z".parse().unwrap();
    let july = || "2026-07-01T00:00:00Z".parse().unwrap();
    let august = || "2026-08-01T00:00:00Z".parse().unwrap();
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let both = [first.clone(), second.clone()];
    let (first, second) = ([first], [second]);
    let passes: [Step<'_>; 7] = [
        (june, &[], 3, (1, 2, 0), &["a", "b"]),
        (june, &first, 1, (1, 1, 1), &[]),
        (june, &both, 1, (1, 0, 2), &[]),
        (june, &both, 0, (1, 0, 2), &[]),
        (july, &both, 0, (1, 1, 1), &["a"]),
        (august, &both, 0, (1, 2, 0), &["b"]),
        (august, &second, 1, (1, 2, 0), &["a"]),
    ];
    for (number, (now, list, evaluated, counts, failing)) in passes.into_iter().enumerate() {
        let rules = exempt(rules(), list);
        let outcome = run_at(now, client(answers()).0, &rules, &mut memory, &mut notes).await;
        assert_eq!(outcome.exemptions.len() as u64, counts.2, "pass {number}: each excuses one object");
        assert_eq!((outcome.evaluated, with_exempt(&outcome)), (evaluated, counts), "pass {number}");
        assert_eq!(std::mem::take(&mut notes.failing), failing, "pass {number}");
    }
}

/// Adds the group `apps` with ReplicaSets.
fn with_replica_sets(mut answers: Answers, items: &[Json]) -> Answers {
    let groups = json!({"groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                                    "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}]});
    let resources = json!({"groupVersion": "apps/v1", "resources": [
        {"name": "replicasets", "singularName": "", "kind": "ReplicaSet", "namespaced": true, "verbs": ["list", "watch"]}]});
    answers.insert("/apis".into(), vec![(200, groups)]);
    answers.insert("/apis/apps/v1".into(), vec![(200, resources)]);
    answers.insert("/apis/apps/v1/replicasets".into(), vec![page(items, "")]);
    answers
}

#[tokio::test]
async fn a_pod_is_told_at_its_owner_only_when_it_is_as_the_owner_says() {
    let pods = [
        owned_by(pod("made", "x:latest"), "ReplicaSet", "web", "web"),
        owned_by(pod("changed", "y:latest"), "ReplicaSet", "web", "web"),
        owned_by(pod("wrong-name", "x:latest"), "ReplicaSet", "other", "web"),
        owned_by(pod("wrong-uid", "x:latest"), "ReplicaSet", "web", "nobody"),
        owned_by(pod("wrong-kind", "x:latest"), "StatefulSet", "web", "web"),
    ];
    let mut injected = pods[0].clone();
    injected["metadata"]["name"] = "injected".into();
    injected["metadata"]["uid"] = "injected".into();
    injected["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "proxy", "image": "proxy:1"}));
    let all: Vec<Json> = pods.into_iter().chain([injected]).collect();
    let sets = [replica_set("web", "x:latest", 1)];
    let answers = with_replica_sets(cluster(vec![("", page(&all, ""))]), &sets);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    run(client(answers).0, &rules(), &mut memory, &mut notes).await;
    assert_eq!(notes.failing, ["web", "changed", "wrong-name", "wrong-uid", "wrong-kind"]);
}

#[tokio::test]
async fn a_pod_is_judged_again_when_its_owner_changes() {
    let made = owned_by(pod("made", "x:latest"), "ReplicaSet", "web", "web");
    let answers = |image: &str| {
        let mut set = replica_set("web", image, 1);
        set["metadata"]["resourceVersion"] = image.into();
        with_replica_sets(cluster(vec![("", page(std::slice::from_ref(&made), ""))]), &[set])
    };
    let (rules, mut memory, mut notes) = (rules(), Memory::default(), Notes::default());
    run(client(answers("x:latest")).0, &rules, &mut memory, &mut notes).await;
    assert_eq!(std::mem::take(&mut notes.failing), ["web"]);
    run(client(answers("x:1")).0, &rules, &mut memory, &mut notes).await;
    assert_eq!(notes.failing, ["made"], "it still runs what its owner does not say any more");
}

#[tokio::test]
async fn what_may_not_be_listed_as_a_whole_is_read_where_it_may() {
    let mut answers = cluster(vec![("", status(403, ""))]);
    let namespace = |name: &str| json!({"metadata": {"name": name}});
    answers.insert(
        "/api/v1/namespaces".into(),
        vec![(200, json!({"metadata": {"continue": "n1"}, "items": [namespace("shop")]}))],
    );
    answers.insert(
        "/api/v1/namespaces?n1".into(),
        vec![status(410, ""), (200, json!({"metadata": {}, "items": [namespace("till")]}))],
    );
    answers.insert("/api/v1/namespaces/shop/pods".into(), vec![page(&[pod("a", "x:latest")], "")]);
    answers.insert("/api/v1/namespaces/till/pods".into(), vec![status(403, "")]);
    let (client, asked) = client(answers);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules(), &mut memory, &mut notes).await;
    assert_eq!((notes.failing, notes.listed), (vec!["a".to_owned()], vec![("Pod".to_owned(), 1)]));
    let covered: Vec<_> = outcome.covered.iter().map(|part| (&*part.kind, part.namespace.as_deref())).collect();
    assert_eq!(covered, [("Pod", Some("shop"))]);
    let cause = &outcome.unread["core/Pod"];
    assert!(cause.contains("403") && cause.contains("read in 1 of 2 namespaces, not in till"), "{cause}");
    assert!(outcome.unread.contains_key("core/ReplicationController"));
    let asked = asked.lock().unwrap();
    let namespaces = asked.iter().filter(|at| at.starts_with("/api/v1/namespaces?"));
    assert_eq!(namespaces.count(), 4, "two pages, one of them too old: {asked:?}");
}

#[test]
fn what_is_present_in_some_namespaces_says_nothing_of_others() {
    let key = |namespace: &str, name: &str| crate::report::finding::ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
        ..Default::default()
    };
    let seen = HashSet::from([super::owner::digest(&key("shop", "a"))]);
    let within = HashSet::from(["shop".to_owned()]);
    let table = [("shop", "a", false, false), ("shop", "b", true, true), ("till", "b", true, false)];
    for (namespace, name, only, inside) in table {
        let object = key(namespace, name);
        let lacks = (Present::Only(&seen).lacks(&object), Present::Within(&within, &seen).lacks(&object));
        assert_eq!(lacks, (only, inside), "{namespace}/{name}");
    }
}

/// Begins to audit every hour; it goes on until what is returned says otherwise.
fn start(rules: Rules, store: Arc<dyn Store>, client: Client) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    let auditor = Auditor {
        client,
        cluster: String::new(),
        store,
        applications: None,
        rules: Box::new(move || rules.clone()),
        excusing: Box::new(|_| ()),
        ended: tokio::sync::broadcast::channel(8).0,
        interval: Duration::from_hours(1),
        qps: 1000,
        secrets: false,
        threads: 1,
        cost: Cost::default(),
        turn: watch::channel(true).1,
    };
    auditor.start(stopped);
    stop
}

mod delivered;
mod following;
mod heavy;
mod killed;
mod kinds;
mod times;
mod unjudged;
