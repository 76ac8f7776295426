//! Everything else that is kept, and what is let go of.

use super::*;

pub(super) async fn changes_of_modes_are_a_history_by_namespace(kept: Kept) {
    let store = &kept.store;
    let keys = |value: &str| ModeKeys {
        labels: BTreeMap::from([("gatepost.dev/enforce".to_owned(), value.to_owned())]),
        annotations: BTreeMap::new(),
    };
    let change = |minute: i64, namespace: &str, takes_back| ModeChanged {
        id: 0,
        time: at(minute),
        namespace: namespace.into(),
        user: "jane".into(),
        reason: "it's clean".into(),
        before: ModeKeys::default(),
        after: keys("baseline"),
        takes_back,
    };
    for made in [change(0, "shop", None), change(1, "pay", None), change(2, "shop", Some(1))] {
        store.put_mode_change(&made).await.unwrap();
    }
    let list = async |filter: Filter, limit| {
        store.mode_changes(&PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit }).await.unwrap()
    };
    let shop = list(Filter { namespace: words(&["shop"]), ..Filter::default() }, 10).await.items;
    assert_eq!(
        shop.iter().map(|made| (made.time, made.takes_back)).collect::<Vec<_>>(),
        [(at(2), Some(1)), (at(0), None)]
    );
    assert_eq!(ModeChanged { id: 0, ..shop[1].clone() }, change(0, "shop", None));
    assert_eq!(store.mode_change(shop[0].id).await.unwrap(), Some(shop[0].clone()));
    assert_eq!(store.mode_change(99).await.unwrap(), None);
    let first = list(Filter::default(), 2).await;
    let query = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: first.next, limit: 2 };
    let rest = store.mode_changes(&query).await.unwrap().items;
    assert_eq!((first.items.len(), rest.len(), &*rest[0].namespace), (2, 1, "shop"));
    assert!(list(Filter { visible: Some(Vec::new()), ..Filter::default() }, 10).await.items.is_empty());
}

pub(super) async fn tokens_are_kept_by_their_hash_until_they_are_revoked(kept: Kept) {
    let store = &kept.store;
    let token = Token {
        id: "abc".into(),
        label: "ci '; DROP TABLE token; --".into(),
        hash: "00ff".into(),
        scopes: words(&["read", "report"]),
        namespaces: words(&["team-*"]),
        created: at(0),
        expires: Some(at(60)),
    };
    store.put_token(&token).await.unwrap();
    assert_eq!(store.token("abc").await.unwrap(), Some(token.clone()));
    assert_eq!(store.tokens().await.unwrap(), [token]);
    assert!(store.revoke("abc").await.unwrap());
    assert!(!store.revoke("abc").await.unwrap());
    assert_eq!(store.token("abc").await.unwrap(), None);
}

pub(super) async fn what_is_too_old_goes_and_what_stands_stays(kept: Kept) {
    let store = &kept.store;
    let (gone, stays) = (
        finding(&object("shop", "a"), "r", Severity::High, at(0)),
        finding(&object("shop", "b"), "r", Severity::High, at(0)),
    );
    let content = |digest: &str| Content { digest: digest.into(), text: "{}".into() };
    let gone = Finding { content: "old".into(), ..gone };
    let unshown = (0..4100).map(|number| content(&number.to_string()));
    let contents = unshown.chain([content("old"), content("c0ffee")]).collect();
    store.change("main", Changes { contents, ..put(&[gone.clone(), stays.clone()]) }, at(0)).await.unwrap();
    let close = Changes { close: vec![(gone.id.clone(), CloseReason::Fixed)], ..Changes::default() };
    store.change("main", close, at(1)).await.unwrap();
    store.take_in(&batch("k", vec![decision("old", 0, Vec::new()), decision("new", 9, Vec::new())])).await.unwrap();
    store.prune(Retention { decisions_before: at(5), history_before: at(5) }).await.unwrap();
    assert_eq!(store.finding(&gone.id).await.unwrap(), None);
    assert!(store.finding(&stays.id).await.unwrap().is_some());
    assert_eq!(store.content("old").await.unwrap(), None);
    assert_eq!(kept.number("SELECT COUNT(*) FROM content").await, 1);
    assert_eq!(store.content("c0ffee").await.unwrap().as_deref(), Some("{}"));
    assert_eq!(store.decision("old").await.unwrap(), None);
    assert!(store.decision("new").await.unwrap().is_some());
    let counted = store.facet(&Filter::default(), Facet::State, 9).await.unwrap();
    assert_eq!(counted, [("open".to_owned(), 1)]);
}

pub(super) async fn targets_are_told_from_where_they_were_told_last(kept: Kept) {
    let store = &kept.store;
    assert!(store.notified("chat").await.unwrap().is_empty());
    for (target, event, minute) in
        [("chat", "findings", 1), ("chat", "denials", 2), ("chat", "findings", 3), ("soc", "x", 4)]
    {
        store.set_notified(target, event, at(minute)).await.unwrap();
    }
    for (what, minute) in [("exemptions Exemption shop/a", 3), ("exemptions Exemption shop/b", 7)] {
        store.set_notified("soc", what, at(minute)).await.unwrap();
    }
    store.prune(Retention { decisions_before: at(5), history_before: at(5) }).await.unwrap();
    let left: Vec<String> = store.notified("soc").await.unwrap().into_keys().collect();
    assert_eq!(left, ["exemptions Exemption shop/b", "x"], "single things go when they have ended");
    let told = store.notified("chat").await.unwrap();
    assert_eq!(told, BTreeMap::from([("denials".to_owned(), at(2)), ("findings".to_owned(), at(3))]));

    let object = object("shop", "web");
    let old = finding(&object, "a", Severity::High, at(0));
    let new = finding(&object, "b", Severity::Low, at(0));
    store.change("main", put(&[old]), at(5)).await.unwrap();
    store.change("main", put(std::slice::from_ref(&new)), at(6)).await.unwrap();
    let came = |after, until| Filter { came: Some((at(after), at(until))), ..Filter::default() };
    let found = store.findings(&query(came(5, 6))).await.unwrap();
    assert_eq!(found.items.iter().map(|finding| &finding.id).collect::<Vec<_>>(), [&new.id]);
    assert_eq!(store.facet(&came(5, 6), Facet::Severity, 9).await.unwrap(), [("low".to_owned(), 1)]);
    assert_eq!(store.facet(&came(4, 6), Facet::Namespace, 9).await.unwrap(), [("shop".to_owned(), 2)]);

    // Taken in now, whenever they were made.
    let before = Timestamp::now();
    store.take_in(&batch("k", vec![decision("late", 0, Vec::new())])).await.unwrap();
    let taken = |after: Timestamp| Filter { came: Some((after, Timestamp::now())), ..Filter::default() };
    assert_eq!(store.decisions(&query(taken(before))).await.unwrap().items.len(), 1);
    assert!(store.decisions(&query(taken(Timestamp::now()))).await.unwrap().items.is_empty());
}

pub(super) async fn letting_go_of_much_keeps_no_other_writer_waiting(kept: Kept) {
    let store = &kept.store;
    let decisions = (0..20_000).map(|number| decision(&number.to_string(), 0, Vec::new())).collect();
    store.take_in(&batch("k", decisions)).await.unwrap();
    let bytes = store.size().await.unwrap();
    assert!(bytes > 1 << 20, "{bytes}");
    let pruning = tokio::spawn({
        let store = kept.store.clone();
        async move { store.prune(Retention { decisions_before: at(5), history_before: at(5) }).await }
    });
    let mut written = 0;
    while !pruning.is_finished() {
        store.take_in(&batch(&written.to_string(), vec![decision("new", 9, Vec::new())])).await.unwrap();
        written += 1;
    }
    pruning.await.unwrap().unwrap();
    assert!(written > 5, "{written}");
    let left = store.decisions(&query(Filter::default())).await.unwrap().items;
    assert_eq!(left.iter().map(|decision| decision.uid.as_str()).collect::<Vec<_>>(), ["new"]);
}

pub(super) async fn one_process_has_a_turn_until_it_is_left_or_outlived(kept: Kept) {
    let (one, other) = (kept.again().await.unwrap(), kept.again().await.unwrap());
    let holder = async |store: &Arc<dyn Store>, name: &str| store.take_turn("audit", name, None).await.unwrap().holder;
    assert_eq!(holder(&one, "one").await, "one");
    let seen = other.take_turn("audit", "other", None).await.unwrap();
    assert_ne!(seen.holder, "other");
    assert_eq!(other.take_turn("of another name", "other", None).await.unwrap().holder, "other");
    other.leave_turn("audit", "other").await.unwrap();
    assert_eq!(holder(&one, "one").await, "one", "who does not have it cannot leave it");
    // It has been taken again since it was seen.
    assert_ne!(other.take_turn("audit", "other", Some(seen)).await.unwrap().holder, "other");
    one.leave_turn("audit", "one").await.unwrap();
    assert_eq!(holder(&other, "other").await, "other");
    assert_ne!(holder(&one, "one").await, "one");
    if kept.remote.is_some() {
        let seen = one.take_turn("audit", "one", None).await.unwrap();
        assert_eq!(one.take_turn("audit", "one", Some(seen)).await.unwrap().holder, "one");
        assert_ne!(holder(&other, "other").await, "other");
    } else {
        drop(other);
        // Whoever holds the file may be a moment behind.
        assert_eq!(holder(&one, "one").await, "one");
    }
}

/// Counts transactions that write.
#[derive(Debug, Default)]
struct Writes(AtomicU32);

impl Observer for Writes {
    fn observe(&self, operation: Operation, _: Duration, _: bool) {
        self.0.fetch_add(u32::from(operation == Operation::Write), Ordering::Relaxed);
    }
}

pub(super) async fn what_was_open_goes_in_steps_where_later_counts_stand_in_its_place(kept: Kept) {
    for minute in [0, 2] {
        let mut audit = kept.store.begin_audit("main", Trigger::Schedule, "p", at(minute)).await.unwrap();
        (audit.state, audit.finished) = (AuditState::Complete, Some(at(minute + 1)));
        kept.store.end_audit(&audit, &[], &[]).await.unwrap();
        if minute == 0 {
            // The second audit finds nothing of it any more, and writes as many rows.
            kept.run(
                "INSERT INTO open_count (cluster, namespace, rule, gravity, audit, standing, opened, fixed) \
                 WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 4500) \
                 SELECT 'main', 'ns-' || n, 'r', 1, 1, 1, 0, 0 FROM number",
            )
            .await;
        }
    }
    let writes = Arc::new(Writes::default());
    let store = open_observed(kept.directory.path(), kept.remote.clone(), writes.clone()).await.unwrap();
    store.prune(Retention { decisions_before: at(0), history_before: at(1) }).await.unwrap();
    assert_eq!(kept.number("SELECT COUNT(*) FROM open_count").await, 9000, "the second audit has not ended by then");
    let idle = writes.0.swap(0, Ordering::Relaxed);
    store.prune(Retention { decisions_before: at(0), history_before: at(9) }).await.unwrap();
    assert_eq!(kept.number("SELECT COUNT(*) FROM open_count WHERE audit = 2").await, 4500);
    assert_eq!(kept.number("SELECT COUNT(*) FROM open_count").await, 4500);
    assert_eq!(writes.0.load(Ordering::Relaxed), idle + 2, "2,000 rows, 2,000 and the rest");
}

pub(super) async fn a_newer_store_is_refused_in_words_and_left_as_it_is(kept: Kept) {
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
        SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1";
    let count = "SELECT COUNT(*) FROM refinery_schema_history";
    let known = kept.number(count).await;
    kept.run(newer).await;
    let error = kept.again().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(kept.number(count).await, known + 1);
}

pub(super) async fn a_store_from_before_findings_were_numbered_keeps_them(kept: Kept) {
    let (directory, remote) = kept.another().await;
    let old = Kept { store: kept.store, directory, remote };
    let before = refinery::Target::Version(11);
    match &old.remote {
        Some(remote) => {
            let runner = schema::runner(schema::Dialect::Postgres).unwrap().set_target(before);
            runner.run_async(&mut server::client(remote).await).await.unwrap();
        }
        None => drop(schema::runner(schema::Dialect::Sqlite).unwrap().set_target(before).run(&mut old.file()).unwrap()),
    }
    let found = [("web", "critical", Severity::Critical), ("api", "low", Severity::Low)]
        .map(|(name, rule, severity)| finding(&object("shop", name), rule, severity, at(0)));
    for Finding { id, object, rule, severity, .. } in &found {
        let (name, gravity, minute) = (&object.name, super::super::findings::gravity(*severity), at(0).as_nanosecond());
        old.run(&format!(
            "INSERT INTO finding (id, cluster, api_group, kind, namespace, name, api_version, uid, owner, app_kind, \
             app_namespace, application, content, rule, place, result, gravity, category, policies, action, path, message, \
             state, closed_because, first_seen, seen, opened_at, reopened) VALUES ('{id}', 'main', 'apps', 'Deployment', \
             'shop', '{name}', 'apps/v1', 'u', '{OWNER}', '', '', '', 'c0ffee', '{rule}', '/spec', 'fail', {gravity}, \
             'workload', '[\"recommended\",\"strict\"]', 'warn', '/spec', 'write 100% of it_down', 'open', '', {minute}, \
             {minute}, {minute}, 0)"
        ))
        .await;
    }
    for digest in ["c0ffee", "decaf"] {
        old.run(&format!("INSERT INTO content (digest, text) VALUES ('{digest}', '{digest}')")).await;
    }
    let store = old.again().await.unwrap();
    store.prune(Retention { decisions_before: at(0), history_before: at(0) }).await.unwrap();
    assert_eq!(store.content("c0ffee").await.unwrap().as_deref(), Some("c0ffee"));
    assert_eq!(store.content("decaf").await.unwrap(), None, "no finding shows it");
    assert_eq!(store.findings(&query(Filter::default())).await.unwrap().items, found);
    let worse = Finding { severity: Severity::High, ..found[1].clone() };
    store.change("main", put(std::slice::from_ref(&worse)), at(1)).await.unwrap();
    assert_eq!(store.findings(&query(Filter::default())).await.unwrap().items, [found[0].clone(), worse]);
}

pub(super) async fn several_may_open_it_at_once_and_write(kept: Kept) {
    let (directory, remote) = kept.another().await;
    let path = directory.path().to_owned();
    let opened = (0..6).map(|number| {
        let (path, remote) = (path.clone(), remote.clone());
        tokio::spawn(async move {
            let store = open(&path, remote).await.unwrap();
            let found = finding(&object("shop", &number.to_string()), "r", Severity::High, at(0));
            store.change("main", put(&[found]), at(0)).await.unwrap();
        })
    });
    for one in opened.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let store = open(&path, remote).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(ids(&*store, Filter::default()).await.len(), 6);
    let counted = store.facet(&Filter::default(), Facet::State, 9).await.unwrap();
    assert_eq!(counted, [("open".to_owned(), 6)]);
}
