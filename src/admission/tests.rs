//! What admission must get right, sentence by sentence.

#![allow(clippy::needless_pass_by_value, reason = "a table reads better without ampersands")]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::request::{Means, NamespaceState};
use super::{Controllers, Decision, Envelope, Reason, Reviewer, speak};
use crate::config::Config;
use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, Machines, ProgramCache};
use crate::policy::{Modes, NamespaceMeta, Source};

mod authority;

const RULES: &[(&str, &str)] = &[
    (
        "fails.rego",
        "violation contains {\"message\": m} if { some x in input.object.metadata.name; m := sprintf(\"%d\", [x]) }",
    ),
    (
        "slow.rego",
        "violation contains {\"message\": \"never\"} if { count([1 | some x in numbers.range(1, 100000); some y in numbers.range(1, 100000); x == y + 200000]) > 0 }",
    ),
    ("pods-only.rego", "violation contains {\"message\": \"pods only\", \"path\": [\"spec\"]}"),
    ("deletes.rego", "violation contains {\"message\": \"do not delete\"} if input.operation == \"DELETE\""),
    (
        "status.rego",
        "violation contains {\"message\": \"no\", \"path\": [\"spec\", \"size\"]} if input.object.spec.size == 13",
    ),
];

fn rule(file: &str, body: &str) -> Source {
    let id = file.trim_end_matches(".rego");
    let (kinds, operations) = match id {
        "pods-only" => ("core/Pod", "CREATE, UPDATE"),
        "deletes" => ("'*'", "DELETE"),
        "status" => ("example.com/Widget", "CREATE, UPDATE"),
        _ => ("'*'", "CREATE, UPDATE"),
    };
    let text = format!(
        "# METADATA\n# title: t\n# custom:\n#   id: {id}\n#   severity: high\n#   category: test\n#   kinds: [{kinds}]\n\
         #   operations: [{operations}]\n#   fix: mend it\npackage gatepost.rules.{}\n{body}\n",
        id.replace('-', "_")
    );
    Source::new(format!("own/{file}"), text)
}

fn policy(name: &str, rules: &str) -> Source {
    let text = format!(
        "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec: {{rules: [{rules}]}}\n"
    );
    Source::new(format!("own/{name}.yaml"), text)
}

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let mut own: Vec<Source> = RULES.iter().map(|(file, body)| rule(file, body)).collect();
    own.extend([
        policy("slow", "{id: slow}"),
        policy("slow-allowed", "{id: slow, onError: allow}"),
        policy("pods", "{id: pods-only}"),
        policy("deletes", "{id: deletes}"),
        policy("status", "{id: status}"),
        policy("gentle", "{id: container-privileged, atMost: warn}"),
        policy("worded", "{id: container-privileged, message: '{{kind}} {{name}} in {{namespace}}: {{container}} {{path}}', severity: low}"),
    ]);
    let catalogue = Catalogue::read(&[own]).expect("the test's policies are whole");
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("the test's policies compile")
});

fn namespace(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> NamespaceMeta {
    let texts = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| (format!("gatepost.dev/{key}"), (*value).to_owned())).collect()
    };
    NamespaceMeta { name: "shop".into(), labels: texts(labels), annotations: texts(annotations) }
}

struct Ask {
    request: Json,
    namespace: NamespaceState,
    modes: Modes,
    remaining: Duration,
    judge_owned: bool,
    limit: Option<usize>,
}

impl Ask {
    fn create(object: Json) -> Self {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let request = json!({
            "uid": "u", "kind": {"group": group, "version": version, "kind": object["kind"]},
            "name": object["metadata"]["name"], "namespace": "shop", "operation": "CREATE",
            "userInfo": {"username": "jane"}, "object": object, "oldObject": null,
        });
        Self {
            request,
            namespace: NamespaceState::Known(Arc::new(NamespaceMeta::named("shop"))),
            modes: Modes::default(),
            remaining: Duration::from_secs(5),
            judge_owned: false,
            limit: None,
        }
    }

    fn update(old: Json, new: Json) -> Self {
        Self::create(new).set("operation", json!("UPDATE")).set("oldObject", old)
    }

    fn set(mut self, key: &str, value: Json) -> Self {
        self.request[key] = value;
        self
    }

    fn under(mut self, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Self {
        self.namespace = NamespaceState::Known(Arc::new(namespace(labels, annotations)));
        self
    }

    fn configured(mut self, yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gatepost.yaml");
        std::fs::write(&path, yaml).expect("a file");
        self.modes = Config::read(Some(&path)).expect("valid").modes;
        self
    }

    fn decide(&self) -> Decision {
        let body = serde_json::to_vec(&json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": self.request,
        }))
        .expect("JSON");
        let envelope_first = self.limit.map(|limit| self.as_sent().into_bytes()[..limit].to_vec());
        let body = envelope_first.unwrap_or(body);
        let envelope = Envelope::decode(&body, self.limit).expect("an envelope");
        let controllers = Controllers::default();
        let reviewer = Reviewer {
            kubernetes_version: None,
            bundle: &BUNDLE,
            modes: &self.modes,
            exemptions: &Arc::default(),
            controllers: &controllers,
            judge_owned: self.judge_owned,
            limits: Limits { time: Duration::from_millis(200), instructions: 50_000 },
        };
        let means = Means {
            namespace: self.namespace.clone(),
            inventory: BTreeMap::new(),
            now: "2026-06-01T00:00:00Z".parse::<Timestamp>().expect("an instant"),
            remaining: &|| self.remaining,
            machines: &mut Machines::default(),
        };
        reviewer.review(&envelope, means)
    }

    /// Returns the body in the order in which the API server writes it.
    fn as_sent(&self) -> String {
        let request = &self.request;
        let fields = ["uid", "kind", "name", "namespace", "operation", "userInfo", "object", "oldObject"];
        let fields: Vec<String> = fields.iter().map(|key| format!("\"{key}\":{}", request[key])).collect();
        format!("{{\"kind\":\"AdmissionReview\",\"request\":{{{}}}}}", fields.join(","))
    }

    fn warnings(&self) -> Vec<String> {
        speak::warnings(&self.decide(), None)
    }

    fn rejects(&self) -> String {
        let decision = self.decide();
        assert!(!decision.allowed, "allowed with {:?}", speak::warnings(&decision, None));
        speak::denial(&decision, None)
    }

    fn accepts(&self) -> Vec<String> {
        let decision = self.decide();
        assert!(decision.allowed, "denied: {}", speak::denial(&decision, None));
        speak::warnings(&decision, None)
    }
}

fn container(name: &str, privileged: bool) -> Json {
    json!({"name": name, "image": "nginx:1.27.3", "securityContext": {"privileged": privileged},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "livenessProbe": {"tcpSocket": {"port": 80}}, "readinessProbe": {"tcpSocket": {"port": 80}}})
}

fn deployment(containers: &[Json]) -> Json {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": containers}}}})
}

fn pod(owner: Option<(&str, &str)>) -> Json {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"},
        "spec": {"containers": [container("app", true)]}});
    if let Some((api_version, kind)) = owner {
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": "web", "uid": "1", "controller": true}]);
    }
    pod
}

fn bad() -> Json {
    deployment(&[container("app", true)])
}

const ENFORCE: &[(&str, &str)] = &[("enforce", "baseline")];

#[test]
fn warns_and_admits_where_nobody_said_anything() {
    let warnings = Ask::create(bad()).accepts();
    assert_eq!(
        warnings,
        ["gatepost: Deployment/web: container-privileged (critical): app: set securityContext.privileged to false"]
    );
    assert!(Ask::create(deployment(&[container("app", false)])).accepts().is_empty());
}

#[test]
fn denies_under_enforce_and_says_object_rule_place_and_fix_first() {
    let denial = Ask::create(bad()).under(ENFORCE, &[]).rejects();
    let expected = "Deployment/web: container-privileged (critical) in container app: \
                    set securityContext.privileged to false";
    assert_eq!(denial, expected);
    assert!(denial.chars().count() <= 200);
    let answer = speak::answer("u", &Ask::create(bad()).under(ENFORCE, &[]).decide(), None);
    let review: Json = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(review["response"]["status"]["code"], 403);
    assert_eq!(review["response"]["uid"], "u");
}

#[test]
fn ends_in_a_page_where_there_is_one_and_never_cuts_its_address() {
    let page = "https://gatepost.example.com/decisions/7a2c9d7e-2f5b-4a0e-9f0e-1d2c3b4a5968";
    let warnings = speak::warnings(&Ask::create(bad()).decide(), Some(page));
    assert_eq!(
        warnings.last().map(String::as_str),
        Some(&*format!("gatepost: Deployment/web: what to change: {page}"))
    );
    let denial = speak::denial(&Ask::create(bad()).under(ENFORCE, &[]).decide(), Some(page));
    assert!(denial.ends_with(&format!("privileged to false; what to change: {page}")), "{denial}");
    let clean = Ask::create(deployment(&[container("app", false)])).decide();
    assert_eq!(speak::warnings(&clean, Some(page)), Vec::<String>::new());
    let long = format!("https://gatepost.example.com/{}", "x".repeat(300));
    assert_eq!(speak::warnings(&Ask::create(bad()).decide(), Some(&long)).len(), 1);
}

#[test]
fn a_denial_carries_warnings_and_the_number_of_the_rest() {
    let bare = json!({"name": "app", "image": "nginx", "securityContext": {"privileged": true}});
    let ask = Ask::create(deployment(&[bare])).under(&[("enforce", "recommended")], &[("enforce-severity", "high")]);
    let denial = ask.rejects();
    assert!(denial.contains("2 more: container-image-tag (app), container-memory-limit (app)"), "{denial}");
    assert_eq!(ask.warnings().len(), 5, "{:?}", ask.warnings());
}

#[test]
fn speaks_briefly() {
    let bare = |name: &str| json!({"name": name, "image": "nginx"});
    let names: Vec<String> = (0..40).map(|index| format!("a-container-with-a-rather-long-name-{index}")).collect();
    let many: Vec<Json> = names.iter().map(|name| bare(name)).collect();
    let warnings = Ask::create(deployment(&many)).accepts();
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert!(warnings[5].contains("gatepost: Deployment/web: 2 more"), "{}", warnings[5]);
    assert!(warnings.iter().all(|line| line.chars().count() <= 256 && line.contains("Deployment/web")));
    assert!(
        warnings[0].contains("a-container-with-a-rath…, ") && warnings[0].contains("and 37 more"),
        "{}",
        warnings[0]
    );
    let two = Ask::create(deployment(&[bare("app"), bare("sidecar")])).accepts();
    assert!(two[0].starts_with("gatepost: Deployment/web: container-image-tag (high): app, sidecar: "), "{}", two[0]);
}

#[test]
fn severity_and_date_soften_enforce() {
    let image = json!({"name": "app", "image": "nginx", "livenessProbe": {"tcpSocket": {"port": 80}}, "readinessProbe": {"tcpSocket": {"port": 80}},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
    let labels = &[("enforce", "recommended"), ("warn", "off")];
    let ask = Ask::create(deployment(&[image]));
    let ask = ask.under(labels, &[("enforce-severity", "critical")]);
    assert_eq!(ask.accepts().len(), 1, "below the severity it warns");
    let later = Ask::create(bad()).under(labels, &[("enforce-from", "2026-12-01")]).accepts();
    assert!(later[0].contains("(denied from 2026-12-01, in "), "{later:?}");
    Ask::create(bad()).under(labels, &[("enforce-from", "2026-01-01")]).rejects();
}

#[test]
fn annotations_count_only_beside_the_label() {
    let ask = Ask::create(bad()).under(&[], &[("enforce-severity", "high")]);
    assert!(ask.accepts()[0].contains("does not count without the label gatepost.dev/enforce"));
}

#[test]
fn an_unreadable_annotation_is_read_as_strictly_as_can_be() {
    let ask = Ask::create(bad()).under(ENFORCE, &[("enforce-severity", "hihg"), ("enforce-from", "soon")]);
    ask.rejects();
    assert!(ask.warnings().iter().any(|line| line.contains("\"hihg\" is not one of")), "{:?}", ask.warnings());
}

#[test]
fn a_label_that_names_nothing_falls_back_and_says_so() {
    let warnings = Ask::create(bad()).under(&[("enforce", "basline")], &[]).accepts();
    assert!(warnings[0].contains("there is no policy \"basline\", did you mean \"baseline\"?"), "{warnings:?}");
    let configured =
        Ask::create(bad()).under(&[("enforce", "basline")], &[]).configured("defaults: {enforce: baseline}");
    configured.rejects();
}

#[test]
fn floors_hold_whatever_the_labels_say() {
    let floor = "floors:\n- match: {names: [sh*]}\n  set: {enforce: baseline, scope: all}\n";
    let off = &[("enforce", "off"), ("warn", "off"), ("audit", "off")];
    Ask::create(bad()).under(off, &[]).configured(floor).rejects();
    let mut newer = bad();
    newer["spec"]["replicas"] = json!(3);
    Ask::update(bad(), newer).under(ENFORCE, &[]).configured(floor).rejects();
    let unread = Ask {
        namespace: NamespaceState::Unread("shop".into()),
        ..Ask::create(bad()).configured("floors:\n- match: {labels: {env: prod}}\n  set: {enforce: baseline}\n")
    };
    assert!(unread.rejects().contains("container-privileged"));
    assert!(unread.warnings()[0].contains("could not be read in time"), "{:?}", unread.warnings());
}

#[test]
fn the_last_matching_selector_wins_slot_by_slot() {
    let yaml = "namespaces:\n- match: {names: [\"*\"]}\n  set: {enforce: baseline, warn: off}\n\
                - match: {names: [shop]}\n  set: {enforce: off}\n";
    assert!(
        Ask::create(bad()).configured(yaml).accepts().is_empty(),
        "enforce off from the second, warn off from the first"
    );
}

#[test]
fn an_update_is_denied_only_for_what_it_brings_in() {
    let image = |tag: &str| {
        let mut changed = container("app", true);
        changed["image"] = json!(format!("nginx:{tag}"));
        deployment(&[changed])
    };
    let warned = Ask::update(image("1"), image("2")).under(ENFORCE, &[]).accepts();
    assert!(warned[0].contains("container-privileged"), "{warned:?}");
    let sidecar = deployment(&[container("sidecar", true), container("app", true)]);
    let denial = Ask::update(bad(), sidecar.clone()).under(ENFORCE, &[]).rejects();
    assert!(denial.contains("container sidecar") && !denial.contains("container app"), "{denial}");
    Ask::update(image("1"), image("2")).under(ENFORCE, &[("enforce-scope", "all")]).rejects();
    Ask::update(deployment(&[container("app", false)]), bad()).under(ENFORCE, &[]).rejects();
}

#[test]
fn an_update_that_changes_nothing_is_not_judged() {
    let all = &[("enforce-scope", "all")];
    let unchanged = |change: &dyn Fn(&mut Json)| {
        let mut newer = bad();
        change(&mut newer);
        Ask::update(bad(), newer).under(ENFORCE, all).decide().reason == Reason::Unchanged
    };
    assert!(unchanged(&|_| {}));
    assert!(unchanged(&|new| new["status"] = json!({"replicas": 1})));
    for key in ["managedFields", "resourceVersion", "generation", "finalizers", "ownerReferences", "deletionTimestamp"]
    {
        assert!(unchanged(&|new| new["metadata"][key] = json!("x")), "{key}");
    }
    assert!(!unchanged(&|new| new["metadata"]["labels"] = json!({"a": "b"})));
    assert!(!unchanged(&|new| new["metadata"]["annotations"] = json!({"argocd.argoproj.io/refresh": "hard"})));
    assert!(!unchanged(&|new| new["data"] = json!({})));
}

#[test]
fn argo_cd_may_ask_its_applications_to_look_again() {
    let application = |extra: Json| {
        let mut object =
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "a"}});
        for (key, value) in extra.as_object().expect("an object") {
            object[key] = value.clone();
        }
        object
    };
    let plain = application(json!({}));
    for extra in [
        json!({"operation": {"sync": {}}}),
        json!({"status": {"health": {}}}),
        json!({"metadata": {"name": "a", "annotations": {"argocd.argoproj.io/refresh": "normal"}}}),
    ] {
        assert_eq!(Ask::update(plain.clone(), application(extra)).decide().reason, Reason::Unchanged);
    }
    let changed = application(json!({"spec": {"project": "other"}}));
    assert_ne!(Ask::update(plain, changed).decide().reason, Reason::Unchanged);
}

#[test]
fn what_a_controller_makes_of_a_judged_template_is_not_denied_again() {
    let by = |user: &str, owner: Option<(&str, &str)>| {
        Ask::create(pod(owner)).set("userInfo", json!({"username": user})).under(ENFORCE, &[])
    };
    let controller = "system:serviceaccount:kube-system:replicaset-controller";
    assert!(by(controller, Some(("apps/v1", "ReplicaSet"))).accepts().is_empty());
    by("jane", Some(("apps/v1", "ReplicaSet"))).rejects();
    by(controller, None).rejects();
    by(controller, Some(("batch/v1", "Job"))).rejects();
    by(controller, Some(("example.com/v1", "Thing"))).rejects();
    let all = Ask { judge_owned: true, ..by(controller, Some(("apps/v1", "ReplicaSet"))) };
    all.rejects();
    let ephemeral = by(controller, Some(("apps/v1", "ReplicaSet"))).set("subResource", json!("ephemeralcontainers"));
    ephemeral.rejects();
    let pods = by(controller, Some(("apps/v1", "ReplicaSet"))).under(&[("enforce", "pods")], &[]);
    assert!(pods.rejects().contains("pods-only"), "the owner's kind is not one that this rule looks at");
}

#[test]
fn other_subresources_are_allowed_and_counted() {
    for sub in ["status", "scale", "exec", "finalize"] {
        let ask = Ask::create(bad()).under(ENFORCE, &[]).set("subResource", json!(sub));
        assert_eq!(ask.decide().reason, Reason::SubResource);
        ask.accepts();
    }
}

#[test]
fn names_the_object_that_has_no_name_yet() {
    let mut object = pod(None);
    object["metadata"] = json!({"generateName": "web-", "namespace": "shop"});
    let denial = Ask::create(object).set("name", json!("")).under(ENFORCE, &[]).rejects();
    assert!(denial.starts_with("Pod/web-: "), "{denial}");
}

#[test]
fn a_dry_run_gets_the_true_verdict() {
    Ask::create(bad()).under(ENFORCE, &[]).set("dryRun", json!(true)).rejects();
}

#[test]
fn a_rule_that_cannot_be_evaluated_is_a_warning_under_warn() {
    let warnings = Ask::create(pod(None)).under(&[("warn", "slow")], &[]).accepts();
    assert!(warnings[0].contains("slow (high): could not be evaluated: stopped after 200ms"), "{warnings:?}");
}

#[test]
fn under_enforce_on_error_decides_for_that_rule_only() {
    let denial = Ask::create(bad()).under(&[("enforce", "slow")], &[]).rejects();
    assert!(denial.contains("slow (high): could not be evaluated"), "{denial}");
    assert!(!denial.contains("container-privileged"), "{denial}");
    let allowed = Ask::create(bad()).under(&[("enforce", "slow-allowed"), ("warn", "off")], &[]).accepts();
    assert!(allowed[0].contains("could not be evaluated"), "{allowed:?}");
}

#[test]
fn a_rule_that_failed_on_the_old_object_too_counts_as_what_was_there() {
    let mut newer = bad();
    newer["spec"]["replicas"] = json!(5);
    Ask::update(bad(), newer.clone()).under(&[("enforce", "slow")], &[]).accepts();
    let hurried = Ask { remaining: Duration::from_millis(20), ..Ask::update(bad(), newer) };
    hurried.under(&[("enforce", "slow")], &[]).rejects();
}

#[test]
fn too_deep_too_large_and_out_of_time_are_verdicts() {
    let deep = (0..200).fold(json!(1), |inner, _| json!({"a": inner}));
    let mut object = bad();
    object["spec"]["deep"] = deep;
    let denial = Ask::create(object.clone()).under(ENFORCE, &[]).rejects();
    assert!(denial.contains("nested deeper than 128 levels"), "{denial}");
    assert!(Ask::create(object).accepts()[0].contains("nested deeper"));
    let large = Ask { limit: Some(400), ..Ask::create(deployment(&vec![container("app", true); 100])) };
    assert!(large.under(ENFORCE, &[]).rejects().contains("larger than 400 bytes"));
    let late = Ask { remaining: Duration::ZERO, ..Ask::create(bad()).under(ENFORCE, &[]) };
    assert!(late.rejects().contains("ran out of time"));
}

#[test]
fn a_broken_envelope_is_no_review() {
    let decode = |text: &str| Envelope::decode(text.as_bytes(), None).map(|_| ()).map_err(|error| error.to_string());
    for (text, cause) in [
        ("", "EOF"),
        ("{}", "request.uid is missing"),
        ("[]", "invalid type"),
        (r#"{"request": {"uid": "u"}}"#, "request.kind is missing"),
        (r#"{"request": {"uid": "u", "kind": {"kind": "Pod"}, "operation": "EAT"}}"#, "request.operation"),
        (r#"{"apiVersion": "admission.k8s.io/v2", "request": {"uid": "u"}}"#, "apiVersion is \"admission.k8s.io/v2\""),
        (r#"{"request": {"uid": "u", "object": {"a": }}}"#, "expected value"),
    ] {
        let error = decode(text).expect_err("broken");
        assert!(error.contains(cause), "{text}: {error}");
    }
}

#[test]
fn a_namespace_is_judged_by_its_own_new_labels() {
    let namespace = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"gatepost.dev/enforce": value}}})
    };
    let denial = Ask::create(namespace("basline")).rejects();
    assert_eq!(
        denial,
        "Namespace/shop: label gatepost.dev/enforce: there is no policy \"basline\", did you mean \"baseline\"?"
    );
    Ask::create(namespace("baseline")).accepts();
    let mut standing = namespace("basline");
    standing["metadata"]["labels"]["team"] = json!("a");
    let warnings = Ask::update(namespace("basline"), standing).accepts();
    assert!(warnings[0].contains("there is no policy"), "where it stands already it is told, not denied");
    Ask::update(namespace("baseline"), namespace("basline")).rejects();
    let removed = Ask::create(json!(null)).set("kind", json!({"group": "", "version": "v1", "kind": "Namespace"}));
    removed.set("operation", json!("DELETE")).set("oldObject", namespace("basline")).accepts();
}

#[test]
fn deleting_is_judged_by_rules_that_ask() {
    let delete = |labels| {
        let request =
            Ask::create(json!(null)).set("kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
        request.set("operation", json!("DELETE")).set("name", json!("web")).set("oldObject", bad()).under(labels, &[])
    };
    delete(ENFORCE).accepts();
    let denial = delete(&[("enforce", "deletes")]).rejects();
    assert!(denial.starts_with("Deployment/web: deletes"), "{denial}");
}

#[test]
fn a_policy_words_and_softens_its_rules() {
    assert!(Ask::create(bad()).under(&[("enforce", "gentle"), ("warn", "off")], &[]).accepts().len() == 1);
    let denial = Ask::create(bad()).under(&[("enforce", "worded")], &[]).rejects();
    let path = "/spec/template/spec/containers/0/securityContext/privileged";
    assert!(
        denial.contains(&format!(
            "(low) at securityContext.privileged of container app: Deployment web in shop: app {path}"
        )),
        "{denial}"
    );
}

#[test]
fn a_replica_count_of_one_is_never_denied_in_a_cluster() {
    let mut single = deployment(&[container("app", false)]);
    single["spec"]["replicas"] = json!(1);
    let warnings = Ask::create(single).under(&[("enforce", "recommended")], &[]).accepts();
    assert!(warnings[0].contains("deployment-replicas"), "{warnings:?}");
}

#[test]
fn what_only_records_is_left_for_after_the_answer() {
    let ask = Ask::create(bad()).under(&[("warn", "off"), ("audit", "strict")], &[]);
    let decision = ask.decide();
    assert!(decision.told.is_empty() && decision.deferred.is_some());
    assert!(Ask::create(bad()).decide().deferred.is_none(), "strict asks nothing that recommended does not");
}

#[test]
fn the_values_of_a_secret_are_masked() {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "aHVudGVyMg=="}});
    let envelope = Ask::create(secret);
    let body = serde_json::to_vec(&json!({"request": envelope.request})).expect("JSON");
    let object = Envelope::decode(&body, None).expect("an envelope").object().expect("an object");
    let masked = serde_json::to_string(&crate::engine::review::masked(&object)).expect("JSON");
    assert!(!masked.contains("aHVudGVyMg==") && masked.contains("\"p\":\"***\""), "{masked}");
}
