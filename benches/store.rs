//! A store of a million findings: filled by audits, changed by one, and reported to.
//!
//! Prints one JSON object a line; `benches/store/run` starts it and asks the API afterwards.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark that cannot go on has failed"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost::admission::Action;
use gatepost::audit::said::Said;
use gatepost::audit::{Sink, StoreSink};
use gatepost::engine::{BackendChoice, Bundle, Catalogue, ProgramCache};
use gatepost::policy::{RuleId, Severity};
use gatepost::report::finding::{Content, Look, ObjectKey, Observation};
use gatepost::report::{Summary, Verdict};
use gatepost::store::{
    Address, Batch, Covered, Decision, DecisionResult, Observer, Operation, Remote, Store, Trigger, open_observed,
};
use jiff::Timestamp;
use serde_json::json;

/// Findings of an object.
const EACH: usize = 10;

/// Objects that an audit looks at together.
const PAGE: usize = 500;

const NAMESPACES: usize = 200;

/// Decisions of a report, and violations of each.
const DECISIONS: usize = 200;
const VIOLATIONS: usize = 5;

/// The longest that a transaction took.
#[derive(Debug, Default)]
struct Longest(std::sync::Mutex<Duration>);

impl Observer for Longest {
    fn observe(&self, operation: Operation, took: Duration, is_failed: bool) {
        assert!(!is_failed, "the store failed");
        if operation == Operation::Write {
            let mut longest = self.0.lock().expect("nobody panicked");
            *longest = took.max(*longest);
        }
    }
}

struct Made {
    bundle: Arc<Bundle>,
    rules: Vec<RuleId>,
}

impl Made {
    /// Says of an object what an audit says; every `changed`th one has a finding that is new and one that is gone.
    fn said(&self, number: usize, changed: Option<usize>) -> Said {
        let object = ObjectKey {
            cluster: String::new(),
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: format!("team-{:03}", number % NAMESPACES),
            name: format!("service-{number:06}"),
        };
        let is_changed = changed.is_some_and(|every| number.is_multiple_of(every));
        let places = (0..EACH).map(|place| if is_changed && place == 0 { EACH } else { place });
        let found: Vec<Observation> = places.map(|place| self.observation(place)).collect();
        let text =
            json!({"kind": "Deployment", "metadata": {"name": object.name}, "spec": "x".repeat(1000)}).to_string();
        let digest = format!("{:064x}", number * 2 + usize::from(is_changed));
        Said {
            look: Look {
                object,
                api_version: "apps/v1".into(),
                uid: format!("00000000-0000-0000-0000-{number:012}"),
                owner: String::new(),
                application: None,
                content: digest.clone(),
                evaluated: self.rules.clone(),
                found,
                exempt: Vec::new(),
                skipped: Vec::new(),
            },
            content: Some(Content { digest, text }),
            asked: self.rules.iter().cloned().collect(),
            entries: Vec::new(),
            summary: Summary::default(),
            outcome: Vec::new(),
            is_evaluated: true,
        }
    }

    fn observation(&self, place: usize) -> Observation {
        let severities = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];
        let container = ["app", "sidecar"][place % 2];
        Observation {
            rule: self.rules[place / 2 % self.rules.len()].clone(),
            place: format!("/spec/template/spec/containers/[{container}]/{place}"),
            result: Verdict::Fail,
            severity: severities[place / 2 % severities.len()],
            category: "workload".into(),
            policies: vec!["recommended".into(), "strict".into()],
            action: Action::Warn,
            path: format!("/spec/template/spec/containers/{}/{place}", place % 2),
            message: format!(
                "{container}: write a fixed tag, for example nginx:1.27.3, so that every replica is the same"
            ),
        }
    }

    fn batch(&self, number: usize) -> Batch {
        let decision = |of: usize| Decision {
            uid: format!("{number}-{of}"),
            time: Timestamp::now(),
            cluster: String::new(),
            operation: "CREATE".into(),
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: format!("team-{:03}", of % NAMESPACES),
            name: format!("new-{number}-{of}"),
            user: "system:serviceaccount:argocd:argocd-application-controller".into(),
            verified: true,
            dry_run: false,
            allowed: true,
            reason: "judged".into(),
            duration_us: 300,
            break_glass: None,
            changes: Vec::new(),
            results: (0..VIOLATIONS).map(|place| self.told(place)).collect(),
        };
        Batch {
            api_version: "gatepost.dev/v1".into(),
            kind: "Report".into(),
            key: number.to_string(),
            cluster: String::new(),
            source: "webhook/a".into(),
            commit: String::new(),
            decisions: (0..DECISIONS).map(decision).collect(),
            checks: Vec::new(),
        }
    }

    fn told(&self, place: usize) -> DecisionResult {
        let Observation { rule, place, severity, path, message, .. } = self.observation(place);
        DecisionResult {
            rule: rule.to_string(),
            policy: "recommended".into(),
            severity: severity.to_string(),
            result: "fail".into(),
            action: "warn".into(),
            path,
            place,
            message,
            exemption: String::new(),
        }
    }
}

/// Has an audit look at every object, and returns how long it took.
async fn audit(store: &Arc<dyn Store>, made: &Made, objects: usize, changed: Option<usize>) -> Duration {
    let begun = Instant::now();
    let mut audit = store.begin_audit("", Trigger::Start, "sha256:x", Timestamp::now()).await.expect("an audit");
    let mut sink =
        StoreSink { store: store.clone(), cluster: String::new(), bundle: made.bundle.clone(), now: Timestamp::now };
    for from in (0..objects).step_by(PAGE) {
        let page = (from..objects.min(from + PAGE)).map(|number| made.said(number, changed)).collect();
        sink.page(page).await.expect("a page");
    }
    audit.state = gatepost::store::AuditState::Complete;
    audit.finished = Some(Timestamp::now());
    let covered = Covered { group: "apps".into(), kind: "Deployment".into(), namespace: None };
    store.end_audit(&audit, &[covered], &[]).await.expect("the end of the audit");
    begun.elapsed()
}

/// Counts rows that are written to `finding` from now on, past the store.
async fn count_rows(directory: &Path, url: Option<&str>) {
    let table = "CREATE TABLE IF NOT EXISTS bench_rows (written BIGINT NOT NULL)";
    if let Some(url) = url {
        let function = "CREATE OR REPLACE FUNCTION bench_row() RETURNS trigger AS \
                'BEGIN INSERT INTO bench_rows VALUES (1); RETURN NULL; END' LANGUAGE plpgsql";
        let trigger = "CREATE OR REPLACE TRIGGER bench AFTER INSERT OR UPDATE OR DELETE ON finding FOR EACH ROW \
                EXECUTE FUNCTION bench_row()";
        let client = client(url).await;
        for sql in [table, function, trigger] {
            client.batch_execute(sql).await.expect("a trigger");
        }
    } else {
        let file = file(directory);
        file.execute_batch(table).expect("a table");
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let trigger = format!(
                "CREATE TRIGGER IF NOT EXISTS bench_{event} AFTER {event} ON finding BEGIN \
                     INSERT INTO bench_rows VALUES (1); END"
            );
            file.execute_batch(&trigger).expect("a trigger");
        }
    }
}

/// Returns how many rows were written since the last time.
async fn rows(directory: &Path, url: Option<&str>) -> i64 {
    let (ask, forget) = ("SELECT COUNT(*) FROM bench_rows", "DELETE FROM bench_rows");
    if let Some(url) = url {
        let client = client(url).await;
        let rows = client.query_one(ask, &[]).await.expect("a count").get(0);
        client.batch_execute(forget).await.expect("to forget it");
        rows
    } else {
        let file = file(directory);
        let rows = file.query_row(ask, [], |row| row.get(0)).expect("a count");
        file.execute_batch(forget).expect("to forget it");
        rows
    }
}

fn file(directory: &Path) -> rusqlite::Connection {
    let file = rusqlite::Connection::open(directory.join("gatepost.db")).expect("the store");
    file.busy_timeout(Duration::from_secs(10)).expect("patience");
    file
}

async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a server");
    tokio::spawn(connection);
    client
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    let findings: usize = arguments.next().map_or(1_000_000, |number| number.parse().expect("a number"));
    let url = arguments.next();
    let objects = findings / EACH;
    let longest = Arc::new(Longest::default());
    let remote =
        url.as_deref().map(|url| Remote { address: Address::Url(url.parse().expect("a URL")), authority: None });
    let store = open_observed(&directory, remote, longest.clone()).await.expect("a store");
    let catalogue = Catalogue::read(&[]).expect("the built-in policies are whole");
    let bundle = Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("a bundle");
    let rules: Vec<RuleId> = bundle.rules().keys().take(5).cloned().collect();
    let made = Made { bundle: Arc::new(bundle), rules };
    let tell = |name: &str, took: Duration, figures: serde_json::Value| {
        let mut longest = longest.0.lock().expect("nobody panicked");
        println!(
            "{}",
            json!({"what": name, "seconds": took.as_secs_f64(), "longest_write_seconds": longest.as_secs_f64(), "figures": figures})
        );
        *longest = Duration::ZERO;
    };

    let took = audit(&store, &made, objects, None).await;
    tell("first audit", took, json!({"findings": objects * EACH}));
    count_rows(&directory, url.as_deref()).await;
    let took = audit(&store, &made, objects, None).await;
    tell("nothing changed", took, json!({"rows": rows(&directory, url.as_deref()).await}));
    // Of an object that changes, every finding shows it as it is now; one is gone, and another one is new.
    let took = audit(&store, &made, objects, Some(100)).await;
    let rows = rows(&directory, url.as_deref()).await;
    tell("1% changed", took, json!({"rows": rows, "changed": objects.div_ceil(100) * (EACH + 1)}));

    let batches = 100;
    let begun = Instant::now();
    for number in 0..batches {
        store.take_in(&made.batch(number)).await.expect("to be taken in");
    }
    tell("taken in", begun.elapsed(), json!({"violations": batches * DECISIONS * VIOLATIONS}));
    tell("size", Duration::ZERO, json!({"bytes": store.size().await.expect("a size")}));
}
