//! One `gatepost serve` process for one test, without a cluster, and a client that asks it as the API server does.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value as Json, json};

const LIMIT: Duration = Duration::from_mins(1);

/// A running `gatepost serve`; killed when dropped.
pub struct Server {
    child: Child,
    directory: Arc<tempfile::TempDir>,
    addresses: Json,
    tls: Arc<ClientConfig>,
}

impl Server {
    /// Starts a process with more arguments and variables, and waits until it is ready. Files are written first; their
    /// paths are below the directory that the process runs in.
    pub fn start(files: &[(&str, &str)], arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (file, text) in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        Self::launch(Arc::new(directory), arguments, variables)
    }

    /// Kills the process, as the kernel does when memory is short; what it wrote is still there.
    pub fn kill(self) -> Killed {
        Killed(self.directory.clone())
    }

    fn launch(directory: Arc<tempfile::TempDir>, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        // A file that may not grow is an error to it, and no death.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_gatepost")]);
        command.args(["serve", "--data-dir", "data", "--log-format", "json"]);
        let listens = ["--listen-webhook", "--listen-http", "--listen-metrics"];
        for listen in listens.into_iter().filter(|listen| !arguments.contains(listen)) {
            command.args([listen, "127.0.0.1:0"]);
        }
        let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("GATEPOST_") || name.starts_with("OTEL_") || name.starts_with("KUBE")
        });
        for name in ours {
            command.env_remove(name);
        }
        command.args(arguments).envs(variables.iter().copied()).current_dir(directory.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("gatepost starts");
        let mut server = Self { child, directory, addresses: Json::Null, tls: Arc::new(trusting(&[])) };
        server.addresses = eventually("Gatepost to be ready", || {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none(), "gatepost serve ended: {ended:?}\n{}", log_of(server.directory.path()));
            let addresses: Json = serde_json::from_slice(&fs::read(server.path("data/addresses.json")).ok()?).ok()?;
            let ready = get(addresses["metrics"].as_str()?, "/readyz");
            (ready.0 == 200).then_some(addresses)
        });
        server.tls = Arc::new(trusting(&fs::read(server.path("data/ca.crt")).expect("a certificate authority")));
        server
    }

    /// Returns the path of a file below the directory that the process runs in.
    pub fn path(&self, file: &str) -> std::path::PathBuf {
        self.directory.path().join(file)
    }

    /// Returns the number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address of the API.
    pub fn http(&self) -> String {
        self.addresses["http"].as_str().expect("an address").to_owned()
    }

    /// Sends a body to the webhook, with further lines of the header, and returns status and body.
    pub fn post(&self, path: &str, header: &str, body: &str) -> (u16, String) {
        let address = self.addresses["webhook"].as_str().expect("an address");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(self.tls.clone(), name).expect("a TLS client");
        exchange(
            &mut StreamOwned::new(connection, stream),
            &format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    }

    /// Sends a request to the API, with further lines of the header, and returns status and body.
    pub fn ask(&self, method: &str, path: &str, header: &str, body: &str) -> (u16, String) {
        let (status, _, body) = self.ask_with_head(method, path, header, body);
        (status, body)
    }

    /// Does the same, and returns the answer's head too, between status and body.
    pub fn ask_with_head(&self, method: &str, path: &str, header: &str, body: &str) -> (u16, String, String) {
        let mut stream =
            TcpStream::connect(self.addresses["http"].as_str().expect("an address")).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n{header}Content-Length: {length}\r\n\r\n");
        exchange_whole(&mut stream, &format!("{head}{body}"))
    }

    /// Has the webhook judge a request, and returns the response that stands in its answer.
    pub fn review(&self, request: &Json) -> Json {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let (status, body) = self.post("/validate?timeout=10s", "", &review.to_string());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Json>(&body).expect("JSON")["response"].take()
    }

    /// Returns the metrics' text.
    pub fn metrics(&self) -> String {
        get(self.addresses["metrics"].as_str().expect("an address"), "/metrics").1
    }

    /// Returns what the process says of its readiness, condition by condition.
    pub fn readiness(&self) -> String {
        get(self.addresses["metrics"].as_str().expect("an address"), "/readyz?verbose").1
    }

    /// Returns the value of one series that counts, 0 while it is not there.
    pub fn metric(&self, series: &str) -> usize {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Returns the lines of its log.
    pub fn log(&self) -> Vec<Json> {
        log_of(self.directory.path()).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Tells the process to stop, and waits until it has.
    pub fn stop(mut self) -> Vec<Json> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        eventually("Gatepost to stop", || self.child.try_wait().expect("a child"));
        self.log()
    }
}

/// What a process left that was killed.
pub struct Killed(Arc<tempfile::TempDir>);

impl Killed {
    /// Starts another one in the same directory.
    pub fn start(self, arguments: &[&str]) -> Server {
        Server::launch(self.0, arguments, &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = log_of(self.directory.path());
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the log ends:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// Returns the request of an object that is created.
pub fn creation(namespace: &str, object: &Json) -> Json {
    let (group, version) = match object["apiVersion"].as_str().expect("an apiVersion").split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", object["apiVersion"].as_str().expect("an apiVersion")),
    };
    json!({
        "uid": "c0ffee00-0000-4000-8000-000000000000", "operation": "CREATE",
        "kind": {"group": group, "version": version, "kind": object["kind"]},
        "namespace": namespace, "name": object["metadata"]["name"],
        "userInfo": {"username": "jane"}, "object": object, "oldObject": null, "dryRun": false,
    })
}

/// Waits until something is there.
#[track_caller]
pub fn eventually<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "waited for {what} for {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn get(address: &str, path: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(address) else { return (0, String::new()) };
    exchange(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn exchange(stream: &mut (impl std::io::Read + std::io::Write), request: &str) -> (u16, String) {
    let (status, _, body) = exchange_whole(stream, request);
    (status, body)
}

fn exchange_whole(stream: &mut (impl std::io::Read + std::io::Write), request: &str) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).expect("a request goes out");
    let mut answer = Vec::new();
    // The end of a connection without a farewell is an end all the same.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (status, head.to_owned(), body.to_owned())
}

fn trusting(authorities: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        roots.add(authority.expect("a certificate")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}
