//! Which objects are mended, by which rules, and what is left out when something goes wrong.

#![allow(clippy::needless_pass_by_value, reason = "a table reads better without ampersands")]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{Failure, Mutation};
use crate::admission::request::{Means, NamespaceState};
use crate::admission::{Controllers, Envelope, Reviewer, speak};
use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, Machines, ProgramCache};
use crate::policy::modes::{Slot, SlotSet};
use crate::policy::{Modes, NamespaceMeta, Source};

/// Rules by id, each with what it sets and when.
const RULES: &[(&str, &str)] = &[
    ("adds-x", r#"{"path": ["spec", "context", "x"], "value": 1}] if not input.object.spec.context.x"#),
    ("adds-y", r#"{"path": ["spec", "context", "y"], "value": 2}] if not input.object.spec.context.y"#),
    ("after-y", r#"{"path": ["spec", "after"], "value": v}] if v := input.object.spec.context.y"#),
    ("overwrites", r#"{"path": ["spec", "context", "x"], "value": "other"}, {"path": ["spec", "size"], "value": 9}]"#),
    ("of-its-parameters", r#"{"path": ["spec", "own"], "value": input.parameters.own}]"#),
    ("half", r#"{"path": ["spec", "half"], "value": 1}, {"path": ["spec", "size", "unit"], "value": "m"}]"#),
    ("into-status", r#"{"path": ["status", "phase"], "value": "fine"}]"#),
    ("shapeless", r#""text"]"#),
    ("fails", r#"{"path": ["spec", "never"], "value": v}] if { some i in [1]; v := sprintf("%d", ["a", i]) + 1 }"#),
    (
        "endless",
        r#"{"path": ["metadata", "labels", sprintf("n%d", [n])], "value": "x"}] if n := count(object.get(input.object.metadata, "labels", {}))"#,
    ),
    (
        "slow",
        r#"{"path": ["spec", "never"], "value": 1}] if count([1 | some x in numbers.range(1, 100000); some y in numbers.range(1, 100000); x == y + 200000]) > 0"#,
    ),
    ("into-the-list", r#"{"path": ["spec", "list", 0, "port"], "value": 80}]"#),
    ("makes-the-list", r#"{"path": ["spec", "list"], "value": [{"name": "a"}]}] if not input.object.spec.list"#),
    (
        "a-fails-once-x-is-there",
        r#"{"path": ["spec", "early"], "value": 1}, {"path": place, "value": 1}] if place := object.get({0: ["spec", "late"]}, count(object.get(input.object.spec, "context", {})), ["status"])"#,
    ),
];

fn rule(id: &str, body: &str) -> Source {
    let parameters = if id == "of-its-parameters" {
        "#   parameters: {type: object, properties: {own: {type: string, default: shipped}}}\n"
    } else {
        ""
    };
    let text = format!(
        "# METADATA\n# title: t\n# custom:\n#   id: {id}\n#   severity: high\n#   category: test\n\
         #   kinds: [example.com/Widget]\n#   fix: mend it\n{parameters}package gatepost.rules.{}\n\
         violation contains {{\"message\": \"m\", \"patch\": patch}} if some patch in patches\n\n\
         patches contains [{body}\n",
        id.replace('-', "_")
    );
    Source::new(format!("own/{id}.rego"), text)
}

fn policy(name: &str, rules: &[&str]) -> Source {
    let rules: Vec<String> = rules.iter().map(|rule| format!("{{{rule}}}")).collect();
    let text = format!(
        "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec: {{rules: [{}]}}\n",
        rules.join(", ")
    );
    Source::new(format!("own/{name}.yaml"), text)
}

/// For each rule a policy of its name that marks it, and some that mark several.
static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let marked = |id: &str| format!("id: {id}, mutate: true");
    let mut own: Vec<Source> = RULES.iter().map(|(id, body)| rule(id, body)).collect();
    own.extend(RULES.iter().map(|(id, _)| policy(&format!("only-{id}"), &[&marked(id)])));
    own.extend([
        policy("both", &[&marked("adds-y"), &marked("adds-x")]),
        policy("unmarked", &["id: adds-x", &marked("adds-y")]),
        policy("chain", &[&marked("after-y"), &marked("adds-y")]),
        policy("own-value", &["id: of-its-parameters, mutate: true, parameters: {own: ours}"]),
        policy("with-a-bad-one", &[&marked("adds-x"), &marked("half"), &marked("into-status"), &marked("shapeless")]),
        policy("with-a-slow-one", &[&marked("adds-x"), &marked("slow")]),
        policy("with-an-endless-one", &[&marked("adds-x"), &marked("endless")]),
        policy("list", &[&marked("into-the-list"), &marked("makes-the-list")]),
        policy("late", &[&marked("adds-x"), &marked("a-fails-once-x-is-there")]),
    ]);
    let catalogue = Catalogue::read(&[own]).expect("the test's policies are whole");
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("the test's policies compile")
});

struct Ask {
    request: Json,
    namespace: NamespaceState,
    modes: Modes,
    remaining: Duration,
}

impl Ask {
    /// A Widget that is created in a namespace whose label names a policy.
    fn widget(policy: &str, spec: Json) -> Self {
        Self::create(
            policy,
            json!({
                "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "shop"}, "spec": spec,
            }),
        )
    }

    fn create(policy: &str, object: Json) -> Self {
        let api_version = object["apiVersion"].as_str().expect("an apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let request = json!({
            "uid": "u", "kind": {"group": group, "version": version, "kind": object["kind"]},
            "name": "w", "namespace": "shop", "operation": "CREATE",
            "userInfo": {"username": "jane"}, "object": object,
        });
        let labels = BTreeMap::from([("gatepost.dev/mutate".to_owned(), policy.to_owned())]);
        let meta = NamespaceMeta { labels, ..NamespaceMeta::named("shop") };
        Self {
            request,
            namespace: NamespaceState::Known(Arc::new(meta)),
            modes: Modes::default(),
            remaining: Duration::from_secs(5),
        }
    }

    fn set(mut self, key: &str, value: Json) -> Self {
        self.request[key] = value;
        self
    }

    fn mutate(&self) -> Mutation {
        let body = serde_json::to_vec(&json!({"request": self.request})).expect("JSON");
        let envelope = Envelope::decode(&body, None).expect("an envelope");
        let reviewer = Reviewer {
            kubernetes_version: None,
            bundle: &BUNDLE,
            modes: &self.modes,
            exemptions: &Arc::default(),
            controllers: &Controllers::default(),
            judge_owned: true,
            limits: Limits { time: Duration::from_millis(100), instructions: 50_000 },
        };
        let means = Means {
            namespace: self.namespace.clone(),
            inventory: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            remaining: &|| self.remaining,
            machines: &mut Machines::default(),
        };
        reviewer.mutate(&envelope, means)
    }

    /// Returns the object with the answer's patch applied, as the API server does it.
    fn mended(&self) -> Json {
        let answer = answer(&self.mutate());
        assert_eq!(answer["response"]["allowed"], true);
        let mut object = self.request["object"].clone();
        if let Some(patch) = answer["response"]["patch"].as_str() {
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
            let patch: json_patch::Patch =
                serde_json::from_slice(&STANDARD.decode(patch).expect("base64")).expect("a JSON Patch");
            json_patch::patch(&mut object, &patch).expect("it applies");
        }
        object
    }

    /// Returns the spec once mended, having seen that mending it again changes nothing.
    fn spec(self) -> Json {
        let object = self.mended();
        let again = self.set("object", object.clone()).mutate();
        assert_eq!((again.patch, again.set), (Vec::new(), Vec::new()), "mending twice changes something");
        object["spec"].clone()
    }
}

fn answer(mutation: &Mutation) -> Json {
    serde_json::from_slice(&speak::mutation_answer("u", mutation)).expect("JSON")
}

fn left_out(mutation: &Mutation) -> Vec<&str> {
    mutation.left_out.iter().map(|(rule, _)| rule.as_str()).collect()
}

#[test]
fn rules_that_are_marked_set_what_is_absent() {
    let table = [
        ("only-adds-x", json!({}), json!({"context": {"x": 1}})),
        ("only-adds-x", json!({"context": {"x": 0}}), json!({"context": {"x": 0}})),
        ("both", json!({}), json!({"context": {"x": 1, "y": 2}})),
        ("both", json!({"context": {"z": 3}}), json!({"context": {"x": 1, "y": 2, "z": 3}})),
        ("unmarked", json!({}), json!({"context": {"y": 2}})),
        ("only-overwrites", json!({"size": 1, "context": {"x": 1}}), json!({"size": 1, "context": {"x": 1}})),
        ("only-overwrites", json!({"size": 1}), json!({"size": 1, "context": {"x": "other"}})),
        ("only-of-its-parameters", json!({}), json!({"own": "shipped"})),
        ("own-value", json!({}), json!({"own": "ours"})),
        ("chain", json!({}), json!({"context": {"y": 2}, "after": 2})),
        ("list", json!({}), json!({"list": [{"name": "a", "port": 80}]})),
        ("list", json!({"list": [{"name": "b"}, {}]}), json!({"list": [{"name": "b", "port": 80}, {}]})),
        ("recommended", json!({}), json!({})),
        ("off", json!({}), json!({})),
        ("no-such-policy", json!({}), json!({})),
    ];
    for (policy, before, after) in table {
        assert_eq!(Ask::widget(policy, before).spec(), after, "{policy}");
    }
}

#[test]
fn the_configuration_names_the_policy_where_no_label_does() {
    let mut ask = Ask::widget("only-adds-y", json!({}));
    ask.modes.defaults = SlotSet { mutate: Some(Slot::Policy("only-adds-x".into())), ..SlotSet::default() };
    assert_eq!(ask.mended()["spec"], json!({"context": {"y": 2}}));
    ask.namespace = NamespaceState::Known(Arc::new(NamespaceMeta::named("shop")));
    assert_eq!(ask.spec(), json!({"context": {"x": 1}}));
}

#[test]
fn only_what_is_created_in_a_namespace_is_mended() {
    let widget = || Ask::widget("only-adds-x", json!({}));
    assert!(!widget().mutate().patch.is_empty());
    assert_eq!(widget().set("dryRun", json!(true)).mutate(), widget().mutate());
    let object = widget().request["object"].clone();
    for ask in [
        widget().set("operation", json!("UPDATE")).set("oldObject", object.clone()),
        widget().set("operation", json!("DELETE")).set("oldObject", object),
        widget().set("operation", json!("CONNECT")),
        widget().set("subResource", json!("status")),
        widget().set("namespace", json!("")),
        Ask { namespace: NamespaceState::None, ..widget() },
    ] {
        let mutation = ask.mutate();
        assert!(mutation.patch.is_empty() && !mutation.has_failed(), "{mutation:?}");
    }
}

#[test]
fn what_a_controller_makes_is_left_alone_and_a_forged_owner_is_not_one() {
    let pod =
        |user: &str| {
            let owner =
                json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "1", "controller": true});
            Ask::create("only-adds-x", json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "ownerReferences": [owner]},
        }))
        .set("userInfo", json!({"username": user}))
        };
    assert!(!pod("jane").mutate().patch.is_empty());
    let job = |user: &str| {
        let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "1", "controller": true});
        let job =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "ownerReferences": [owner]}});
        let body = json!({"request": Ask::create("both", job).set("userInfo", json!({"username": user})).request});
        let envelope = Envelope::decode(&serde_json::to_vec(&body).expect("JSON"), None).expect("an envelope");
        let reviewer = Reviewer {
            kubernetes_version: None,
            bundle: &BUNDLE,
            modes: &Modes::default(),
            exemptions: &Arc::default(),
            controllers: &Controllers::default(),
            judge_owned: true,
            limits: Limits { time: Duration::from_secs(1), instructions: 50_000 },
        };
        reviewer.is_left_alone(&envelope, &envelope.object().expect("an object"))
    };
    assert!(job("system:serviceaccount:kube-system:cronjob-controller"));
    assert!(!job("system:serviceaccount:kube-system:job-controller"));
    assert!(!job("jane"));
}

#[test]
fn a_rule_that_fails_is_left_out_whole_and_the_others_are_applied() {
    let bad = Ask::widget("with-a-bad-one", json!({"size": 1}));
    let mutation = bad.mutate();
    assert_eq!(left_out(&mutation), ["half", "into-status", "shapeless"]);
    assert_eq!(mutation.summary(), "adds-x: /spec/context/x");
    assert_eq!(bad.spec(), json!({"size": 1, "context": {"x": 1}}));

    let slow = Ask::widget("with-a-slow-one", json!({}));
    let mutation = slow.mutate();
    assert_eq!(left_out(&mutation), ["slow"]);
    assert!(mutation.has_failed() && mutation.failure.is_none());
    assert_eq!(slow.spec(), json!({"context": {"x": 1}}));

    let endless = Ask::widget("with-an-endless-one", json!({}));
    assert_eq!(left_out(&endless.mutate()), ["endless"]);
    assert!(endless.mended()["metadata"].get("labels").is_none());
    assert_eq!(endless.spec(), json!({"context": {"x": 1}}));

    let late = Ask::widget("late", json!({}));
    let mutation = late.mutate();
    assert_eq!(left_out(&mutation), ["a-fails-once-x-is-there"], "{mutation:?}");
    assert_eq!(late.spec(), json!({"context": {"x": 1}}));
}

#[test]
fn a_failure_leaves_the_object_as_it_was_and_says_so() {
    let widget = || Ask::widget("both", json!({}));
    let late = Ask { remaining: Duration::ZERO, ..widget() };
    let unread = Ask { namespace: NamespaceState::Unread("shop".into()), ..widget() };
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let deep = widget().set("object", json!({"apiVersion": "example.com/v1", "kind": "Widget", "spec": deep}));
    for (ask, expected, told) in [
        (late, Failure::NotReached, "the patches were not worked out in time"),
        (unread, Failure::UnreadNamespace, "the namespace could not be read in time"),
    ] {
        let mutation = ask.mutate();
        assert_eq!(mutation.failure, Some(expected));
        assert_eq!(answer(&mutation)["response"]["auditAnnotations"], json!({"not-mutated": told}));
        assert_eq!(ask.mended(), ask.request["object"]);
    }
    let mutation = deep.mutate();
    assert!(matches!(mutation.failure, Some(Failure::Unreadable(_))), "{mutation:?}");
    assert!(mutation.patch.is_empty());
}

#[test]
fn the_answer_says_in_an_audit_annotation_what_was_done() {
    let response = answer(&Ask::widget("both", json!({})).mutate())["response"].clone();
    assert_eq!(response["auditAnnotations"], json!({"mutated": "adds-x: /spec/context/x; adds-y: /spec/context/y"}));
    assert!(response.get("warnings").is_none());
    let untouched = answer(&Ask::widget("off", json!({})).mutate());
    assert_eq!(untouched["response"], json!({"uid": "u", "allowed": true}));
    let long = "x".repeat(2000);
    let place = crate::engine::Path::of_keys(&["spec", &long]);
    let mutation = Mutation { set: vec![("rule".into(), place)], ..Ask::widget("both", json!({})).mutate() };
    let annotation = answer(&mutation)["response"]["auditAnnotations"]["mutated"].clone();
    assert_eq!(annotation.as_str().map(|text| text.chars().count()), Some(1024));
}
