//! Findings: as they are put, listed, narrowed and counted.

use super::*;

pub(super) async fn what_is_put_comes_back_and_outlives_the_process(kept: Kept) {
    let store = &kept.store;
    let findings = filled(&**store).await;
    let found = store.finding(&findings[3].id).await.unwrap().unwrap();
    assert_eq!(found, findings[3]);
    let again = kept.again().await.unwrap();
    assert_eq!(again.finding(&findings[3].id).await.unwrap().unwrap(), findings[3]);
    assert_eq!(again.finding(&Fingerprint("nothing".into())).await.unwrap(), None);
    let of_one = again.findings_of(&[findings[0].object.clone(), object("shop", "gone")]).await.unwrap();
    let expected: BTreeSet<_> =
        findings.iter().filter(|other| other.object == findings[0].object).map(|f| &f.id).collect();
    assert_eq!(of_one.iter().map(|finding| &finding.id).collect::<BTreeSet<_>>(), expected);
}

pub(super) async fn pages_of_every_order_hold_each_finding_once(kept: Kept) {
    let store = &kept.store;
    let findings = filled(&**store).await;
    use FindingSort::{FirstSeen, Object, Oldest, Rule, Severity};
    for sort in [Severity, FirstSeen, Oldest, Object, Rule] {
        let mut walked = Vec::new();
        let mut page_query = PageQuery { filter: Filter::default(), sort, cursor: None, limit: 7 };
        loop {
            let page = store.findings(&page_query).await.unwrap();
            assert!(page.items.len() <= 7);
            walked.extend(page.items);
            let Some(next) = page.next else { break };
            page_query.cursor = Some(next);
        }
        assert_eq!(walked.len(), findings.len(), "{sort:?}");
        assert_eq!(walked.iter().map(|finding| &finding.id).collect::<BTreeSet<_>>().len(), findings.len(), "{sort:?}");
        let is_in_order = walked.is_sorted_by(|one, other| match sort {
            Severity => one.severity >= other.severity,
            FirstSeen => one.first_seen >= other.first_seen,
            Oldest => one.first_seen <= other.first_seen,
            Object => (&one.object.namespace, &one.object.name) <= (&other.object.namespace, &other.object.name),
            Rule => one.rule <= other.rule,
        });
        assert!(is_in_order, "{sort:?}");
    }
    let first = store.findings(&PageQuery { limit: 7, ..query::<FindingSort>(Filter::default()) }).await.unwrap();
    for (sort, cursor) in [(Oldest, first.next.unwrap()), (Severity, "garbage".to_owned()), (Severity, String::new())] {
        let wrong = PageQuery { filter: Filter::default(), sort, cursor: Some(cursor.clone()), limit: 7 };
        assert!(matches!(store.findings(&wrong).await, Err(StoreError::Cursor)), "{sort:?} {cursor}");
    }
}

pub(super) async fn every_filter_narrows_as_it_says(kept: Kept) {
    let store = &kept.store;
    let findings = filled(&**store).await;
    let closed = findings[8].id.clone();
    let close = Changes { close: vec![(closed.clone(), CloseReason::Deleted)], ..Changes::default() };
    store.change("main", close, at(20)).await.unwrap();
    type Keeps = fn(&Finding) -> bool;
    let table: Vec<(Filter, Keeps)> = vec![
        (Filter { namespace: words(&["shop"]), ..Filter::default() }, |f| f.object.namespace == "shop"),
        (Filter { visible: Some(words(&["bank"])), ..Filter::default() }, |f| f.object.namespace == "bank"),
        (Filter { visible: Some(Vec::new()), ..Filter::default() }, |_| false),
        (Filter { cluster: words(&["other"]), ..Filter::default() }, |_| false),
        (Filter { severity: words(&["high", "info"]), ..Filter::default() }, |f| {
            [Severity::High, Severity::Info].contains(&f.severity)
        }),
        (Filter { rule: words(&["rule-1"]), ..Filter::default() }, |f| f.rule.as_str() == "rule-1"),
        (Filter { policy: words(&["strict"]), ..Filter::default() }, |_| true),
        (Filter { policy: words(&["stric"]), ..Filter::default() }, |_| false),
        (Filter { kind: words(&["Pod"]), ..Filter::default() }, |_| false),
        (Filter { name: words(&["web-2"]), ..Filter::default() }, |f| f.object.name == "web-2"),
        (Filter { application: words(&["shop"]), ..Filter::default() }, |f| f.application.is_some()),
        (Filter { action: words(&["deny"]), ..Filter::default() }, |f| f.action == Action::Deny),
        (Filter { since: Some(at(5)), ..Filter::default() }, |f| f.first_seen >= at(5)),
        (Filter { text: Some("WEB-3 100%".into()), ..Filter::default() }, |f| f.object.name == "web-3"),
        (Filter { text: Some("1%0".into()), ..Filter::default() }, |_| false),
        (Filter { text: Some("it_d' OR 1=1".into()), ..Filter::default() }, |_| false),
    ];
    for (filter, keeps) in table {
        let expected: BTreeSet<String> = findings.iter().filter(|f| keeps(f)).map(|f| f.id.0.clone()).collect();
        assert_eq!(ids(&**store, filter.clone()).await, expected, "{filter:?}");
    }
    let open = ids(&**store, Filter { state: words(&["open"]), ..Filter::default() }).await;
    assert_eq!((open.len(), open.contains(&closed.0)), (findings.len() - 1, false));
    for state in [&["closed"][..], &["deleted"], &["deleted", "fixed"]] {
        let found = ids(&**store, Filter { state: words(state), ..Filter::default() }).await;
        assert_eq!(found, BTreeSet::from([closed.0.clone()]), "{state:?}");
    }
    assert!(ids(&**store, Filter { state: words(&["fixed"]), ..Filter::default() }).await.is_empty());
}

pub(super) async fn what_delivers_objects_is_counted_by_kind_namespace_and_name(kept: Kept) {
    let store = &kept.store;
    let mut findings = filled(&**store).await;
    let release = Application { kind: "Release".into(), namespace: "shop".into(), name: "shop".into() };
    findings[0].application = Some(release.clone());
    findings[10].application = Some(release);
    store.change("main", put(&findings), at(11)).await.unwrap();
    let told = async |filter: Filter| -> Vec<String> {
        let counts = store.applications(&filter).await.unwrap();
        let line = |ApplicationCount { application: Application { kind, namespace, name }, open, .. }| {
            format!("{kind}/{namespace}/{name} {open:?}")
        };
        counts.into_iter().map(line).collect()
    };
    let expected = ["Application/argocd/shop {\"low\": 1}", "Release/shop/shop {\"critical\": 2}"];
    assert_eq!(told(Filter::default()).await, expected);
    let seen = Filter { visible: Some(words(&["bank"])), ..Filter::default() };
    assert_eq!(told(seen).await, expected[..1]);
    let close = Changes { close: vec![(findings[3].id.clone(), CloseReason::Fixed)], ..Changes::default() };
    store.change("main", close, at(20)).await.unwrap();
    assert_eq!(told(Filter::default()).await, expected[1..]);
}

pub(super) async fn facets_count_what_the_list_would_hold(kept: Kept) {
    let store = &kept.store;
    let findings = filled(&**store).await;
    let close = Changes { close: vec![(findings[0].id.clone(), CloseReason::Fixed)], ..Changes::default() };
    store.change("main", close, at(20)).await.unwrap();
    for text in [None, Some("web".to_owned())] {
        let open = Filter { state: words(&["open"]), text, ..Filter::default() };
        for (facet, value) in [
            (Facet::Severity, "critical"),
            (Facet::Namespace, "shop"),
            (Facet::Rule, "rule-0"),
            (Facet::Kind, "Deployment"),
            (Facet::Category, "workload"),
            (Facet::State, "open"),
            (Facet::Action, "deny"),
            (Facet::Application, "shop"),
            (Facet::Owner, OWNER),
        ] {
            let counted: BTreeMap<String, u64> = store.facet(&open, facet, 50).await.unwrap().into_iter().collect();
            let narrowed = match facet {
                Facet::Severity => Filter { severity: words(&[value]), ..open.clone() },
                Facet::Namespace => Filter { namespace: words(&[value]), ..open.clone() },
                Facet::Rule => Filter { rule: words(&[value]), ..open.clone() },
                Facet::Action => Filter { action: words(&[value]), ..open.clone() },
                Facet::Application => Filter { application: words(&[value]), ..open.clone() },
                Facet::Owner => Filter { owner: words(&[value]), ..open.clone() },
                Facet::Kind | Facet::Category | Facet::State => open.clone(),
            };
            let listed = u64::try_from(ids(&**store, narrowed).await.len()).unwrap();
            assert_eq!(counted.get(value), Some(&listed), "{facet:?} {counted:?} {open:?}");
            let pairs = store.cross(&open, [facet, Facet::Severity], 500).await.unwrap();
            let of_value: u64 = pairs.iter().filter(|(first, ..)| first == value).map(|(.., findings)| findings).sum();
            assert_eq!(of_value, listed, "{facet:?} {pairs:?}");
        }
        let shop = Filter { namespace: words(&["shop"]), ..open.clone() };
        let grave = Filter { severity: words(&["critical", "high"]), ..shop.clone() };
        let asked = [
            (shop, Facet::Severity),
            (Filter { namespace: Vec::new(), ..grave.clone() }, Facet::Namespace),
            (Filter { state: Vec::new(), ..grave.clone() }, Facet::State),
            (grave.clone(), Facet::Rule),
            (grave.clone(), Facet::Owner),
            (grave, Facet::Action),
        ];
        let mut each = Vec::new();
        for (filter, facet) in &asked {
            each.push(store.facet(filter, *facet, 3).await.unwrap());
        }
        assert!(each.iter().all(|values| !values.is_empty()), "{each:?}");
        assert_eq!(store.facets(&asked, 3).await.unwrap(), each, "one pass counts as each would");
    }
    let resources = store.resources(&query(Filter::default())).await.unwrap().items;
    let total: u64 = resources.iter().flat_map(|resource| resource.open.values()).sum();
    assert_eq!(total, u64::try_from(findings.len() - 1).unwrap());
}

pub(super) async fn objects_are_counted_by_their_owner(kept: Kept) {
    let store = &kept.store;
    let pod = |name: &str, rule: &str, owner: &str| Finding {
        owner: owner.into(),
        ..finding(&ObjectKey { kind: "Pod".into(), ..object("shop", name) }, rule, Severity::High, at(0))
    };
    let found = [
        pod("a", "r", "Deployment/web"),
        pod("a", "s", "Deployment/web"),
        pod("b", "r", "Deployment/web"),
        pod("c", "r", ""),
        Finding { owner: "Deployment/web".into(), ..finding(&object("shop", "rs"), "r", Severity::Low, at(0)) },
    ];
    store.change("main", put(&found), at(0)).await.unwrap();
    let owned = async |filter: Filter| store.owned(&filter).await.unwrap();
    let of = |kind: &str, number: u64| ("Deployment/web".to_owned(), kind.to_owned(), number);
    assert_eq!(owned(Filter::default()).await, [of("Deployment", 1), of("Pod", 2)]);
    assert_eq!(owned(Filter { rule: words(&["s"]), ..Filter::default() }).await, [of("Pod", 1)]);
}

pub(super) async fn objects_come_with_the_most_findings_first(kept: Kept) {
    let store = &kept.store;
    let found: Vec<Finding> = [("a", 1), ("b", 3), ("c", 2), ("d", 2)]
        .into_iter()
        .flat_map(|(name, findings)| {
            (0..findings).map(move |rule| finding(&object("shop", name), &format!("r{rule}"), Severity::High, at(0)))
        })
        .collect();
    store.change("main", put(&found), at(0)).await.unwrap();
    let mut asked = PageQuery { filter: Filter::default(), sort: ResourceSort::Findings, cursor: None, limit: 2 };
    let mut names = Vec::new();
    loop {
        let page = store.resources(&asked).await.unwrap();
        names.extend(page.items.into_iter().map(|counted| counted.object.name));
        asked.cursor = page.next;
        if asked.cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["b", "d", "c", "a"]);
}
