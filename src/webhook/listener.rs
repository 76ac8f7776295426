//! The accept loop: TLS or plain TCP, HTTP/1.1 and HTTP/2, limits on connections, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;

use super::tls::ClientIdentity;
use crate::telemetry::ConnectionMetrics;

/// Reviews that one API server may have under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1_000;
/// What a client may send on a stream before the handler reads: a large review in one go.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How often a silent HTTP/2 client is asked whether it still lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at a time; one more is closed at once.
    pub connections: u32,
    /// Time for the TLS handshake.
    pub handshake: Duration,
    /// Time from the handshake to the first request.
    pub first_request: Duration,
    /// Time for a request's headers, and without a new request; longer than the 90 s after which Go's client closes.
    pub idle: Duration,
    /// Time for requests in flight once the process is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Below the 1,024 files that a process may open where nobody raised the limit.
            connections: 768,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(30),
            idle: Duration::from_mins(2),
            grace: Duration::from_secs(15),
        }
    }
}

/// How a listener serves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// TLS; none serves plain TCP.
    pub tls: Option<Arc<ServerConfig>>,
    /// What connections may cost.
    pub limits: Limits,
    /// What is counted.
    pub metrics: ConnectionMetrics,
}

/// Serves `router` on a bound listener until `shutdown` says true or its sender is gone.
///
/// Then nothing more is accepted, and requests in flight have [`Limits::grace`] to finish.
pub async fn serve(listener: TcpListener, router: Router, options: Options, mut shutdown: watch::Receiver<bool>) {
    let limits = options.limits;
    let server = Arc::new(Server::new(router, options, shutdown.clone()));
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = ended(&mut shutdown) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                let Ok(place) = places.clone().try_acquire_owned() else {
                    server.options.metrics.refused.inc();
                    continue;
                };
                let server = server.clone();
                tokio::spawn(async move {
                    server.handle(stream, peer).await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                // Without a pause an exhausted table of open files would keep a core busy.
                let _ = timeout(pause, ended(&mut shutdown)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    drop(listener);
    // All places are free again when every connection has ended; each ends itself within the grace period.
    let _ = timeout(limits.grace + limits.handshake, places.acquire_many(limits.connections)).await;
}

/// Lets only clients through whose certificate bears a name; all others get 403.
pub fn require_client_name(router: Router, name: &str) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::<str>::from(name), check_client_name))
}

async fn check_client_name(State(name): State<Arc<str>>, request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<ClientIdentity>();
    if identity.is_some_and(|identity| identity.has_name(&name)) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "the client certificate does not bear the name that --client-name asks for\n")
        .into_response()
}

async fn ended(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|is_over| *is_over).await);
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What all connections share.
struct Server {
    router: Router,
    options: Options,
    shutdown: watch::Receiver<bool>,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    /// Tells the version by the first bytes.
    either: Builder<TokioExecutor>,
}

impl Server {
    fn new(router: Router, options: Options, shutdown: watch::Receiver<bool>) -> Self {
        let mut either = Builder::new(TokioExecutor::new());
        either.http1().timer(TokioTimer::new()).header_read_timeout(options.limits.idle);
        either
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let (http1, http2) = (either.clone().http1_only(), either.clone().http2_only());
        // Handlers are resolved here once, not for each request.
        Self { router: router.with_state(()), options, shutdown, http1, http2, either }
    }

    async fn handle(&self, stream: TcpStream, peer: SocketAddr) {
        let _open = Open::count(&self.options.metrics);
        // A delayed segment costs 40 ms; a socket that is gone already shows at the first read.
        let _ = stream.set_nodelay(true);
        let Some(config) = &self.options.tls else {
            return self.drive(&self.either, stream, None, peer).await;
        };
        let Some(stream) = self.handshake(config.clone(), stream, peer).await else { return };
        let session = stream.get_ref().1;
        let identity = session.peer_certificates().and_then(|chain| chain.first()).map(ClientIdentity::of);
        let builder = if session.alpn_protocol() == Some(b"h2") { &self.http2 } else { &self.http1 };
        self.drive(builder, stream, identity, peer).await;
    }

    async fn handshake(
        &self,
        config: Arc<ServerConfig>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<TlsStream<TcpStream>> {
        let accepted = timeout(self.options.limits.handshake, TlsAcceptor::from(config).accept(stream)).await;
        let cause = match accepted {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "it took too long"),
        };
        self.options.metrics.handshake_failures.inc();
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            // Load balancers and probes connect and leave.
            tracing::debug!(%peer, "a client left during the TLS handshake");
        } else {
            tracing::warn!(%peer, %cause, "a TLS handshake failed");
        }
        None
    }

    /// Serves one connection until the client ends it, it has been idle for too long, or the process is to end.
    async fn drive<S>(
        &self,
        builder: &Builder<TokioExecutor>,
        stream: S,
        identity: Option<ClientIdentity>,
        peer: SocketAddr,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requests = Arc::new(AtomicU64::new(0));
        let (router, begun) = (self.router.clone(), requests.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            begun.fetch_add(1, Ordering::Relaxed);
            if let Some(identity) = &identity {
                request.extensions_mut().insert(identity.clone());
            }
            router.clone().call(request)
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let limits = &self.options.limits;
        let mut shutdown = self.shutdown.clone();
        let mut seen = 0;
        let mut check = pin!(sleep(limits.first_request));
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return log_end(result, peer),
                () = ended(&mut shutdown) => break,
                () = check.as_mut() => {
                    let begun = requests.load(Ordering::Relaxed);
                    if begun == seen {
                        break;
                    }
                    seen = begun;
                    check.as_mut().reset(Instant::now() + limits.idle);
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let Ok(result) = timeout(limits.grace, connection).await else {
            return tracing::debug!(%peer, "a connection was cut off");
        };
        log_end(result, peer);
    }
}

fn log_end<E: std::fmt::Display>(result: Result<(), E>, peer: SocketAddr) {
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended with an error");
    }
}

/// Counts one open connection until it is dropped.
struct Open<'a>(&'a ConnectionMetrics);

impl<'a> Open<'a> {
    fn count(metrics: &'a ConnectionMetrics) -> Self {
        metrics.open.inc();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

#[cfg(test)]
mod tests {
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
    use crate::webhook::tls::{CertificateStore, provider, server_config};

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
        async fn start(router: Router, tls: Option<Arc<ServerConfig>>, limits: Limits) -> Self {
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
        CertificateStore::load(certificate.as_bytes(), key.as_bytes()).unwrap()
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
        let config = server_config(store(&authority), None).unwrap();
        let running = Running::start(hello(), Some(config), Limits::default()).await;
        for version in [&TLS12, &TLS13] {
            for (alpn, is_http2, expected) in [
                (&["h2", "http/1.1"][..], true, "HTTP/2.0"),
                (&["http/1.1"], false, "HTTP/1.1"),
                (&[], false, "HTTP/1.1"),
            ] {
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
        let config = server_config(store(&authority), None).unwrap();
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
        let running =
            Running::start(hello(), Some(server_config(store.clone(), None).unwrap()), Limits::default()).await;
        running.connect_tls(client(&new, &TLS13, &[], None)).await.unwrap_err();
        let (certificate, key) = new.issue("localhost");
        store.swap(certificate.as_bytes(), key.as_bytes()).unwrap();
        running.connect_tls(client(&new, &TLS13, &[], None)).await.unwrap();
        running.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_comes_again_resumes_its_session() {
        let authority = Authority::new();
        let running =
            Running::start(hello(), Some(server_config(store(&authority), None).unwrap()), Limits::default()).await;
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
        let config = server_config(store(&authority), Some(clients.pem().as_bytes())).unwrap();
        let router = require_client_name(hello(), "kube-apiserver");
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
        let running = Running::start(require_client_name(hello(), "any"), None, Limits::default()).await;
        assert_eq!(ask(running.connect().await, false).await.0, StatusCode::FORBIDDEN);
        running.stop().await;
    }

    #[tokio::test]
    async fn refuses_one_connection_too_many_at_once() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let running = Running::start(hello(), None, limits).await;
        let mut first = running.connect().await;
        closes(&mut running.connect().await).await;
        assert_eq!(running.metrics.refused.get(), 1);
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        running.stop().await;
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
}
