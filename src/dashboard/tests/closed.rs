//! Where somebody is asked who they are, or turned away: they go on where they were, and are told why.

use super::*;

const OURS: (&str, &str) = ("origin", "https://localhost:8080");

#[tokio::test]
async fn theme_and_colours_are_chosen_before_anybody_has_signed_in() {
    let (dashboard, _) = Dashboard::closed().await;
    let (status, _, page) = dashboard.ask(Method::GET, "/findings", &[]).await;
    assert!(status == StatusCode::UNAUTHORIZED && page.contains("action=\"/theme?set=dark\""), "{page}");
    let headers = [OURS, ("referer", "https://localhost:8080/findings?severity=high")];
    for (choice, cookie) in [("set=dark", "theme=dark;"), ("palette=colour-blind", "palette=colour-blind;")] {
        let (status, headers, _) = dashboard.ask(Method::POST, &format!("/theme?{choice}"), &headers).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{choice}");
        assert_eq!(headers[LOCATION], "/findings?severity=high");
        assert!(headers["set-cookie"].to_str().unwrap().starts_with(cookie), "{headers:?}");
    }
}

#[tokio::test]
async fn whoever_signs_in_after_a_button_goes_on_at_the_page_of_the_button() {
    let (dashboard, _) = Dashboard::closed().await;
    for (referer, expected) in [
        ("https://localhost:8080/audits/3", "/audits/3"),
        ("https://localhost:8080//evil.example", "/"),
        ("nonsense", "/"),
    ] {
        let headers = [OURS, ("referer", referer)];
        let (status, _, page) = dashboard.ask(Method::POST, "/audits/3/cancel", &headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(page.contains(&format!("name=\"next\" value=\"{expected}\"")), "{referer}: {page}");
    }
}

#[tokio::test]
async fn the_address_of_a_button_is_a_page_that_says_so() {
    let (closed, _) = Dashboard::closed().await;
    let open = Dashboard::empty(Door::Open);
    for dashboard in [&closed, &open] {
        for path in ["/theme?set=dark", "/sign-out", "/audits/3/cancel", "/modes/back"] {
            let (status, headers, page) = dashboard.ask(Method::GET, path, &[]).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert!(
                page.contains("<!doctype html>") && page.contains("There is nothing to see here"),
                "{path}: {page}"
            );
            assert!(headers.contains_key("content-security-policy"), "{path}: {headers:?}");
        }
    }
}

#[tokio::test]
async fn whoever_comes_from_elsewhere_is_told_so_on_a_page_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let open = Dashboard::new(directory, Door::Open, Some(kept(store)));
    let (closed, _) = Dashboard::closed().await;
    let evil = ("origin", "https://evil.example");
    for (dashboard, method, path, headers) in [
        (&open, Method::POST, "/theme?set=dark", &[evil][..]),
        (&open, Method::GET, "http://evil.example/findings", &[]),
        (&open, Method::GET, "http://evil.example/sign-in/oidc/callback", &[]),
        (&open, Method::GET, "http://evil.example/nowhere", &[]),
        (&closed, Method::POST, "/theme?set=dark", &[]),
        (&closed, Method::POST, "/sign-in", &[evil]),
    ] {
        let (status, headers, page) = dashboard.ask(method, path, headers).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(page.contains("<!doctype html>") && page.contains("--external-url"), "{path}: {page}");
        assert!(headers.contains_key("content-security-policy") && !headers.contains_key("set-cookie"), "{headers:?}");
        assert!(!page.contains("west"), "{path} tells the cluster's name: {page}");
    }
    for path in ["http://evil.example/api/v1/findings", "http://evil.example/api/v1/nothing", &{
        format!("http://evil.example{}", STYLE.path)
    }] {
        let (status, headers, body) = open.ask(Method::GET, path, &[]).await;
        assert_eq!(
            (status, &headers[CONTENT_TYPE]),
            (StatusCode::FORBIDDEN, &"application/problem+json".parse().unwrap())
        );
        assert!(body.contains("foreign-origin"), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_host_that_is_ours_alone_is_asked_over_tls_from_then_on() {
    let (closed, _) = Dashboard::closed().await;
    let open = Dashboard::empty(Door::Open);
    let directory = tempfile::tempdir().unwrap();
    let below = Reached::at(&"https://tools.example/gatepost".parse().unwrap());
    let shared = Dashboard::reached(directory, Door::Tokens, None, below);
    for (dashboard, path, expected) in [
        (&closed, "https://gatepost.example/findings", true),
        (&closed, "/findings", false),
        (&open, "/findings", false),
        (&shared, "https://tools.example/gatepost/findings", false),
    ] {
        let (_, headers, _) = dashboard.ask(Method::GET, path, &[]).await;
        assert_eq!(headers.contains_key("strict-transport-security"), expected, "{path}: {headers:?}");
    }
}
