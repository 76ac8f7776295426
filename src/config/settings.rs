//! Settings of `gatepost serve` that are single values or lists of words.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Arg, Command};

use super::layers::Pod;
use super::lifetime::{Interval, Lifetime};
use super::receiver::Receiver;
use super::secret::Secret;
use super::slots::Slots;
use super::web_address::WebAddress;
use crate::store::{Address, Remote};

/// Settings that a change of the file changes at once; every other one needs a restart, which is then told.
pub(super) const LIVE: [&str; 4] = ["policies", "judge_owned", "rule_timeout_ms", "rule_instructions"];

/// Settings that mean nothing without another one.
pub(super) const NEEDS: [(&str, &str); 5] = [
    ("tlsCert", "tlsKey"),
    ("tlsKey", "tlsCert"),
    ("clientName", "clientCa"),
    ("scannerTokenFile", "scanner"),
    ("scannerCa", "scanner"),
];

/// Settings that contradict each other.
pub(super) const EXCLUDES: [(&str, &str); 3] =
    [("tlsName", "tlsCert"), ("manifests", "kubeconfig"), ("databaseUrlFile", "databaseUrl")];

/// Settings whose values are shown only in part.
pub(super) const SECRET: [&str; 1] = ["database_url"];

/// Every setting: a field here is a flag, and by its name a variable and a key of the configuration file.
///
/// What goes with what stands in `NEEDS` and `EXCLUDES` and not in attributes: those see the command line only.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Which parts run here: all of them, the webhook alone, or the scanner (audit, store, API) alone
    #[arg(long, value_enum, value_name = "ROLE", default_value_t)]
    pub role: Role,
    /// Where the webhook reports what it decided, with --role webhook; if not given, to this process
    #[arg(long, value_name = "URL")]
    pub scanner: Option<Receiver>,
    /// Bearer token that goes with every report to --scanner; read again for each
    #[arg(long, value_name = "FILE")]
    pub scanner_token_file: Option<PathBuf>,
    /// Authorities in PEM that vouch for --scanner; if not given, those of the machine
    #[arg(long, value_name = "FILE")]
    pub scanner_ca: Option<PathBuf>,
    /// Bytes that decisions may take on disk until they are reported; beyond it the oldest without violations go first
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    pub outbox_bytes: u64,
    /// Where the API server asks, over TLS; in a Pod on all of its addresses
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    pub listen_webhook: SocketAddr,
    /// Where the API answers; in a Pod on all of its addresses
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub listen_http: SocketAddr,
    /// Address by which people reach the dashboard: links in notifications, warnings and denials begin with it, and
    /// behind a proxy links of pages with its path
    #[arg(long, value_name = "URL")]
    pub external_url: Option<WebAddress>,
    /// Where health and metrics are; in a Pod on all of its addresses
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9090")]
    pub listen_metrics: SocketAddr,
    /// Certificate chain in PEM; with none, an own authority makes one
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Further DNS name or IP address in the certificate that is made; may be repeated
    #[arg(long, value_name = "NAME")]
    pub tls_name: Vec<String>,
    /// How long a certificate authority that is made is valid
    #[arg(long, value_name = "TIME", default_value = "10y")]
    pub ca_lifetime: Lifetime,
    /// How long a serving certificate that is made is valid
    #[arg(long, value_name = "TIME", default_value = "365d")]
    pub tls_lifetime: Lifetime,
    /// How long a new authority is trusted before it issues; if not given, a tenth of --ca-lifetime, at most 30d
    #[arg(long, value_name = "TIME")]
    pub ca_overlap: Option<Lifetime>,
    /// Authorities in PEM; only clients with a certificate of one of them are served
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Name that the client's certificate must bear; may be repeated, and one of them is enough
    #[arg(long, value_name = "NAME")]
    pub client_name: Vec<String>,
    /// Where certificates and addresses are kept
    #[arg(long, value_name = "DIR", default_value = "gatepost-data")]
    pub data_dir: PathBuf,
    /// Keep findings in a PostgreSQL database, postgres://USER:PASSWORD@HOST/DATABASE, instead of a file in --data-dir
    #[arg(long, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// File that holds the URL of --database-url; read again for every connection
    #[arg(long, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Authorities in PEM that vouch for the database's server; without an sslmode in the URL they must vouch for its name
    #[arg(long, value_name = "FILE")]
    pub database_ca: Option<PathBuf>,
    /// How long decisions are kept
    #[arg(long, value_name = "TIME", default_value = "14d")]
    pub keep_decisions: Lifetime,
    /// How long closed findings, ended audits with their counts, and checks are kept
    #[arg(long, value_name = "TIME", default_value = "90d")]
    pub keep_history: Lifetime,
    /// Read rules and policies from a directory, over those that ship; may be given more than once
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    pub policies: Vec<PathBuf>,
    /// The cluster; in a Pod its ServiceAccount is the default, elsewhere there is no cluster
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of this cluster, where several report to one place: in findings, notifications and the dashboard
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Namespace that Gatepost is installed in, in a Pod its own; its Service's names go into the certificate
    #[arg(long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Manifests that stand in for a cluster when there is none: they are audited, and their Namespaces and autoscalers count
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Who writes the webhook configuration: it comes from a manifest and only its caBundle is written, or all of it is,
    /// or nothing
    #[arg(long, value_enum, value_name = "WHO", default_value_t)]
    pub registration: Registration,
    /// With --registration self: what the API server does with a request when Gatepost does not answer
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub failure_policy: FailurePolicy,
    /// Port of the Service by which the API server reaches the webhook
    #[arg(long, value_name = "PORT", default_value_t = 443, value_parser = clap::value_parser!(u16).range(1..))]
    pub port_of_service: u16,
    /// Judge Pods, ReplicaSets and Jobs also when their own controller makes them of a judged template
    #[arg(long)]
    pub judge_owned: bool,
    /// Time that one rule may take for one object, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub rule_timeout_ms: u64,
    /// Instructions that one rule may take for one object, where it runs on the virtual machine
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    pub rule_instructions: usize,
    /// Of so many evaluations of an own rule on the virtual machine, one is repeated on the interpreter afterwards
    #[arg(long, value_name = "N", default_value = "1000")]
    pub vm_repeat_one_in: NonZeroU64,
    /// Largest request that is judged, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub max_body_bytes: usize,
    /// Largest body that the scan endpoint takes, and largest document of a stream, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    pub max_scan_bytes: usize,
    /// Threads that judge for the scan endpoint; twice as many scans may be under way, one more is answered 429
    /// [default: one for two cores]
    #[arg(long, value_name = "N", default_value_t = half_the_cores(), hide_default_value = true)]
    pub scan_workers: NonZeroUsize,
    /// Requests to the API that each caller may send in a second, twice as many in a burst; one more is answered 429. 0:
    /// any number
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub api_requests_per_second: u32,
    /// Memory that requests under way may take, a quarter for their text, in bytes; one more is answered 503
    #[arg(long, value_name = "BYTES", default_value_t = 96 << 20)]
    pub max_inflight_bytes: usize,
    /// Connections to the webhook at a time; beyond it the one that has been idle longest makes room [default: 2500, or
    /// what the limit of open files leaves]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Threads that evaluate [default: one a core]
    #[arg(long, value_name = "N", default_value_t = one_a_core(), hide_default_value = true)]
    pub workers: NonZeroUsize,
    /// Requests that may wait for a thread; one more is answered 503
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub queue: usize,
    /// Seconds to go on answering after the signal to stop, until others have seen it; in a Pod 5
    #[arg(long, alias = "shutdown-delay", value_name = "SECONDS", default_value_t = 0)]
    pub shutdown_delay_seconds: u64,
    /// Which policies judge what, where nothing else is said.
    #[command(flatten)]
    pub slots: Slots,
    /// How often the whole cluster, or what stands in for it, is audited, and first at the start; off: never
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub audit_interval: Interval,
    /// List requests that an audit sends in a second, at most
    #[arg(long, value_name = "N", default_value = "20")]
    pub audit_qps: NonZeroU32,
    /// Read Secrets in audits, too
    #[arg(long)]
    pub audit_secrets: bool,
    /// Write what audits find into the cluster, as objects of this API
    #[arg(long, value_enum, value_name = "API", default_value_t)]
    pub policy_reports: PolicyReports,
    /// Write an Event at each object in which an audit finds something new that is denied or warned of, and at the Argo CD
    /// Application that delivers it
    #[arg(long)]
    pub events: bool,
    /// Events that are written after an audit, at most
    #[arg(long, value_name = "N", default_value = "100")]
    pub events_per_audit: NonZeroUsize,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Least level of log lines, or directives such as info,gatepost=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

impl Settings {
    /// Returns the name of this cluster; empty where it has none.
    pub fn cluster(&self) -> String {
        self.cluster_name.clone().unwrap_or_default()
    }

    /// Returns the time that one rule may take for one object.
    pub fn rule_timeout(&self) -> Duration {
        Duration::from_millis(self.rule_timeout_ms)
    }

    /// Returns the database that is to be used instead of a file; an error says what is wrong with its URL.
    pub fn database(&self) -> Result<Option<Remote>, String> {
        let of_file = self.database_url_file.clone().map(Address::File);
        let address = match &self.database_url {
            Some(url) => Some(Address::Url(url.expose().parse()?)),
            None => of_file,
        };
        Ok(address.map(|address| Remote { address, authority: self.database_ca.clone() }))
    }

    /// Returns the certificate chain and its key, both PEM files, where somebody else keeps them.
    pub fn certificate(&self) -> Option<(PathBuf, PathBuf)> {
        self.tls_cert.clone().zip(self.tls_key.clone())
    }
}

fn one_a_core() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn half_the_cores() -> NonZeroUsize {
    NonZeroUsize::new(one_a_core().get() / 2).unwrap_or(NonZeroUsize::MIN)
}

/// Gives the command the defaults that suit a Pod.
pub fn in_pod(serve: Command, pod: &Pod) -> Command {
    let everywhere = |port: u16| move |arg: Arg| arg.default_value(format!("0.0.0.0:{port}"));
    let serve = serve
        .mut_arg("listen_webhook", everywhere(8443))
        .mut_arg("listen_http", everywhere(8080))
        .mut_arg("listen_metrics", everywhere(9090))
        .mut_arg("shutdown_delay_seconds", |arg| arg.default_value("5"));
    match &pod.namespace {
        Some(namespace) => serve.mut_arg("namespace", |arg| arg.default_value(namespace.clone())),
        None => serve,
    }
}

/// Which parts of Gatepost run in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// What answers the API server.
    Webhook,
    /// What audits, remembers and shows.
    Scanner,
}

impl Role {
    /// Returns whether admission requests are answered.
    pub const fn answers_requests(self) -> bool {
        matches!(self, Self::All | Self::Webhook)
    }

    /// Returns whether the cluster is audited, and what was found is kept and shown.
    pub const fn audits(self) -> bool {
        matches!(self, Self::All | Self::Scanner)
    }
}

/// Who writes the webhook configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Registration {
    /// It comes from a manifest; Gatepost writes only `caBundle`.
    #[default]
    Manifest,
    /// Gatepost writes all of it.
    #[value(name = "self")]
    Own,
    /// Gatepost writes nothing.
    None,
}

/// What the API server does with a request when Gatepost does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FailurePolicy {
    /// It goes on unjudged.
    #[default]
    Ignore,
    /// It is refused.
    Fail,
}

impl FailurePolicy {
    /// Returns the API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// As what findings are written into the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PolicyReports {
    /// They are not.
    #[default]
    Off,
    /// PolicyReport and ClusterPolicyReport of `wgpolicyk8s.io/v1alpha2`.
    #[value(name = "wgpolicyk8s")]
    WgPolicy,
    /// Report and ClusterReport of `openreports.io/v1alpha1`.
    #[value(name = "openreports")]
    OpenReports,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One flat JSON object a line: `timestamp`, `level`, `message`, `target`, and the fields.
    #[default]
    Json,
    /// Text, with colour on a terminal.
    Pretty,
}
