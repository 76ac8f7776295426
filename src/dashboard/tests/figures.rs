//! What pages say of numbers: that nobody knows them yet, or not now, or not whole.

use super::*;
use crate::cluster::registration::live::Registered;
use crate::store::RuleCount;

/// The pages that count what audits found, and are there without it.
const COUNTED: [&str; 8] = [
    "/rules",
    "/rules/container-privileged",
    "/policies",
    "/policies/baseline",
    "/namespaces",
    "/namespaces/shop",
    "/modes",
    "/modes?namespace=shop&enforce=baseline",
];

/// What a page says of what nothing stands against.
const READY: [&str; 2] = ["can be enforced now", "badge good\">nothing"];

fn counted(rule: &str, [passed, failed]: [u64; 2]) -> RuleCount {
    let [policy, rule, namespace] = ["recommended", rule, "shop"].map(str::to_owned);
    RuleCount { policy, rule, namespace, passed, failed, skipped: 0, exempt: 0 }
}

/// Returns a dashboard after audits that ended so, the last of which counted this.
async fn audited(states: &[AuditState], findings: &[Finding], counts: &[RuleCount]) -> Dashboard {
    audited_by("", states, findings, counts).await
}

/// Returns such a dashboard with a configuration.
async fn audited_by(config: &str, states: &[AuditState], findings: &[Finding], counts: &[RuleCount]) -> Dashboard {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    for state in states {
        let now = Timestamp::now();
        let mut audit = store.begin_audit("", Trigger::Request, "p", now).await.unwrap();
        let contents = vec![Content { digest: "c0ffee".into(), text: json!({"kind": "Pod"}).to_string() }];
        let changes = Changes { put: findings.to_vec(), contents, ..Changes::default() };
        store.change("", changes, now).await.unwrap();
        (audit.state, audit.finished, audit.objects) = (*state, Some(now), 4);
        if *state == AuditState::Partial {
            audit.unread = BTreeMap::from([("apps/Deployment".to_owned(), "forbidden".to_owned())]);
        }
        store.end_audit(&audit, &[], counts).await.unwrap();
    }
    let app = app(&directory);
    let mut in_force = (*app.in_force.load()).clone();
    in_force.config = Arc::new(Config::parse(std::path::Path::new("config.yaml"), config).unwrap());
    app.in_force.replace(in_force);
    let limits = scan::Limits { max_scan_bytes: 1 << 20, per_second: 0 };
    let state = ApiState::new(app, Door::Open, NonZeroUsize::MIN, limits, Some(kept(store)), None).unwrap();
    let state = Arc::new(state);
    let router = scan::routes(state.clone(), crate::dashboard::routes(state));
    Dashboard { router, _directory: directory }
}

/// Returns counts by which every rule in force passes.
fn all_pass() -> Vec<RuleCount> {
    let directory = tempfile::tempdir().unwrap();
    let in_force = app(&directory).in_force.load();
    in_force.bundle.catalogue().rules().keys().map(|rule| counted(rule.as_str(), [3, 0])).collect()
}

fn in_shop(rule: &str, action: Action) -> Finding {
    let object = ObjectKey { namespace: "shop".into(), kind: "Pod".into(), ..finding(rule, action).object };
    Finding { id: Fingerprint::new(&object, &RuleId::from(rule), ""), object, ..finding(rule, action) }
}

#[tokio::test]
async fn nothing_is_ready_before_an_audit_has_ended() {
    for dashboard in [Dashboard::of(&[], false).await, audited(&[AuditState::Cancelled], &[], &[]).await] {
        for path in COUNTED {
            let page = dashboard.page(path).await;
            assert!(!READY.iter().any(|words| page.contains(words)), "{path}: {page}");
            let is_told = page.contains("No audit has");
            assert!(is_told || path.starts_with("/modes"), "{path} says why: {page}");
        }
    }
}

#[tokio::test]
async fn pages_are_shown_without_counts_while_the_store_is_away() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("gatepost.db")).unwrap();
    let store = store::open_or_wait(directory.path(), None, Arc::new(Ignored), |_| {}).await;
    let dashboard = Dashboard::new(directory, Door::Open, Some(kept(store)));
    for path in COUNTED {
        let page = dashboard.page(path).await;
        assert!(page.contains("Counts are not known now"), "{path}: {page}");
        assert!(!READY.iter().any(|words| page.contains(words)), "{path}: {page}");
    }
    assert!(dashboard.page("/rules").await.contains("container-privileged"), "what is in force is known");
    let (status, headers, page) = dashboard.ask(Method::GET, "/findings", &[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let id = headers["x-request-id"].to_str().unwrap();
    assert!(page.contains(&format!("request <code>{id}</code>")), "whoever asks in the log needs it: {page}");
    let (status, ..) = dashboard.ask(Method::GET, "/api/v1/preview?namespace=shop", &[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "a program is not told that no request would be denied");
}

/// Is told nothing.
#[derive(Debug)]
struct Ignored;

impl store::Observer for Ignored {
    fn observe(&self, _: store::Operation, _: Duration, _: bool) {}
}

#[tokio::test]
async fn counts_are_at_least_what_is_shown_after_an_audit_that_could_not_read_everything() {
    let dashboard =
        audited(&[AuditState::Partial], &[in_shop("container-privileged", Action::Warn)], &all_pass()).await;
    for path in COUNTED.into_iter().chain(["/", "/findings", "/applications", "/enforce"]) {
        let page = dashboard.page(path).await;
        assert!(page.contains("1 kind could not be read in the last audit"), "{path}: {page}");
        assert!(!page.contains("badge good\">nothing"), "{path}: {page}");
    }
    assert!(dashboard.page("/rules").await.contains(">≥ 1</a>"));
    assert!(dashboard.page("/").await.contains("≥ 1"));
    let other = dashboard.page("/rules/container-image-tag").await;
    assert!(other.contains("Nowhere that could be read"), "{other}");
    assert!(!dashboard.page("/decisions").await.contains("could not be read in the last audit"), "it counts nothing");
}

#[tokio::test]
async fn what_every_audit_looked_at_and_nothing_breaks_is_ready() {
    let dashboard = audited(&[AuditState::Complete], &[], &all_pass()).await;
    let page = dashboard.page("/policies/baseline").await;
    assert!(page.contains("it can be enforced now"), "{page}");
    assert!(dashboard.page("/rules/container-privileged").await.contains("Nowhere: it can be enforced now."));
    let config = "defaults: {warn: baseline, audit: off}\naudit: {policies: [baseline]}\n";
    let dashboard = audited_by(config, &[AuditState::Complete], &[], &all_pass()).await;
    assert!(dashboard.page("/policies/baseline").await.contains("it can be enforced now"));
    let page = dashboard.page("/policies/recommended").await;
    assert!(page.contains("not judged in every namespace") && !page.contains("it can be enforced now"), "{page}");
    let page = dashboard.page("/rules/container-image-tag").await;
    assert!(page.contains("it is not judged in 1 namespace, so nobody knows"), "{page}");
    let counts = [counted("container-privileged", [1, 0]), counted("container-image-tag", [2, 1])];
    let dashboard = audited(&[AuditState::Complete], &[in_shop("container-image-tag", Action::Warn)], &counts).await;
    let page = dashboard.page("/policies/recommended").await;
    assert!(page.contains("2 pass, 1 fails") && page.contains("never matched an object"), "{page}");
    assert!(page.contains("that never looked at an object"), "{page}");
}

#[tokio::test]
async fn namespaces_have_a_score_and_a_trend_and_are_found_by_name() {
    let found = [in_shop("container-privileged", Action::Deny)];
    let dashboard = audited(&[AuditState::Complete, AuditState::Complete], &found, &all_pass()).await;
    let page = dashboard.page("/namespaces").await;
    assert!(page.contains("Score</th>") && page.contains("<span>95.2</span>"), "{page}");
    let page = dashboard.page("/namespaces/shop").await;
    assert!(
        page.contains("95.2") && page.contains("As a table") && page.contains("How the score is reckoned"),
        "{page}"
    );
    let page = dashboard.page("/namespaces?text=sho").await;
    assert!(page.contains("/namespaces/shop") && !page.contains("script&#62;alert"), "{page}");
    let page = dashboard.page("/namespaces?text=nothing").await;
    assert!(page.contains("No namespace has such a name"), "{page}");
}

#[tokio::test]
async fn a_finding_tells_of_its_repository_and_leads_to_what_can_be_done() {
    let delivered = Finding {
        application: Some(Application { kind: "Application".into(), namespace: String::new(), name: "stopped".into() }),
        ..in_shop("container-image-tag", Action::Deny)
    };
    let dashboard = audited(&[AuditState::Complete], std::slice::from_ref(&delivered), &[]).await;
    for path in [format!("/findings/{}", delivered.id), "/applications/stopped".to_owned()] {
        let page = dashboard.page(&path).await;
        for expected in ["https://git.example/shop.git", "deploy/prod", "aa10cc2e7f50", "of main"] {
            assert!(page.contains(expected), "{path} lacks {expected}: {page}");
        }
    }
    let page = dashboard.page(&format!("/findings/{}", delivered.id)).await;
    let exempt = "/findings/accept?namespace=shop&#38;kind=Pod&#38;rule=container-image-tag&#38;text=";
    assert!(page.contains(exempt), "{page}");
    let page = dashboard.page(&format!("/playground?finding={}", delivered.id)).await;
    assert!(page.contains("kind: Pod") && page.contains("<option value=\"shop\" selected>shop"), "{page}");
    let (status, ..) = dashboard.ask(Method::GET, "/playground?finding=0", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let page = dashboard.page("/").await;
    assert!(page.contains("Worst objects") && page.contains("Nothing was denied that is still kept"), "{page}");
}

#[tokio::test]
async fn a_registration_that_is_not_there_is_said_aloud_where_gatepost_is_installed() {
    let nobody = |_: Request<kube::client::Body>| {
        let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfigurationList",
            "metadata": {}, "items": []});
        async move { Ok::<_, Infallible>(http::Response::new(kube::client::Body::from(body.to_string().into_bytes()))) }
    };
    for (own, is_told) in [(Some("gatepost".to_owned()), true), (None, false)] {
        let directory = tempfile::tempdir().unwrap();
        let store = store::open(directory.path(), None).await.unwrap();
        let mut app = app(&directory);
        Arc::get_mut(&mut app).unwrap().own_namespace = own;
        let limits = scan::Limits { max_scan_bytes: 1 << 20, per_second: 0 };
        let state = ApiState::new(app, Door::Open, NonZeroUsize::MIN, limits, Some(kept(store)), None).unwrap();
        let registered = Some(Registered::new(Client::new(tower::service_fn(nobody), "default")));
        let state = Arc::new(ApiState { registered, ..state });
        state.readiness.note("reload", vec!["refused: a.rego:3: no".into()]);
        let router = scan::routes(state.clone(), crate::dashboard::routes(state));
        let dashboard = Dashboard { router, _directory: directory };
        let page = dashboard.page("/").await;
        assert_eq!(page.contains("The API server does not ask Gatepost"), is_told, "{page}");
        let page = dashboard.page("/status").await;
        assert_eq!(page.contains("There is no ValidatingWebhookConfiguration gatepost"), is_told, "{page}");
        assert!(page.contains("refused: a.rego:3: no"), "{page}");
    }
}

#[tokio::test]
async fn a_target_of_notifications_is_tried_from_a_page_of_ours_alone() {
    let dashboard = Dashboard::of(&[], true).await;
    assert!(dashboard.page("/settings").await.contains("Nobody is notified"));
    for (origin, expected) in [("http://localhost:8080", 404), ("https://evil.example", 403)] {
        let headers = [(ORIGIN.as_str(), origin)];
        let (status, ..) = dashboard.ask(Method::POST, "/settings/notifications/chat/test", &headers).await;
        assert_eq!(status.as_u16(), expected, "{origin}");
    }
}
