//! What somebody is told, and may do, whose token reaches some namespaces only.

use super::*;
use crate::policy::Source;
use crate::policy::exemption::{
    ExemptionKind, ExemptionName, ExemptionSpec, ExemptionTerms, Exemptions, Refused, Written,
};

const ELSEWHERE: &str = "elsewhere";
/// What only the whole cluster has: no page may hold it, however it is written.
const OF_ALL: [&str; 6] = ["4711", "4,711", "4712", "4,712", "4713", ELSEWHERE];

fn in_namespace(namespace: &str, name: &str) -> Finding {
    let plain = finding("container-image-tag", Action::Warn);
    let object = ObjectKey { namespace: namespace.into(), name: name.into(), kind: "Pod".into(), ..plain.object };
    let id = Fingerprint::new(&object, &plain.rule, "");
    Finding { id, object, application: None, brought_in: None, ..plain }
}

fn refused(namespace: &str) -> Refused {
    let name = ExemptionName { kind: ExemptionKind::Exemption, namespace: namespace.into(), name: "a".into() };
    let written = Written { name, spec: ExemptionSpec::default(), source: Source::new("a.yaml", "") };
    Refused { written: Arc::new(written), cause: "no".into() }
}

/// A dashboard after two audits, with tokens of one who sees `shop` and of one who sees all.
struct Scene {
    dashboard: Dashboard,
    some: String,
    all: String,
    audit: i64,
}

impl Scene {
    async fn new(scopes: &[Scope], desk: impl FnOnce(i64) -> Desk) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = store::open(directory.path(), None).await.unwrap();
        let now = Timestamp::now();
        let mut last = 0;
        for (hours, puts) in [(3, vec![in_namespace("shop", "old")]), (1, vec![in_namespace("shop", "new")])] {
            let at = now - Duration::from_hours(hours);
            let mut audit = store.begin_audit("", Trigger::Schedule, "p", at).await.unwrap();
            let others = (0..3).map(|number| in_namespace(ELSEWHERE, &format!("{number}-{hours}")));
            let contents = vec![Content { digest: "c0ffee".into(), text: "{}".into() }];
            let put = puts.into_iter().chain(others).collect();
            store.change("", Changes { put, contents, ..Changes::default() }, at).await.unwrap();
            (audit.state, audit.finished) = (AuditState::Partial, Some(at));
            (audit.objects, audit.opened, audit.fixed, audit.closed) = (4714, 4711, 4712, 4713);
            audit.unread = BTreeMap::from([("pods".to_owned(), format!("refused; not in {ELSEWHERE}"))]);
            store.end_audit(&audit, &[], &[]).await.unwrap();
            last = audit.id;
        }
        let mut secrets = Vec::new();
        for namespaces in [vec!["shop".to_owned()], Vec::new()] {
            let wanted = Wanted { label: "a".into(), scopes: scopes.to_vec(), namespaces, expires: None };
            let made = tokens::make(wanted, now).unwrap();
            store.put_token(&made.token).await.unwrap();
            secrets.push(format!("Bearer {}", made.secret));
        }
        let [some, all] = secrets.try_into().unwrap();
        let kept = Kept { auditor: Some(desk(last)), ..kept(store) };
        let change = |in_force: &mut InForce| {
            let refused = ["shop", ELSEWHERE, ELSEWHERE].map(refused).to_vec();
            in_force.exemptions = Arc::new(Exemptions::with_refused([], refused, &ExemptionTerms::default()));
        };
        let dashboard = Dashboard::with(directory, Door::Tokens, Some(kept), change);
        Self { dashboard, some, all, audit: last }
    }

    async fn ask(&self, method: Method, path: &str, token: &str, body: &str) -> (StatusCode, String) {
        let headers = [("authorization", token), ("content-type", "application/json")];
        let (status, _, body) = self.dashboard.send(method, path, &headers, body.to_owned()).await;
        (status, body)
    }
}

#[tokio::test]
async fn an_audit_tells_what_it_found_in_the_namespaces_that_one_sees() {
    let scene = Scene::new(&[Scope::Read], |_| Desk::idle()).await;
    let one = format!("/audits/{}", scene.audit);
    for path in ["/", "/audits", &one, "/api/v1/audits", &format!("/api/v1{one}")] {
        let (status, page) = scene.ask(Method::GET, path, &scene.some, "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        for word in OF_ALL {
            assert!(!page.contains(word), "{path} tells {word}: {page}");
        }
        let (_, page) = scene.ask(Method::GET, path, &scene.all, "").await;
        assert!(page.contains("4711") || page.contains("4,711"), "{path}: {page}");
    }
    let (_, page) = scene.ask(Method::GET, &one, &scene.some, "").await;
    assert!(page.contains("told to whoever sees the whole cluster") && page.contains("pods"), "{page}");
    let (_, body) = scene.ask(Method::GET, "/api/v1/audits", &scene.some, "").await;
    let audits: serde_json::Value = serde_json::from_str(&body).unwrap();
    let audit = &audits["items"][0];
    assert_eq!((&audit["opened"], &audit["fixed"], audit.get("closed")), (&json!(1), &json!(0), None), "{body}");
    let (_, body) = scene.ask(Method::GET, "/api/v1/audits", &scene.all, "").await;
    assert!(body.contains("\"closed\":4713"), "{body}");
}

#[tokio::test]
async fn findings_are_counted_in_what_one_sees() {
    let scene = Scene::new(&[Scope::Read], |_| Desk::idle()).await;
    let paths = ["/findings", "/findings?kind=Nothing", "/findings?namespace=shop"];
    for path in paths {
        let (status, page) = scene.ask(Method::GET, path, &scene.some, "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        assert!(page.contains("in the namespaces that you see") && !page.contains("looked at"), "{path}: {page}");
        let (_, page) = scene.ask(Method::GET, path, &scene.all, "").await;
        assert!(page.contains("in 4,714 objects that were looked at"), "{path}: {page}");
    }
}

#[tokio::test]
async fn the_status_counts_exemptions_of_the_namespaces_that_one_sees() {
    let scene = Scene::new(&[Scope::Read], |_| Desk::idle()).await;
    let (_, page) = scene.ask(Method::GET, "/status", &scene.some, "").await;
    assert!(page.contains("1 are at fault"), "{page}");
    let (_, page) = scene.ask(Method::GET, "/status", &scene.all, "").await;
    assert!(page.contains("3 are at fault"), "{page}");
}

#[tokio::test]
async fn audits_are_begun_and_cancelled_by_whoever_sees_the_whole_cluster() {
    let scene = Scene::new(&[Scope::Write], |_| Desk::idle()).await;
    for (path, begun) in [("/api/v1/audits", StatusCode::ACCEPTED), ("/audits", StatusCode::SEE_OTHER)] {
        let (status, body) = scene.ask(Method::POST, path, &scene.some, "").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {body}");
        assert!(body.contains("an audit goes over the whole cluster, and you may see some namespaces only"), "{body}");
        let (status, _) = scene.ask(Method::POST, path, &scene.all, "").await;
        // Nobody takes it in here, where nobody audits.
        assert!([begun, StatusCode::CONFLICT].contains(&status), "{path}: {status}");
    }
    for path in ["/", "/audits"] {
        let (_, page) = scene.ask(Method::GET, path, &scene.some, "").await;
        assert!(!page.contains("Start an audit"), "{path}: {page}");
        let (_, page) = scene.ask(Method::GET, path, &scene.all, "").await;
        assert!(page.contains("Start an audit"), "{path}: {page}");
    }
    let scene = Scene::new(&[Scope::Write], |audit| Desk::busy(audit).0).await;
    let one = format!("/audits/{}", scene.audit);
    let (_, page) = scene.ask(Method::GET, &one, &scene.some, "").await;
    assert!(!page.contains("Cancel it"), "{page}");
    for (path, done) in
        [(format!("{one}/cancel"), StatusCode::SEE_OTHER), (format!("/api/v1{one}/cancel"), StatusCode::ACCEPTED)]
    {
        assert_eq!(scene.ask(Method::POST, &path, &scene.some, "").await.0, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(scene.ask(Method::POST, &path, &scene.all, "").await.0, done, "{path}");
    }
}

#[tokio::test]
async fn whoever_reads_is_offered_no_audit() {
    let scene = Scene::new(&[Scope::Read], |_| Desk::idle()).await;
    for path in ["/", "/audits"] {
        let (status, page) = scene.ask(Method::GET, path, &scene.all, "").await;
        assert!(status == StatusCode::OK && !page.contains("Start an audit"), "{path}: {page}");
    }
}

#[tokio::test]
async fn checks_are_reported_by_whoever_sees_the_whole_cluster() {
    let scene = Scene::new(&[Scope::Read, Scope::Report], |_| Desk::idle()).await;
    let check = Check { source: "ci/shop".into(), results: Vec::new(), ..check() };
    let batch = |key: &str| Batch { key: key.into(), source: "ci/shop".into(), commit: String::new(), ..report() };
    let of_checks = Batch { decisions: Vec::new(), checks: vec![check], cluster: String::new(), ..batch("1") };
    let of_decisions = {
        let mut decision = report().decisions.remove(0);
        (decision.operation, decision.namespace) = ("CREATE".into(), "shop".into());
        (decision.results, decision.changes) = (Vec::new(), Vec::new());
        Batch { decisions: vec![decision], checks: Vec::new(), ..batch("2") }
    };
    let [of_checks, of_decisions] = [of_checks, of_decisions].map(|batch| serde_json::to_string(&batch).unwrap());
    let (status, body) = scene.ask(Method::POST, "/api/v1/reports", &scene.some, &of_checks).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert!(body.contains("checks are in no namespace, and you may see some namespaces only"), "{body}");
    for (token, report) in [(&scene.all, &of_checks), (&scene.some, &of_decisions)] {
        let (status, body) = scene.ask(Method::POST, "/api/v1/reports", token, report).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }
    let present = r#"{"source": "webhook/a", "since": "2026-05-01T08:00:00Z"}"#;
    for (token, expected) in [(&scene.all, StatusCode::OK), (&scene.some, StatusCode::FORBIDDEN)] {
        let (status, body) = scene.ask(Method::POST, "/api/v1/presence", token, present).await;
        assert_eq!(status, expected, "{body}");
    }
    let record = "/api/v1/scan?record=true&source=ci/shop";
    let (status, body) = scene.ask(Method::POST, record, &scene.some, "{}").await;
    assert!(status == StatusCode::FORBIDDEN && body.contains("checks are in no namespace"), "{body}");
}

#[tokio::test]
async fn many_namespaces_are_named_on_a_click() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    for (many, expected) in [
        (
            9,
            "You see the namespaces team-0, team-1, team-2, team-3, team-4, team-5, team-6, team-7, team-8, and nothing",
        ),
        (12, "team-6, team-7 and 4 more, and nothing outside them.</summary><p>team-8, team-9, team-10, team-11</p>"),
    ] {
        let namespaces = (0..many).map(|number| format!("team-{number}")).collect();
        let wanted = Wanted { label: "a".into(), scopes: vec![Scope::Read], namespaces, expires: None };
        let made = tokens::make(wanted, Timestamp::now()).unwrap();
        store.put_token(&made.token).await.unwrap();
        let bearer = format!("Bearer {}", made.secret);
        let directory = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::new(directory, Door::Tokens, Some(kept(store.clone())));
        let (_, _, page) = dashboard.ask(Method::GET, "/rules", &[("authorization", &bearer)]).await;
        assert!(page.contains(expected), "{page}");
    }
    drop(directory);
}
