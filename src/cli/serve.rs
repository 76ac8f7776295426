//! `gatepost serve`: the webhook, with its health and metrics.

use std::path::PathBuf;
use std::process::ExitCode;

use super::catalogue;
use super::exit;
use crate::cluster::ConnectError;
use crate::config::{Config, Settings};
use crate::server::{self, Given, ServeError};
use crate::telemetry::logging;

/// Arguments of `gatepost serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Serves until the process is told to stop.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config, settings } = args;
    logging::init(settings.log_format, &settings.log_level)?;
    // A panic on one request's thread is caught there; a provider must be there before any TLS is configured.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::read(config.as_deref())?;
    let given = Given { config, catalogue: catalogue::read(&settings.policies)?, settings };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("gatepost-io").build()?;
    match runtime.block_on(server::serve(given)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ServeError::OutOfReach(ConnectError::ServiceAccount(_) | ConnectError::Client(_))) => {
            super::output::tell(&format!("error: {:#}", anyhow::Error::new(error)));
            Ok(ExitCode::from(exit::OUT_OF_REACH))
        }
        Err(error) => Err(error.into()),
    }
}
