//! What is compiled, and when.

use super::*;

#[test]
fn building_the_same_again_compiles_nothing_and_a_change_only_what_changed() {
    let cache = ProgramCache::default();
    let own = |body| vec![Own::new("own", body).source(), Own::new("other", ALWAYS).source()];
    let build = |files| {
        Bundle::build(Catalogue::read(&[files]).unwrap(), &cache, BackendChoice::Proven).unwrap();
        cache.compilations()
    };
    let first = build(own(ALWAYS));
    assert_eq!(usize::try_from(first).unwrap(), Catalogue::read(&[]).unwrap().rules().len() + 2);
    assert_eq!(build(own(ALWAYS)), first);
    assert_eq!(build(own("violation contains {\"message\": \"changed\"}")), first + 1);
    assert_eq!(build(own(ALWAYS)), first + 1);
    assert_eq!(cache.len(), first + 1);
}

#[test]
fn builds_at_the_same_time_compile_each_program_once() {
    let cache = ProgramCache::default();
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let catalogue = Catalogue::read(&[vec![Own::new("own", ALWAYS).source()]]).unwrap();
                Bundle::build(catalogue, &cache, BackendChoice::Proven).unwrap();
            });
        }
    });
    assert_eq!(usize::try_from(cache.compilations()).unwrap(), Catalogue::read(&[]).unwrap().rules().len() + 1);
}

#[test]
fn a_small_cache_stays_small_and_the_bundle_keeps_what_it_needs() {
    let cache = ProgramCache::new(2);
    let bundle = Bundle::build(Catalogue::read(&[]).unwrap(), &cache, BackendChoice::Proven).unwrap();
    assert!(cache.len() <= 2, "{}", cache.len());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "app", "securityContext": {"privileged": true}}]}});
    assert_eq!(judged(&bundle, &["container-privileged"], pod, AMPLE)[0].violations().len(), 1);
}

#[test]
fn no_request_compiles_anything() {
    let cache = ProgramCache::default();
    let files = vec![Own::new("own", ALWAYS).source(), policy("mine", "  include: [strict]\n  rules: [{id: own}]")];
    let bundle = Bundle::build(Catalogue::read(&[files]).unwrap(), &cache, BackendChoice::Proven).unwrap();
    let before = cache.compilations();
    let labels = BTreeMap::from([("gatepost.dev/enforce".to_owned(), "mine".to_owned())]);
    let namespace = Arc::new(NamespaceMeta { labels, ..NamespaceMeta::named("shop") });
    let (modes, controllers) = (Modes::default(), Controllers::default());
    let exemptions = Arc::default();
    let reviewer = Reviewer {
        kubernetes_version: None,
        bundle: &bundle,
        modes: &modes,
        exemptions: &exemptions,
        controllers: &controllers,
        judge_owned: false,
        limits: AMPLE,
    };
    let mut machines = Machines::default();
    for (kind, operation) in [("Pod", "CREATE"), ("Pod", "UPDATE"), ("ConfigMap", "CREATE"), ("Pod", "DELETE")] {
        for round in 0..20 {
            let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": format!("a{round}"), "namespace": "shop"},
                "spec": {"containers": [{"name": "app", "image": "nginx"}]}});
            let old = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "old"}});
            let body = json!({"kind": "AdmissionReview", "request": {
                "uid": "u", "kind": {"group": "", "version": "v1", "kind": kind}, "name": "a", "namespace": "shop",
                "operation": operation, "userInfo": {"username": "jane"},
                "object": if operation == "DELETE" { Json::Null } else { object },
                "oldObject": if operation == "CREATE" { Json::Null } else { old },
            }});
            let envelope = Envelope::decode(&serde_json::to_vec(&body).unwrap(), None).unwrap();
            let means = Means {
                namespace: NamespaceState::Known(namespace.clone()),
                inventory: BTreeMap::new(),
                now: Timestamp::UNIX_EPOCH,
                remaining: &|| Duration::from_mins(1),
                machines: &mut machines,
            };
            let decision = reviewer.review(&envelope, means);
            let is_deletion = operation == "DELETE";
            assert_eq!(decision.reason == Reason::Judged, !is_deletion, "{kind} {operation}: {decision:?}");
        }
    }
    assert_eq!(cache.compilations(), before);
}
