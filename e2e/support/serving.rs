//! A `gatepost serve` process, with its directory of files, data and log.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::control_plane::last_lines;
use super::decisions::{Decision, decisions};
use super::http;
use super::wait::{eventually, wait_for};
use super::watchdog::{Guarded, state_directory};

/// How long a start may take.
pub const READY_WITHIN: Duration = Duration::from_mins(1);

/// A process that can be killed and started again on the same port.
#[derive(Debug)]
pub struct Serving {
    directory: PathBuf,
    arguments: Vec<OsString>,
    process: Option<Guarded>,
    /// Where the webhook listens, the same again after a restart.
    webhook: String,
    /// Where the API is to listen.
    api: String,
    metrics: String,
}

impl Serving {
    /// Makes the directory; nothing runs yet.
    pub fn new(name: &str) -> Self {
        let directory = state_directory().join(name);
        fs::create_dir_all(&directory).expect("a directory for Gatepost");
        let anywhere = "127.0.0.1:0".to_owned();
        let (webhook, api) = (anywhere.clone(), anywhere.clone());
        Self { directory, arguments: Vec::new(), process: None, webhook, api, metrics: anywhere }
    }

    /// Returns the directory that all of its files are in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds arguments for the next start, beside listeners, log format and data directory.
    pub fn with(&mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) {
        self.arguments.extend(arguments.into_iter().map(Into::into));
    }

    /// Has the webhook listen here from the next start on.
    pub fn listen(&mut self, port: u16) {
        self.webhook = format!("127.0.0.1:{port}");
    }

    /// Has the API listen here from the next start on.
    pub fn answer(&mut self, port: u16) {
        self.api = format!("127.0.0.1:{port}");
    }

    /// Runs the process, on the port it had before, and waits until it is ready.
    pub fn launch(&mut self) {
        self.launch_until("Gatepost to be ready", 200);
    }

    /// Starts Gatepost, and waits until it listens and says that it is not ready.
    #[track_caller]
    pub fn launch_unready(&mut self) {
        self.launch_until("Gatepost to listen", 503);
    }

    #[track_caller]
    fn launch_until(&mut self, what: &str, status: u16) {
        let addresses = self.directory.join("data/addresses.json");
        let _ = fs::remove_file(&addresses);
        self.process = Some(Guarded::spawn(&mut self.serve()).expect("Gatepost starts"));
        let listens = wait_for(what, READY_WITHIN, || {
            let ended = self.process.as_mut().and_then(Guarded::ended);
            assert!(ended.is_none(), "gatepost serve ended: {ended:?}\n{}", self.log_end());
            let addresses: Value = serde_json::from_slice(&fs::read(&addresses).ok()?).ok()?;
            let address = |name: &str| addresses[name].as_str().map(str::to_owned);
            let metrics = address("metrics")?;
            if http::status_of(&metrics, "/readyz") == Some(status) {
                // A scanner has no webhook, and may be run as something else the next time.
                Some((address("webhook").unwrap_or_else(|| self.webhook.clone()), metrics))
            } else {
                None
            }
        });
        (self.webhook, self.metrics) = listens.unwrap_or_else(|error| panic!("{error}\n{}", self.log_end()));
    }

    fn serve(&self) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["serve", "--log-format", "json"]);
        command.arg("--data-dir").arg(self.directory.join("data"));
        command.args(["--listen-webhook", &self.webhook]);
        command.args(["--listen-http", &self.api, "--listen-metrics", "127.0.0.1:0"]);
        command.args(&self.arguments);
        // Tests share a cluster: who wants it audited says so by a flag.
        command.env("GATEPOST_AUDIT_INTERVAL", "off");
        command.env_remove("KUBECONFIG").env_remove("RUST_LOG").current_dir(&self.directory);
        command.stdout(log.try_clone().expect("a second handle of the log")).stderr(log);
        command
    }

    /// Kills the process as a crash would: no farewell, no draining.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Returns where the API answers, as `127.0.0.1:PORT`, once that is known.
    pub fn http(&self) -> Option<String> {
        let addresses = fs::read(self.directory.join("data/addresses.json")).ok()?;
        let addresses: Value = serde_json::from_slice(&addresses).ok()?;
        addresses["http"].as_str().map(str::to_owned)
    }

    /// Returns where the webhook listens, as `127.0.0.1:PORT`.
    pub fn webhook(&self) -> &str {
        &self.webhook
    }

    /// Returns what `/readyz?verbose` says.
    pub fn readiness(&self) -> String {
        self.health("/readyz?verbose")
    }

    /// Returns what the health listener answers.
    pub fn health(&self, path: &str) -> String {
        http::body_of(&self.metrics, path).unwrap_or_default()
    }

    /// Returns what Gatepost's log says it decided, the oldest first.
    pub fn decisions(&self) -> Vec<Decision> {
        decisions(&fs::read_to_string(self.log()).unwrap_or_default())
    }

    /// Returns the fields of every log line with a message, the oldest first.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// Waits until an audit has ended that began after now.
    #[track_caller]
    pub fn audited_once_more(&self) {
        let now = Timestamp::now();
        let time = |audit: &Value, key: &str| audit[key].as_str()?.parse::<Timestamp>().ok();
        let has_ended = |audit: &Value| time(audit, "started") > Some(now) && time(audit, "finished").is_some();
        eventually("another audit", || {
            let audits: Value = serde_json::from_str(&http::body_of(&self.http()?, "/api/v1/audits")?).ok()?;
            audits["items"].as_array()?.iter().any(has_ended).then_some(())
        });
    }

    /// Returns the value of a metric by its name, with labels if it has any: `gatepost_admission_warnings_total`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = http::body_of(&self.metrics, "/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Returns the end of the log.
    pub fn log_end(&self) -> String {
        format!("Gatepost's log ends:\n{}", last_lines(&self.log(), 20))
    }

    fn log(&self) -> PathBuf {
        self.directory.join("gatepost.log")
    }
}
