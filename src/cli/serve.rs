//! `gatepost serve`: the webhook, with its health and metrics.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{UsageError, exit, output};
use crate::cluster::{self, ConnectError};
use crate::config::{Flags, Layers, Pod, Settings, unknown_variables};
use crate::server::{self, Given, ServeError};
use crate::telemetry::logging;
use crate::webhook::memory::RequestMemory;

/// How long what still runs in the background is waited for in the end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Arguments of `gatepost serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [env: GATEPOST_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print every setting, its value and where it comes from, and do nothing else
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Returns the Pod that this process runs in.
pub fn pod() -> Option<Pod> {
    cluster::is_in_pod().then(|| Pod { namespace: cluster::installation::pod_namespace() })
}

/// Serves until the process is told to stop.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let layers = Layers::new(&args.flags, args.config, pod().as_ref(), std::env::vars_os());
    let read = layers.resolve(layers.text()?.as_deref())?;
    if args.print_config {
        return output::print(&read.to_yaml());
    }
    let _logs = logging::init(read.settings.log_format, &read.settings.log_level)?;
    check_sizes(&read.settings)?;
    warn_of_unknown_variables();
    // A panic on one request's thread is caught there; a provider must be there before any TLS is configured.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let given = Given { layers, read };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("gatepost-io").build()?;
    let served = runtime.block_on(server::serve(given));
    // Something may wait for a reader that never reads.
    runtime.shutdown_timeout(LAST_MOMENT);
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ServeError::OutOfReach(ConnectError::ServiceAccount(_) | ConnectError::Client(_))) => {
            output::tell(&format!("error: {:#}", anyhow::Error::new(error)));
            Ok(ExitCode::from(exit::OUT_OF_REACH))
        }
        Err(error) => Err(error.into()),
    }
}

fn warn_of_unknown_variables() {
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    for (variable, nearest) in unknown_variables(names.iter().map(String::as_str)) {
        tracing::warn!(variable, nearest, "this environment variable means nothing");
    }
}

/// One request must fit into what all of them may take.
fn check_sizes(settings: &Settings) -> Result<(), UsageError> {
    let longest = RequestMemory::longest(settings.max_inflight_bytes);
    if settings.max_body_bytes <= longest {
        return Ok(());
    }
    let (body, inflight) = (settings.max_body_bytes, settings.max_inflight_bytes);
    Err(UsageError(format!(
        "--max-body-bytes {body}: of --max-inflight-bytes {inflight} one request may take {longest} at most; raise that"
    )))
}
