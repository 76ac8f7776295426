//! Which checks look at which objects.

use super::*;

const RULES: &[(&str, &str)] = &[
    ("any", "'*'"),
    ("workload", "workloads"),
    ("controller", "controllers"),
    ("pod", "core/Pod"),
    ("apps", "apps/*"),
    ("any-job", "'*/Job'"),
    ("role", "rbac"),
    ("widget", "example.com/Widget"),
    ("core", "core/*"),
    ("two", "core/Pod, core/Service"),
    ("double", "workloads, core/Pod, '*'"),
];
const KINDS: &[(&str, &str)] = &[
    ("", "Pod"),
    ("", "Service"),
    ("", "ReplicationController"),
    ("", "PodTemplate"),
    ("apps", "Deployment"),
    ("apps", "ControllerRevision"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("jobs.example.com", "Job"),
    ("rbac.authorization.k8s.io", "Role"),
    ("example.com", "Widget"),
    ("example.com", "Pod"),
    ("apps.example.com", "Deployment"),
];

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let mut files: Vec<Source> = RULES.iter().map(|(id, kinds)| Own::of_kinds(id, kinds).source()).collect();
    files.push(Own::new("deleting", ALWAYS).with("operations: [DELETE]").source());
    files.push(Own::new("in-cluster", ALWAYS).with("where: [admission, audit]").source());
    files.push(policy("mine", "  rules: [{select: {category: test}}]"));
    files.push(policy("few", "  rules: [{id: any}, {id: pod}]"));
    bundle_of(files)
});

fn matching(review: &Review, has_template: bool, policies: &[&str]) -> Vec<String> {
    let policies: Vec<&ResolvedPolicy> = policies.iter().map(|name| &**BUNDLE.policy(name).unwrap()).collect();
    let found = BUNDLE.matching(review, has_template, &policies);
    found.iter().map(|check| check.rule_id().to_string()).collect()
}

fn review(group: &str, kind: &str) -> Review {
    let kind = GroupVersionKind { group: group.into(), version: "v1".into(), kind: kind.into() };
    Review { kind, ..review_of(json!({})) }
}

#[test]
fn only_what_can_match_is_run() {
    let table: &[(&str, &str, bool, &[&str])] = &[
        ("", "Pod", true, &["any", "core", "double", "pod", "two", "workload"]),
        ("", "Service", false, &["any", "core", "double", "two"]),
        ("", "ReplicationController", true, &["any", "controller", "core", "double", "workload"]),
        ("apps", "Deployment", true, &["any", "apps", "controller", "double", "workload"]),
        ("apps", "ControllerRevision", false, &["any", "apps", "double"]),
        ("batch", "Job", true, &["any", "any-job", "controller", "double", "workload"]),
        ("jobs.example.com", "Job", false, &["any", "any-job", "double"]),
        ("rbac.authorization.k8s.io", "Role", false, &["any", "double", "role"]),
        ("example.com", "Widget", false, &["any", "double", "widget"]),
        ("example.com", "Widget", true, &["any", "double", "widget", "workload"]),
        ("example.com", "Pod", false, &["any", "double"]),
    ];
    for (group, kind, has_template, expected) in table {
        let mut found = matching(&review(group, kind), *has_template, &["mine"]);
        found.sort();
        assert_eq!(found, *expected, "{group}/{kind}");
    }
}

#[test]
fn operation_place_and_policy_narrow_it() {
    let pod = review("", "Pod");
    let deletion = Review { operation: Operation::Delete, ..pod.clone() };
    assert_eq!(matching(&deletion, true, &["mine"]), ["deleting"]);
    let connect = Review { operation: Operation::Connect, ..pod.clone() };
    assert!(matching(&connect, true, &["mine"]).is_empty());
    assert!(!matching(&pod, true, &["mine"]).contains(&"in-cluster".to_owned()), "not in files");
    for origin in [Origin::Admission, Origin::Audit] {
        let there = Review { origin, ..pod.clone() };
        assert!(matching(&there, true, &["mine"]).contains(&"in-cluster".to_owned()), "{origin:?}");
    }
    assert_eq!(matching(&pod, true, &["few"]), ["any", "pod"]);
    assert!(matching(&pod, true, &[]).is_empty());
    let both = matching(&pod, true, &["few", "mine"]);
    assert_eq!(both.iter().collect::<BTreeSet<_>>().len(), both.len(), "each once");
}

#[test]
fn workload_rules_look_at_custom_resources_that_hold_a_pod_template() {
    let template = json!({"spec": {"containers": [{"name": "app"}]}});
    let table = [
        (json!({"template": template}), true),
        (json!({"replicaSpecs": {"Worker": {"template": template}}}), true),
        (json!({"jobs": [{"jobTemplate": {"spec": {"template": template}}}]}), true),
        (json!({"workerPodTemplate": template}), true),
        (json!({"size": 3}), false),
        (json!({"template": {"spec": {"size": 3}}}), false),
        (json!({"template": "text"}), false),
        (json!({"pod": template}), false),
    ];
    for (spec, expected) in table {
        let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
        let review = review_of(object.clone());
        let has_template = Input::new(&review).has_template();
        assert_eq!(has_template, expected, "{object}");
        let found = matching(&review, has_template, &["mine"]);
        assert_eq!(found.contains(&"workload".to_owned()), expected, "{object}");
    }
}

proptest! {
    #[test]
    fn the_index_finds_what_asking_every_rule_would_find(
        kind in 0..KINDS.len(), has_template: bool, operation in 0..3_usize, origin in 0..3_usize,
    ) {
        let (group, kind) = KINDS[kind];
        let review = Review {
            operation: [Operation::Create, Operation::Update, Operation::Delete][operation],
            origin: [Origin::Admission, Origin::Audit, Origin::Files][origin],
            ..review(group, kind)
        };
        let policy = BUNDLE.policy("mine").unwrap();
        let is_asked = |check: &&Arc<Check>| {
            let rule = &check.rule.rule;
            policy.entries.contains_key(&check.id)
                && rule.operations.contains(&review.operation)
                && rule.places.contains(&review.origin)
                && rule.kinds.iter().any(|kind: &KindSelector| kind.matches(&review.kind, has_template))
        };
        let expected: Vec<String> =
            BUNDLE.checks().iter().filter(is_asked).map(|check| check.rule_id().to_string()).collect();
        prop_assert_eq!(matching(&review, has_template, &["mine"]), expected);
    }
}
