//! `gatepost uninstall`: takes the registration away first, and says what to remove then.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::doctor::InstallationArgs;
use super::output;
use crate::cluster::uninstall::{Foreign, Left, Registrations, Removed, left, remove_registration};

/// Arguments of `gatepost uninstall`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    installation: InstallationArgs,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Removes the webhook configurations, so that no API server waits for what goes next.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::in_runtime(async {
        let installation = args.installation.connect().await?;
        let registrations = remove_registration(&installation, args.dry_run).await?;
        let left = left(&installation).await;
        output::print(&text(&registrations, &left, &installation.namespace, args.dry_run))
    })
}

fn text(registrations: &Registrations, left: &Left, namespace: &str, dry_run: bool) -> String {
    let mut text = String::new();
    let verb = if dry_run { "Would remove" } else { "Removed" };
    for Removed { kind, name, applied_by } in &registrations.removed {
        let _ = writeln!(text, "{verb} {kind} {name}: the API server asks Gatepost no more.");
        if let Some(owner) = applied_by {
            let _ = writeln!(text, "  It comes back: it is applied by {owner}. Take it out there as well.");
        }
    }
    for Foreign { kind, name, asks } in &registrations.foreign {
        let asks = if asks.is_empty() { "nobody".to_owned() } else { asks.join(", ") };
        let _ = writeln!(text, "{kind} {name} asks {asks}, not Service {namespace}/gatepost: it is left alone.");
    }
    if registrations.removed.is_empty() && registrations.foreign.is_empty() {
        text.push_str("There is no webhook configuration of Gatepost: the API server does not ask it.\n");
    }
    text.push_str("\nWhat is left, to be removed in this order:\n\n");
    for command in left.commands(namespace) {
        let _ = writeln!(text, "  {command}");
    }
    if left.labelled_namespaces > 0 {
        let count = left.labelled_namespaces;
        let _ = writeln!(
            text,
            "\n{count} namespaces carry labels under gatepost.dev; without Gatepost they mean nothing and harm nobody."
        );
    }
    text
}
