//! What audits, webhooks and CI jobs would have left in a store, put there by hand.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost::admission::Action;
use gatepost::policy::{RuleId, Severity};
use gatepost::report::Verdict;
use gatepost::report::finding::{CloseReason, Content, Finding, Fingerprint, ObjectKey, State};
use gatepost::store::{
    self, AuditState, Batch, Changes, Check, Covered, Decision, DecisionResult, RuleCount, Store, Trigger,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

/// The names by which the API finds what was put there.
pub struct Seeded {
    /// An open finding.
    pub finding: String,
    /// Another one, which a diff mends.
    pub mended: String,
    /// A decision.
    pub decision: String,
    /// The check.
    pub check: i64,
    /// The last audit.
    pub audit: i64,
}

/// An object in one of two namespaces.
fn object(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        cluster: String::new(),
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Returns an open finding.
fn finding(object: &ObjectKey, rule: &str, severity: Severity, seen: Timestamp) -> Finding {
    let rule = RuleId::from(rule);
    Finding {
        id: Fingerprint::new(object, &rule, "/spec"),
        object: object.clone(),
        api_version: "apps/v1".into(),
        uid: "u".into(),
        owner: String::new(),
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
        message: "=write \"it\", now".into(),
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

/// Fills the store of a server that runs, or is going to: two audits, of which the second found one thing fixed.
///
/// `shop` has three open findings and one that was fixed, `kube-system` one, `bank` none; one decision was denied in
/// `shop`, one allowed in `bank`; a CI job reported once.
pub fn fill(data_dir: &Path) -> Seeded {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = store::open(data_dir, None).await.unwrap();
        let web = object("shop", "web");
        let start = Timestamp::now() - SignedDuration::from_mins(30);
        let at = |minutes| start + SignedDuration::from_mins(minutes);
        let open = [
            finding(&web, "container-image-tag", Severity::High, at(1)),
            finding(&web, "container-privileged", Severity::Critical, at(1)),
            finding(&object("shop", "db"), "container-image-tag", Severity::High, at(1)),
            finding(&object("shop", "old"), "container-image-tag", Severity::High, at(1)),
            finding(&object("kube-system", "dns"), "container-privileged", Severity::Critical, at(1)),
        ];
        let content = Content { digest: "c0ffee".into(), text: json!({"kind": "Deployment"}).to_string() };
        let changes = Changes { put: open.to_vec(), contents: vec![content], ..Changes::default() };
        let close = Changes { close: vec![(open[3].id.clone(), CloseReason::Fixed)], ..Changes::default() };
        audit(&*store, changes, (at(0), at(2)), 3).await;
        let last = audit(&*store, close, (at(10), at(12)), 2).await;
        let decisions = vec![decision("denied-1", "shop", false, at(20)), decision("allowed-1", "bank", true, at(21))];
        let batch = Batch {
            api_version: "gatepost.dev/v1".into(),
            kind: "Report".into(),
            key: "seed".into(),
            cluster: String::new(),
            source: "webhook/a".into(),
            commit: String::new(),
            decisions,
            checks: vec![check(at(22))],
        };
        store.take_in(&batch).await.unwrap();
        let checks = store::PageQuery {
            filter: store::Filter::default(),
            sort: store::TimeSort::Newest,
            cursor: None,
            limit: 1,
        };
        let check = store.checks(&checks).await.unwrap().items[0].id;
        let [finding, mended] = [&open[0], &open[1]].map(|finding| finding.id.0.clone());
        Seeded { finding, mended, decision: "denied-1".into(), check, audit: last }
    })
}

async fn audit(store: &dyn Store, changes: Changes, (from, to): (Timestamp, Timestamp), failed: u64) -> i64 {
    let mut audit = store.begin_audit("", Trigger::Start, "sha256:x", from).await.unwrap();
    store.change("", changes, to).await.unwrap();
    (audit.state, audit.finished, audit.objects, audit.evaluated) = (AuditState::Complete, Some(to), 5, 5);
    let count = |namespace: &str, passed, failed| RuleCount {
        policy: "strict".into(),
        rule: "container-image-tag".into(),
        namespace: namespace.into(),
        passed,
        failed,
        skipped: 0,
        exempt: 0,
    };
    let covered = Covered { group: "apps".into(), kind: "Deployment".into(), namespace: None };
    let counts = [count("shop", 4 - failed, failed), count("bank", 2, 0), count("kube-system", 1, 0)];
    store.end_audit(&audit, &[covered], &counts).await.unwrap();
    audit.id
}

fn decision(uid: &str, namespace: &str, allowed: bool, time: Timestamp) -> Decision {
    let result = DecisionResult {
        rule: "container-image-tag".into(),
        policy: "recommended".into(),
        severity: "high".into(),
        result: "fail".into(),
        action: if allowed { "warn" } else { "deny" }.into(),
        path: "/spec".into(),
        place: "/spec".into(),
        message: "m".into(),
        exemption: String::new(),
    };
    Decision {
        uid: uid.into(),
        time,
        cluster: String::new(),
        operation: "CREATE".into(),
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: namespace.into(),
        name: "web".into(),
        user: "jane".into(),
        verified: true,
        dry_run: false,
        allowed,
        reason: "judged".into(),
        duration_us: 250,
        break_glass: None,
        changes: Vec::new(),
        results: vec![result],
    }
}

fn check(time: Timestamp) -> Check {
    let result: Json = json!({"rule": "container-image-tag", "result": "fail"});
    Check {
        id: 0,
        time,
        cluster: String::new(),
        source: "ci/shop".into(),
        commit: "abc".into(),
        policies: "sha256:x".into(),
        passed: false,
        summary: BTreeMap::from([("fail".to_owned(), 1)]),
        violations: BTreeMap::from([("high".to_owned(), 1)]),
        results: vec![result],
    }
}
