//! `gatepost decisions`: what admission let in under break-glass.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::output::{self, Format};
use super::{UsageError, exit};
use crate::webhook::journal::{self, Admitted};

/// Arguments of `gatepost decisions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List what came in under break-glass; with a name, for that incident alone
    #[arg(long, value_name = "INCIDENT", num_args = 0..=1, default_missing_value = "")]
    break_glass: Option<String>,
    /// Data directory of the `gatepost serve` that admitted it
    #[arg(long, value_name = "DIR", env = "GATEPOST_DATA_DIR", default_value = "gatepost-data")]
    data_dir: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Lists decisions.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(incident) = &args.break_glass else {
        let cause = "only what came in under break-glass is kept: gatepost decisions --break-glass [INCIDENT]";
        return Err(UsageError(cause.into()).into());
    };
    let listing = match journal::read(&args.data_dir) {
        Ok(listing) => listing,
        Err(error) => {
            output::tell(&format!("error: --data-dir {}: {error}", args.data_dir.display()));
            return Ok(ExitCode::from(exit::UNREADABLE));
        }
    };
    let is_wanted = |admitted: &&Admitted| incident.is_empty() || admitted.incident == *incident;
    let found: Vec<&Admitted> = listing.admitted.iter().filter(is_wanted).collect();
    output::print(&match args.output {
        Format::Json => format!("{:#}\n", json!({"items": found, "next": null})),
        Format::Text => text(&found),
    })?;
    if listing.unreadable > 0 {
        output::tell(&format!("error: {} lines cannot be read", listing.unreadable));
        return Ok(ExitCode::from(exit::UNREADABLE));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(found: &[&Admitted]) -> String {
    if found.is_empty() {
        return "Nothing came in under break-glass.\n".into();
    }
    let mut text = String::new();
    for admitted in found {
        let Admitted { time, incident, operation, kind, namespace, name, user, rules, .. } = admitted;
        let rules = rules.join(", ");
        let line = format!("{time}  {incident}  {operation} {kind} {namespace}/{name} by {user}: {rules}");
        // What stands in a name must not steer the terminal.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "{line}");
    }
    text
}
