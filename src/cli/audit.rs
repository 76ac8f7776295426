//! `gatepost audit`: one audit of a cluster from here, printed and not kept; and ending the one that a Gatepost is at.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use clap::Subcommand;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cancel::Cancel;
use super::catalogue::PolicyArgs;
use super::output::{self, Colour, Format};
use super::scan::{FailOn, LIMITS, exit_code};
use super::{UsageError, catalogue};
use crate::audit::judges::Judges;
use crate::audit::list::Lister;
use crate::audit::said::Said;
use crate::audit::sink::{Present, Tally as Changes};
use crate::audit::{Memory, Pass, Progress, Rules, Sink, patient};
use crate::cluster;
use crate::cluster::exemptions::Once;
use crate::config::Config;
use crate::engine::Bundle;
use crate::policy::KubernetesVersion;
use crate::report::{EngineVersion, Fault, FileReport, JsonReport, Tally, TextReport};
use crate::store::Stored;
use crate::telemetry::audit::Cost;

/// Where objects outside any namespace are told.
const OUTSIDE: &str = "outside namespaces";

/// Arguments of `gatepost audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Audit a cluster once, with your own rights, and print what is wrong; nothing is kept or changed
    Run(Box<Run>),
    /// Have the audit that a Gatepost is at end before its time; what it has not come to stays as it is
    Cancel(Cancel),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing at or above --fail-on; 1 violations; 2 usage, configuration or policies; 3 something could not be \
read (the rest was judged); 4 a rule could not be evaluated; 5 the cluster is out of reach.")]
struct Run {
    /// The cluster; in a Pod its ServiceAccount is the default
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Judge by this policy beside what namespaces ask for; may be given more than once
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',', default_value = "recommended")]
    named: Vec<String>,
    #[command(flatten)]
    policies: PolicyArgs,
    /// Read modes and exemptions' terms from a configuration file
    #[arg(long, value_name = "FILE", env = "GATEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Read Secrets, too
    #[arg(long)]
    secrets: bool,
    /// List requests in a second, at most
    #[arg(long, value_name = "N", default_value = "20")]
    qps: NonZeroU32,
    /// Exit with 1 for violations at or above this severity, or none
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    fail_on: FailOn,
    /// Format of the report
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Colour,
}

/// Audits; the exit code says how it went.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Run(run) => {
            let (bundle, config) = run.rules()?;
            super::in_runtime(run.run(Arc::new(bundle), Arc::new(config)))
        }
        Command::Cancel(cancel) => super::in_runtime(cancel.run()),
    }
}

impl Run {
    fn rules(&self) -> anyhow::Result<(Bundle, Config)> {
        let bundle = self.policies.bundle()?;
        let config = Config::read(self.config.as_deref())?;
        config.check_policies(&bundle)?;
        config.check_exemptions(bundle.catalogue())?;
        for name in &self.named {
            catalogue::policy(&bundle, name)?;
        }
        Ok((bundle, config))
    }

    async fn run(&self, bundle: Arc<Bundle>, config: Arc<Config>) -> anyhow::Result<ExitCode> {
        let client = cluster::connect_to_list(self.kubeconfig.as_deref()).await?;
        let client = client.ok_or_else(|| UsageError("name the cluster with --kubeconfig FILE".to_owned()))?;
        // Whatever is out of reach from the start is one error, and not one for each kind.
        let version = client.apiserver_version().await?;
        let Once { written, unread } = cluster::exemptions::list(&client).await;
        let exemptions = bundle.catalogue().exemptions_beside(&written, &config.exemptions);
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut found = Screen::default();
        let pass = Pass {
            client,
            cluster: String::new(),
            rules: Rules {
                bundle: bundle.clone(),
                config,
                exemptions: Arc::new(exemptions),
                policies: self.named.iter().map(|name| Arc::from(name.as_str())).collect(),
                limits: patient(LIMITS),
                judge_owned: false,
                kubernetes_version: KubernetesVersion::of_server(&version.git_version),
            },
            secrets: self.secrets,
            lister: Arc::new(Lister::new(self.qps.get(), Cost::default())),
            judges: Arc::new(Judges::new(threads)),
            memory: &mut Memory::default(),
            sink: &mut found,
            progress: watch::channel(Progress::default()).0,
            now: Timestamp::now,
            cancel: CancellationToken::new(),
        };
        let mut outcome = pass.run().await?;
        outcome.unread.extend(unread);
        let reports = found.reports(outcome.unread);
        let (text, tally) = self.told(&reports, &bundle);
        output::write(&text)?;
        Ok(ExitCode::from(exit_code(&tally, self.fail_on.0)))
    }

    fn told(&self, reports: &[FileReport], bundle: &Bundle) -> (String, Tally) {
        let mut tally = Tally::default();
        for report in reports {
            tally.add(report);
        }
        let text = match self.output {
            Format::Text => {
                let mut text = TextReport::new(self.color.is_on(), self.fail_on.0).of_parts("place");
                let told: String = reports.iter().map(|report| text.file(report)).collect();
                told + &text.end(&tally, bundle.catalogue())
            }
            Format::Json => {
                let mut json = JsonReport::default();
                let told: String = reports.iter().map(|report| json.file(report)).collect();
                JsonReport::start(&EngineVersion::of(bundle)) + &told + &json.end(&tally)
            }
        };
        (text, tally)
    }
}

/// What is found, by namespace.
#[derive(Debug, Default)]
struct Screen(BTreeMap<String, FileReport>);

#[async_trait]
impl Sink for Screen {
    async fn page(&mut self, page: Vec<Said>) -> Stored<Changes> {
        for said in page {
            let report = self.0.entry(said.look.object.namespace.clone()).or_default();
            report.entries.extend(said.entries);
            report.summary += said.summary;
        }
        Ok(Changes::default())
    }

    async fn listed(&mut self, _group: &str, _kind: &str, _present: Present<'_>) -> Stored<Changes> {
        Ok(Changes::default())
    }

    async fn served(
        &mut self,
        _served: &HashSet<(String, String)>,
        _wanted: &HashSet<(String, String)>,
    ) -> Stored<Changes> {
        Ok(Changes::default())
    }
}

impl Screen {
    /// Returns what is told: namespace by namespace, then what could not be read.
    fn reports(self, unread: BTreeMap<String, String>) -> Vec<FileReport> {
        let of_namespace = |(namespace, report): (String, FileReport)| {
            let name = if namespace.is_empty() { OUTSIDE.to_owned() } else { format!("namespace {namespace}") };
            FileReport { file: name.into(), ..report }
        };
        let of_kind = |(kind, cause): (String, String)| FileReport {
            file: kind.into(),
            faults: vec![Fault::of_file(cause)],
            ..FileReport::default()
        };
        self.0.into_iter().map(of_namespace).chain(unread.into_iter().map(of_kind)).collect()
    }
}
