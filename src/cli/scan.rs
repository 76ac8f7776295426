//! `gatepost scan`: judges manifests in files.

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::catalogue::PolicyArgs;
use super::output::{self, Colour};
use super::patch::Patches;
use super::report::ReportArgs;
use super::{UsageError, exit};
use crate::config::Config;
use crate::engine::{Bundle, Limits, Machines, ResolvedPolicy, Value};
use crate::input::{Inputs, Piece, Surroundings, ordered, parse};
use crate::policy::{Exemptions, KubernetesVersion, Modes, Severity};
use crate::report::judge::{Judge, asked};
use crate::report::{EngineVersion, FileReport, JsonReport, Tally, TextReport};
use crate::scan::documents::Scanner;
use crate::scan::record::Gathered;

/// What one rule may cost on one object.
pub const LIMITS: Limits = Limits { time: Duration::from_secs(1), instructions: 10_000_000 };
/// A progress bar for less than this would only flicker.
const SHORT: Duration = Duration::from_secs(1);

/// Arguments of `gatepost scan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing at or above --fail-on; 1 violations; 2 usage, configuration or policies; 3 something could not be \
read (the rest was judged); 4 a rule could not be evaluated; 5 the verdict was printed, but could not be reported. Of \
several, the first of 2, 5, 4, 3, 1.

Examples:
  gatepost scan .
  gatepost scan deploy/ 'services/*/k8s/*.yaml' --fail-on medium
  helm template . | gatepost scan -
  gatepost scan . -o patch | git apply")]
pub struct Args {
    /// Files, directories, globs in quotes, or - for the standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Judge by this policy; may be given more than once [default: recommended]
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',')]
    named: Vec<String>,
    /// Judge by this rule only, given by its id or another of its names; may be given more than once
    #[arg(long = "rule", value_name = "ID", value_delimiter = ',')]
    rules: Vec<String>,
    /// Judge for this release of Kubernetes, such as 1.31: what it has removed fails, what it still serves does not
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<KubernetesVersion>,
    /// Exit with 1 for violations at or above this severity, or none
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    fail_on: FailOn,
    /// Format of the report
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    policies: PolicyArgs,
    /// Read modes and namespaces from a configuration file
    #[arg(long, value_name = "FILE", env = "GATEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Report what passed, too
    #[arg(long)]
    show_passed: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Colour,
    /// Show no progress bar
    #[arg(long)]
    no_progress: bool,
    #[command(flatten)]
    report: ReportArgs,
}

/// Format of a scan's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// What mends the files, as a diff for git apply
    Patch,
}

/// The least severity that fails the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailOn(pub Option<Severity>);

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|severity| Self(Some(severity))).map_err(|error| format!("{error}, none"))
    }
}

/// Scans, reports, and says by the exit code how it went.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.paths.is_empty() {
        let cause = "name what to scan: gatepost scan . for this directory, gatepost scan - for the standard input";
        return Err(UsageError(cause.into()).into());
    }
    let bundle = args.policies.bundle()?;
    let config = Config::read(args.config.as_deref())?;
    config.check_policies(&bundle)?;
    config.check_exemptions(bundle.catalogue())?;
    let exemptions = Exemptions::new(bundle.catalogue().exemptions().iter().cloned(), &config.exemptions);
    let policies = asked(&bundle, &args.named, &args.rules).map_err(|error| UsageError(error.0))?;
    let inputs = Inputs::new(&args.paths, io::stdin());
    let bar = progress_bar();
    let (surroundings, pieces) = surroundings(&inputs, &bundle, &policies, &config)?;
    bar.set_length(pieces);
    tell_notices(&surroundings, &config.modes, &bundle);
    let judge = Judge {
        bundle: &bundle,
        policies: &policies,
        limits: LIMITS,
        exemptions: &exemptions,
        now: Timestamp::now(),
        shows_passed: args.show_passed,
    };
    let inventory = |object: &Value| surroundings.inventory(object);
    let scanner = Scanner {
        judge,
        modes: &config.modes,
        surroundings: &surroundings,
        namespace: None,
        inventory: &inventory,
        kubernetes_version: args.kubernetes_version,
    };
    let mut gathered = Gathered::default();
    let tally = report(args, &inputs, &scanner, &bar, &mut gathered)?;
    if tally.summary.objects == 0 && tally.faults == 0 {
        // In CI a wrong path would pass for a clean one.
        output::tell("warning: nothing was judged: there are no Kubernetes objects in what was named");
    }
    let code = exit_code(&tally, args.fail_on.0);
    match args.report.send(gathered, &tally, bundle.digest(), args.fail_on.0) {
        Ok(()) => Ok(ExitCode::from(code)),
        Err(error) if error.is::<UsageError>() => Err(error),
        Err(error) => {
            output::tell(&format!("error: the verdict above stands, but it was not reported: {error:#}"));
            Ok(ExitCode::from(exit::OUT_OF_REACH))
        }
    }
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Looks through everything once for what must be known before anything is judged; counts the pieces.
fn surroundings(
    inputs: &Inputs,
    bundle: &Bundle,
    policies: &[Arc<ResolvedPolicy>],
    config: &Config,
) -> anyhow::Result<(Surroundings, u64)> {
    let ids = policies.iter().flat_map(|policy| policy.entries.keys());
    let checks = ids.filter_map(|id| bundle.checks().get(*id));
    let mut surroundings = Surroundings::new(checks.flat_map(|check| check.rule.rule.inventory.iter().cloned()));
    let sieve = Surroundings::new(surroundings.kinds().to_vec());
    let look = |(): &mut (), piece: Piece| -> Vec<Value> {
        let chunks = piece.chunks(|bytes| sieve.could_be_in(bytes)).into_iter().flatten();
        let chunks = chunks.filter(|chunk| sieve.could_be_in(chunk.text.as_bytes()));
        let objects = chunks.flat_map(|chunk| parse(&chunk).manifests).map(|manifest| manifest.object);
        objects.filter(|object| sieve.is_wanted(object)).collect()
    };
    let mut pieces = 0_u64;
    let take = |objects: Vec<Value>| {
        pieces = pieces.saturating_add(1);
        for object in &objects {
            surroundings.add(object);
        }
        ControlFlow::Continue(())
    };
    ordered::for_each(inputs.pieces(), workers(), || (), look, take)?;
    surroundings.add_namespaces(&config.static_namespaces);
    Ok((surroundings, pieces))
}

/// Says what in the files' namespaces does not mean what its author thought.
fn tell_notices(surroundings: &Surroundings, modes: &Modes, bundle: &Bundle) {
    for namespace in surroundings.namespaces() {
        for notice in modes.grants(namespace, bundle).notices {
            output::tell(&format!("warning: namespace {}: {notice}", namespace.name));
        }
    }
}

/// A bar that nobody sees yet: it is shown once the work turns out to be long.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{bar:40} {percent}%, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Judges everything and writes the report as it goes.
fn report(
    args: &Args,
    inputs: &Inputs,
    scanner: &Scanner<'_>,
    bar: &ProgressBar,
    gathered: &mut Gathered,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut text = TextReport::new(args.color.is_on(), args.fail_on.0);
    let (mut json, mut patches) = (JsonReport::default(), Patches::default());
    if args.output == Format::Json {
        output::write(&JsonReport::start(&EngineVersion::of(scanner.judge.bundle)))?;
    }
    let shows_progress = !args.no_progress && io::stderr().is_terminal();
    let mut written = Ok(());
    let show = |report: FileReport| {
        bar.inc(1);
        if shows_progress && bar.is_hidden() && bar.elapsed() > SHORT {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        tally.add(&report);
        if args.report.is_asked_for() {
            gathered.add(&report);
        }
        let part = match args.output {
            Format::Text => text.file(&report),
            Format::Json | Format::Patch => {
                for fault in &report.faults {
                    output::tell(&fault.in_file(&report.file));
                }
                if args.output == Format::Patch {
                    patches.add(&report);
                    String::new()
                } else {
                    json.file(&report)
                }
            }
        };
        if part.is_empty() {
            return ControlFlow::Continue(());
        }
        written = bar.suspend(|| output::write(&part));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    ordered::for_each(
        inputs.pieces(),
        workers(),
        Machines::default,
        |machines, piece| scan(scanner, piece, machines),
        show,
    )?;
    bar.finish_and_clear();
    written.and_then(|()| {
        output::write(&match args.output {
            Format::Text => text.end(&tally, scanner.judge.bundle.catalogue()),
            Format::Json => json.end(&tally),
            Format::Patch => {
                let (diffs, left) = patches.diffs(scanner.judge.bundle.catalogue());
                if left > 0 {
                    output::tell(&format!("{left} of {} violations are left to people", tally.total()));
                }
                diffs
            }
        })
    })?;
    Ok(tally)
}

/// Returns what a report's count says to the shell.
pub fn exit_code(tally: &Tally, fail_on: Option<Severity>) -> u8 {
    if tally.summary.error > 0 {
        exit::NOT_EVALUATED
    } else if tally.faults > 0 {
        exit::UNREADABLE
    } else if !tally.passes(fail_on) {
        exit::VIOLATIONS
    } else {
        0
    }
}

/// Judges every document of a piece.
fn scan(scanner: &Scanner<'_>, piece: Piece, machines: &mut Machines) -> FileReport {
    let mut report = FileReport { file: piece.file.clone(), ..FileReport::default() };
    for chunk in piece.chunks(|_| true) {
        match chunk {
            Ok(chunk) => scanner.document(&chunk, machines, &mut report),
            Err(fault) => report.faults.push(fault),
        }
    }
    report
}
