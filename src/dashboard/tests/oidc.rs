//! What somebody sees who has signed in with a provider.

use axum::http::header::SET_COOKIE;

use super::*;
use crate::auth::Person;

const CONFIG: &str = "externalUrl: https://gatepost.example\nauth:\n  oidc: {issuer: 'http://127.0.0.1:1', clientId: gatepost, \
                      name: 'Work & <b>play</b>'}\n  groups: {shop: ['shop*'], ops: ['*']}\n";

fn somebody(groups: &[&str]) -> Person {
    Person {
        name: "jane".into(),
        groups: groups.iter().map(ToString::to_string).collect(),
        says_groups: true,
        issuer: "http://127.0.0.1:1".into(),
        client: "gatepost".into(),
        ends: Timestamp::now() + Duration::from_hours(1),
    }
}

/// Returns a dashboard where people sign in, and its state.
async fn dashboard(config: &str) -> (Dashboard, Arc<ApiState>) {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let now = Timestamp::now();
    let in_shop = |namespace: &str| {
        let object = ObjectKey { namespace: namespace.into(), ..finding("container-image-tag", Action::Warn).object };
        let id = Fingerprint::new(&object, &RuleId::from("container-image-tag"), "");
        Finding { id, object, ..finding("container-image-tag", Action::Warn) }
    };
    let mut audit = store.begin_audit("", Trigger::Request, "", now).await.unwrap();
    let contents = vec![Content { digest: "c0ffee".into(), text: "{}".into() }];
    let put = vec![in_shop("shop"), in_shop("elsewhere"), in_shop("")];
    store.change("", Changes { put, contents, ..Changes::default() }, now).await.unwrap();
    (audit.state, audit.finished) = (AuditState::Complete, Some(now));
    store.end_audit(&audit, &[], &[]).await.unwrap();
    let app = app(&directory);
    let mut in_force = (*app.in_force.load()).clone();
    in_force.config = Arc::new(Config::parse(std::path::Path::new("config.yaml"), config).unwrap());
    app.in_force.replace(in_force);
    let limits = scan::Limits { max_scan_bytes: 1 << 20, per_second: 0 };
    let state = ApiState::new(app, Door::Tokens, NonZeroUsize::MIN, limits, Some(kept(store)), None).unwrap();
    let reached = Reached::at(&"https://gatepost.example".parse().unwrap());
    let state = Arc::new(ApiState { reached, ..state });
    let router = scan::routes(state.clone(), crate::dashboard::routes(state.clone()));
    (Dashboard { router, _directory: directory }, state)
}

fn signed_in(state: &ApiState, groups: &[&str]) -> String {
    format!("__Host-gatepost={}", state.sign_in.sessions.begin(somebody(groups)).unwrap())
}

#[tokio::test]
async fn groups_see_their_namespaces_and_nothing_else() {
    let (dashboard, state) = dashboard(CONFIG).await;
    for (groups, expected, limited) in [(&["shop"][..], 1, true), (&["ops"], 3, false), (&["ops", "shop"], 3, false)] {
        let cookie = signed_in(&state, groups);
        let headers = [("cookie", cookie.as_str())];
        let (status, _, body) = dashboard.ask(Method::GET, "/api/v1/findings", &headers).await;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, answer["items"].as_array().unwrap().len()), (StatusCode::OK, expected), "{groups:?}");
        let (_, _, page) = dashboard.ask(Method::GET, "/findings", &headers).await;
        assert_eq!(page.contains("You see the namespaces shop*, and nothing outside them."), limited, "{page}");
        assert_eq!(page.contains("elsewhere"), !limited, "{page}");
        for path in ["/api/v1/audits", "/api/v1/reports"] {
            let ours = [("cookie", cookie.as_str()), (ORIGIN.as_str(), "https://gatepost.example")];
            let (status, ..) = dashboard.ask(Method::POST, path, &ours).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "they read, and no more: {path}");
        }
    }
    let cookie = signed_in(&state, &["other"]);
    let (status, _, page) = dashboard.ask(Method::GET, "/findings", &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(page.contains("you are jane, and none of your groups (other) may see anything here"), "{page}");
}

#[tokio::test]
async fn a_session_ends_when_somebody_signs_out_or_the_configuration_says_so() {
    let (dashboard, state) = dashboard(CONFIG).await;
    let cookie = signed_in(&state, &["shop"]);
    let ours = [("cookie", cookie.as_str()), (ORIGIN.as_str(), "https://gatepost.example")];
    let page = async || dashboard.ask(Method::GET, "/findings", &[("cookie", &cookie)]).await;
    assert_eq!(page().await.0, StatusCode::OK);
    let (status, headers, _) = dashboard.ask(Method::POST, "/sign-out", &ours[..1]).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "no page from elsewhere signs anybody out");
    assert!(!headers.contains_key(SET_COOKIE));
    let (status, headers, _) = dashboard.ask(Method::POST, "/sign-out", &ours).await;
    assert_eq!((status, headers[LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, "/sign-in?left=true"));
    assert!(headers[SET_COOKIE].to_str().unwrap().starts_with("__Host-gatepost=; Path=/; Max-Age=0;"));
    let (status, _, body) = page().await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "what the cookie named is gone: {body}");
    assert!(body.contains("your session is over"), "{body}");
    let (_, _, body) = dashboard.ask(Method::GET, "/sign-in?left=true", &[]).await;
    assert!(body.contains("You are signed out of Gatepost."), "{body}");
    assert!(body.contains("At Work &#38; &#60;b&#62;play&#60;/b&#62; you may still be signed in"), "{body}");

    let cookie = signed_in(&state, &["shop"]);
    let mut in_force = (*state.app.in_force.load()).clone();
    let other = CONFIG.replace("127.0.0.1:1", "127.0.0.1:2");
    in_force.config = Arc::new(Config::parse(std::path::Path::new("config.yaml"), &other).unwrap());
    state.app.in_force.replace(in_force);
    let (status, _, body) = dashboard.ask(Method::GET, "/findings", &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "another provider vouches for nobody of the first: {body}");
}

#[tokio::test]
async fn what_went_wrong_is_told_in_words_and_nothing_is_reflected() {
    let (dashboard, _) = dashboard(CONFIG).await;
    let back = "/sign-in/oidc/callback?state=a&error=%3Cscript%3Ealert(1)&error_description=%3Cscript%3E&extra=1";
    let (status, headers, page) = dashboard.ask(Method::GET, back, &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(page.contains("begun in another browser, is over already, or took too long: begin again"), "{page}");
    assert!(!page.contains("alert(1)") && !headers.contains_key(SET_COOKIE), "{page}");
    let (status, headers, page) = dashboard.ask(Method::GET, "/sign-in/oidc?next=/findings", &[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        page.contains("Work &#38; &#60;b&#62;play&#60;/b&#62; cannot be used now") && !headers.contains_key(SET_COOKIE)
    );
    let next = "href=\"/sign-in/oidc?next=%2Ffindings%3Fseverity%3Dhigh\"";
    let (_, _, page) = dashboard.ask(Method::GET, "/findings?severity=high", &[]).await;
    assert!(page.contains(next), "{page}");
    let (status, _, page) = self::dashboard("").await.0.ask(Method::GET, "/sign-in/oidc", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("nobody signs in this way here") && !page.contains("/sign-in/oidc?"), "{page}");
}
