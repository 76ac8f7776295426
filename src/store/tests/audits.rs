//! What audits leave: what stands, what they counted, and what was open after each.

use super::*;

pub(super) async fn an_unchanged_finding_is_seen_again_without_a_write(kept: Kept) {
    let store = &kept.store;
    let (shop, bank) = (
        finding(&object("shop", "a"), "r", Severity::High, at(0)),
        finding(&object("bank", "a"), "r", Severity::Low, at(0)),
    );
    store.change("main", put(&[shop.clone(), bank.clone()]), at(0)).await.unwrap();
    let mut audit = store.begin_audit("main", Trigger::Start, "sha256:x", at(1)).await.unwrap();
    (audit.state, audit.finished) = (AuditState::Partial, Some(at(2)));
    let covered = Covered { group: "apps".into(), kind: "Deployment".into(), namespace: Some("shop".into()) };
    store.end_audit(&audit, &[covered], &[]).await.unwrap();
    let seen = async |id: &Fingerprint| store.finding(id).await.unwrap().unwrap().last_seen;
    assert_eq!((seen(&shop.id).await, seen(&bank.id).await), (at(2), at(0)), "what was not covered was not seen");
    let close = Changes { close: vec![(shop.id.clone(), CloseReason::Fixed)], ..Changes::default() };
    store.change("main", close, at(3)).await.unwrap();
    let mut audit = store.begin_audit("main", Trigger::Schedule, "sha256:x", at(4)).await.unwrap();
    (audit.state, audit.finished) = (AuditState::Complete, Some(at(5)));
    let everywhere = Covered { group: "apps".into(), kind: "Deployment".into(), namespace: None };
    store.end_audit(&audit, &[everywhere], &[]).await.unwrap();
    let closed = store.finding(&shop.id).await.unwrap().unwrap();
    assert_eq!(
        (closed.last_seen, closed.closed_at, closed.closed_because),
        (at(2), Some(at(3)), Some(CloseReason::Fixed))
    );
    assert_eq!(seen(&bank.id).await, at(5));
    let kinds = store.kinds_with_findings("main").await.unwrap();
    assert_eq!(kinds, [("apps".to_owned(), "Deployment".to_owned())]);
    let objects = store.objects_with_findings("main", "apps", "Deployment", None, 10).await.unwrap();
    assert_eq!(objects, std::slice::from_ref(&bank.object));
    assert!(
        store.objects_with_findings("main", "apps", "Deployment", Some(&bank.object), 10).await.unwrap().is_empty()
    );
}

pub(super) async fn an_audit_that_never_ended_is_abandoned_by_the_next(kept: Kept) {
    let store = &kept.store;
    let first = store.begin_audit("main", Trigger::Start, "p", at(0)).await.unwrap();
    let other = store.begin_audit("other", Trigger::Start, "p", at(0)).await.unwrap();
    let mut second = store.begin_audit("main", Trigger::Request, "p", at(1)).await.unwrap();
    (second.state, second.finished, second.objects) = (AuditState::Complete, Some(at(2)), 7);
    second.unread.insert("core/Secret".into(), "forbidden".into());
    let count = |failed| RuleCount {
        policy: "strict".into(),
        rule: "r".into(),
        namespace: "shop".into(),
        passed: 3,
        failed,
        skipped: 0,
        exempt: 0,
    };
    store.end_audit(&second, &[], &[count(1)]).await.unwrap();
    let mut third = store.begin_audit("main", Trigger::Schedule, "p", at(3)).await.unwrap();
    (third.state, third.finished) = (AuditState::Complete, Some(at(4)));
    store.end_audit(&third, &[], &[count(0)]).await.unwrap();
    let audits = store.audits(&query(Filter { cluster: words(&["main"]), ..Filter::default() })).await.unwrap().items;
    let states: Vec<_> = audits.iter().map(|audit| (audit.id, audit.state)).collect();
    use AuditState::{Abandoned, Complete};
    assert_eq!(states, [(third.id, Complete), (second.id, Complete), (first.id, Abandoned)]);
    assert_eq!(audits[1], second);
    assert_eq!(store.counts(second.id).await.unwrap(), [count(1)]);
    assert_eq!(store.counts(third.id).await.unwrap(), [count(0)]);
    let running = store.audits(&query(Filter { state: words(&["running"]), ..Filter::default() })).await.unwrap().items;
    assert_eq!(running, [other]);
    let mut fourth = store.begin_audit("main", Trigger::Request, "p", at(5)).await.unwrap();
    (fourth.state, fourth.finished) = (AuditState::Cancelled, Some(at(6)));
    store.end_audit(&fourth, &[], &[]).await.unwrap();
    assert_eq!(store.audit(fourth.id).await.unwrap().unwrap().state, AuditState::Cancelled);
    assert_eq!(store.counts(fourth.id).await.unwrap(), [count(0)], "what was counted before says more");
}

pub(super) async fn what_an_audit_counted_of_a_rule_is_summed_up_each_object_once(kept: Kept) {
    let store = &kept.store;
    let count = |policy: &str, rule: &str, namespace: &str, [passed, failed, exempt]: [u64; 3]| {
        let [policy, rule, namespace] = [policy, rule, namespace].map(str::to_owned);
        RuleCount { policy, rule, namespace, passed, failed, skipped: 0, exempt }
    };
    let sum = |rule: &str, [passed, failed, exempt]: [u64; 3]| RuleSum {
        rule: rule.into(),
        passed,
        failed,
        skipped: 0,
        exempt,
    };
    let counts = [
        count("baseline", "x", "shop", [3, 1, 0]),
        count("strict", "x", "shop", [4, 1, 0]),
        count("baseline", "x", "bank", [2, 0, 1]),
        count("baseline", "y", "", [1, 0, 0]),
    ];
    let mut audit = store.begin_audit("main", Trigger::Start, "p", at(0)).await.unwrap();
    (audit.state, audit.finished) = (AuditState::Complete, Some(at(1)));
    store.end_audit(&audit, &[], &counts).await.unwrap();
    let mut next = store.begin_audit("main", Trigger::Start, "p", at(2)).await.unwrap();
    (next.state, next.finished) = (AuditState::Complete, Some(at(3)));
    store.end_audit(&next, &[], &counts[..2]).await.unwrap();
    let all = Filter::default();
    let sums = store.rule_sums(&all, audit.id).await.unwrap();
    assert_eq!(sums, [sum("x", [6, 1, 1]), sum("y", [1, 0, 0])]);
    assert_eq!(store.rule_sums(&all, next.id).await.unwrap(), [sum("x", [4, 1, 0])], "what is gone counts no more");
    let seen = Filter { visible: Some(words(&["bank"])), ..Filter::default() };
    assert_eq!(store.rule_sums(&seen, audit.id).await.unwrap(), [sum("x", [2, 0, 1])]);
    let nothing = Filter { visible: Some(Vec::new()), ..Filter::default() };
    assert_eq!(store.rule_sums(&nothing, audit.id).await.unwrap(), []);
    assert_eq!(store.rule_sums(&all, 99).await.unwrap(), []);
}

pub(super) async fn what_is_excused_stands_and_is_counted_neither_as_open_nor_as_fixed(kept: Kept) {
    let store = &kept.store;
    let (shop, bank) = (object("shop", "a"), object("bank", "b"));
    let open = finding(&shop, "r", Severity::High, at(0));
    let excused = excused(open.clone(), at(1));
    // One that was closed before it was kept what excused it.
    let earlier = Finding { exemption: None, ..finding(&bank, "r", Severity::High, at(0)) };
    let earlier = Finding { closed_at: Some(at(1)), closed_because: Some(CloseReason::Exempt), ..earlier };
    let earlier = Finding { state: State::Closed, ..earlier };
    let first = ended(&**store, put(&[excused.clone(), earlier.clone()]), 0).await;
    assert_eq!(store.finding(&excused.id).await.unwrap(), Some(excused.clone()));
    let listed = async |state: &str| {
        let filter = Filter { state: words(&[state]), ..Filter::default() };
        store.findings(&query(filter)).await.unwrap().items.len()
    };
    assert_eq!((listed("open").await, listed("exempt").await), (0, 2));
    assert_eq!(store.kinds_with_findings("main").await.unwrap().len(), 1);
    let standing = async || store.objects_with_findings("main", "apps", "Deployment", None, 10).await.unwrap();
    assert_eq!(standing().await, std::slice::from_ref(&shop));
    store.prune(Retention { decisions_before: at(5), history_before: at(5) }).await.unwrap();
    assert_eq!(listed("exempt").await, 1, "only what stands stays");

    let second = ended(&**store, put(std::slice::from_ref(&open)), 10).await;
    let came = Filter { came: Some((at(10), at(12))), ..Filter::default() };
    assert_eq!(store.findings(&query(came)).await.unwrap().items.len(), 1, "it opens at the exemption's end");
    ended(&**store, put(std::slice::from_ref(&excused)), 20).await;
    let close = |reason| Changes { close: vec![(excused.id.clone(), reason)], ..Changes::default() };
    let fourth = ended(&**store, close(CloseReason::Fixed), 30).await;
    let found = store.finding(&excused.id).await.unwrap().unwrap();
    assert_eq!((found.closed_because, found.closed_at), (Some(CloseReason::Fixed), Some(at(31))));
    assert_eq!((found.exemption.is_some(), standing().await.len()), (true, 0));
    let changes = store.history(&Filter::default(), first, fourth).await.unwrap().changes;
    let told: Vec<_> = changes.iter().map(|at| (at.audit, at.open, at.opened, at.fixed)).collect();
    assert_eq!(told, [(second, 1, 1, 0), (second + 1, 0, 0, 0)]);
    let counted = store.facet(&Filter::default(), Facet::State, 9).await.unwrap();
    assert_eq!(counted, [("closed".to_owned(), 1)]);
    store.change("main", close(CloseReason::Deleted), at(40)).await.unwrap();
    assert_eq!(store.finding(&excused.id).await.unwrap().unwrap().closed_at, Some(at(31)), "it is closed already");
}

pub(super) async fn what_was_open_after_each_audit_is_remembered(kept: Kept) {
    let store = &kept.store;
    let new = |namespace: &str, name: &str, severity| finding(&object(namespace, name), "r", severity, at(0));
    let (a, b, c) =
        (new("shop", "a", Severity::High), new("shop", "b", Severity::High), new("bank", "c", Severity::Low));
    let close = |finding: &Finding, reason| Changes { close: vec![(finding.id.clone(), reason)], ..Changes::default() };
    let first = ended(&**store, put(&[a.clone(), b.clone(), c.clone()]), 0).await;
    let second = ended(&**store, Changes::default(), 10).await;
    // Its process ends before it does, and the next one tells what it changed.
    store.begin_audit("main", Trigger::Start, "p", at(20)).await.unwrap();
    store.change("main", close(&a, CloseReason::Fixed), at(21)).await.unwrap();
    let fourth = ended(&**store, close(&c, CloseReason::Deleted), 30).await;
    let fifth = ended(&**store, put(std::slice::from_ref(&a)), 40).await;
    let told = async |filter: Filter, from: i64, to: i64| -> Vec<(i64, String, u64, u64, u64)> {
        let changes = store.history(&filter, from, to).await.unwrap().changes;
        changes.into_iter().map(|at| (at.audit, at.namespace, at.open, at.opened, at.fixed)).collect()
    };
    let at = |audit, namespace: &str, open, opened, fixed| (audit, namespace.to_owned(), open, opened, fixed);
    let (begin, gone) = ([at(first, "bank", 1, 1, 0), at(first, "shop", 2, 2, 0)], at(fourth, "bank", 0, 0, 0));
    let (fixed, back) = (at(fourth, "shop", 1, 0, 1), at(fifth, "shop", 2, 1, 0));
    let all = [&begin[..], &[gone.clone(), fixed.clone(), back.clone()]].concat();
    assert_eq!(told(Filter::default(), first, fifth).await, all);
    assert_eq!(told(Filter { namespace: words(&["bank"]), ..Filter::default() }, first, second).await, begin[..1]);
    let base = [at(second, "bank", 1, 0, 0), at(second, "shop", 2, 0, 0)];
    let later = [&base[..], &[gone, fixed]].concat();
    assert_eq!(told(Filter::default(), second, fourth).await, later, "the first audit holds what stood");
    assert!(told(Filter { visible: Some(Vec::new()), ..Filter::default() }, first, fifth).await.is_empty());
    let judged = async |namespace: &str| {
        let filter = Filter { namespace: words(&[namespace]), ..Filter::default() };
        store.history(&filter, first, fifth).await.unwrap().judged_from
    };
    assert_eq!((judged("bank").await, judged("empty").await), (Some(first), None));
    assert_eq!(store.judged_namespaces().await.unwrap(), ["shop"], "in bank nothing could be judged any more");
    assert_eq!(store.audit(fifth).await.unwrap().unwrap().id, fifth);
    assert_eq!(store.audit(99).await.unwrap(), None);
    let counts = store.open_counts(&Filter { severity: words(&["high"]), ..Filter::default() }).await.unwrap();
    let open = OpenCount {
        namespace: "shop".into(),
        rule: "r".into(),
        severity: Severity::High,
        action: Action::Warn,
        findings: 2,
    };
    assert_eq!(counts, [open]);
    store.prune(Retention { decisions_before: self::at(35), history_before: self::at(35) }).await.unwrap();
    assert_eq!(
        told(Filter::default(), fourth, fifth).await,
        [at(fourth, "bank", 0, 0, 0), at(fourth, "shop", 1, 0, 1), back]
    );
}

pub(super) async fn who_answers_requests_is_known_by_when_they_were_heard_of(kept: Kept) {
    let store = &kept.store;
    let heard = async |from: i64| {
        let known = store.presence("main", at(from)).await.unwrap();
        known.iter().map(|presence| presence.since).collect::<Vec<_>>()
    };
    assert_eq!(heard(0).await, []);
    // The last one's clock is ahead.
    let ahead = Timestamp::now() + SignedDuration::from_mins(5);
    for (cluster, source, since) in [
        ("main", "webhook/b", at(20)),
        ("main", "webhook/a", at(10)),
        ("other", "webhook/a", at(1)),
        ("main", "c", ahead),
    ] {
        store.note_presence(cluster, source, since).await.unwrap();
        store.note_presence(cluster, source, since).await.unwrap();
    }
    assert_eq!(heard(0).await, [at(10), at(20), ahead]);
    let later = store.presence("main", Timestamp::now() + SignedDuration::from_mins(1)).await.unwrap();
    let [first, last] = [later[0], later[1]];
    assert_eq!(
        (later.len(), first.since, last),
        (2, at(10), Presence { since: ahead, heard: ahead }),
        "the first, too"
    );
    assert!(first.heard > at(20) && first.heard < ahead, "{first:?}");
    store.note_presence("main", "webhook/b", at(20)).await.unwrap();
    let later = store.presence("main", Timestamp::now() + SignedDuration::from_mins(1)).await.unwrap();
    let known: Vec<Timestamp> = later.iter().map(|presence| presence.since).collect();
    assert_eq!(known, [at(10), at(20), ahead], "and the last that was heard of before");
    let beyond = Retention { decisions_before: at(0), history_before: Timestamp::now() + SignedDuration::from_mins(1) };
    store.prune(beyond).await.unwrap();
    assert_eq!(heard(0).await, [ahead]);
}

pub(super) async fn what_is_enforced_is_known_by_when_audits_saw_it(kept: Kept) {
    let store = &kept.store;
    let enforcing = |namespace: &str, policy: &str, severity: &str| Enforcing {
        namespace: namespace.into(),
        policy: policy.into(),
        severity: severity.into(),
    };
    let audited = async |minute: i64, seen: &[Enforcing]| {
        let mut audit = store.begin_audit("main", Trigger::Schedule, "p", at(minute)).await.unwrap();
        (audit.state, audit.finished) = (AuditState::Complete, Some(at(minute + 1)));
        store.end_audit(&audit, &[], &[]).await.unwrap();
        store.note_enforcing(&audit, seen).await.unwrap();
    };
    let since = async |namespace: &str| -> Vec<(String, String, Option<Timestamp>, Timestamp)> {
        let known = store.enforced_since("main", namespace).await.unwrap();
        known.into_iter().map(|one| (one.policy, one.severity, one.not_before, one.since)).collect()
    };
    let mut unnoted = store.begin_audit("main", Trigger::Start, "p", at(0)).await.unwrap();
    (unnoted.state, unnoted.finished) = (AuditState::Complete, Some(at(1)));
    store.end_audit(&unnoted, &[], &[]).await.unwrap();
    let shop = enforcing("shop", "baseline", "");
    audited(10, std::slice::from_ref(&shop)).await;
    let first = [("baseline".to_owned(), String::new(), None, at(11))];
    assert_eq!(since("shop").await, first, "what was there when nobody noted it began at some time");
    let more = [shop.clone(), enforcing("shop", "strict", "high"), enforcing("", "baseline", "")];
    audited(20, &more).await;
    audited(30, &more).await;
    let strict = ("strict".to_owned(), "high".to_owned(), Some(at(10)), at(21));
    assert_eq!(since("shop").await, [first[0].clone(), strict]);
    assert_eq!(since("").await, [("baseline".to_owned(), String::new(), Some(at(10)), at(21))]);
    assert_eq!(since("bank").await, []);
    audited(40, &[]).await;
    assert_eq!(since("shop").await, []);
    audited(50, &[shop]).await;
    assert_eq!(since("shop").await, [("baseline".to_owned(), String::new(), Some(at(40)), at(51))]);
    let until = store.audits_until("main", at(25), 2).await.unwrap();
    assert_eq!(until.iter().map(|audit| audit.started).collect::<Vec<_>>(), [at(20), at(10)]);
    assert!(store.audits_until("other", at(25), 2).await.unwrap().is_empty());
}
