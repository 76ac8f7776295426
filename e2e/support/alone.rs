//! A Gatepost process without a cluster, and clients that speak to it directly: what no API server would send.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gatepost::webhook::tls::provider;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::http;
use super::wait::{eventually, wait_for};
use super::watchdog::{Guarded, state_directory};

const READY_WITHIN: Duration = Duration::from_mins(1);
const LIMIT: Duration = Duration::from_secs(30);

static STARTED: AtomicU32 = AtomicU32::new(1);

/// A process of its own; gone when dropped.
#[derive(Debug)]
pub struct Alone {
    directory: PathBuf,
    pub process: Guarded,
    pub webhook: SocketAddr,
    pub metrics: SocketAddr,
}

/// A TLS connection to it that speaks HTTP/1.1.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Alone {
    /// Starts `gatepost serve` with these flags.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, None, |command| command)
    }

    /// Starts it with its log going elsewhere.
    pub fn start_logging_to(log: Stdio, flags: &[&str]) -> Self {
        Self::start_with(flags, Some(log), |command| command)
    }

    /// Starts it as a shell says, whose last word is `"$@"`; with `ulimit -n 64; exec "$@"`, for example.
    pub fn start_in_shell(script: &str, flags: &[&str]) -> Self {
        Self::start_with(flags, None, |command| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
            shell.current_dir(command.get_current_dir().expect("a directory"));
            shell
        })
    }

    fn start_with(flags: &[&str], stderr: Option<Stdio>, wrap: impl FnOnce(Command) -> Command) -> Self {
        let directory = state_directory().join(format!("alone-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&directory).expect("a directory");
        let log = fs::File::create(directory.join("gatepost.log")).expect("a log file");
        let mut command = wrap(serve(&directory, flags));
        command.env_remove("KUBECONFIG").env_remove("RUST_LOG").stdout(Stdio::null());
        command.stderr(stderr.unwrap_or_else(|| log.into()));
        let mut process = Guarded::spawn(&mut command).expect("Gatepost starts");
        let log_text = || fs::read_to_string(directory.join("gatepost.log")).unwrap_or_default();
        let addresses = wait_for("Gatepost to be ready", READY_WITHIN, || {
            assert!(process.ended().is_none(), "gatepost serve ended: {}", log_text());
            let addresses: Value =
                serde_json::from_slice(&fs::read(directory.join("data/addresses.json")).ok()?).ok()?;
            (http::status_of(addresses["metrics"].as_str()?, "/readyz") == Some(200)).then_some(addresses)
        });
        let addresses = addresses.unwrap_or_else(|error| panic!("{error}: {}", log_text()));
        let address = |name: &str| addresses[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let (webhook, metrics) = (address("webhook"), address("metrics"));
        Self { directory, process, webhook, metrics }
    }

    /// Returns the directory that it keeps its data in.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("gatepost.log")).unwrap_or_default()
    }

    /// Returns the text of a page of the health listener.
    pub fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.metrics).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Returns a metric's value, its name with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.page("/metrics").expect("metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// Waits until a metric is at least so large.
    pub fn comes_to(&self, name: &str, least: f64) {
        eventually(&format!("{name} to be {least}"), || (self.metric(name) >= least).then_some(()));
    }

    /// Returns the configuration of a client that trusts it.
    pub fn client(&self) -> Arc<ClientConfig> {
        let authorities = fs::read(self.data().join("ca.crt")).expect("its authorities");
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&authorities) {
            roots.add(authority.expect("PEM")).expect("an authority");
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        Arc::new(builder.expect("protocols").with_root_certificates(roots).with_no_client_auth())
    }

    /// Opens a TLS connection.
    pub fn connect(&self) -> io::Result<Connection> {
        self.connect_with(self.client())
    }

    /// Opens a TLS connection with a client's configuration.
    pub fn connect_with(&self, client: Arc<ClientConfig>) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(self.webhook)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(client, name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    /// Has a review judged on a connection of its own.
    pub fn judge(&self, review: &Value) -> io::Result<(u16, String)> {
        post(&mut self.connect()?, &review.to_string())
    }

    /// Has a Deployment judged that everybody may make: the process still does its work.
    #[track_caller]
    pub fn still_judges(&self) {
        let (status, body) = self.judge(&review("still")).expect("an answer");
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["response"]["uid"], "still");
        assert!(answer["response"]["warnings"].to_string().contains("container-image-tag"), "{answer}");
    }

    /// Returns the most memory that the process ever took, in bytes.
    pub fn peak_memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// Sends the signal to stop.
    pub fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.process.pid().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()));
    }
}

fn serve(directory: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["serve", "--data-dir"]).arg(directory.join("data"));
    for listener in ["--listen-webhook", "--listen-http", "--listen-metrics"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command.args(flags).current_dir(directory);
    command
}

/// Sends one review and reads the answer: status and body.
pub fn post(connection: &mut Connection, body: &str) -> io::Result<(u16, String)> {
    let head =
        format!("POST /validate?timeout=10s HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(head.as_bytes())?;
    connection.write_all(body.as_bytes())?;
    connection.flush()?;
    answer(connection)
}

/// Reads one answer: status and body.
pub fn answer(connection: &mut Connection) -> io::Result<(u16, String)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if connection.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend(byte);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut body)?;
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, String::from_utf8_lossy(&body).into_owned()))
}

/// Returns a request to create an object.
pub fn request(uid: &str, kind: (&str, &str, &str), object: &Value) -> Value {
    let (group, version, kind) = kind;
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": {"group": group, "version": version, "kind": kind}, "name": "web", "namespace": "shop",
            "operation": "CREATE", "userInfo": {"username": "jane"}, "object": object,
        },
    })
}

/// Returns a request to create a Deployment whose image has no tag.
pub fn review(uid: &str) -> Value {
    let containers = json!([{"name": "app", "image": "nginx"}]);
    request(
        uid,
        ("apps", "v1", "Deployment"),
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "template": {"spec": {"containers": containers}}},
        }),
    )
}
