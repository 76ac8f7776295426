//! Reports: decisions, who brought a finding in, checks.

use super::*;

pub(super) async fn a_batch_is_taken_in_once_and_decisions_are_found(kept: Kept) {
    let store = &kept.store;
    let mut denied = decision("d2", 1, vec![result("r")]);
    denied.allowed = false;
    let first = batch("k1", vec![decision("d1", 0, Vec::new()), denied]);
    assert_eq!(store.take_in(&first).await.unwrap(), Taken::Stored);
    assert_eq!(store.take_in(&first).await.unwrap(), Taken::Known);
    let uids = async |filter: Filter| -> Vec<String> {
        store.decisions(&query(filter)).await.unwrap().items.into_iter().map(|decision| decision.uid).collect()
    };
    assert_eq!(uids(Filter::default()).await, ["d2", "d1"], "the newest first");
    assert_eq!(uids(Filter { state: words(&["denied"]), ..Filter::default() }).await, ["d2"]);
    assert_eq!(uids(Filter { rule: words(&["r"]), ..Filter::default() }).await, ["d2"]);
    assert!(uids(Filter { namespace: words(&["bank"]), ..Filter::default() }).await.is_empty());
    assert_eq!(store.decision("d1").await.unwrap().unwrap().cluster, "main");
    assert_eq!(store.decision("d3").await.unwrap(), None);
    let oldest = PageQuery { sort: TimeSort::Oldest, limit: 1, ..query(Filter::default()) };
    let first = store.decisions(&oldest).await.unwrap();
    let rest = store.decisions(&PageQuery { cursor: first.next.clone(), ..oldest }).await.unwrap();
    assert_eq!([&first.items[0].uid, &rest.items[0].uid], ["d1", "d2"]);
    let other = PageQuery { cursor: first.next, ..query(Filter::default()) };
    assert!(matches!(store.decisions(&other).await, Err(StoreError::Cursor)), "it is of the other order");
}

pub(super) async fn decisions_are_found_by_one_of_their_results_and_by_whose_the_object_is(kept: Kept) {
    let store = &kept.store;
    let grave = DecisionResult { severity: "critical".into(), ..result("grave") };
    let odd = DecisionResult { rule: "odd \"rule\"".into(), policy: "strict".into(), ..result("") };
    let of_api = Decision { name: "api".into(), ..decision("d2", 1, vec![result("grave")]) };
    let decisions = vec![decision("d1", 0, vec![result("r"), grave, odd]), of_api, decision("d3", 2, Vec::new())];
    store.take_in(&batch("k", decisions)).await.unwrap();
    let web = object("shop", "web");
    let application = Application { kind: "Application".into(), namespace: String::new(), name: "front".into() };
    let found = Finding {
        application: Some(application),
        owner: "Rollout/web".into(),
        ..finding(&web, "r", Severity::High, at(0))
    };
    store.change("main", put(&[found]), at(0)).await.unwrap();
    let uids = async |filter: Filter| -> Vec<String> {
        store.decisions(&query(filter)).await.unwrap().items.into_iter().map(|decision| decision.uid).collect()
    };
    let told =
        |rule: &str, severity: &str| Filter { rule: words(&[rule]), severity: words(&[severity]), ..Filter::default() };
    assert_eq!(uids(told("grave", "critical")).await, ["d1"]);
    assert_eq!(uids(told("grave", "high")).await, ["d2"], "the other one has it only of another result");
    assert_eq!(uids(told("r", "critical")).await, Vec::<String>::new());
    let several = Filter { policy: words(&["strict", "none"]), ..told("odd \"rule\"", "high") };
    assert_eq!(uids(several).await, ["d1"]);
    assert_eq!(uids(Filter { application: words(&["front", "back"]), ..Filter::default() }).await, ["d3", "d1"]);
    assert_eq!(uids(Filter { application: words(&["back"]), ..Filter::default() }).await, Vec::<String>::new());
    assert_eq!(uids(Filter { owner: words(&["Rollout/web"]), ..told("r", "high") }).await, ["d1"]);
}

pub(super) async fn what_was_found_after_an_answer_joins_its_decision(kept: Kept) {
    let store = &kept.store;
    let with = |rules: &[&str]| decision("d", 0, rules.iter().map(|rule| result(rule)).collect());
    store.take_in(&batch("1", vec![with(&["a"]), with(&["b"])])).await.unwrap();
    store.take_in(&batch("2", vec![with(&["b", "c"]), decision("e", 0, Vec::new())])).await.unwrap();
    let elsewhere = Decision { namespace: "bank".into(), ..with(&["x"]) };
    store.take_in(&batch("3", vec![elsewhere])).await.unwrap();
    let results = store.decision("d").await.unwrap().unwrap().results;
    assert_eq!(results.iter().map(|result| result.rule.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(store.decision("e").await.unwrap().is_some());
}

pub(super) async fn who_brought_a_finding_in_is_known_whichever_comes_first(kept: Kept) {
    let store = &kept.store;
    let web = object("shop", "web");
    let (before, after, never) = (
        finding(&web, "before", Severity::High, at(2)),
        finding(&web, "after", Severity::High, at(0)),
        finding(&web, "never", Severity::High, at(2)),
    );
    let excused = excused(finding(&web, "excused", Severity::High, at(2)), at(2));
    store.change("main", put(std::slice::from_ref(&after)), at(0)).await.unwrap();
    let mut trial = decision("trial", 0, vec![result("never")]);
    trial.dry_run = true;
    let mut denied = decision("denied", 0, vec![result("never")]);
    denied.allowed = false;
    let exempt =
        DecisionResult { result: "exempt".into(), exemption: "Exemption shop/old".into(), ..result("excused") };
    let mut came = decision("came", 0, vec![result("before"), result("after"), exempt.clone()]);
    came.user = "bob".into();
    store.take_in(&batch("k", vec![trial, denied, came])).await.unwrap();
    assert_eq!(store.decision("came").await.unwrap().unwrap().results[2], exempt);
    store.change("main", put(&[before.clone(), never.clone(), excused.clone()]), at(2)).await.unwrap();
    let user =
        async |id: &Fingerprint| store.finding(id).await.unwrap().unwrap().brought_in.map(|brought| brought.user);
    assert_eq!(user(&after.id).await.as_deref(), Some("bob"));
    assert_eq!(user(&before.id).await.as_deref(), Some("bob"));
    assert_eq!(user(&never.id).await, None);
    assert_eq!(user(&excused.id).await.as_deref(), Some("bob"));
    let opened = finding(&web, "excused", Severity::High, at(3));
    store.change("main", put(std::slice::from_ref(&opened)), at(3)).await.unwrap();
    assert_eq!(user(&excused.id).await.as_deref(), Some("bob"), "it was there all the time");
    // A Namespace is in none, though its requests name it as if it were.
    let itself = ObjectKey { group: String::new(), kind: "Namespace".into(), ..object("", "shop") };
    let itself = finding(&itself, "itself", Severity::High, at(2));
    let mut made = decision("made", 0, vec![result("itself")]);
    (made.group, made.kind, made.name) = (String::new(), "Namespace".into(), "shop".into());
    store.take_in(&batch("l", vec![made])).await.unwrap();
    store.change("main", put(std::slice::from_ref(&itself)), at(2)).await.unwrap();
    assert!(user(&itself.id).await.is_some());
}

pub(super) async fn the_sync_that_brought_a_finding_in_is_noted_once(kept: Kept) {
    let store = &kept.store;
    let of = |kind: &str| Some(Application { kind: kind.into(), namespace: String::new(), name: "front".into() });
    let made = |rule: &str, kind: &str| Finding {
        application: of(kind),
        ..finding(&object("shop", "web"), rule, Severity::High, at(1))
    };
    let (synced, by_hand, helm) = (made("a", "Application"), made("b", "Application"), made("c", "Release"));
    let came = decision("came", 0, ["a", "b", "c"].map(result).to_vec());
    store.take_in(&batch("k", vec![came])).await.unwrap();
    store.change("main", put(&[synced.clone(), by_hand.clone(), helm]), at(1)).await.unwrap();
    let unsynced = async |since| -> Vec<Unsynced> { store.unsynced("main", at(since), 9).await.unwrap() };
    assert!(unsynced(1).await.is_empty(), "it came before");
    assert!(store.unsynced("other", at(0), 9).await.unwrap().is_empty());
    let open = unsynced(0).await;
    let mut ids: Vec<&Fingerprint> = open.iter().map(|of| &of.finding).collect();
    ids.sort();
    let mut expected = [&synced.id, &by_hand.id];
    expected.sort();
    assert_eq!(ids, expected);
    assert!(open.iter().all(|one| one.application == of("Application").unwrap() && one.time == at(0)));
    let argo = Application { namespace: "argocd".into(), ..of("Application").unwrap() };
    let by = BroughtBySync { application: argo.clone(), revision: "abc".into() };
    let told = open.into_iter().map(|of| (of.clone(), (of.finding == synced.id).then(|| by.clone())));
    store.note_syncs(told.collect()).await.unwrap();
    assert!(unsynced(0).await.is_empty(), "what no sync brought in is not looked at again");
    let brought = async |id: &Fingerprint| {
        let by = store.finding(id).await.unwrap().unwrap().brought_in.unwrap();
        (by.user, by.application, by.revision)
    };
    let (user, ..) = brought(&by_hand.id).await;
    assert_eq!(brought(&synced.id).await, (user.clone(), Some(argo.clone()), Some("abc".into())));
    assert_eq!(brought(&by_hand.id).await, (user.clone(), None, None));
    let other = Finding { message: "otherwise".into(), ..store.finding(&synced.id).await.unwrap().unwrap() };
    store.change("main", put(&[other]), at(2)).await.unwrap();
    assert_eq!(brought(&synced.id).await, (user, Some(argo), Some("abc".into())), "another look keeps it");
}

pub(super) async fn checks_are_a_history_by_source(kept: Kept) {
    let store = &kept.store;
    for (number, source) in ["ci/shop", "ci/bank", "ci/shop"].into_iter().enumerate() {
        let check = Check {
            id: 0,
            time: at(i64::try_from(number).unwrap()),
            cluster: String::new(),
            source: source.into(),
            commit: format!("c{number}"),
            policies: "sha256:x".into(),
            passed: number != 2,
            summary: BTreeMap::from([("fail".to_owned(), 3)]),
            violations: BTreeMap::new(),
            results: vec![serde_json::json!({"rule": "r"})],
        };
        let report = Batch { checks: vec![check], ..batch(&number.to_string(), Vec::new()) };
        store.take_in(&report).await.unwrap();
    }
    let shop = store.checks(&query(Filter { source: words(&["ci/shop"]), ..Filter::default() })).await.unwrap().items;
    let told: Vec<_> = shop.iter().map(|check| (check.commit.as_str(), check.passed, check.cluster.as_str())).collect();
    assert_eq!(told, [("c2", false, "main"), ("c0", true, "main")]);
    assert!(shop[0].results.is_empty(), "only one at a time is told with its results");
    let newest = store.check(shop[0].id).await.unwrap().unwrap();
    assert_eq!(newest, Check { results: vec![serde_json::json!({"rule": "r"})], ..shop[0].clone() });
    assert_eq!(store.check(99).await.unwrap(), None);
}
