//! What rules see of Secrets.

use super::*;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn secret(word: &str) -> Json {
    let copy = json!({"data": {"password": format!("{word}-applied")}}).to_string();
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "db", "labels": {"app": "shop"}, "annotations": {"owner": "team", LAST_APPLIED: copy}},
        "data": {"password": format!("{word}-data")}, "stringData": {"token": format!("{word}-string")}})
}

fn seen(needs: Needs<'_>) -> Json {
    let review = Review { old_object: Value::from(secret("old")), ..review_of(secret("new")) };
    serde_json::to_value(Input::new(&review).for_rule(needs)).unwrap()
}

#[test]
fn are_masked_for_a_rule_that_does_not_say_that_it_reads_them() {
    for strings in [false, true] {
        let input = seen(Needs { strings, ..Needs::default() });
        let text = input.to_string();
        for word in ["new", "old"] {
            for place in ["data", "string", "applied"] {
                assert!(!text.contains(&format!("{word}-{place}")), "{word} {place}: {text}");
            }
        }
        for object in ["object", "oldObject"] {
            let object = &input[object];
            assert_eq!(object["data"], json!({"password": "***"}), "keys stay");
            assert_eq!(object["stringData"], json!({"token": "***"}));
            assert_eq!(object["metadata"]["annotations"], json!({"owner": "team", LAST_APPLIED: "***"}));
            assert_eq!((&object["type"], &object["metadata"]["labels"]), (&json!("Opaque"), &json!({"app": "shop"})));
        }
    }
}

#[test]
fn are_seen_by_a_rule_that_says_so() {
    let input = seen(Needs { secret_data: true, strings: true, ..Needs::default() });
    assert_eq!((&input["object"], &input["oldObject"]), (&secret("new"), &secret("old")));
    assert!(input["strings"].to_string().contains("new-data"));
}

#[test]
fn reads_in_metadata_is_what_says_so() {
    let leaks = "violation contains {\"message\": sprintf(\"%v\", [input.object.data.password])}";
    let bundle = bundle_of(vec![
        Own::new("blind", leaks).source(),
        Own::new("seeing", leaks).with("reads: secret-data").source(),
    ]);
    let found = judged(&bundle, &["blind", "seeing", "blind"], secret("new"), AMPLE);
    let said: Vec<Vec<&str>> = found.iter().map(messages).collect();
    assert_eq!(said, [["***"], ["new-data"], ["***"]]);
}

#[test]
fn are_masked_where_they_are_looked_up_too() {
    let known = |kind: &str, object: Json| (kind.to_owned(), Value::from(json!([object])));
    let config_map = json!({"kind": "ConfigMap", "data": {"a": "seen"}});
    let inventory = BTreeMap::from([known("core/Secret", secret("kept")), known("core/ConfigMap", config_map.clone())]);
    let review = Review { inventory, ..review_of(json!({"apiVersion": "v1", "kind": "Pod"})) };
    for secret_data in [false, true] {
        let input = Input::new(&review).for_rule(Needs { secret_data, ..Needs::default() });
        let inventory = serde_json::to_value(input.field("inventory")).unwrap();
        assert!(!inventory.to_string().contains("kept-"), "{inventory}");
        assert_eq!(inventory["core/Secret"][0]["data"], json!({"password": "***"}));
        assert_eq!(inventory["core/ConfigMap"], json!([config_map]));
    }
}

#[test]
fn a_secret_of_another_group_is_no_secret() {
    let review = review_of(json!({"apiVersion": "example.com/v1", "kind": "Secret", "data": {"a": "b"}}));
    let input = Input::new(&review).for_rule(Needs::default());
    assert_eq!(input.at(&["object", "data", "a"]).and_then(|value| value.as_text()), Some("b"));
}
