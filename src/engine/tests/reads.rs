//! What rules read of the objects that they look up, and that trimming to it changes no answer.

use super::*;
use crate::engine::kept::looked_up;

const MAP: &str = "core/ConfigMap";

/// Rego, and what it reads of ConfigMaps: paths that are kept whole.
const TABLE: [(&str, &[&str]); 21] = [
    // Fields, through names and lists.
    (
        "violation contains {\"message\": m} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tmap.spec.a == \"x\"\n\tm := map.metadata.name\n}",
        &["metadata.name", "spec.a"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tsome item in map.spec.list\n\tpart := item.a\n\tpart.b == \"x\"\n}",
        &["spec.list[].a.b"],
    ),
    // Aliases of the input and of the inventory.
    (
        "violation contains {\"message\": \"m\"} if {\n\tall := input\n\tinv := all.inventory\n\tmaps := inv[\"core/ConfigMap\"]\n\tmaps[_].data.a == \"x\"\n}",
        &["data.a"],
    ),
    (
        "violation contains {\"message\": \"m\"} if input[\"inventory\"][\"core/ConfigMap\"][0][\"data\"].b == \"x\"",
        &["data.b"],
    ),
    // Keys that are read, or not known before.
    (
        "violation contains {\"message\": key} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tsome key, value in map.data\n\tvalue == \"x\"\n}",
        &["data[]"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tmap.data[input.object.metadata.name].b == \"x\"\n}",
        &["data[].b"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tmap.data[map.metadata.labels.a] == \"x\"\n}",
        &["data[]", "metadata.labels.a"],
    ),
    (
        "violation contains {\"message\": kind} if {\n\tsome kind\n\tinput.inventory[kind][_].spec.a == \"x\"\n}",
        &["spec.a"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome part\n\tinput[part][\"core/ConfigMap\"][_].spec.a == \"x\"\n}",
        &[""],
    ),
    // What leaves sight is read whole.
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tobject.get(map.spec, \"a\", \"\") == \"x\"\n}",
        &["spec"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\twalk(map.data, [_, value])\n\tvalue == \"x\"\n}",
        &["data"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\twalk(input, [path, value])\n\tvalue == \"x\"\n\t\"inventory\" in path\n}",
        &[""],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tnames := {map.metadata.name | some map in input.inventory[\"core/ConfigMap\"]; not map.data}\n\tcount(names) > 1\n}",
        &["data", "metadata.name"],
    ),
    (
        "violation contains {\"message\": sprintf(\"%v\", [n])} if n := count(input.inventory[\"core/ConfigMap\"])",
        &[""],
    ),
    (
        "maps contains map if some map in input.inventory[\"core/ConfigMap\"]\nviolation contains {\"message\": \"m\"} if {\n\tsome map in maps\n\tmap.spec.a == \"x\"\n}",
        &[""],
    ),
    (
        "has(map) if map.spec.a == \"x\"\nviolation contains {\"message\": \"m\"} if has(input.inventory[\"core/ConfigMap\"][_])",
        &[""],
    ),
    (
        "has(spec) if spec.a == \"x\"\nviolation contains {\"message\": \"m\"} if has(input.inventory[\"core/ConfigMap\"][_].spec)",
        &["spec"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\t{\"a\": found} = map.spec\n\tfound == \"x\"\n}",
        &["spec"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tsome one in input.inventory[\"core/ConfigMap\"]\n\tsome other in input.inventory[\"core/ConfigMap\"]\n\tone.metadata.name != other.metadata.name\n\tone.spec == other.spec\n}",
        &["metadata.name", "spec"],
    ),
    (
        "violation contains {\"message\": \"m\"} if {\n\tevery map in input.inventory[\"core/ConfigMap\"] {\n\t\tnot map.data.a\n\t}\n}",
        &["data.a"],
    ),
    (
        "found if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\tmap.spec\n} else if input.inventory[\"core/ConfigMap\"][_].data.b\nviolation contains {\"message\": \"m\"} if found with input.object as {}",
        &["data.b", "spec"],
    ),
];

fn rule_of(body: &str) -> Source {
    Source::new(
        "own/reader.rego",
        format!(
            "# METADATA\n# title: t\n# custom:\n#   id: reader\n#   severity: high\n#   category: test\n#   kinds: ['*']\n\
             #   inventory: [{MAP}]\n#   fix: f\npackage gatepost.rules.reader\n\n{body}\n"
        ),
    )
}

/// Draws numbers, the same in each run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).expect("small")]
    }

    fn value(&mut self, depth: u32) -> Json {
        match self.below(if depth == 0 { 4 } else { 9 }) {
            0 => json!(self.one_of(&["x", "a", "b"])),
            1 => json!("x"),
            2 => json!(self.below(3)),
            3 => [json!(null), json!(false), json!({}), json!([])][usize::try_from(self.below(4)).expect("small")]
                .clone(),
            4 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => self.object(depth),
        }
    }

    fn object(&mut self, depth: u32) -> Json {
        let mut fields = serde_json::Map::new();
        for _ in 0..self.below(5) {
            let key = self.one_of(&["a", "b", "list", "web", "other"]);
            fields.insert(key.to_owned(), self.value(depth - 1));
        }
        Json::Object(fields)
    }

    fn map(&mut self) -> Json {
        let list: Vec<Json> = (0..self.below(3)).map(|_| json!({"a": {"b": "x", "c": self.below(9)}})).collect();
        let mut spec = if self.below(3) == 0 { json!({"a": "x"}) } else { self.object(3) };
        let mut labels = self.object(2);
        labels["a"] = json!(self.one_of(&["a", "b", "web"]));
        if self.below(2) == 0 {
            spec["list"] = json!(list);
        }
        let mut map = json!({"metadata": {"name": self.one_of(&["web", "other", "third"]), "labels": labels,
            "annotations": self.object(2)}, "spec": spec, "status": self.object(2)});
        if self.below(4) > 0 {
            map["data"] = self.object(3);
        }
        map
    }
}

#[test]
fn what_is_read_is_found_in_the_rego() {
    for (body, expected) in TABLE {
        let bundle = bundle_of(vec![rule_of(body)]);
        let paths = bundle.reads()[MAP].paths();
        assert_eq!(paths.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{body}");
    }
}

#[test]
fn trimmed_objects_give_the_same_answers() {
    let mut draw = Draw(7);
    for (body, _) in TABLE {
        let bundle = bundle_of(vec![rule_of(body)]);
        let kept = bundle.reads()[MAP].clone();
        let (mut finds, mut passes) = (0, 0);
        for _ in 0..300 {
            let maps: Vec<Value> = (0..draw.below(4)).map(|_| Value::from(draw.map())).collect();
            let trimmed: Vec<Value> = maps.iter().map(|map| looked_up(&kept, map)).collect();
            let answer = |maps: &[Value]| {
                let inventory = BTreeMap::from([(MAP.to_owned(), Value::from(maps.to_vec()))]);
                let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}});
                let review = Review { inventory, ..review_of(object) };
                let budget = Budget { limits: AMPLE, remaining: &|| Duration::from_mins(1) };
                let mut machines = Machines::default();
                let checks = checks_of(&bundle, &["reader"]);
                judge(&Input::new(&review), &checks, &mut machines, &budget).remove(0).outcome
            };
            let whole = answer(&maps);
            assert_eq!(answer(&trimmed), whole, "{body}\n{}", Value::from(maps));
            match whole {
                Outcome::Judged { violations, .. } if violations.is_empty() => passes += 1,
                Outcome::Judged { .. } => finds += 1,
                // Rego refuses to go over what is no list; it does so with both.
                Outcome::Failed(_) => {}
            }
        }
        assert!(finds > 0, "{body} finds nothing");
        assert!(passes > 0 || body.contains("count("), "{body} finds always");
    }
}

#[test]
fn lists_objects_and_what_is_neither_stay_what_they_are() {
    let body = "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\t\
                map.spec.list[_].a == 1\n\tpart := map.metadata\n\tpart.name\n}";
    let kept = bundle_of(vec![rule_of(body)]).reads()[MAP].clone();
    let trim = |json: Json| serde_json::to_value(looked_up(&kept, &Value::from(json))).expect("JSON");
    let map = json!({"metadata": {"name": "n", "uid": "u", "managedFields": []}, "data": {"a": "b"},
        "spec": {"list": [{"a": 1, "b": 2}, 3, [4], null], "other": 1}});
    assert_eq!(trim(map), json!({"metadata": {"name": "n"}, "spec": {"list": [{"a": 1}, 3, [], null]}}));
    assert_eq!(trim(json!({"metadata": null, "spec": "text"})), json!({"metadata": null, "spec": "text"}));
    assert_eq!(trim(json!({"spec": {"list": {"k": {"a": 1, "b": 2}}}})), json!({"spec": {"list": {"k": {"a": 1}}}}));
}

#[test]
fn shipped_rules_read_little() {
    let catalogue = Catalogue::read(&[]).expect("the shipped policies");
    let bundle = Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("they compile");
    let paths = |kind: &str| bundle.reads()[kind].paths().into_iter().collect::<Vec<_>>();
    assert_eq!(paths("autoscaling/HorizontalPodAutoscaler"), ["spec.scaleTargetRef.kind", "spec.scaleTargetRef.name"]);
    // One of its functions is handed the whole reference.
    assert_eq!(paths("keda.sh/ScaledObject"), ["spec.scaleTargetRef"]);
    assert_eq!(paths("core/LimitRange"), ["spec.limits"]);
}

#[test]
fn who_wrote_which_field_is_read_by_few() {
    let reads = |body: &str| bundle_of(vec![rule_of(body)]).rules().values().any(|rule| rule.reads_managed_fields);
    for body in [
        "violation contains {\"message\": \"m\"} if input.object.metadata.managedFields[_].manager == \"x\"",
        "violation contains {\"message\": \"m\"} if input.podTemplates[_].metadata.managedFields",
        "violation contains {\"message\": \"m\"} if {\n\tsome field\n\tinput.object.metadata[field] == \"x\"\n}",
        "violation contains {\"message\": \"m\"} if count(input.object.metadata) > 3",
        "violation contains {\"message\": \"m\"} if {\n\twalk(input.object, [_, value])\n\tvalue == \"x\"\n}",
        "violation contains {\"message\": \"m\"} if is_odd(input)\n\nis_odd(given) if given.object.metadata.managedFields",
        "violation contains {\"message\": \"m\"} if {\n\tsome text in input.strings\n\ttext.value == \"x\"\n}",
    ] {
        assert!(reads(body), "{body}");
    }
    for body in [
        "violation contains {\"message\": \"m\"} if not input.object.metadata.labels.team",
        "violation contains {\"message\": \"m\"} if object.get(input.object.metadata.annotations, \"a\", \"\") == \"x\"",
        "violation contains {\"message\": \"m\"} if {\n\tsome template in input.podTemplates\n\tcount(template.spec) > 1\n}",
        "violation contains {\"message\": \"m\"} if {\n\tsome map in input.inventory[\"core/ConfigMap\"]\n\twalk(map, [_, value])\n\tvalue == \"x\"\n}",
    ] {
        assert!(!reads(body), "{body}");
    }
    let catalogue = Catalogue::read(&[]).expect("the shipped policies");
    let bundle = Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("they compile");
    let readers: Vec<_> = bundle.rules().values().filter(|rule| rule.reads_managed_fields).collect();
    assert!(readers.is_empty(), "{:?}", readers.iter().map(|rule| &rule.rule.id).collect::<Vec<_>>());
}
