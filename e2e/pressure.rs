//! Too much, too slow, malformed: each time a normal request is answered meanwhile, and a metric says what happened.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::alone::{Alone, Connection, answer, post, request, review};
use crate::support::wait::eventually;

const LIMIT: Duration = Duration::from_secs(30);

/// Opens a session from one of several local addresses, each of which has its own ports, and uses it once.
async fn session(number: usize, to: SocketAddr, connector: TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 1, u8::try_from(number / 2_000).expect("few") + 1], 0)))?;
    let mut stream =
        connector.connect(ServerName::try_from("localhost").expect("a name"), socket.connect(to).await?).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    // The answer is not found, which is all that there is to know.
    let _ = stream.read(&mut [0; 256]).await?;
    Ok(stream)
}

/// Returns how many connections this process may open, once it has raised its limit.
fn connections_at_most(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Whatever it says, the test goes as far as it can.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.map_or(wanted, |files| usize::try_from(files).unwrap_or(wanted));
    wanted.min(files.saturating_sub(512))
}

#[test]
fn ten_thousand_idle_sessions_lock_nobody_out() {
    let gatepost = Alone::start(&["--max-connections", "10000"]);
    let wanted = connections_at_most(10_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (connector, to) = (TlsConnector::from(gatepost.client()), gatepost.webhook);
    let sessions: Vec<TlsStream<TcpStream>> = runtime.block_on(async {
        let sessions = (0..wanted).map(|number| session(number, to, connector.clone()));
        futures::stream::iter(sessions).buffer_unordered(256).map(|session| session.expect("a session")).collect().await
    });
    let open = gatepost.metric("gatepost_open_connections");
    eprintln!("{} sessions, {open} open, {} MiB at most", sessions.len(), gatepost.peak_memory() >> 20);
    gatepost.still_judges();
    // Whoever comes when all places are taken gets one.
    for number in 0..200 {
        let more = runtime.block_on(session(number, to, connector.clone())).expect("a session");
        gatepost.still_judges();
        drop(more);
    }
    drop(sessions);
    gatepost.still_judges();
}

#[test]
fn a_full_house_of_idle_sessions_makes_room_for_whoever_asks() {
    let gatepost = Alone::start(&["--max-connections", "64"]);
    let client = gatepost.client();
    let mut api_server = gatepost.connect().expect("a connection");
    // What the API server uses stays, whoever else comes.
    let idle: Vec<Connection> = (0..200)
        .map(|_| {
            let connection = gatepost.connect_with(client.clone()).expect("a connection");
            assert_eq!(post(&mut api_server, &review("a").to_string()).expect("an answer").0, 200);
            connection
        })
        .collect();
    gatepost.comes_to("gatepost_connections_evicted_total", 100.0);
    assert!(gatepost.metric("gatepost_connections_refused_total") < 1.0);
    drop(idle);
}

#[test]
fn a_body_that_comes_slowly_ends_at_its_deadline() {
    let gatepost = Alone::start(&[]);
    let slow: Vec<Connection> = (0..50)
        .map(|_| {
            let mut connection = gatepost.connect().expect("a connection");
            let head = b"POST /validate?timeout=1s HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{";
            connection.write_all(head).expect("sent");
            connection.flush().expect("sent");
            connection
        })
        .collect();
    gatepost.still_judges();
    for mut connection in slow {
        assert_eq!(answer(&mut connection).expect("an answer").0, 408);
    }
    gatepost.still_judges();
}

#[test]
fn half_open_connections_and_garbage_are_counted_and_cut_off() {
    let gatepost = Alone::start(&[]);
    let silent: Vec<Blocking> = (0..100).map(|_| Blocking::connect(gatepost.webhook).expect("a connection")).collect();
    for garbage in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[0xFF; 4096], &[0x16, 3, 1, 0xFF, 0xFF, 0, 0, 0]] {
        let mut stream = Blocking::connect(gatepost.webhook).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        // It may be cut off before all of it is sent.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        gatepost.still_judges();
    }
    // The silent ones have five seconds for their handshake.
    gatepost.comes_to("gatepost_tls_handshake_failures_total", 103.0);
    let lines = gatepost.log().matches("a TLS handshake failed").count();
    assert!((1..=20).contains(&lines), "{lines} lines: garbage must not fill the log");
    drop(silent);
}

#[test]
fn renegotiation_is_refused() {
    let gatepost = Alone::start(&[]);
    let client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &gatepost.webhook.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut client) = client else {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing");
        return eprintln!("skipped: openssl is missing");
    };
    // A line that is R alone asks for a new handshake within the old one.
    client.stdin.take().expect("a pipe").write_all(b"R\nR\n").expect("sent");
    let said = client.wait_with_output().expect("an end");
    let said = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    gatepost.still_judges();
}

/// Returns a ConfigMap with so many bytes of text in it.
fn large(bytes: usize) -> Value {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"a": "x".repeat(bytes)}});
    request("large", ("", "v1", "ConfigMap"), &object)
}

#[test]
fn a_flood_of_bodies_takes_no_more_than_its_memory() {
    let gatepost = Arc::new(Alone::start(&["--max-inflight-bytes", "16777216", "--max-body-bytes", "3145728"]));
    let before = gatepost.peak_memory();
    let body = large(3_000_000).to_string();
    // Half of each body is there, and its end does not come.
    let held: Vec<Connection> = (0..8)
        .filter_map(|_| {
            let mut connection = gatepost.connect().expect("a connection");
            let head =
                format!("POST /validate?timeout=30s HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.write_all(head.as_bytes()).ok()?;
            connection.write_all(&body.as_bytes()[..2_000_000]).ok()?;
            connection.flush().ok()?;
            Some(connection)
        })
        .collect();
    gatepost.comes_to("gatepost_admission_overloaded_total{reason=\"memory\"}", 1.0);
    let start = Instant::now();
    let (status, cause) = gatepost.judge(&large(3_000_000)).expect("an answer");
    assert_eq!((status, cause.starts_with("overloaded")), (503, true), "{cause}");
    assert!(start.elapsed() < Duration::from_secs(10), "503 comes at once");
    // A quarter is left to small ones.
    gatepost.still_judges();
    let grown = gatepost.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    drop(held);
    eventually("the memory to be free", || (gatepost.metric("gatepost_admission_text_bytes") < 1.0).then_some(()));
    assert_eq!(gatepost.judge(&large(2_000_000)).expect("an answer").0, 200);
}

#[test]
fn an_object_that_is_small_as_text_and_large_in_memory_is_not_parsed() {
    let gatepost = Alone::start(&[]);
    let count = 350_000;
    let spec: Vec<Value> = (0..count).map(|_| json!({"a": 0})).collect();
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": spec}});
    let bomb = request("bomb", ("", "v1", "Pod"), &object);
    let before = gatepost.peak_memory();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (status, body) = gatepost.judge(&bomb).expect("an answer");
                assert!(status == 503 || body.contains("of memory, more than is set aside"), "{status} {body}");
            });
        }
        gatepost.still_judges();
    });
    let grown = gatepost.peak_memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
}

#[test]
fn beyond_the_queue_the_answer_is_503_at_once() {
    let gatepost = Alone::start(&["--workers", "1", "--queue", "1"]);
    let body = review("many").to_string();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let send =
            || (0..20).filter_map(|_| Some(post(&mut gatepost.connect().ok()?, &body).ok()?.0)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(send)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
    });
    assert_eq!(statuses.len(), 320, "every request has an answer");
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)) && refused < 320, "{statuses:?}");
    let counted = gatepost.metric("gatepost_admission_overloaded_total{reason=\"queue\"}");
    assert!((counted - f64::from(u32::try_from(refused).expect("few"))).abs() < 0.5, "{refused} {counted}");
    gatepost.still_judges();
}

#[test]
fn every_request_before_the_end_is_answered() {
    let mut gatepost = Alone::start(&["--shutdown-delay", "2"]);
    let (body, is_over) = (review("last").to_string(), AtomicBool::new(false));
    let (answered, readiness) = thread::scope(|scope| {
        // Whoever is connected is answered; whoever cannot connect any more has lost nothing.
        let send = || {
            let mut answered = 0_usize;
            while !is_over.load(Ordering::Relaxed) {
                let Ok(mut connection) = gatepost.connect() else { break };
                let (status, _) = post(&mut connection, &body).expect("an answer");
                assert_eq!(status, 200);
                answered += 1;
            }
            answered
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        eventually("requests", || {
            (gatepost.metric("gatepost_admission_request_duration_seconds_count{operation=\"CREATE\"}") > 20.0)
                .then_some(())
        });
        // One is under way when the signal comes, and its body is not whole before the listener is gone.
        let mut slow = gatepost.connect().expect("a connection");
        let head = format!("POST /validate?timeout=20s HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        slow.write_all(head.as_bytes()).and_then(|()| slow.flush()).expect("sent");
        gatepost.comes_to("gatepost_admission_in_flight", 1.0);
        gatepost.terminate();
        let readiness =
            eventually("the signal to be seen", || gatepost.page("/readyz").filter(|page| page.contains(" 503 ")));
        gatepost.still_judges();
        eventually("the listener to be gone", || Blocking::connect(gatepost.webhook).is_err().then_some(()));
        slow.write_all(body.as_bytes()).and_then(|()| slow.flush()).expect("sent");
        assert_eq!(answer(&mut slow).expect("an answer").0, 200);
        is_over.store(true, Ordering::Relaxed);
        let answered: usize = threads.into_iter().map(|thread| thread.join().expect("no request is lost")).sum();
        (answered, readiness)
    });
    assert!(readiness.contains("[-]accepting"), "{readiness}");
    assert!(answered > 20);
    assert!(gatepost.process.wait().expect("an end").success());
}

#[test]
fn without_files_it_says_so_and_goes_on() {
    let gatepost = Alone::start_in_shell("ulimit -n 64; exec \"$@\"", &[]);
    let pid = Pid::from_raw(i32::try_from(gatepost.process.pid()).expect("a pid"));
    let mut before = gatepost.connect().expect("a connection");
    assert_eq!(post(&mut before, &review("a").to_string()).expect("an answer").0, 200);
    // Somebody takes the files away, as a leak would.
    let open = std::fs::read_dir(format!("/proc/{}/fd", gatepost.process.pid())).expect("its files").count();
    let most = Rlimit { current: Some(u64::try_from(open).expect("few")), maximum: Some(64) };
    prlimit(pid, Resource::Nofile, most).expect("a lower limit");
    let flood: Vec<Blocking> = (0..32).map(|_| Blocking::connect(gatepost.webhook).expect("a connection")).collect();
    eventually("it to be said", || gatepost.log().contains("no connection can be accepted for now").then_some(()));
    assert_eq!(post(&mut before, &review("b").to_string()).expect("an answer").0, 200);
    drop(flood);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).expect("the old limit");
    eventually("a new connection", || {
        gatepost.judge(&review("c")).is_ok_and(|(status, _)| status == 200).then_some(())
    });
    assert!(gatepost.metric("gatepost_accept_errors_total") >= 1.0);
}

#[test]
fn without_room_on_the_disk_it_says_so_and_goes_on() {
    // What a full disk answers with an error, a limit answers with a signal as well, which must be ignored.
    let gatepost = Alone::start_in_shell("trap '' XFSZ; exec \"$@\"", &[]);
    let pid = Pid::from_raw(i32::try_from(gatepost.process.pid()).expect("a pid"));
    let most = Rlimit { current: Some(0), maximum: None };
    prlimit(pid, Resource::Fsize, most).expect("no more room");
    let lost = gatepost.metric("gatepost_log_lines_lost_total");
    gatepost.still_judges();
    gatepost.comes_to("gatepost_log_lines_lost_total", lost + 1.0);
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).expect("room again");
    eventually("it to be said", || {
        gatepost.still_judges();
        gatepost.log().contains("log lines were lost").then_some(())
    });
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let data = file.path().join("data");
    let ended = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["serve", "--listen-webhook", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
        .args(["--listen-metrics", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .output()
        .expect("Gatepost");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains(&*data.to_string_lossy()), "{said}");
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut gatepost = Alone::start_logging_to(writer.into(), &["--log-level", "trace"]);
    eventually("lines to be lost", || {
        gatepost.still_judges();
        (gatepost.metric("gatepost_log_lines_lost_total") >= 1.0).then_some(())
    });
    gatepost.still_judges();
    gatepost.terminate();
    // Nor does it hold up the end.
    assert!(gatepost.process.wait().expect("an end").success());
    drop(reader);
}
