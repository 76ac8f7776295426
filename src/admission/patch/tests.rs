//! What a patch sets, what it leaves alone, and that its JSON Patch says the same.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Draft, LARGEST, PatchError};
use crate::engine::{Path, Value};

/// Patches as rules write them: `[[path, value], …]`.
fn patches(list: &Json) -> Vec<(Path, Value)> {
    let one = |entry: &Json| {
        let path = Path::from_value(&Value::from(entry[0].clone())).expect("a path");
        (path, Value::from(entry[1].clone()))
    };
    list.as_array().expect("a list").iter().map(one).collect()
}

fn as_json(value: &Value) -> Json {
    serde_json::to_value(value).expect("JSON")
}

/// Returns an object after each rule's patches, and the JSON Patch that makes it.
fn mended(object: &Json, rules: &[Json]) -> (Json, Json) {
    let original = Value::from(object.clone());
    let mut draft = Draft::of(&original);
    for rule in rules {
        draft.add(patches(rule).iter()).expect("patches that fit");
    }
    (as_json(draft.object()), serde_json::to_value(draft.additions()).expect("JSON"))
}

fn refused(object: &Json, rule: &Json) -> PatchError {
    let original = Value::from(object.clone());
    let mut draft = Draft::of(&original);
    let error = draft.add(patches(rule).iter()).expect_err("a patch that does not fit");
    assert_eq!(*draft.object(), original, "a rule that fails sets nothing");
    error
}

#[test]
fn sets_what_is_absent_in_the_fewest_steps() {
    let object = json!({"kind": "X", "metadata": {"name": "x"}, "spec": {
        "text": "kept", "nothing": null, "empty": {},
        "containers": [{"name": "a", "image": "i"}, {"name": "b", "resources": {"limits": {"cpu": "1"}}}],
    }});
    let table = [
        (json!([[["spec", "seconds"], 600]]), json!([{"op": "add", "path": "/spec/seconds", "value": 600}])),
        (json!([[["spec", "text"], "other"]]), json!([])),
        (json!([[["spec", "nothing"], 1]]), json!([])),
        (json!([[["spec", "empty"], {"a": 1}]]), json!([])),
        (json!([[["spec", "containers"], []]]), json!([])),
        (json!([[["spec", "containers", 0], {"name": "c"}]]), json!([])),
        (
            json!([[["spec", "empty", "a", "b"], [1]]]),
            json!([{"op": "add", "path": "/spec/empty/a", "value": {"b": [1]}}]),
        ),
        (
            json!([[["metadata", "labels", "app.kubernetes.io/name"], "x"], [["metadata", "labels", "b"], ""]]),
            json!([{"op": "add", "path": "/metadata/labels", "value": {"app.kubernetes.io/name": "x", "b": ""}}]),
        ),
        (
            json!([[["spec", "empty", "a~/b"], true]]),
            json!([{"op": "add", "path": "/spec/empty/a~0~1b", "value": true}]),
        ),
        (
            json!([
                [["spec", "containers", 1, "resources", "limits", "memory"], "1Gi"],
                [["spec", "containers", 0, "resources", "limits", "memory"], "1Gi"],
            ]),
            json!([
                {"op": "add", "path": "/spec/containers/0/resources", "value": {"limits": {"memory": "1Gi"}}},
                {"op": "add", "path": "/spec/containers/1/resources/limits/memory", "value": "1Gi"},
            ]),
        ),
        (
            json!([[["metadata", "annotations"], {"a.b/C_d": "any text\n"}]]),
            json!([{"op": "add", "path": "/metadata/annotations", "value": {"a.b/C_d": "any text\n"}}]),
        ),
        (json!([[["", "a"], 1]]), json!([{"op": "add", "path": "/", "value": {"a": 1}}])),
    ];
    for (rule, expected) in table {
        let (after, patch) = mended(&object, std::slice::from_ref(&rule));
        assert_eq!(patch, expected, "{rule}");
        let (again, nothing) = mended(&after, &[rule]);
        assert_eq!((again, nothing), (after, json!([])));
    }
}

#[test]
fn what_rules_set_under_one_missing_parent_is_merged_and_the_first_value_stays() {
    let object = json!({"spec": {"given": {"a": 0}}});
    let rules = [
        json!([[["spec", "context", "user"], 1000], [["spec", "whole"], {"a": {"x": 1}}]]),
        json!([[["spec", "context", "group"], 2000], [["spec", "whole"], {"a": {"x": 2, "y": 2}, "b": 2}]]),
        json!([[["spec", "context", "user"], 3000], [["spec", "whole", "a"], "text"], [["spec", "given"], {"b": 3}]]),
    ];
    let (after, patch) = mended(&object, &rules);
    let spec = json!({
        "given": {"a": 0}, "context": {"user": 1000, "group": 2000}, "whole": {"a": {"x": 1, "y": 2}, "b": 2},
    });
    assert_eq!(after, json!({"spec": spec}));
    let places: Vec<&str> = patch.as_array().expect("a list").iter().filter_map(|step| step["path"].as_str()).collect();
    assert_eq!(places, ["/spec/context", "/spec/whole"]);
}

#[test]
fn a_patch_that_cannot_be_applied_says_why_and_takes_the_others_of_its_rule_along() {
    let object = json!({"metadata": {"name": "x"}, "spec": {"text": "a", "nothing": null, "list": [1], "map": {}}});
    let fine = json!([["spec", "fine"], 1]);
    let table = [
        (json!([[], 1]), "a patch may not set the whole object"),
        (json!([["apiVersion"], "v2"]), "a patch may not set /apiVersion"),
        (json!([["kind"], "Y"]), "a patch may not set /kind"),
        (json!([["status", "phase"], "Y"]), "a patch may not set /status/phase"),
        (json!([["metadata"], {}]), "a patch may not set /metadata:"),
        (json!([["metadata", "namespace"], "y"]), "a patch may not set /metadata/namespace"),
        (json!([["metadata", "uid"], "y"]), "a patch may not set /metadata/uid"),
        (json!([["metadata", "finalizers"], ["y"]]), "a patch may not set /metadata/finalizers"),
        (json!([["spec", "text", "b"], 1]), "/spec/text/b leads through /spec/text, which is a text"),
        (json!([["spec", "nothing", "b"], 1]), "leads through /spec/nothing, which is null"),
        (json!([["spec", "list", "b"], 1]), "leads through /spec/list, which is a list"),
        (json!([["spec", "list", 1], 1]), "leads through /spec/list, which is a list without that item"),
        (json!([["spec", "map", 0], 1]), "leads through /spec/map, which is an object, which has no items"),
        (
            json!([["spec", "missing", 0, "a"], 1]),
            "leads through /spec/missing, which is not there, and no list is made",
        ),
        (json!([["spec", "a"], null]), "a patch of /spec/a sets null"),
        (json!([["spec", "a"], [{"b": null}]]), "a patch of /spec/a sets null"),
        (json!([["metadata", "labels"], "x"]), "no object of texts"),
        (json!([["metadata", "labels", "a"], 3]), "no object of texts"),
        (json!([["metadata", "labels"], {"a": "x", "b": true}]), "no object of texts"),
        (json!([["metadata", "annotations", "a", "b"], "x"]), "no object of texts"),
        (json!([["metadata", "annotations", 0], "x"]), "no object of texts"),
        (json!([["metadata", "annotations", "a.b/c~d"], "x"]), "a key that the API server does not take"),
        (json!([["metadata", "annotations", "A.b/c"], "x"]), "a key that the API server does not take"),
        (json!([["metadata", "annotations", "a/b/c"], "x"]), "a key that the API server does not take"),
        (json!([["metadata", "annotations", "/c"], "x"]), "a key that the API server does not take"),
        (json!([["metadata", "annotations", ""], "x"]), "a key that the API server does not take"),
        (json!([["metadata", "labels", "a".repeat(64)], "x"]), "a key that the API server does not take"),
        (json!([["metadata", "labels", "a"], "two words"]), "a label whose value is"),
        (json!([["metadata", "labels", "a"], "x".repeat(64)]), "a label whose value is"),
        (json!([["spec", "a"], "x".repeat(LARGEST)]), "larger than 65536 bytes"),
        (json!([vec!["a"; 101], 1]), "nested too deeply"),
    ];
    for (patch, expected) in table {
        let told = refused(&object, &json!([fine, patch])).to_string();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let original = Value::from(json!({"spec": {}}));
    let numbered = Value::from(std::collections::BTreeMap::from([(Value::from(1_u64), Value::from(1_u64))]));
    let set = Value::from(std::collections::BTreeSet::from([Value::from(1_u64)]));
    for (value, expected) in [(numbered, "keys that are no text"), (set, "write a list"), (Value::Undefined, "nothing")]
    {
        let patch = (Path::of_keys(&["spec", "a"]), value);
        let error = Draft::of(&original).add([patch].iter()).expect_err("no JSON").to_string();
        assert!(error.contains(expected), "{error}");
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

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof!["[abc]", Just("~0/~1".to_owned()), Just("0".to_owned()), Just(String::new()), "\\PC{1,3}"]
}

fn any_tree(with_null: bool) -> impl Strategy<Value = Json> {
    let null = if with_null { Just(Json::Null) } else { Just(json!("")) };
    let leaf = prop_oneof![
        null,
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        "\\PC{0,4}".prop_map(Json::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(any_key(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn any_rule() -> impl Strategy<Value = Json> {
    let segment = prop_oneof![4 => any_key().prop_map(Json::from), 1 => (0..3_u64).prop_map(Json::from)];
    let patch = (prop::collection::vec(segment, 0..4), any_tree(false)).prop_map(|(mut path, value)| {
        path.insert(0, json!("spec"));
        json!([path, value])
    });
    prop::collection::vec(patch, 0..4).prop_map(Json::from)
}

proptest! {
    #[test]
    fn nothing_is_replaced_or_removed_and_the_json_patch_says_what_was_done(
        spec in any_tree(true), rules in prop::collection::vec(any_rule(), 0..5)
    ) {
        let object = json!({"spec": spec});
        let original = Value::from(object.clone());
        let mut draft = Draft::of(&original);
        let mut fitting = Vec::new();
        for rule in &rules {
            let before = draft.object().clone();
            if let Ok(set) = draft.add(patches(rule).iter()) {
                prop_assert_eq!(set.is_empty(), before == *draft.object());
                fitting.push(rule);
            } else {
                prop_assert_eq!(&before, draft.object());
            }
        }
        let after = as_json(draft.object());
        prop_assert!(keeps(&object, &after), "{} {}", object, after);

        let additions = serde_json::to_value(draft.additions()).expect("JSON");
        let steps = additions.as_array().expect("a list");
        prop_assert!(steps.iter().all(|step| step["op"] == "add"));
        prop_assert!(steps.iter().all(|step| object.pointer(step["path"].as_str().expect("a pointer")).is_none()));
        let mut applied = object.clone();
        let patch: json_patch::Patch = serde_json::from_value(additions.clone()).expect("a JSON Patch");
        json_patch::patch(&mut applied, &patch).expect("it applies");
        prop_assert_eq!(&applied, &after);

        let once = Value::from(after);
        let mut again = Draft::of(&once);
        for rule in fitting {
            prop_assert_eq!(again.add(patches(rule).iter()), Ok(Vec::new()));
        }
        prop_assert_eq!(again.additions(), Vec::new());
    }
}
