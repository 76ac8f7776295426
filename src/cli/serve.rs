//! `gatepost serve`: the webhook, with its health and metrics.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::catalogue::PolicyArgs;
use super::exit;
use crate::cluster::ConnectError;
use crate::server::{self, ServeError, Settings};
use crate::telemetry::{LogFormat, logging};

/// Arguments of `gatepost serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the API server asks, over TLS [default: 127.0.0.1:8443, in a Pod 0.0.0.0:8443]
    #[arg(long, value_name = "ADDR:PORT")]
    listen_webhook: Option<SocketAddr>,
    /// Where the API answers [default: 127.0.0.1:8080, in a Pod 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen_http: Option<SocketAddr>,
    /// Where health and metrics are [default: 127.0.0.1:9090, in a Pod 0.0.0.0:9090]
    #[arg(long, value_name = "ADDR:PORT")]
    listen_metrics: Option<SocketAddr>,
    /// Certificate chain in PEM; with none, an own authority makes one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Further DNS name or IP address in the certificate that is made; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert")]
    tls_name: Vec<String>,
    /// Authorities in PEM; only clients with a certificate of one of them are served
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Name that the client's certificate must bear
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    client_name: Option<String>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where certificates and addresses are kept
    #[arg(long, value_name = "DIR", default_value = "gatepost-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    policies: PolicyArgs,
    /// The cluster; in a Pod its ServiceAccount is the default, elsewhere there is no cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace that Gatepost is installed in [default: in a Pod its own]; its Service's names go into the certificate
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Manifests that stand in for a cluster when there is none: their Namespaces and autoscalers count
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: Option<PathBuf>,
    /// Judge Pods, ReplicaSets and Jobs also when their own controller makes them of a judged template
    #[arg(long)]
    judge_owned: bool,
    /// Time that one rule may take for one object, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    rule_timeout_ms: u64,
    /// Instructions that one rule may take for one object, where it runs on the virtual machine
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    rule_instructions: usize,
    /// Largest request that is judged, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max_body_bytes: usize,
    /// Threads that evaluate [default: one a core]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Requests that may wait for a thread; one more is answered 503
    #[arg(long, value_name = "N", default_value_t = 2048)]
    queue: usize,
    /// Seconds to go on answering after the signal to stop, until others have seen it [default: 0, in a Pod 5]
    #[arg(long, value_name = "SECONDS")]
    shutdown_delay: Option<u64>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// Least level of log lines, or directives such as info,gatepost=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

/// Serves until the process is told to stop.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, &args.log_level)?;
    // A panic on one request's thread is caught there; a provider must be there before any TLS is configured.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = settings(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("gatepost-io").build()?;
    match runtime.block_on(server::serve(settings)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ServeError::OutOfReach(ConnectError::ServiceAccount(_) | ConnectError::Client(_))) => {
            super::output::tell(&format!("error: {:#}", anyhow::Error::new(error)));
            Ok(ExitCode::from(exit::OUT_OF_REACH))
        }
        Err(error) => Err(error.into()),
    }
}

fn settings(args: Args) -> anyhow::Result<Settings> {
    let host = if crate::cluster::is_in_pod() { "0.0.0.0" } else { "127.0.0.1" };
    let listen = |given: Option<SocketAddr>, port: u16| {
        given.map_or_else(|| format!("{host}:{port}").parse().map_err(anyhow::Error::from), Ok)
    };
    Ok(Settings {
        listen_webhook: listen(args.listen_webhook, 8443)?,
        listen_http: listen(args.listen_http, 8080)?,
        listen_metrics: listen(args.listen_metrics, 9090)?,
        certificate: args.tls_cert.zip(args.tls_key),
        certificate_names: args.tls_name,
        client_ca: args.client_ca,
        client_name: args.client_name,
        config: crate::config::Config::read(args.config.as_deref())?,
        data_dir: args.data_dir,
        catalogue: args.policies.catalogue()?,
        kubeconfig: args.kubeconfig,
        namespace: args.namespace.or_else(crate::cluster::installation::pod_namespace),
        manifests: args.manifests,
        judge_owned: args.judge_owned,
        rule_timeout: Duration::from_millis(args.rule_timeout_ms),
        rule_instructions: args.rule_instructions,
        max_body: args.max_body_bytes,
        workers: args.workers,
        queue: args.queue,
        shutdown_delay: Duration::from_secs(args.shutdown_delay.unwrap_or(if crate::cluster::is_in_pod() {
            5
        } else {
            0
        })),
    })
}
