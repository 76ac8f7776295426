//! `gatepost doctor`: what is wrong with an installation, in words.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::output::{self, Colour, Format};
use super::{UsageError, exit};
use crate::cluster::doctor::{Facts, Finding, State, diagnose};
use crate::cluster::installation::{self, Installation};
use crate::cluster::{self, registration};

/// Where the shipped manifests install Gatepost.
pub const DEFAULT_NAMESPACE: &str = "gatepost";
const WIDTH: usize = 100;

/// Which installation is meant.
#[derive(Debug, clap::Args)]
pub struct InstallationArgs {
    /// The cluster; in a Pod its ServiceAccount is the default
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Namespace that Gatepost is installed in [default: in a Pod its own, elsewhere gatepost]
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
}

impl InstallationArgs {
    /// Connects; an error if there is no cluster to connect to.
    pub async fn connect(&self) -> anyhow::Result<Installation> {
        let client = cluster::connect(self.kubeconfig.as_deref()).await?;
        let client = client.ok_or_else(|| UsageError("name the cluster with --kubeconfig FILE".to_owned()))?;
        let namespace = self.namespace.clone().or_else(installation::pod_namespace);
        Ok(Installation { client, namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()) })
    }
}

/// Arguments of `gatepost doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    installation: InstallationArgs,
    /// Health listener of a process to ask beside the cluster's Pods; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Vec<String>,
    /// Data directory of a process on this machine, which names its health listener
    #[arg(long, value_name = "DIR", default_value = "gatepost-data")]
    data_dir: PathBuf,
    /// Have a registration that somebody deleted written again
    #[arg(long)]
    resume: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

/// Looks at everything, and says what is wrong; 1 if something is.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::in_runtime(async {
        let installation = args.installation.connect().await?;
        if args.resume {
            let was_deleted = registration::resume(&installation).await?;
            output::tell(if was_deleted {
                "The registration is written again, as soon as a process with registration: self sees it."
            } else {
                "Nobody deleted a registration that Gatepost had written: there is nothing to resume."
            });
        }
        let local = local(&args.data_dir).into_iter().chain(args.metrics.iter().cloned());
        let facts = Facts::gather(&installation, &local.collect::<Vec<_>>()).await;
        let findings = diagnose(&facts);
        match args.output {
            Format::Text => output::print(&text(&findings, args.color.is_on()))?,
            Format::Json => output::print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?,
        };
        Ok(verdict(&facts, &findings))
    })
}

/// Returns the health address of the process whose data directory this is.
fn local(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join("addresses.json")).ok()?;
    let addresses: serde_json::Value = serde_json::from_str(&text).ok()?;
    addresses.get("metrics")?.as_str().map(str::to_owned)
}

fn verdict(facts: &Facts, findings: &[Finding]) -> ExitCode {
    if facts.api_server.is_err() {
        return ExitCode::from(exit::OUT_OF_REACH);
    }
    let is_wrong = findings.iter().any(|finding| finding.state == State::Problem);
    if is_wrong { ExitCode::from(exit::VIOLATIONS) } else { ExitCode::SUCCESS }
}

fn text(findings: &[Finding], has_colours: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, colour) = match finding.state {
            State::Ok => ("ok", AnsiColor::Green),
            State::Unknown => ("unknown", AnsiColor::Cyan),
            State::Warning => ("warning", AnsiColor::Yellow),
            State::Problem => ("problem", AnsiColor::Red),
        };
        let style = if has_colours { Style::new().fg_color(Some(colour.into())) } else { Style::new() };
        let says = output::wrapped(&format!("{}: {}", finding.check, finding.says), 9, WIDTH);
        let _ = write!(text, "{style}{word:<8}{style:#} {}", says.trim_start());
        if let Some(mend) = &finding.mend {
            let _ = write!(text, "{}", output::wrapped(&format!("→ {mend}"), 9, WIDTH));
        }
    }
    let problems = findings.iter().filter(|finding| finding.state == State::Problem).count();
    let warnings = findings.iter().filter(|finding| finding.state == State::Warning).count();
    let _ = match (problems, warnings) {
        (0, 0) => writeln!(text, "\nNothing is wrong."),
        _ => writeln!(text, "\n{problems} problems, {warnings} warnings."),
    };
    text
}
