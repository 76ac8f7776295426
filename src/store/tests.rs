//! What every store must do, written against the trait and run on SQLite and on a real PostgreSQL.

mod postgres;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::admission::Action;
use crate::policy::exemption::{ExemptionKind, ExemptionName};
use crate::policy::{ExemptionNote, RuleId, Severity};
use crate::report::Verdict;
use crate::report::finding::{Application, CloseReason, Content, State};

/// A store in a directory or a database of its own.
const OWNER: &str = "Deployment/web";

struct Kept {
    store: Arc<dyn Store>,
    directory: TempDir,
    remote: Option<Remote>,
}

/// The server that most tests share; each has its own database.
static SERVER: LazyLock<Result<server::Server, String>> = LazyLock::new(server::Server::start);

static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Kept {
    async fn new(remote: Option<Remote>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), remote.clone()).await.unwrap();
        Self { store, directory, remote }
    }

    async fn on_a_server() -> Option<Self> {
        let server = tokio::task::spawn_blocking(|| LazyLock::force(&SERVER)).await.unwrap();
        match server {
            Ok(server) => Some(Self::new(Some(Self::database(server).await)).await),
            Err(reason) => {
                server::skip(reason);
                None
            }
        }
    }

    async fn database(server: &server::Server) -> Remote {
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server::remote(&server.database(&name).await)
    }

    /// Returns where another store of the kind can be made.
    async fn another(&self) -> (TempDir, Option<Remote>) {
        let remote = match &self.remote {
            Some(_) => Some(Self::database(SERVER.as_ref().unwrap()).await),
            None => None,
        };
        (tempfile::tempdir().unwrap(), remote)
    }

    /// Runs a statement past the store.
    async fn run(&self, sql: &str) {
        match &self.remote {
            Some(remote) => drop(server::client(remote).await.execute(sql, &[]).await.unwrap()),
            None => drop(self.file().execute(sql, []).unwrap()),
        }
    }

    /// Returns the number that a query past the store finds.
    async fn number(&self, sql: &str) -> i64 {
        match &self.remote {
            Some(remote) => server::client(remote).await.query_one(sql, &[]).await.unwrap().get(0),
            None => self.file().query_row(sql, [], |row| row.get(0)).unwrap(),
        }
    }

    fn file(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.directory.path().join("gatepost.db")).unwrap()
    }

    /// Opens it once more, as another process would.
    async fn again(&self) -> Stored<Arc<dyn Store>> {
        open(self.directory.path(), self.remote.clone()).await
    }
}

/// Runs each test on both.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Kept::new(None).await).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(kept) = super::Kept::on_a_server().await {
                    super::$test(kept).await;
                }
            })*
        }
    };
}

on_both! {
    what_is_put_comes_back_and_outlives_the_process,
    pages_of_every_order_hold_each_finding_once,
    every_filter_narrows_as_it_says,
    facets_count_what_the_list_would_hold,
    what_delivers_objects_is_counted_by_kind_namespace_and_name,
    an_unchanged_finding_is_seen_again_without_a_write,
    what_is_excused_stands_and_is_counted_neither_as_open_nor_as_fixed,
    an_audit_that_never_ended_is_abandoned_by_the_next,
    what_an_audit_counted_of_a_rule_is_summed_up_each_object_once,
    what_was_open_after_each_audit_is_remembered,
    a_batch_is_taken_in_once_and_decisions_are_found,
    decisions_are_found_by_one_of_their_results_and_by_whose_the_object_is,
    objects_are_counted_by_their_owner,
    objects_come_with_the_most_findings_first,
    what_was_found_after_an_answer_joins_its_decision,
    who_brought_a_finding_in_is_known_whichever_comes_first,
    the_sync_that_brought_a_finding_in_is_noted_once,
    what_is_enforced_is_known_by_when_audits_saw_it,
    targets_are_told_from_where_they_were_told_last,
    checks_are_a_history_by_source,
    tokens_are_kept_by_their_hash_until_they_are_revoked,
    changes_of_modes_are_a_history_by_namespace,
    what_is_too_old_goes_and_what_stands_stays,
    letting_go_of_much_keeps_no_other_writer_waiting,
    what_was_open_goes_in_steps_where_later_counts_stand_in_its_place,
    one_process_has_a_turn_until_it_is_left_or_outlived,
    a_newer_store_is_refused_in_words_and_left_as_it_is,
    several_may_open_it_at_once_and_write,
}

fn at(minute: i64) -> Timestamp {
    "2026-05-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
}

fn object(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        cluster: "main".into(),
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn finding(object: &ObjectKey, rule: &str, severity: Severity, seen: Timestamp) -> Finding {
    let rule = RuleId::from(rule);
    Finding {
        id: Fingerprint::new(object, &rule, "/spec"),
        object: object.clone(),
        api_version: "apps/v1".into(),
        uid: "u".into(),
        owner: OWNER.into(),
        application: None,
        content: "c0ffee".into(),
        rule,
        place: "/spec".into(),
        result: Verdict::Fail,
        severity,
        category: "workload".into(),
        policies: vec!["recommended".into(), "strict".into()],
        action: Action::Warn,
        path: "/spec".into(),
        message: "write 100% of it_down".into(),
        state: State::Open,
        closed_because: None,
        closed_at: None,
        first_seen: seen,
        last_seen: seen,
        reopened: 0,
        brought_in: None,
        exemption: None,
    }
}

/// Returns a finding as it is kept from a time on at which an exemption excuses it.
fn excused(finding: Finding, since: Timestamp) -> Finding {
    let note = ExemptionNote {
        name: ExemptionName { kind: ExemptionKind::Exemption, namespace: "shop".into(), name: "old".into() },
        reason: "it's \"old\"".into(),
        owner: "team-a".into(),
        expires: Some(at(90)),
    };
    let (closed_because, closed_at) = (Some(CloseReason::Exempt), Some(since));
    Finding { state: State::Closed, closed_because, closed_at, exemption: Some(note), ..finding }
}

fn put(findings: &[Finding]) -> Changes {
    Changes { put: findings.to_vec(), ..Changes::default() }
}

fn query<S: Default>(filter: Filter) -> PageQuery<S> {
    PageQuery { filter, sort: S::default(), cursor: None, limit: 100 }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Findings of two namespaces, four rules and every severity.
async fn filled(store: &dyn Store) -> Vec<Finding> {
    let severities = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];
    let mut findings = Vec::new();
    for number in 0..40_usize {
        let object = object(["shop", "bank"][number % 2], &format!("web-{}", number / 4));
        let minute = i64::try_from(number).unwrap() % 7;
        findings.push(finding(&object, &format!("rule-{}", number % 4), severities[number % 5], at(minute)));
    }
    findings[3].application =
        Some(Application { kind: "Application".into(), namespace: "argocd".into(), name: "shop".into() });
    findings[5].action = Action::Deny;
    store.change("main", put(&findings), at(10)).await.unwrap();
    findings
}

async fn ids(store: &dyn Store, filter: Filter) -> BTreeSet<String> {
    let page = store.findings(&query(filter)).await.unwrap();
    page.items.into_iter().map(|finding| finding.id.0).collect()
}

async fn what_is_put_comes_back_and_outlives_the_process(kept: Kept) {
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

async fn pages_of_every_order_hold_each_finding_once(kept: Kept) {
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

async fn every_filter_narrows_as_it_says(kept: Kept) {
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

async fn what_delivers_objects_is_counted_by_kind_namespace_and_name(kept: Kept) {
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

async fn facets_count_what_the_list_would_hold(kept: Kept) {
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

async fn an_unchanged_finding_is_seen_again_without_a_write(kept: Kept) {
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

async fn an_audit_that_never_ended_is_abandoned_by_the_next(kept: Kept) {
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

async fn what_an_audit_counted_of_a_rule_is_summed_up_each_object_once(kept: Kept) {
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

async fn ended(store: &dyn Store, changes: Changes, minute: i64) -> i64 {
    let mut audit = store.begin_audit("main", Trigger::Schedule, "p", at(minute)).await.unwrap();
    store.change("main", changes, at(minute + 1)).await.unwrap();
    (audit.state, audit.finished) = (AuditState::Complete, Some(at(minute + 2)));
    let judged = |namespace: &str| RuleCount {
        policy: "strict".into(),
        rule: "r".into(),
        namespace: namespace.into(),
        passed: u64::from(minute < 20),
        failed: u64::from(namespace == "shop"),
        skipped: 1,
        exempt: 0,
    };
    store.end_audit(&audit, &[], &[judged("shop"), judged("bank")]).await.unwrap();
    audit.id
}

async fn what_is_excused_stands_and_is_counted_neither_as_open_nor_as_fixed(kept: Kept) {
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

async fn what_was_open_after_each_audit_is_remembered(kept: Kept) {
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

fn decision(uid: &str, minute: i64, results: Vec<DecisionResult>) -> Decision {
    Decision {
        uid: uid.into(),
        time: at(minute),
        cluster: String::new(),
        operation: "CREATE".into(),
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
        user: "jane".into(),
        verified: true,
        dry_run: false,
        allowed: true,
        reason: "judged".into(),
        duration_us: 250,
        break_glass: None,
        changes: Vec::new(),
        results,
    }
}

fn result(rule: &str) -> DecisionResult {
    DecisionResult {
        rule: rule.into(),
        policy: "recommended".into(),
        severity: "high".into(),
        result: "fail".into(),
        action: "warn".into(),
        path: "/spec".into(),
        place: "/spec".into(),
        message: "m".into(),
        exemption: String::new(),
    }
}

fn batch(key: &str, decisions: Vec<Decision>) -> Batch {
    Batch {
        api_version: "gatepost.dev/v1".into(),
        kind: "Report".into(),
        key: key.into(),
        cluster: "main".into(),
        source: "webhook/a".into(),
        commit: String::new(),
        decisions,
        checks: Vec::new(),
    }
}

async fn a_batch_is_taken_in_once_and_decisions_are_found(kept: Kept) {
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

async fn decisions_are_found_by_one_of_their_results_and_by_whose_the_object_is(kept: Kept) {
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

async fn objects_are_counted_by_their_owner(kept: Kept) {
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

async fn objects_come_with_the_most_findings_first(kept: Kept) {
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

async fn what_was_found_after_an_answer_joins_its_decision(kept: Kept) {
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

async fn who_brought_a_finding_in_is_known_whichever_comes_first(kept: Kept) {
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

async fn the_sync_that_brought_a_finding_in_is_noted_once(kept: Kept) {
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

async fn what_is_enforced_is_known_by_when_audits_saw_it(kept: Kept) {
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

async fn checks_are_a_history_by_source(kept: Kept) {
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

async fn changes_of_modes_are_a_history_by_namespace(kept: Kept) {
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

async fn tokens_are_kept_by_their_hash_until_they_are_revoked(kept: Kept) {
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

async fn what_is_too_old_goes_and_what_stands_stays(kept: Kept) {
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

async fn targets_are_told_from_where_they_were_told_last(kept: Kept) {
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

async fn letting_go_of_much_keeps_no_other_writer_waiting(kept: Kept) {
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

async fn one_process_has_a_turn_until_it_is_left_or_outlived(kept: Kept) {
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

async fn what_was_open_goes_in_steps_where_later_counts_stand_in_its_place(kept: Kept) {
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

async fn a_newer_store_is_refused_in_words_and_left_as_it_is(kept: Kept) {
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
        SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1";
    let count = "SELECT COUNT(*) FROM refinery_schema_history";
    let known = kept.number(count).await;
    kept.run(newer).await;
    let error = kept.again().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(kept.number(count).await, known + 1);
}

async fn several_may_open_it_at_once_and_write(kept: Kept) {
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
