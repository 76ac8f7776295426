//! What every store must do, written against the trait and run on SQLite and on a real PostgreSQL.

mod audits;
mod findings;
mod keeping;
mod postgres;
mod reports;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use self::audits::*;
use self::findings::*;
use self::keeping::*;
use self::reports::*;
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
    who_answers_requests_is_known_by_when_they_were_heard_of,
    targets_are_told_from_where_they_were_told_last,
    checks_are_a_history_by_source,
    tokens_are_kept_by_their_hash_until_they_are_revoked,
    changes_of_modes_are_a_history_by_namespace,
    what_is_too_old_goes_and_what_stands_stays,
    letting_go_of_much_keeps_no_other_writer_waiting,
    what_was_open_goes_in_steps_where_later_counts_stand_in_its_place,
    one_process_has_a_turn_until_it_is_left_or_outlived,
    a_newer_store_is_refused_in_words_and_left_as_it_is,
    a_store_from_before_findings_were_numbered_keeps_them,
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
