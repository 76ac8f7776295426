use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::webhook::tls::{CertificateStore, Tls, provider};

const LIMIT: Duration = Duration::from_secs(10);

/// An authority, and what it issues.
struct Authority(CertificateParams, KeyPair);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(params, KeyPair::generate().unwrap())
    }

    fn pem(&self) -> String {
        self.0.self_signed(&self.1).unwrap().pem()
    }

    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.0, &self.1)).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

struct Running {
    address: SocketAddr,
    metrics: ConnectionMetrics,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(router: Router, tls: Option<Arc<Tls>>, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = ConnectionMetrics::default();
        let (stop, stopped) = watch::channel(false);
        let options = Options { tls, limits, metrics: metrics.clone() };
        let task = tokio::spawn(serve(listener, router, options, stopped));
        Self { address, metrics, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect_tls(&self, config: ClientConfig) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.connect().await).await
    }

    async fn stop(self) {
        // The task may have ended, and its receiver with it.
        _ = self.stop.send(true);
        timeout(LIMIT, self.task).await.unwrap().unwrap();
        assert_eq!(self.metrics.open.get(), 0);
    }
}

fn client(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    alpn: &[&str],
    own: Option<(String, String)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn store(authority: &Authority) -> Arc<CertificateStore> {
    let (certificate, key) = authority.issue("localhost");
    let store = CertificateStore::default();
    store.swap(certificate.as_bytes(), key.as_bytes()).unwrap();
    Arc::new(store)
}

fn hello() -> Router {
    Router::new().route("/", get(async |request: Request| format!("{:?}", request.version())))
}

async fn ask<S>(stream: S, is_http2: bool) -> (StatusCode, String)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get("http://localhost/").body(Body::empty()).unwrap();
    let response = if is_http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let status = response.status();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

async fn closes(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = timeout(LIMIT, stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn serves_both_versions_of_http_over_both_of_tls() {
    let authority = Authority::new();
    let config = Tls::new(store(&authority), None).unwrap();
    let running = Running::start(hello(), Some(config), Limits::default()).await;
    for version in [&TLS12, &TLS13] {
        for (alpn, is_http2, expected) in
            [(&["h2", "http/1.1"][..], true, "HTTP/2.0"), (&["http/1.1"], false, "HTTP/1.1"), (&[], false, "HTTP/1.1")]
        {
            let stream = running.connect_tls(client(&authority, version, alpn, None)).await.unwrap();
            assert_eq!(ask(stream, is_http2).await, (StatusCode::OK, expected.into()));
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn serves_both_versions_of_http_without_tls() {
    let running = Running::start(hello(), None, Limits::default()).await;
    assert_eq!(ask(running.connect().await, false).await.1, "HTTP/1.1");
    assert_eq!(ask(running.connect().await, true).await.1, "HTTP/2.0");
    running.stop().await;
}

#[tokio::test]
async fn a_slow_handshake_blocks_nobody_and_is_cut_off() {
    let authority = Authority::new();
    let config = Tls::new(store(&authority), None).unwrap();
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let running = Running::start(hello(), Some(config), limits).await;
    let mut slow = running.connect().await;
    slow.write_all(&[0x16]).await.unwrap();
    let stream = running.connect_tls(client(&authority, &TLS13, &[], None)).await.unwrap();
    assert_eq!(ask(stream, false).await.0, StatusCode::OK);
    closes(&mut slow).await;
    assert_eq!(running.metrics.handshake_failures.get(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let store = store(&old);
    let running = Running::start(hello(), Some(Tls::new(store.clone(), None).unwrap()), Limits::default()).await;
    running.connect_tls(client(&new, &TLS13, &[], None)).await.unwrap_err();
    let (certificate, key) = new.issue("localhost");
    store.swap(certificate.as_bytes(), key.as_bytes()).unwrap();
    running.connect_tls(client(&new, &TLS13, &[], None)).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_again_resumes_its_session() {
    let authority = Authority::new();
    let running = Running::start(hello(), Some(Tls::new(store(&authority), None).unwrap()), Limits::default()).await;
    for version in [&TLS12, &TLS13] {
        let config = client(&authority, version, &[], None);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = running.connect_tls(config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
            ask(stream, false).await;
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn asks_for_a_client_certificate_and_its_name() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let config = Tls::new(store(&authority), Some(clients.pem().as_bytes())).unwrap();
    let router = require_client_name(hello(), &["kube-apiserver".to_owned()]);
    let running = Running::start(router, Some(config), Limits::default()).await;
    for (name, expected) in [("kube-apiserver", StatusCode::OK), ("kubelet", StatusCode::FORBIDDEN)] {
        for alpn in ["h2", "http/1.1"] {
            let config = client(&authority, &TLS13, &[alpn], Some(clients.issue(name)));
            let stream = running.connect_tls(config).await.unwrap();
            assert_eq!(ask(stream, alpn == "h2").await.0, expected, "{name} over {alpn}");
        }
    }
    for own in [None, Some(strangers.issue("kube-apiserver"))] {
        running.connect_tls(client(&authority, &TLS12, &[], own)).await.unwrap_err();
    }
    assert_eq!(running.metrics.handshake_failures.get(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_router_without_tls_lets_no_name_through() {
    let running = Running::start(require_client_name(hello(), &["any".to_owned()]), None, Limits::default()).await;
    assert_eq!(ask(running.connect().await, false).await.0, StatusCode::FORBIDDEN);
    running.stop().await;
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_a_new_one() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let running = Running::start(hello(), None, limits).await;
    let mut used = running.connect().await;
    asks(&mut used, "").await;
    let mut silent = running.connect().await;
    let mut new = running.connect().await;
    closes(&mut silent).await;
    assert_eq!((running.metrics.evicted.get(), running.metrics.refused.get()), (1, 0));
    assert!(asks(&mut new, "").await.starts_with("HTTP/1.1 200"));
    assert!(asks(&mut used, "").await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}

#[tokio::test]
async fn refuses_a_connection_when_every_other_one_is_busy() {
    let (router, asked, release) = waiting();
    let limits = Limits { connections: 1, ..Limits::default() };
    let running = Running::start(router, None, limits).await;
    let request = tokio::spawn(ask(running.connect().await, true));
    timeout(LIMIT, asked.notified()).await.unwrap();
    closes(&mut running.connect().await).await;
    assert_eq!((running.metrics.refused.get(), running.metrics.evicted.get()), (1, 0));
    release.notify_one();
    assert_eq!(timeout(LIMIT, request).await.unwrap().unwrap().1, "answered");
    running.stop().await;
}

/// Asks over HTTP/1.1, with more headers, and returns the head of the answer.
async fn asks(stream: &mut TcpStream, headers: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut byte = [0];
        if timeout(LIMIT, stream.read(&mut byte)).await.unwrap().unwrap() == 0 {
            break;
        }
        answer.extend(byte);
    }
    // What is left is the body, HTTP/1.1 in eight letters.
    let mut body = [0; 8];
    let _ = timeout(LIMIT, stream.read_exact(&mut body)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_flood_of_headers_is_cut_off_and_harms_nobody() {
    let running = Running::start(hello(), None, Limits::default()).await;
    let mut other = running.connect().await;
    for flood in ["a: b\r\n".repeat(HEADERS + 1), format!("a: {}\r\n", "b".repeat(HEADER_BYTES as usize))] {
        let mut stream = running.connect().await;
        assert!(asks(&mut stream, &flood).await.starts_with("HTTP/1.1 431"));
        closes(&mut stream).await;
        assert!(asks(&mut other, "").await.starts_with("HTTP/1.1 200"));
    }
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(running.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let long = "b".repeat(HEADER_BYTES as usize);
    let request = Request::get("http://localhost/").header("a", long).body(Body::empty()).unwrap();
    let refused = sender.send_request(request).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    assert!(asks(&mut other, "").await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_is_counted_and_harms_nobody() {
    let authority = Authority::new();
    let running = Running::start(hello(), Some(Tls::new(store(&authority), None).unwrap()), Limits::default()).await;
    let too_long = [&[0x16, 3, 1, 0xFF, 0xFF][..], &vec![0; 70_000]].concat();
    // A ClientHello of TLS 1.0 that offers one cipher suite.
    let hello = [&[1, 0, 0, 41, 3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2F, 1, 0]].concat();
    let old = [&[0x16, 3, 1, 0, 45][..], &hello].concat();
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xFF; 4096],
        &too_long,
        &old,
        b"\x80\x2e\x01\x00\x02",
    ];
    for (number, bytes) in garbage.iter().enumerate() {
        let mut stream = running.connect().await;
        // It may be cut off before all of it is sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        closes(&mut stream).await;
        let metrics = running.metrics.clone();
        let counted = async {
            while metrics.handshake_failures.get() <= u64::try_from(number).unwrap() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, counted).await.unwrap();
        let stream = running.connect_tls(client(&authority, &TLS13, &[], None)).await.unwrap();
        assert_eq!(ask(stream, false).await.0, StatusCode::OK);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_gone() {
    let (router, asked, _release) = waiting();
    let running = Running::start(router, None, Limits::default()).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    timeout(LIMIT, asked.notified()).await.unwrap();
    stream.shutdown().await.unwrap();
    closes(&mut stream).await;
    let metrics = running.metrics.clone();
    let gone = async {
        while metrics.open.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_connection_opened_just_before_the_end_is_answered() {
    for is_http2 in [false, true] {
        let running = Running::start(hello(), None, Limits::default()).await;
        let stream = running.connect().await;
        running.stop.send(true).unwrap();
        let answer = timeout(LIMIT, ask(stream, is_http2)).await.unwrap();
        assert_eq!(answer.0, StatusCode::OK);
        running.stop().await;
    }
}

#[tokio::test]
async fn closes_connections_without_requests() {
    let short = Duration::from_millis(50);
    let limits = Limits { first_request: short, idle: short, ..Limits::default() };
    let running = Running::start(hello(), None, limits).await;
    closes(&mut running.connect().await).await;
    let mut kept_alive = running.connect().await;
    kept_alive.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    closes(&mut kept_alive).await;
    running.stop().await;
}

/// Answers only when told, and tells when it was asked.
fn waiting() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, wait) = (asked.clone(), release.clone());
    let handler = async move || {
        told.notify_one();
        wait.notified().await;
        "answered"
    };
    (Router::new().route("/", get(handler)), asked, release)
}

#[tokio::test]
async fn lets_requests_in_flight_finish_at_the_end() {
    for is_http2 in [false, true] {
        let (router, asked, release) = waiting();
        let running = Running::start(router, None, Limits::default()).await;
        let request = tokio::spawn(ask(running.connect().await, is_http2));
        timeout(LIMIT, asked.notified()).await.unwrap();
        running.stop.send(true).unwrap();
        let refused = async {
            while TcpStream::connect(running.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, refused).await.unwrap();
        assert!(!running.task.is_finished());
        release.notify_one();
        let answer = timeout(LIMIT, request).await.unwrap().unwrap();
        assert_eq!(answer, (StatusCode::OK, "answered".into()));
        running.stop().await;
    }
}

#[tokio::test]
async fn cuts_off_a_request_that_outlasts_the_grace_period() {
    let (router, asked, _release) = waiting();
    let limits = Limits { grace: Duration::from_millis(50), ..Limits::default() };
    let running = Running::start(router, None, limits).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    timeout(LIMIT, asked.notified()).await.unwrap();
    running.stop().await;
    closes(&mut stream).await;
}
