//! What all rules share.

use super::*;

fn object(api_version: &str, kind: &str, rest: &Json) -> Json {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}});
    for (key, value) in rest.as_object().expect("an object") {
        object[key] = value.clone();
    }
    object
}

fn input_of(object: Json) -> Json {
    serde_json::to_value(Input::new(&review_of(object)).for_rule(Needs::default())).expect("JSON")
}

#[test]
fn containers_are_found_in_every_kind_that_holds_pods() {
    let spec = json!({"containers": [{"name": "app"}], "initContainers": [{"name": "init"}], "ephemeralContainers": [{"name": "debug"}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
    let table = [
        (object("v1", "Pod", &json!({"spec": spec})), "/spec"),
        (object("apps/v1", "Deployment", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (object("apps/v1", "StatefulSet", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (object("batch/v1", "Job", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (
            object("batch/v1", "CronJob", &json!({"spec": {"jobTemplate": {"spec": {"template": template}}}})),
            "/spec/jobTemplate/spec/template/spec",
        ),
        (object("v1", "PodTemplate", &json!({"template": template})), "/template/spec"),
        (object("v1", "ReplicationController", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (
            object("training.example.k8s.io/v1", "Trainer", &json!({"spec": {"template": template}})),
            "/spec/template/spec",
        ),
        (object("extensions/v1beta1", "Deployment", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (object("argoproj.io/v1alpha1", "Rollout", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (object("example.com/v1", "Pod", &json!({"spec": {"template": template}})), "/spec/template/spec"),
        (
            object(
                "kubeflow.org/v1",
                "PyTorchJob",
                &json!({"spec": {"pytorchReplicaSpecs": {"Worker": {"template": template}}}}),
            ),
            "/spec/pytorchReplicaSpecs/Worker/template/spec",
        ),
    ];
    for (object, path) in table {
        let input = input_of(object.clone());
        let found: Vec<(String, &str, bool)> = input["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| {
                let path = Path::from_value(&Value::from(found["path"].clone())).unwrap();
                (path.to_string(), found["name"].as_str().unwrap(), found["sidecar"].as_bool().unwrap())
            })
            .collect();
        let expected = [("containers", "app"), ("initContainers", "init"), ("ephemeralContainers", "debug")]
            .map(|(list, name)| (format!("{path}/{list}/0"), name, false));
        assert_eq!(found, expected, "{object}");
        assert_eq!(input["podTemplates"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn an_object_without_pods_has_no_templates() {
    let template = json!({"spec": {"containers": [{"name": "app"}]}});
    for object in [
        object("v1", "ConfigMap", &json!({"data": {"template": "spec"}})),
        object("v1", "ConfigMap", &json!({"spec": {"template": template}})),
        object("apps/v1", "ControllerRevision", &json!({"data": {"spec": {"template": template}}})),
        object("apps/v1", "Deployment", &json!({"spec": {}})),
        json!(null),
        json!([]),
        json!("text"),
    ] {
        let review = review_of(object.clone());
        assert!(!Input::new(&review).has_template(), "{object}");
        assert_eq!(input_of(object)["containers"], json!([]));
    }
}

#[test]
fn a_template_nested_without_end_is_not_searched_for_without_end() {
    let mut spec = json!({"template": {"spec": {"containers": []}}});
    for _ in 0..100 {
        spec = json!({"deeper": spec});
    }
    assert!(!Input::new(&review_of(object("example.com/v1", "Widget", &json!({"spec": spec})))).has_template());
}

#[test]
fn only_an_init_container_that_always_restarts_is_a_sidecar() {
    let containers =
        json!([{"name": "a", "restartPolicy": "Always"}, {"name": "b", "restartPolicy": "Never"}, {"name": "c"}]);
    let spec = json!({"containers": containers, "initContainers": containers, "ephemeralContainers": containers});
    let input = input_of(object("v1", "Pod", &json!({"spec": spec})));
    let sidecars: Vec<(&str, &str)> = input["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|container| container["sidecar"] == json!(true))
        .map(|container| (container["list"].as_str().unwrap(), container["name"].as_str().unwrap()))
        .collect();
    assert_eq!(sidecars, [("initContainers", "a")]);
}

#[test]
fn what_runs_to_completion_is_said() {
    let template = |policy: &str| json!({"spec": {"containers": [], "restartPolicy": policy}});
    let controller = |policy: &str| json!({"spec": {"template": template(policy)}});
    let table = [
        (object("v1", "Pod", &json!({"spec": {"containers": []}})), false),
        (object("v1", "Pod", &template("Always")), false),
        (object("v1", "Pod", &template("Never")), true),
        (object("v1", "Pod", &template("OnFailure")), true),
        (object("apps/v1", "Deployment", &controller("Always")), false),
        (object("batch/v1", "Job", &json!({"spec": {"template": {"spec": {}}}})), true),
        (object("batch/v1", "CronJob", &json!({"spec": {"jobTemplate": {"spec": {"template": {}}}}})), true),
        (object("example.com/v1", "Job", &controller("Always")), false),
        (object("example.com/v1", "Job", &controller("Never")), true),
    ];
    for (object, expected) in table {
        assert_eq!(input_of(object.clone())["podTemplates"][0]["runsToCompletion"], json!(expected), "{object}");
    }
}

#[test]
fn every_text_is_given_with_its_path_to_a_rule_that_asks() {
    let review = review_of(object("v1", "ConfigMap", &json!({"data": {"a/b": "x"}, "list": [1, "y", ["z"]]})));
    let needs = Needs { strings: true, ..Needs::default() };
    let input = Input::new(&review).for_rule(needs);
    let strings = input.field("strings").unwrap();
    let mut found = Vec::new();
    for text in strings.items() {
        let path = Path::from_value(text.field("path").unwrap()).unwrap();
        assert_eq!(path.find(&review.object), text.field("value"));
        found.push(format!("{path}={}", text.text("value").unwrap()));
    }
    found.sort();
    assert_eq!(
        found,
        ["/apiVersion=v1", "/data/a~1b=x", "/kind=ConfigMap", "/list/1=y", "/list/2/0=z", "/metadata/name=web"]
    );
}

#[test]
fn paths_are_json_pointers() {
    let path = Path::of_keys(&["metadata", "annotations", "a/b~c~1"]).index(3).key("").key("ü \"x\"");
    assert_eq!(path.to_string(), "/metadata/annotations/a~1b~0c~01/3//ü \"x\"");
    assert_eq!(Path::default().to_string(), "");
    assert_eq!(serde_json::to_value(&path).unwrap(), json!(path.to_string()));
    let object = json!({"metadata": {"annotations": {"a/b~c~1": [0, 1, 2, {"": {"ü \"x\"": true}}]}}});
    assert_eq!(object.pointer(&path.to_string()), Some(&json!(true)));
    assert_eq!(path.find(&Value::from(object)), Some(&Value::from(true)));
}

#[test]
fn the_inventory_is_the_same_for_every_rule() {
    let known = |kind: &str| (kind.to_owned(), Value::from(json!([{"kind": kind}])));
    let review = Review { inventory: BTreeMap::from([known("b/B")]), ..review_of(json!({})) };
    let input = Input::new(&review).for_rule(Needs::default());
    assert_eq!(serde_json::to_value(input.field("inventory")).unwrap(), json!({"b/B": [{"kind": "b/B"}]}));
}

fn container() -> impl Strategy<Value = Json> {
    (any::<bool>(), proptest::option::of("[a-z]{1,4}(:[0-9]{1,2})?")).prop_map(|(always, image)| {
        let mut container = json!({});
        if always {
            container["restartPolicy"] = json!("Always");
        }
        if let Some(image) = image {
            container["image"] = json!(image);
        }
        container
    })
}

fn pod_spec() -> impl Strategy<Value = Json> {
    let lists = || proptest::option::of(proptest::collection::vec(container(), 0..4));
    (lists(), lists(), lists()).prop_map(|(containers, init, ephemeral)| {
        let mut spec = json!({"hostNetwork": true});
        for (list, found) in [("containers", containers), ("initContainers", init), ("ephemeralContainers", ephemeral)]
        {
            let Some(mut found) = found else { continue };
            for (index, container) in found.iter_mut().enumerate() {
                container["name"] = json!(format!("{list}-{index}"));
            }
            spec[list] = json!(found);
        }
        spec
    })
}

proptest! {
    #[test]
    fn every_containers_path_leads_to_that_container(spec in pod_spec(), kind in 0..6_usize, key in "[a-zA-Z/~ ]{0,6}") {
        let template = json!({"spec": spec});
        let object = match kind {
            0 => object("v1", "Pod", &json!({"spec": spec})),
            1 => object("apps/v1", "DaemonSet", &json!({"spec": {"template": template}})),
            2 => object("batch/v1", "CronJob", &json!({"spec": {"jobTemplate": {"spec": {"template": template}}}})),
            3 => object("v1", "PodTemplate", &json!({"template": template})),
            4 => object("example.com/v1", "Widget", &json!({"spec": {key: [{"template": template}]}})),
            _ => object("example.com/v1", "Widget", &json!({"a": {"template": template}, "b": {"podTemplate": template}})),
        };
        let value = Value::from(object.clone());
        let input = Input::new(&review_of(object)).for_rule(Needs::default());
        let mut found = BTreeSet::new();
        for given in input.field("containers").unwrap().items() {
            let path = Path::from_value(given.field("path").unwrap()).unwrap();
            let there = path.find(&value).unwrap();
            prop_assert_eq!(there, given.field("container").unwrap());
            prop_assert_eq!(there.field("name"), given.field("name"));
            let name = there.text("name").unwrap();
            prop_assert!(name.starts_with(given.text("list").unwrap()));
            let template = given.field("template").unwrap().as_u64().unwrap();
            let template = input.field("podTemplates").unwrap().items().nth(usize::try_from(template).unwrap()).unwrap();
            let template = Path::from_value(template.field("path").unwrap()).unwrap();
            prop_assert!(path.to_string().starts_with(&template.to_string()));
            found.insert(path.to_string());
        }
        let is_known = kind < 4;
        let is_template = is_known || spec.get("containers").is_some();
        let count = |list: &str| spec.get(list).and_then(Json::as_array).map_or(0, Vec::len);
        let each = count("containers") + count("initContainers") + count("ephemeralContainers");
        let copies = if kind == 5 { 2 } else { 1 };
        prop_assert_eq!(found.len(), if is_template { each * copies } else { 0 });
    }

    #[test]
    fn looking_for_templates_never_panics(object in any_json(), kind in "[A-Za-z]{0,8}", group in "(|apps|batch|example\\.com)") {
        let gvk = GroupVersionKind { group, version: "v1".into(), kind };
        let object = Value::from(object);
        for found in templates(&gvk, &object) {
            prop_assert_eq!(found.path.find(&object), Some(&found.template));
        }
        masked(&object);
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        ".{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        let key = "(spec|template|jobTemplate|containers|initContainers|metadata|annotations|data|name|image|.{0,3})";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(key, inner, 0..4).prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}
