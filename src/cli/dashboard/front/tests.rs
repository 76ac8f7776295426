//! A browser, a page from elsewhere, and what Gatepost gets of either.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Json;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt as _};

use super::*;

const PORT: u16 = 4321;
const OURS: &str = "http://127.0.0.1:4321";

struct Fixed(Result<&'static str, ()>);

#[async_trait]
impl Shows for Fixed {
    async fn header(&self) -> Result<HeaderValue, NoBearer> {
        self.0.map(HeaderValue::from_static).map_err(|()| NoBearer::NoToken)
    }
}

/// Leads everywhere to one place.
#[derive(Clone)]
struct To(SocketAddr);

impl Service<Uri> for To {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move { TcpStream::connect(address).await.map(TokioIo::new) })
    }
}

/// Answers what it was asked, and how.
async fn upstream() -> To {
    let echo = async |request: Request| {
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let said = json!({"method": method, "uri": uri, "headers": headers, "body": String::from_utf8_lossy(&body)});
        ([(SET_COOKIE, "theme=dark; Path=/")], Json(said))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    To(address)
}

async fn front(shown: Result<&'static str, ()>) -> (Router, String) {
    let client = Client::builder(TokioExecutor::new()).build(upstream().await);
    let (front, link) = Front::new(PORT, Box::new(Fixed(shown)), client).unwrap();
    assert!(link.starts_with(&format!("{OURS}{ENTRANCE}")) && !link.contains("of-jane"), "{link}");
    (front.router(), link[OURS.len()..].to_owned())
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
    let request = axum::http::Request::builder().method(method).uri(path);
    let host = [("host", "127.0.0.1:4321")];
    let host = host.iter().filter(|_| !headers.iter().any(|(name, _)| *name == "host"));
    let request = headers.iter().chain(host).fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = router.clone().oneshot(request.body(Body::from("a=b")).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn the_link_signs_in_once() {
    let (router, link) = front(Ok("Bearer of-jane")).await;
    for (method, path, headers) in [
        ("GET", format!("{link}x"), &[][..]),
        ("GET", format!("{ENTRANCE}x"), &[]),
        ("GET", ENTRANCE.to_owned(), &[]),
        ("HEAD", link.clone(), &[]),
        ("POST", link.clone(), &[]),
        ("GET", link.clone(), &[("host", "gatepost.evil.example:4321")]),
    ] {
        let (status, headers, _) = ask(&router, method, &path, headers).await;
        assert!(status.is_client_error() && !headers.contains_key(SET_COOKIE), "{method} {path}: {status}");
    }
    let (status, headers, page) = ask(&router, "GET", &link, &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("url=/") && !page.contains("of-jane"), "{page}");
    let cookie = headers[SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.starts_with("gatepost-4321=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let (status, headers, page) = ask(&router, "GET", &link, &[]).await;
    assert_eq!((status, headers.contains_key(SET_COOKIE)), (StatusCode::FORBIDDEN, false));
    assert!(page.contains("was followed already"), "{page}");
}

#[tokio::test]
async fn the_link_is_of_no_use_after_a_minute() {
    let (router, link) = front(Ok("Bearer of-jane")).await;
    tokio::time::pause();
    tokio::time::advance(LINK_HOLDS).await;
    let (status, headers, _) = ask(&router, "GET", &link, &[]).await;
    assert_eq!((status, headers.contains_key(SET_COOKIE)), (StatusCode::FORBIDDEN, false));
}

#[tokio::test]
async fn only_the_browser_that_signed_in_reaches_gatepost_and_only_from_its_pages() {
    let (router, link) = front(Ok("Bearer of-jane")).await;
    let (_, headers, _) = ask(&router, "GET", &link, &[]).await;
    let ours = headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let wrong = format!("{ours}x");
    let (cookie, origin) = (("cookie", ours.as_str()), ("origin", OURS));
    for (method, headers, expected) in [
        ("GET", &[][..], 401),
        ("GET", &[("cookie", wrong.as_str())], 401),
        ("GET", &[("authorization", "Bearer x")], 401),
        ("GET", &[cookie], 200),
        ("GET", &[cookie, ("host", "localhost:4321")], 421),
        ("GET", &[cookie, ("host", "rebound.example:4321")], 421),
        ("POST", &[cookie], 403),
        ("POST", &[cookie, ("origin", "null")], 403),
        ("POST", &[cookie, ("origin", "http://127.0.0.1:9999")], 403),
        ("POST", &[cookie, origin], 200),
        ("DELETE", &[cookie, ("origin", "https://evil.example")], 403),
    ] {
        let (status, ..) = ask(&router, method, "/findings", headers).await;
        assert_eq!(status.as_u16(), expected, "{method} {headers:?}");
    }
    let cookies = format!("theme=dark; {ours};__Host-gatepost=gp_a_b; palette=usual");
    let headers = [("cookie", cookies.as_str()), origin, ("authorization", "Bearer forged"), ("connection", "close")];
    let (status, headers, body) = ask(&router, "POST", "/theme?set=dark", &headers).await;
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &headers[SET_COOKIE]), (StatusCode::OK, &"theme=dark; Path=/".parse::<HeaderValue>().unwrap()));
    assert_eq!(
        (&said["method"], &said["uri"], &said["body"]),
        (&json!("POST"), &json!("/theme?set=dark"), &json!("a=b"))
    );
    let got = |wanted: &str| -> Vec<&str> {
        let headers = said["headers"].as_array().unwrap().iter();
        headers.filter(|header| header[0] == wanted).map(|header| header[1].as_str().unwrap()).collect()
    };
    assert_eq!(got("authorization"), ["Bearer of-jane"]);
    assert_eq!(got("cookie"), ["theme=dark; palette=usual"]);
    assert!(!body.contains(&ours) && !body.contains("gp_a_b"), "{body}");
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_told() {
    let (router, link) = front(Err(())).await;
    let (_, headers, _) = ask(&router, "GET", &link, &[]).await;
    let cookie = headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let (status, _, body) = ask(&router, "GET", "/", &[("cookie", &cookie)]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("has no token"), "{body}");
}
