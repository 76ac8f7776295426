//! The accept loop: TLS or plain TCP, HTTP/1.1 and HTTP/2, limits on connections, and an orderly end.

mod places;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
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
use tokio_util::sync::PollSemaphore;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use self::places::{Place, Places};
use super::tls::{ClientIdentity, Tls};
use crate::telemetry::{ConnectionMetrics, Throttle};

/// Reviews that one API server may have under way on one HTTP/2 connection; for more it opens another one.
const MAX_STREAMS: u32 = 256;
/// Bytes and number of a request's headers; the API server sends a few hundred bytes.
const HEADER_BYTES: u32 = 32 << 10;
const HEADERS: usize = 100;
/// What a client may send on a stream before the handler reads: a large review in one go.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How often a silent HTTP/2 client is asked whether it still lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for a connection that is to make room to say so to its client.
const FAREWELL: Duration = Duration::from_millis(100);
/// Time for the first request of a connection that was opened just before the end.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// Files that are freed when there are none left.
const FREED_AT_ONCE: usize = 8;
/// Then a connection that was used so recently stays: it is worth more than one of which nothing is known.
const RECENT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at a time; for one more the one that is missed least is closed.
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
    pub tls: Option<Arc<Tls>>,
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
                server.clone().admit(stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                server.options.metrics.accept_errors.inc();
                let evicted = server.places.make_room(FREED_AT_ONCE, RECENT);
                server.count_evicted(evicted);
                tracing::warn!(%error, evicted, "no connection can be accepted for now");
                // Without a pause an exhausted table of open files would keep a core busy.
                let _ = timeout(pause, ended(&mut shutdown)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    // Whoever connected before the end is answered, too.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        server.clone().admit(stream, peer);
    }
    drop(listener);
    server.tasks.close();
    // Each connection ends itself within the grace period.
    let _ = timeout(limits.grace + limits.handshake, server.tasks.wait()).await;
}

/// Lets only clients through whose certificate bears one of the names; all others get 403.
pub fn require_client_name(router: Router, names: &[String]) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::<[String]>::from(names), check_client_name))
}

async fn check_client_name(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<ClientIdentity>();
    if identity.is_some_and(|identity| identity.has_one_of(&names)) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "the client certificate does not bear a name that --client-name asks for\n").into_response()
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
    places: Arc<Places>,
    tasks: TaskTracker,
    /// Handshakes compute for all but one of the threads at most, so that a flood of them leaves one to requests.
    handshakes: Arc<Semaphore>,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    /// Tells the version by the first bytes.
    either: Builder<TokioExecutor>,
}

impl Server {
    fn new(router: Router, options: Options, shutdown: watch::Receiver<bool>) -> Self {
        let mut either = Builder::new(TokioExecutor::new());
        either
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(options.limits.idle)
            .max_headers(HEADERS)
            .max_buf_size(HEADER_BYTES as usize);
        either
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let (http1, http2) = (either.clone().http1_only(), either.clone().http2_only());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let places = Places::new(options.limits.connections as usize);
        let (tasks, handshakes) = (TaskTracker::new(), Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))));
        // Handlers are resolved here once, not for each request.
        let router = router.with_state(());
        Self { router, options, shutdown, places, tasks, handshakes, http1, http2, either }
    }

    /// Gives a connection a place and a task, or closes it.
    fn admit(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Some((place, evicted)) = self.places.take() else {
            self.options.metrics.refused.inc();
            return;
        };
        self.count_evicted(evicted);
        let tasks = self.tasks.clone();
        tasks.spawn(async move { self.handle(stream, place, peer).await });
    }

    fn count_evicted(&self, evicted: usize) {
        self.options.metrics.evicted.inc_by(u64::try_from(evicted).unwrap_or(u64::MAX));
    }

    async fn handle(&self, stream: TcpStream, place: Place, peer: SocketAddr) {
        let _open = Open::count(&self.options.metrics);
        // A delayed segment costs 40 ms; a socket that is gone already shows at the first read.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.options.tls else {
            return self.drive(&self.either, stream, None, place, peer).await;
        };
        let handshake = self.handshake(tls.config(), stream, peer);
        let stream = tokio::select! {
            stream = handshake => stream,
            () = place.told_to_leave() => None,
        };
        let Some(stream) = stream else { return };
        let session = stream.get_ref().1;
        let identity = session.peer_certificates().and_then(|chain| chain.first()).map(ClientIdentity::of);
        let builder = if session.alpn_protocol() == Some(b"h2") { &self.http2 } else { &self.http1 };
        self.drive(builder, stream, identity, place, peer).await;
    }

    async fn handshake(
        &self,
        config: Arc<ServerConfig>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<TlsStream<TcpStream>> {
        let mut handshake = pin!(TlsAcceptor::from(config).accept(stream));
        let mut turn = PollSemaphore::new(self.handshakes.clone());
        // A turn is held while there is something to compute, never while the client is waited for.
        let in_turn = poll_fn(|context| {
            let _turn = ready!(turn.poll_acquire(context));
            handshake.as_mut().poll(context)
        });
        let accepted = timeout(self.options.limits.handshake, in_turn).await;
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
            static THROTTLE: Throttle = Throttle::new();
            if let Some(held_back) = THROTTLE.pass() {
                tracing::warn!(%peer, %cause, held_back, "a TLS handshake failed");
            }
        }
        None
    }

    /// Serves one connection until the client ends it, it has been idle for too long, or it must go.
    async fn drive<S>(
        &self,
        builder: &Builder<TokioExecutor>,
        stream: S,
        identity: Option<ClientIdentity>,
        place: Place,
        peer: SocketAddr,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let place = Arc::new(place);
        let (router, counted) = (self.router.clone(), place.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let under_way = counted.begin();
            if let Some(identity) = &identity {
                request.extensions_mut().insert(identity.clone());
            }
            let mut router = router.clone();
            async move {
                let response = router.call(request).await;
                drop(under_way);
                response
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let grace = tokio::select! {
            biased;
            result = connection.as_mut() => return log_end(result, peer),
            grace = self.until_it_must_go(&place) => grace,
        };
        connection.as_mut().graceful_shutdown();
        let Ok(result) = timeout(grace, connection).await else {
            return tracing::debug!(%peer, "a connection was cut off");
        };
        log_end(result, peer);
    }

    /// Waits until a connection is idle for too long, must make room, or the process is to end; returns the time that it
    /// has from then on.
    async fn until_it_must_go(&self, place: &Place) -> Duration {
        let limits = &self.options.limits;
        let mut shutdown = self.shutdown.clone();
        let mut seen = 0;
        let mut check = pin!(sleep(limits.first_request));
        loop {
            tokio::select! {
                biased;
                () = ended(&mut shutdown) => break,
                () = place.told_to_leave() => return if place.is_busy() { limits.grace } else { FAREWELL },
                () = check.as_mut() => {
                    let begun = place.begun();
                    if begun == seen {
                        return limits.grace;
                    }
                    seen = begun;
                    check.as_mut().reset(Instant::now() + limits.idle);
                }
            }
        }
        let chance = Instant::now() + LAST_CHANCE.min(limits.grace);
        while place.begun() == 0 && Instant::now() < chance {
            sleep(FAREWELL).await;
        }
        limits.grace
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
mod tests;
