//! The command line: one file for each subcommand.

mod audit;
mod cancel;
mod catalogue;
mod certs;
mod completion;
mod dashboard;
mod decisions;
mod doctor;
mod exemptions;
mod explain;
pub(crate) mod output;
mod patch;
mod place;
mod policies;
mod report;
mod scan;
pub mod serve;
mod suggest;
mod tokens;
mod uninstall;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config;

/// What the program says to the shell; of several, the first of 2, 5, 4, 3, 1.
pub mod exit {
    /// Violations at or above `--fail-on`.
    pub const VIOLATIONS: u8 = 1;
    /// The command line or the configuration is wrong.
    pub const USAGE: u8 = 2;
    /// Something could not be read.
    pub const UNREADABLE: u8 = 3;
    /// A rule could not be evaluated.
    pub const NOT_EVALUATED: u8 = 4;
    /// The server or the cluster is out of reach.
    pub const OUT_OF_REACH: u8 = 5;
}

/// Judges Kubernetes objects: at admission, in the cluster and in files.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the API server's admission requests
    Serve(Box<serve::Args>),
    /// Judge manifests in files
    Scan(scan::Args),
    /// Judge what stands in a cluster
    Audit(audit::Args),
    /// Show the policies that there are
    Policies(policies::Args),
    /// Say what a rule wants, why, and how to fix it
    Explain(explain::Args),
    /// Open the dashboard of a Gatepost in the cluster, with your own rights
    Dashboard(dashboard::Args),
    /// List what admission let in under break-glass
    Decisions(decisions::Args),
    /// List exemptions, with how they stand
    Exemptions(exemptions::Args),
    /// Make tokens for the API, list and revoke them
    Tokens(tokens::Args),
    /// Say what is wrong with an installation in a cluster
    Doctor(doctor::Args),
    /// Take the registration out of a cluster, and say what to remove then
    Uninstall(uninstall::Args),
    /// Make the webhook's certificates, or show them
    Certs(certs::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Print the version
    Version,
    /// As Datree and conftest call it
    #[command(hide = true)]
    Test {
        /// Files
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        files: Vec<String>,
    },
}

/// Something that the user can mend in the command line, the configuration or the policies.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to the standard output; whoever closed it does not want them.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    run(cli.command).unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        output::tell(&format!("error: {error:#}"));
        ExitCode::from(exit::USAGE)
    })
}

fn parse() -> Result<Cli, clap::Error> {
    let command = Cli::command();
    let command = match serve::pod() {
        Some(pod) => command.mut_subcommand("serve", |serve| config::in_pod(serve, &pod)),
        None => command,
    };
    Cli::from_arg_matches(&command.try_get_matches()?)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::Scan(args) => scan::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Policies(args) => policies::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Dashboard(args) => dashboard::run(&args),
        Command::Decisions(args) => decisions::run(&args),
        Command::Exemptions(args) => exemptions::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Version => output::print(concat!("gatepost ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Test { files } => {
            let files = if files.is_empty() { "FILE".to_owned() } else { files.join(" ") };
            Err(UsageError(format!("files are judged by scan here: gatepost scan {files}")).into())
        }
    }
}

/// Runs what speaks to a cluster; 5 if that is out of reach.
fn in_runtime(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(command) {
        Err(error) if error.downcast_ref::<UsageError>().is_none() && !is_broken_pipe(&error) => {
            output::tell(&format!("error: {error:#}"));
            Ok(ExitCode::from(exit::OUT_OF_REACH))
        }
        answer => answer,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
