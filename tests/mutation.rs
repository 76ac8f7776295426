//! Every rule with a patch, on its fixtures and on what is left of them when parts are missing: what it mends then
//! passes it, mending again changes nothing, and nothing that stood there is lost or different.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gatepost::admission::fixture::reviews;
use gatepost::admission::request::{Means, NamespaceState};
use gatepost::admission::{Controllers, Envelope, Mutation, Reviewer};
use gatepost::engine::review::kind_of;
use gatepost::engine::{
    BackendChoice, Budget, Bundle, Catalogue, Input, Limits, Machines, Outcome, ProgramCache, Review, Value, judge,
};
use gatepost::policy::mutation::MUTATE;
use gatepost::policy::{Modes, NamespaceMeta, Operation, Origin, Provenance, Rule, Source};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

const LIMITS: Limits = Limits { time: Duration::from_secs(10), instructions: 10_000_000 };
const AMPLE: fn() -> Duration = || Duration::from_mins(1);
/// The policy of these tests: every shipped rule, marked.
const ALL: &str = "everything-marked";

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let shipped = Catalogue::read(&[]).expect("the built-in policies are whole");
    let rules = shipped.rules().values().filter(|rule| rule.provenance == Provenance::BuiltIn);
    let rules: Vec<String> = rules.map(|rule| format!("{{id: {}, mutate: true}}", rule.id)).collect();
    let policy = format!(
        "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {ALL}}}\nspec: {{rules: [{}]}}\n",
        rules.join(", ")
    );
    let policy = Source::new(format!("own/{ALL}.yaml"), policy);
    let catalogue = Catalogue::read(&[vec![policy]]).expect("the test's policy");
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("the bundle")
});

fn rules_with_patches() -> Vec<Arc<Rule>> {
    let rules = BUNDLE.catalogue().rules().values();
    rules.filter(|rule| rule.source.text.contains("\"patch\":")).cloned().collect()
}

fn as_json(value: &Value) -> Json {
    serde_json::to_value(value).expect("JSON")
}

/// Returns the objects of a rule's fixtures; those of failing ones alone, or all.
fn objects(rule: &Rule, is_wanted: impl Fn(bool) -> bool) -> Vec<Json> {
    let fixtures = rule.fixtures.iter().filter(|fixture| is_wanted(fixture.passes));
    let found = fixtures.flat_map(|fixture| reviews(rule, &fixture.source.text).expect("a fixture"));
    found.map(|review| as_json(&review.object)).collect()
}

/// Mends an object that is created where all rules are marked.
fn mutate(object: &Json) -> Mutation {
    let kind = kind_of(&Value::from(object.clone()));
    let review = json!({"request": {
        "uid": "u", "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "namespace": "shop", "operation": "CREATE", "userInfo": {"username": "jane"}, "object": object,
    }});
    let envelope = Envelope::decode(review.to_string().as_bytes(), None).expect("an envelope");
    let reviewer = Reviewer {
        kubernetes_version: None,
        bundle: &BUNDLE,
        modes: &Modes::default(),
        exemptions: &Arc::default(),
        controllers: &Controllers::default(),
        judge_owned: false,
        limits: LIMITS,
    };
    let labels = BTreeMap::from([(MUTATE.to_owned(), ALL.to_owned())]);
    let means = Means {
        namespace: NamespaceState::Known(Arc::new(NamespaceMeta { labels, ..NamespaceMeta::named("shop") })),
        inventory: BTreeMap::new(),
        now: Timestamp::UNIX_EPOCH,
        remaining: &AMPLE,
        machines: &mut Machines::default(),
    };
    reviewer.mutate(&envelope, means)
}

fn patched(object: &Json, mutation: &Mutation) -> Json {
    let patch = serde_json::to_value(&mutation.patch).expect("JSON");
    let patch: json_patch::Patch = serde_json::from_value(patch).expect("a JSON Patch");
    let mut mended = object.clone();
    json_patch::patch(&mut mended, &patch).expect("it applies");
    mended
}

/// Returns how many violations a rule finds in a new object at admission.
fn violations(rule: &str, object: &Json) -> usize {
    let review =
        Review { origin: Origin::Admission, ..Review::of_file(Value::from(object.clone()), None, BTreeMap::new()) };
    assert_eq!(review.operation, Operation::Create);
    let policy = BUNDLE.policy(ALL).expect("the test's policy");
    let check =
        BUNDLE.checks().iter().find(|check| check.rule_id().as_str() == rule && policy.entries.contains_key(&check.id));
    let checks = [check.expect("the rule's check").clone()];
    let budget = Budget { limits: LIMITS, remaining: &AMPLE };
    let judged = judge(&Input::new(&review), &checks, &mut Machines::default(), &budget);
    match &judged[0].outcome {
        Outcome::Judged { violations, .. } => violations.len(),
        Outcome::Failed(error) => panic!("{rule}: {error}"),
    }
}

/// Returns whether all that stands in one value stands at the same place in the other, lists in their order.
fn keeps(before: &Json, after: &Json) -> bool {
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => {
            before.iter().all(|(key, value)| after.get(key).is_some_and(|after| keeps(value, after)))
        }
        (Json::Array(before), Json::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| keeps(before, after))
        }
        _ => before == after,
    }
}

/// Asserts what must hold of every object, and returns the rules that mended it.
fn proven(object: &Json) -> Vec<String> {
    let mutation = mutate(object);
    assert_eq!(mutation.failure, None, "{object}");
    let mended = patched(object, &mutation);
    assert!(keeps(object, &mended), "{object} has become {mended}");
    let again = mutate(&mended);
    assert!(again.patch.is_empty() && again.set.is_empty(), "{mended} is changed again by {}", again.summary());
    let rules: Vec<String> = mutation.rules().into_iter().map(ToString::to_string).collect();
    for rule in &rules {
        assert!(violations(rule, object) > 0, "{rule} mends {object}, in which it finds nothing");
        assert_eq!(violations(rule, &mended), 0, "{rule} does not pass what it mended: {mended}");
    }
    rules
}

#[test]
fn every_rule_with_a_patch_mends_a_fixture_that_fails_and_leaves_those_alone_that_pass() {
    let rules = rules_with_patches();
    assert!(!rules.is_empty());
    for rule in rules {
        let id = rule.id.to_string();
        let mended = objects(&rule, |passes| !passes).iter().filter(|object| proven(object).contains(&id)).count();
        assert!(mended > 0, "no fixture shows what {id} mends");
        for object in objects(&rule, |passes| passes) {
            assert!(!proven(&object).contains(&id), "{id} changes {object}, which passes");
        }
    }
}

#[test]
fn no_rule_without_a_patch_changes_a_fixture() {
    let with_patches = rules_with_patches();
    for rule in BUNDLE.catalogue().rules().values() {
        for object in objects(rule, |_| true) {
            let rules = proven(&object);
            assert!(
                rules.iter().all(|id| with_patches.iter().any(|rule| rule.id.as_str() == id)),
                "{rules:?} mended {object}"
            );
        }
    }
}

#[test]
fn what_the_shipped_policies_mark_has_a_patch() {
    let with_patches: Vec<String> = rules_with_patches().iter().map(|rule| rule.id.to_string()).collect();
    for name in ["baseline", "recommended", "strict", "datree-default"] {
        let policy = BUNDLE.policy(name).expect("ships");
        let marked =
            policy.entries.iter().filter(|(_, entry)| entry.mutate).filter_map(|(id, _)| BUNDLE.checks().get(*id));
        let marked: Vec<String> = marked.map(|check| check.rule_id().to_string()).collect();
        assert!(marked.iter().all(|id| with_patches.contains(id)), "{name} marks {marked:?}");
        let asks_for_it = policy.entries.keys().filter_map(|id| BUNDLE.checks().get(*id));
        let expected = asks_for_it.filter(|check| with_patches.contains(&check.rule_id().to_string())).count();
        assert_eq!(marked.len(), expected, "{name} does not mark all that it could");
    }
}

/// Returns the places of all members of objects, the deepest last.
fn members(value: &Json, place: &str, found: &mut Vec<String>) {
    match value {
        Json::Object(fields) => fields.iter().for_each(|(key, value)| {
            let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            found.push(place.clone());
            members(value, &place, found);
        }),
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| members(item, &format!("{place}/{index}"), found));
        }
        _ => {}
    }
}

/// Takes members out, or puts something else in their place.
fn damage(object: &mut Json, hits: &[(Index, Option<Json>)]) {
    for (index, instead) in hits {
        let mut places = Vec::new();
        members(object, "", &mut places);
        // Without these it is no object of that kind any more.
        places.retain(|place| !matches!(place.as_str(), "/apiVersion" | "/kind" | "/metadata"));
        if places.is_empty() {
            return;
        }
        let place = index.get(&places);
        let (parent, key) = place.rsplit_once('/').expect("a pointer");
        let key = key.replace("~1", "/").replace("~0", "~");
        let parent = object.pointer_mut(parent).and_then(Json::as_object_mut).expect("an object");
        match instead {
            Some(instead) => drop(parent.insert(key, instead.clone())),
            None => drop(parent.remove(&key)),
        }
    }
}

fn any_damage() -> impl Strategy<Value = Vec<(Index, Option<Json>)>> {
    let odd = prop_oneof![Just(Json::Null), Just(json!({})), Just(json!([])), Just(json!("text")), Just(json!(7))];
    let instead = prop_oneof![3 => Just(None), 1 => odd.prop_map(Some)];
    prop::collection::vec((any::<Index>(), instead), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn holds_for_what_is_left_of_a_fixture_when_parts_are_missing_or_odd(which in any::<Index>(), hits in any_damage()) {
        let whole: Vec<Json> = rules_with_patches().iter().flat_map(|rule| objects(rule, |_| true)).collect();
        let mut object = which.get(&whole).clone();
        damage(&mut object, &hits);
        proven(&object);
    }
}
