//! Pages as a browser gets them, of a store that somebody hostile filled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, ORIGIN, REFERER,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::assets::STYLE;
use crate::admission::decide::Action;
use crate::audit::Desk;
use crate::cluster::applications::Applications;
use crate::config::Config;
use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, ProgramCache};
use crate::input::Surroundings;
use crate::notify;
use crate::policy::{NamespaceMeta, RuleId, Severity};
use crate::report::Verdict;
use crate::report::finding::{Application, BroughtIn, Content, Finding, Fingerprint, ObjectKey, State};
use crate::scan::access::Scope;
use crate::scan::feed::Feed;
use crate::scan::guard::Door;
use crate::scan::reached::Reached;
use crate::scan::tokens::{self, Wanted};
use crate::scan::{self, ApiState, Kept};
use crate::store::{self, AuditState, Batch, Changes, Check, Decision, DecisionResult, SlotChange, Store, Trigger};
use crate::telemetry::{Metrics, Traces};
use crate::webhook::handlers::{App, World};
use crate::webhook::in_force::{InForce, Live};
use crate::webhook::journal::Journal;
use crate::webhook::memory::RequestMemory;
use crate::webhook::workers::Workers;

mod closed;
mod exempt;
mod figures;
mod limited;
mod listed;
mod oidc;
mod writing;

const SCRIPT: &str = "<script>alert(1)</script>";

fn app(directory: &TempDir) -> Arc<App> {
    let bundle = Catalogue::read(&[])
        .and_then(|catalogue| Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven))
        .unwrap();
    let labels =
        BTreeMap::from([("team".to_owned(), SCRIPT.to_owned()), ("gatepost.dev/warn".to_owned(), SCRIPT.to_owned())]);
    let mut surroundings = Surroundings::new([]);
    let names = ["shop", SCRIPT];
    let namespaces =
        names.map(|name| (name.to_owned(), NamespaceMeta { labels: labels.clone(), ..NamespaceMeta::named(name) }));
    surroundings.add_namespaces(&BTreeMap::from(namespaces));
    let in_force = InForce {
        kubernetes_version: None,
        bundle: Arc::new(bundle),
        config: Arc::new(Config::default()),
        exemptions: Arc::default(),
        surroundings: Arc::new(surroundings),
        judge_owned: false,
        limits: Limits { time: Duration::from_secs(5), instructions: 5_000_000 },
        max_body: 1 << 20,
        written: Arc::default(),
    };
    Arc::new(App {
        in_force: Live::new(in_force),
        world: World::Static,
        own_namespace: None,
        workers: Workers::new(NonZeroUsize::MIN, 1).unwrap(),
        metrics: Arc::new(Metrics::new()),
        traces: Traces::default(),
        journal: Journal::start(directory.path(), Counter::default()).unwrap(),
        memory: RequestMemory::new(96 << 20, 1),
        deferred_bytes: AtomicUsize::new(0),
        outbox: None,
        pages: None,
    })
}

fn finding(rule: &str, action: Action) -> Finding {
    let object = ObjectKey {
        cluster: String::new(),
        group: SCRIPT.into(),
        kind: SCRIPT.into(),
        namespace: SCRIPT.into(),
        name: SCRIPT.into(),
    };
    let rule = RuleId::from(rule);
    let now = Timestamp::now();
    Finding {
        id: Fingerprint::new(&object, &rule, SCRIPT),
        object,
        api_version: SCRIPT.into(),
        uid: SCRIPT.into(),
        owner: SCRIPT.into(),
        application: Some(Application { kind: SCRIPT.into(), namespace: SCRIPT.into(), name: SCRIPT.into() }),
        content: "c0ffee".into(),
        rule,
        place: format!("/{SCRIPT}"),
        result: Verdict::Fail,
        severity: Severity::High,
        category: SCRIPT.into(),
        policies: vec![SCRIPT.into()],
        action,
        path: "/metadata/labels/<script>alert(1)<~1script>/missing".into(),
        message: SCRIPT.into(),
        state: State::Open,
        closed_because: None,
        closed_at: None,
        first_seen: now,
        last_seen: now,
        reopened: 1,
        brought_in: Some(BroughtIn {
            decision: SCRIPT.into(),
            user: SCRIPT.into(),
            time: now,
            application: Some(Application { kind: SCRIPT.into(), namespace: SCRIPT.into(), name: SCRIPT.into() }),
            revision: Some(SCRIPT.into()),
        }),
        exemption: None,
    }
}

/// A dashboard, with the directory of its store.
struct Dashboard {
    router: Router,
    _directory: TempDir,
}

impl Dashboard {
    fn new(directory: TempDir, door: Door, kept: Option<Kept>) -> Self {
        Self::reached(directory, door, kept, Reached::default())
    }

    /// Returns one that people reach by another address.
    fn reached(directory: TempDir, door: Door, kept: Option<Kept>, reached: Reached) -> Self {
        let limits = scan::Limits { max_scan_bytes: 1 << 20, per_second: 0 };
        let state = ApiState::new(app(&directory), door, NonZeroUsize::MIN, limits, kept, None).unwrap();
        let state = Arc::new(ApiState { reached, ..state });
        Self { router: scan::routes(state.clone(), super::routes(state)), _directory: directory }
    }

    /// Returns one where something else is in force than usual.
    fn with(directory: TempDir, door: Door, kept: Option<Kept>, change: impl FnOnce(&mut InForce)) -> Self {
        let app = app(&directory);
        let mut in_force = (*app.in_force.load()).clone();
        change(&mut in_force);
        app.in_force.replace(in_force);
        let limits = scan::Limits { max_scan_bytes: 1 << 20, per_second: 0 };
        let state = Arc::new(ApiState::new(app, door, NonZeroUsize::MIN, limits, kept, None).unwrap());
        Self { router: scan::routes(state.clone(), super::routes(state)), _directory: directory }
    }

    /// Returns one without a store.
    fn empty(door: Door) -> Self {
        Self::new(tempfile::tempdir().unwrap(), door, None)
    }

    /// Returns one whose store holds these findings, after an audit where they were found.
    async fn of(findings: &[Finding], has_ended: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = store::open(directory.path(), None).await.unwrap();
        let now = Timestamp::now();
        let mut audit = store.begin_audit("", Trigger::Request, SCRIPT, now).await.unwrap();
        let text = json!({"kind": SCRIPT, "metadata": {"labels": {SCRIPT: SCRIPT}, "name": SCRIPT}}).to_string();
        let contents = vec![Content { digest: "c0ffee".into(), text }];
        let changes = Changes { put: findings.to_vec(), contents, ..Changes::default() };
        store.change("", changes, now).await.unwrap();
        if has_ended {
            (audit.state, audit.finished) = (AuditState::Partial, Some(now));
            audit.unread = BTreeMap::from([(SCRIPT.to_owned(), SCRIPT.to_owned())]);
            store.end_audit(&audit, &[], &[]).await.unwrap();
        }
        store.take_in(&report()).await.unwrap();
        let wanted = Wanted { label: SCRIPT.into(), scopes: vec![Scope::Read], namespaces: Vec::new(), expires: None };
        store.put_token(&tokens::make(wanted, now).unwrap().token).await.unwrap();
        store.put_mode_change(&writing::change()).await.unwrap();
        Self::new(directory, Door::Open, Some(kept(store)))
    }

    /// Returns one that wants a token, and a token that it takes.
    async fn closed() -> (Self, String) {
        let directory = tempfile::tempdir().unwrap();
        let store = store::open(directory.path(), None).await.unwrap();
        let wanted = Wanted { label: "me".into(), scopes: vec![Scope::Read], namespaces: Vec::new(), expires: None };
        let made = tokens::make(wanted, Timestamp::now()).unwrap();
        store.put_token(&made.token).await.unwrap();
        (Self::new(directory, Door::Tokens, Some(kept(store))), made.secret)
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        self.send(method, path, headers, String::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost:8080");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    async fn page(&self, path: &str) -> String {
        let (status, _, body) = self.ask(Method::GET, path, &[]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }
}

/// A report of everything that a report may hold, of somebody hostile.
fn report() -> Batch {
    let result = DecisionResult {
        rule: SCRIPT.into(),
        policy: SCRIPT.into(),
        severity: SCRIPT.into(),
        result: "fail".into(),
        action: "deny".into(),
        path: format!("/{SCRIPT}"),
        place: String::new(),
        message: SCRIPT.into(),
        exemption: SCRIPT.into(),
    };
    let decision = Decision {
        uid: SCRIPT.into(),
        time: Timestamp::now(),
        cluster: SCRIPT.into(),
        operation: SCRIPT.into(),
        group: SCRIPT.into(),
        kind: SCRIPT.into(),
        namespace: SCRIPT.into(),
        name: SCRIPT.into(),
        user: format!("system:serviceaccount:{SCRIPT}:{SCRIPT}"),
        verified: false,
        dry_run: true,
        allowed: false,
        reason: SCRIPT.into(),
        duration_us: 1234,
        break_glass: Some(SCRIPT.into()),
        results: vec![result],
        changes: vec![SlotChange { slot: SCRIPT.into(), from: SCRIPT.into(), to: SCRIPT.into(), weakens: true }],
    };
    Batch {
        api_version: "gatepost.dev/v1".into(),
        kind: "Report".into(),
        key: "1".into(),
        cluster: String::new(),
        source: SCRIPT.into(),
        commit: SCRIPT.into(),
        decisions: vec![decision],
        checks: vec![check()],
    }
}

fn check() -> Check {
    let resource = json!({"kind": SCRIPT, "namespace": SCRIPT, "name": SCRIPT});
    let source = json!({"file": SCRIPT, "line": 7});
    Check {
        id: 0,
        time: Timestamp::now(),
        cluster: SCRIPT.into(),
        source: SCRIPT.into(),
        commit: SCRIPT.into(),
        policies: SCRIPT.into(),
        passed: false,
        summary: BTreeMap::from([("objects".to_owned(), 3), ("exempt".to_owned(), 1)]),
        violations: BTreeMap::from([("high".to_owned(), 1)]),
        results: vec![
            json!({"rule": SCRIPT, "severity": SCRIPT, "result": SCRIPT, "message": SCRIPT, "resource": resource, "source": source}),
            json!("nonsense"),
        ],
    }
}

/// Returns a cluster with one Application, whose last sync Gatepost denied something of.
fn argo() -> Client {
    let answer = |request: Request<kube::client::Body>| {
        let denied = format!("admission webhook \"validate.gatepost.dev\" denied the request: {SCRIPT}");
        let resource = json!({"kind": SCRIPT, "namespace": "shop", "name": SCRIPT, "group": "apps", "message": denied});
        let operation = json!({"phase": "Failed", "message": "", "finishedAt": "2026-05-01T08:00:00Z",
            "syncResult": {"revision": "0f5cc2e7aa10", "resources": [resource]}});
        let application = json!({"metadata": {"name": "stopped", "namespace": "argocd"},
            "spec": {"project": SCRIPT, "destination": {"namespace": "shop"}, "source": {"repoURL":
                "https://git.example/shop.git", "path": "deploy/prod", "targetRevision": "main"}},
            "status": {"operationState": operation, "sync": {"status": "OutOfSync", "revision": "aa10cc2e7f50"}}});
        let body = match request.uri().path() {
            "/apis" => json!({"groups": [{"name": "argoproj.io", "versions": [{"groupVersion": "argoproj.io/v1alpha1",
                "version": "v1alpha1"}], "preferredVersion": {"groupVersion": "argoproj.io/v1alpha1", "version": "v1alpha1"}}]}),
            "/apis/argoproj.io/v1alpha1" => json!({"groupVersion": "argoproj.io/v1alpha1", "resources": [
                {"name": "applications", "singularName": "application", "kind": "Application", "namespaced": true,
                 "verbs": ["list", "watch"]}]}),
            _ => json!({"metadata": {}, "items": [application]}),
        };
        async move { Ok::<_, Infallible>(http::Response::new(kube::client::Body::from(body.to_string().into_bytes()))) }
    };
    Client::new(tower::service_fn(answer), "default")
}

fn kept(store: Arc<dyn Store>) -> Kept {
    Kept {
        store,
        feed: Arc::new(Feed::new(String::new(), watch::channel(false).1)),
        answers_requests: true,
        auditor: Some(Desk::idle()),
        notifier: notify::Desk::default(),
        applications: Some(Arc::new(Applications::new(argo()))),
        cluster: "west".into(),
    }
}

#[tokio::test]
async fn a_browser_signs_in_with_a_token_and_out_again() {
    let (dashboard, token) = Dashboard::closed().await;
    let (status, _, body) = dashboard.ask(Method::GET, "/findings?severity=high", &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("value=\"/findings?severity=high\""), "it goes on where one wanted to go: {body}");
    let ours = [(ORIGIN.as_str(), "https://localhost:8080")];
    let form = |token: &str, next: &str| format!("token={token}&next={next}");
    for (token, said) in [("", "that is no token"), ("gp_a_b", "not one of this"), ("a%0d%0aSet-Cookie:b", "no token")]
    {
        let (status, headers, body) = dashboard.send(Method::POST, "/sign-in", &ours, form(token, "/")).await;
        assert_eq!((status, headers.contains_key("set-cookie")), (StatusCode::UNAUTHORIZED, false), "{token}");
        assert!(body.contains(said), "{token}: {body}");
    }
    let foreign = [(ORIGIN.as_str(), "https://evil.example")];
    for headers in [&foreign[..], &[]] {
        let (status, ..) = dashboard.send(Method::POST, "/sign-in", headers, form(&token, "/")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    for (next, expected) in [("%2Ffindings%3Fseverity%3Dhigh", "/findings?severity=high"), ("//evil.example", "/")] {
        let (status, headers, _) = dashboard.send(Method::POST, "/sign-in", &ours, form(&token, next)).await;
        assert_eq!((status, &headers[LOCATION]), (StatusCode::SEE_OTHER, &HeaderValue::from_static(expected)));
        let cookie = headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("__Host-gatepost=") && cookie.contains("; Secure; HttpOnly; SameSite="), "{cookie}");
    }
    let cookie = format!("__Host-gatepost={token}");
    let (status, _, body) = dashboard.ask(Method::GET, "/findings", &[("cookie", &cookie)]).await;
    assert_eq!((status, body.contains("Sign out")), (StatusCode::OK, true), "{body}");
    let (status, ..) = dashboard.ask(Method::POST, "/theme?set=dark", &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a form of another page sends the cookie along, and no Origin of ours");
    let (status, headers, _) = dashboard.ask(Method::POST, "/sign-out", &ours).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"), "{headers:?}");
}

#[tokio::test]
async fn whatever_an_object_is_called_no_page_runs_it() {
    let findings = [finding("container-image-tag", Action::Warn), finding(SCRIPT, Action::Deny)];
    let dashboard = Dashboard::of(&findings, true).await;
    let mut paths: Vec<String> = findings.iter().map(|finding| format!("/findings/{}", finding.id)).collect();
    let accept =
        "/findings/accept?reason=%3Cscript%3Ealert(1)%3C/script%3E&accountable=%3Cscript%3Ealert(1)%3C/script%3E";
    let message = "/messages?message=%3Cscript%3Ealert(1)%3C/script%3E";
    paths.extend([accept, message].map(str::to_owned));
    let lists = ["/", "/findings", "/findings?text=%3Cscript%3E&namespace=%3Cscript%3Ealert(1)%3C/script%3E"];
    paths.extend(lists.map(str::to_owned));
    let groups = ["rule", "namespace", "owner", "application", "kind"];
    paths.extend(groups.map(|group| format!("/findings?group={group}&mode=enforce,warn,audit")));
    let encoded = "/namespaces/%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    paths.extend(
        [
            encoded,
            "/namespaces",
            "/audits/1",
            "/decisions",
            "/feed",
            "/modes",
            "/checks",
            "/checks/1",
            "/applications",
            "/settings",
            "/status",
        ]
        .map(str::to_owned),
    );
    let script = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    paths.push(format!("/applications/{script}"));
    paths.push("/applications/stopped".to_owned());
    paths.push(format!("/resources/{script}.{script}/{script}/{script}"));
    paths.push(format!("/playground?finding={}", findings[0].id));
    paths.push("/decisions/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned());
    for path in &paths {
        let page = dashboard.page(path).await;
        assert!(!page.contains("<script>alert"), "{path}: {page}");
        assert!(page.contains("&#60;script&#62;alert(1)"), "{path} shows what it is called: {page}");
    }
}

#[tokio::test]
async fn what_is_in_force_is_shown_with_and_without_a_store() {
    let (with, without) = (Dashboard::of(&[], true).await, Dashboard::empty(Door::Open));
    for dashboard in [&with, &without] {
        for (path, expected) in [
            ("/rules", "container-image-tag"),
            ("/rules?severity=critical&policy=baseline", "container-privileged"),
            ("/rules?text=nothing-of-this-name", "No rule matches"),
            ("/rules/CONTAINERS_MISSING_IMAGE_VALUE_VERSION", "nginx:1.27.3"),
            ("/policies", "recommended"),
            ("/policies/baseline", "container-privileged"),
            ("/namespaces", "shop"),
            ("/namespaces/shop", "the default"),
            ("/audits", "Audits"),
            ("/messages", "Warning: gatepost: "),
            ("/messages?rule=container-privileged&policy=strict&message=ask%20us", "denied the request: "),
        ] {
            let page = dashboard.page(path).await;
            assert!(page.contains(expected), "{path}: {page}");
        }
    }
    let (status, _, body) = with.ask(Method::GET, "/policies/baselin", &[]).await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("did you mean &#34;baseline&#34;?"), "{body}");
}

#[tokio::test]
async fn pages_keep_to_themselves_and_so_do_errors() {
    let dashboard = Dashboard::of(&[finding("container-image-tag", Action::Warn)], true).await;
    for (path, expected) in [
        ("/findings", 200),
        ("/findings/nothing", 404),
        ("/nowhere", 404),
        ("/findings?sevrity=high", 400),
        ("/findings?cursor=nonsense", 400),
        ("/api/v1/nothing", 404),
        ("/rules/nothing", 404),
        ("/namespaces/nothing", 404),
        ("/audits/7", 404),
        ("/decisions/nothing", 404),
        ("/decisions?state=maybe", 400),
        ("/feed?state=maybe", 400),
        ("/checks/7", 404),
        ("/checks/one", 404),
        ("/applications/nothing", 404),
        ("/resources/Pod/shop/nothing", 404),
        ("/exemptions?state=maybe", 400),
        ("/messages?policy=recommendd", 400),
        ("/messages?rule=container-image-tg", 400),
        ("/messages?name=recommended", 400),
        ("/messages?message=a%0Ab", 400),
        ("/findings/accept", 200),
        ("/findings/accept?reason=a&accountable=b&expires=2020-01-01", 400),
        ("/findings/accept?reason=a&accountable=b&enforce=baselin", 400),
        ("/styleguide", 200),
    ] {
        let (status, headers, body) = dashboard.ask(Method::GET, path, &[]).await;
        assert_eq!(status.as_u16(), expected, "{path}: {body}");
        let is_page = !path.starts_with("/api/");
        assert_eq!(body.contains("<!doctype html>"), is_page, "{path}: {body}");
        if !is_page {
            continue;
        }
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(
            (&headers["x-content-type-options"], &headers["referrer-policy"]),
            (&"nosniff".parse().unwrap(), &"same-origin".parse().unwrap())
        );
    }
    let (_, _, body) = dashboard.ask(Method::GET, "/findings?sevrity=high", &[]).await;
    assert!(body.contains("did you mean &#34;severity&#34;?"), "{body}");
}

#[tokio::test]
async fn a_page_says_why_it_is_empty() {
    let dashboard = Dashboard::empty(Door::Open);
    assert!(dashboard.page("/findings").await.contains("gatepost serve --manifests DIR"));
    let dashboard = Dashboard::of(&[], false).await;
    assert!(dashboard.page("/findings").await.contains("No audit has finished yet"));
    let dashboard = Dashboard::of(&[], true).await;
    assert!(dashboard.page("/findings").await.contains("Nothing is wrong here"));
    assert!(dashboard.page("/findings?kind=Pod").await.contains("Nothing matches these filters"));
    assert!(dashboard.page("/decisions?kind=Pod").await.contains("No decision matches these filters"));
    let dashboard = Dashboard::empty(Door::Open);
    assert!(dashboard.page("/decisions").await.contains("Nothing is kept here"));
    assert!(dashboard.page("/feed").await.contains("Nothing is taken in here"));
    assert!(dashboard.page("/checks").await.contains("Nothing is kept here"));
    assert!(dashboard.page("/exemptions").await.contains("Nobody is exempt"));
    assert!(dashboard.page("/exemptions?state=unused").await.contains("No exemption is like that"));
    let dashboard = Dashboard::empty(Door::Tokens);
    let (status, _, body) = dashboard.ask(Method::GET, "/findings", &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("name=\"token\"") && body.contains("tokens create"), "{body}");
}

#[tokio::test]
async fn only_recorded_findings_are_one_click_away() {
    let dashboard = Dashboard::of(&[finding("container-image-tag", Action::Record)], true).await;
    assert!(dashboard.page("/findings").await.contains("Nothing is wrong here"));
    let page = dashboard.page("/findings").await;
    assert!(page.contains("Only recorded<span class=\"count\">1</span>"), "{page}");
    assert!(dashboard.page("/findings?mode=audit").await.contains("data-row"));
}

#[tokio::test]
async fn decisions_are_shown_to_whoever_sees_their_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let kept = kept(store.clone());
    kept.feed.take_in(&*store, &report()).await.unwrap();
    let token = async |namespaces: Vec<String>| {
        let wanted = Wanted { label: "me".into(), scopes: vec![Scope::Read], namespaces, expires: None };
        let made = tokens::make(wanted, Timestamp::now()).unwrap();
        store.put_token(&made.token).await.unwrap();
        made
    };
    let (made, of_all) = (token(vec!["shop".to_owned()]).await, token(Vec::new()).await);
    let dashboard = Dashboard::new(directory, Door::Tokens, Some(kept));
    let whole = format!("__Host-gatepost={}", of_all.secret);
    for (path, said) in [("/decisions", "1 request: 1 denied, 0 warned of"), ("/api/v1/traffic", "\"denied\":1")] {
        let (status, _, body) = dashboard.ask(Method::GET, path, &[("cookie", &whole)]).await;
        assert!(status == StatusCode::OK && body.contains(said), "{path}: {status} {body}");
    }
    let cookie = format!("__Host-gatepost={}", made.secret);
    let (_, _, body) = dashboard.ask(Method::GET, "/checks", &[("cookie", &cookie)]).await;
    assert!(body.contains("You may not see checks") && !body.contains("alert(1)"), "{body}");
    let (status, ..) = dashboard.ask(Method::GET, "/checks/1", &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, _, body) = dashboard.ask(Method::GET, "/settings", &[("cookie", &cookie)]).await;
    assert!(body.contains("You may not see settings") && !body.contains(&made.token.id), "{body}");
    for path in ["/decisions", "/feed", "/exemptions"] {
        let (status, _, body) = dashboard.ask(Method::GET, path, &[("cookie", &cookie)]).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(body.contains("You see the namespaces shop") && !body.contains("alert(1)"), "{path}: {body}");
        assert!(!body.contains("The last day"), "{path}: it is of all namespaces");
    }
    let (status, ..) = dashboard.ask(Method::GET, "/api/v1/traffic", &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let one = "/decisions/%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let (status, ..) = dashboard.ask(Method::GET, one, &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_manifest_is_judged_and_nothing_of_it_runs() {
    let dashboard = Dashboard::empty(Door::Open);
    assert!(dashboard.page("/playground").await.contains("Nothing judged yet"));
    let ours = [(ORIGIN.as_str(), "http://localhost:8080"), ("content-type", "application/x-www-form-urlencoded")];
    let pod = "kind%3A+Pod%0AapiVersion%3A+v1%0Ametadata%3A+%7Bname%3A+%22%3C/textarea%3E%3Cscript%3Ealert(1)%22%7D%0A\
               spec%3A+%7Bcontainers%3A+%5B%7Bname%3A+a%2C+image%3A+nginx%7D%5D%7D";
    let body = |policy: &str| format!("manifest={pod}&policy={policy}&namespace=shop");
    let (status, _, page) = dashboard.send(Method::POST, "/playground", &ours, body("recommended")).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("container-image-tag") && page.contains("&#60;/textarea&#62;&#60;script&#62;"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    let (status, ..) = dashboard.send(Method::POST, "/playground", &ours, body("recommendet")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, ..) =
        dashboard.send(Method::POST, "/playground", &ours, format!("manifest={}", "a".repeat((1 << 20) + 1))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let foreign = [(ORIGIN.as_str(), "https://evil.example"), ("content-type", "application/x-www-form-urlencoded")];
    let (status, ..) = dashboard.send(Method::POST, "/playground", &foreign, body("baseline")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_compressed() {
    let dashboard = Dashboard::empty(Door::Tokens);
    let (status, headers, body) = dashboard.ask(Method::GET, &STYLE.path, &[]).await;
    assert_eq!((status, body.starts_with("/* The design system")), (StatusCode::OK, true));
    assert!(headers[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    let gzip = [(ACCEPT_ENCODING.as_str(), "br, gzip;q=0.5")];
    let (_, headers, _) = dashboard.ask(Method::GET, &STYLE.path, &gzip).await;
    assert_eq!(headers[CONTENT_ENCODING], "gzip");
    let (status, ..) = dashboard.ask(Method::GET, "/assets/style-0123456789abcdef.css", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let refused = [(ACCEPT_ENCODING.as_str(), "gzip;q=0")];
    let (_, headers, _) = dashboard.ask(Method::GET, "/styleguide", &refused).await;
    assert!(!headers.contains_key(CONTENT_ENCODING));
}

#[tokio::test]
async fn a_theme_is_remembered_and_leads_nowhere_else() {
    let dashboard = Dashboard::empty(Door::Open);
    for (referer, expected) in [
        ("http://localhost:8080/findings?severity=high", "/findings?severity=high"),
        ("https://evil.example//evil.example", "/"),
        ("//evil.example", "/"),
        ("nonsense", "/"),
    ] {
        let headers = [(REFERER.as_str(), referer), (ORIGIN.as_str(), "http://localhost:8080")];
        let (status, headers, _) = dashboard.ask(Method::POST, "/theme?set=dark", &headers).await;
        assert_eq!((status, headers[LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, expected), "{referer}");
    }
    let foreign = [(ORIGIN.as_str(), "https://evil.example")];
    let (status, ..) = dashboard.ask(Method::POST, "/theme?set=dark", &foreign).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, _, body) = dashboard.ask(Method::GET, "/styleguide", &[("cookie", "a=b; theme=dark")]).await;
    assert!(body.contains("data-theme=\"dark\""));
    let (_, _, body) = dashboard.ask(Method::GET, "/styleguide", &[("cookie", "theme=\"><script>")]).await;
    assert!(!body.contains("data-theme"));
    let from_here = [("referer", "http://localhost:8080/findings")];
    let (_, headers, _) = dashboard.ask(Method::POST, "/theme?palette=colour-blind", &from_here).await;
    assert!(headers["set-cookie"].to_str().unwrap().starts_with("palette=colour-blind;"), "{headers:?}");
    let (_, _, body) = dashboard.ask(Method::GET, "/styleguide", &[("cookie", "palette=colour-blind")]).await;
    assert!(body.contains("data-palette=\"colour-blind\"") && body.contains("Colours: colour-blind"), "{body}");
}

#[tokio::test]
async fn a_stopped_sync_is_shown_with_what_was_denied_and_what_goes_on() {
    let dashboard = Dashboard::of(&[], true).await;
    for path in ["/applications", "/applications/stopped"] {
        let page = dashboard.page(path).await;
        for expected in
            ["argocd app sync", "0f5cc2e7aa10", "does not try the same commit again", "kubectl -n argocd patch"]
        {
            assert!(page.contains(expected), "{path} lacks {expected}: {page}");
        }
    }
}

#[tokio::test]
async fn behind_a_proxy_every_address_leads_back_through_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let reached = Reached::at(&"https://tools.example/gatepost".parse().unwrap());
    let dashboard = Dashboard::reached(directory, Door::Open, Some(kept(store)), reached);
    let mut paths = vec!["/gatepost".to_owned()];
    let mut seen = 0;
    while let Some(path) = paths.get(seen).cloned() {
        seen += 1;
        let (status, headers, body) = dashboard.ask(Method::GET, &path, &[]).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        let kind = headers.get(CONTENT_TYPE).unwrap().to_str().unwrap();
        if !kind.starts_with("text/html") {
            continue;
        }
        for attribute in [" href=\"", " src=\"", " action=\""] {
            for (_, address) in body.match_indices(attribute).map(|(at, _)| body.split_at(at + attribute.len())) {
                let address = address.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
                // What a script fills in is empty until then.
                let is_elsewhere = address.is_empty() || address.starts_with('#') || address.starts_with("https://");
                assert!(is_elsewhere || address.starts_with("/gatepost/"), "{path}: {address}");
                let is_form = attribute == " action=\"";
                // A hostile name is no address to ask by hand.
                let is_followed = !is_elsewhere && !is_form && !address.contains("&#");
                if is_followed && !paths.contains(&address) && paths.len() < 300 {
                    paths.push(address);
                }
            }
        }
    }
    assert!(seen > 60, "{paths:?}");
    let from_page = [("origin", "https://tools.example"), ("referer", "https://tools.example/gatepost/rules?x=1")];
    let (status, headers, _) = dashboard.ask(Method::POST, "/gatepost/theme?set=dark", &from_page).await;
    assert_eq!((status, &headers[LOCATION]), (StatusCode::SEE_OTHER, &"/gatepost/rules?x=1".parse().unwrap()));
    // A proxy may take the path off.
    assert!(dashboard.page("/findings").await.contains(" href=\"/gatepost/findings\""));
    assert!(dashboard.page("/gatepost/api/v1/findings").await.contains("items"));
}

#[tokio::test]
async fn only_the_audit_that_is_under_way_can_be_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let mut ended = store.begin_audit("", Trigger::Start, "p", Timestamp::now()).await.unwrap();
    (ended.state, ended.finished) = (AuditState::Complete, Some(Timestamp::now()));
    store.end_audit(&ended, &[], &[]).await.unwrap();
    let running = store.begin_audit("", Trigger::Schedule, "p", Timestamp::now()).await.unwrap();
    let (desk, cancel) = Desk::busy(running.id);
    let dashboard = Dashboard::new(directory, Door::Open, Some(Kept { auditor: Some(desk), ..kept(store) }));
    let ours = [(ORIGIN.as_str(), "http://localhost:8080")];
    let button = format!("action=\"/audits/{}/cancel\"", running.id);
    for path in ["/audits".to_owned(), format!("/audits/{}", running.id)] {
        let (_, _, page) = dashboard.ask(Method::GET, &path, &[]).await;
        assert!(page.contains(&button), "{path}: {page}");
    }
    for (id, expected) in [(ended.id.to_string(), 409), ("99".into(), 404), ("x".into(), 404)] {
        for path in [format!("/audits/{id}/cancel"), format!("/api/v1/audits/{id}/cancel")] {
            let (status, _, body) = dashboard.ask(Method::POST, &path, &ours).await;
            assert_eq!(status.as_u16(), expected, "{path}: {body}");
        }
    }
    assert!(!cancel.is_cancelled());
    let (status, headers, _) = dashboard.ask(Method::POST, &format!("/audits/{}/cancel", running.id), &ours).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], format!("/audits/{}", running.id));
    assert!(cancel.is_cancelled());
    let (_, _, page) = dashboard.ask(Method::GET, &format!("/audits/{}", running.id), &[]).await;
    assert!(!page.contains(&button) && page.contains("It is being cancelled"), "{page}");
    let (status, ..) = dashboard.ask(Method::POST, &format!("/api/v1/audits/{}/cancel", running.id), &ours).await;
    assert_eq!(status, StatusCode::ACCEPTED, "twice is once");
}
