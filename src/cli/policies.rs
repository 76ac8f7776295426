//! `gatepost policies`: which policies there are, and what each asks.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::catalogue::{PolicyArgs, policy};
use super::output::{self, Format};
use crate::engine::{Bundle, ResolvedPolicy};
use crate::policy::set::OnError;
use crate::policy::{AtMost, RuleId, Severity};

/// Arguments of `gatepost policies`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List every policy with its rules
    List(Common),
    /// Write a policy of the rules that nothing breaks, which can be enforced now
    Suggest(Box<super::suggest::Args>),
    /// Show one policy: its rules, and what it makes of each
    Show {
        /// Name of the policy
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    policies: PolicyArgs,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyView {
    name: String,
    title: String,
    description: String,
    rules: Vec<RuleView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleView {
    id: RuleId,
    severity: Severity,
    title: String,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    parameters: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_error: Option<OnError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<AtMost>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exemptable: bool,
}

/// A list as the API answers it.
#[derive(Debug, Serialize)]
struct Items<T> {
    items: Vec<T>,
}

/// Lists or shows.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(common) => {
            let bundle = common.policies.bundle()?;
            let items: Vec<PolicyView> = bundle.policies().values().map(|policy| view(&bundle, policy)).collect();
            match common.output {
                Format::Json => json(&Items { items }),
                Format::Text => output::print(&items.iter().map(listed).collect::<Vec<_>>().join("\n")),
            }
        }
        Command::Suggest(args) => super::suggest::run(args),
        Command::Show { name, common } => {
            let bundle = common.policies.bundle()?;
            let view = view(&bundle, policy(&bundle, name)?);
            match common.output {
                Format::Json => json(&view),
                Format::Text => output::print(&shown(&view)),
            }
        }
    }
}

fn json(value: &impl Serialize) -> anyhow::Result<ExitCode> {
    output::print(&(serde_json::to_string_pretty(value)? + "\n"))
}

fn view(bundle: &Bundle, policy: &ResolvedPolicy) -> PolicyView {
    let rule = |(id, entry): (&usize, &crate::policy::set::Entry)| {
        let rule = &bundle.checks().get(*id)?.rule.rule;
        Some(RuleView {
            id: rule.id.clone(),
            severity: entry.severity,
            title: rule.title.clone(),
            parameters: entry.parameters.clone(),
            message: entry.message.as_deref().map(str::to_owned),
            on_error: Some(entry.on_error).filter(|on_error| *on_error != OnError::default()),
            at_most: entry.at_most,
            exemptable: entry.exemptable,
        })
    };
    let mut rules: Vec<RuleView> = policy.entries.iter().filter_map(rule).collect();
    rules.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
    let description = policy.description.trim().to_owned();
    PolicyView { name: policy.name.to_string(), title: policy.title.clone(), description, rules }
}

fn listed(view: &PolicyView) -> String {
    let count = view.rules.len();
    let mut text = format!("{} ({count} rule{})\n", view.name, if count == 1 { "" } else { "s" });
    text.push_str(&output::wrapped(&view.description, 2, 100));
    let width = view.rules.iter().map(|rule| rule.id.as_str().len()).max().unwrap_or_default();
    for rule in &view.rules {
        let _ = writeln!(text, "  {:<8}  {:<width$}  {}", rule.severity, rule.id, rule.title);
    }
    text
}

fn shown(view: &PolicyView) -> String {
    let mut text = listed(view);
    let mut said = String::new();
    for rule in &view.rules {
        let mut say = |what: &str, value: String| {
            let _ = writeln!(said, "  {}: {what}: {value}", rule.id);
        };
        if !rule.parameters.is_empty() {
            say("parameters", serde_json::to_string(&rule.parameters).unwrap_or_default());
        }
        if let Some(message) = &rule.message {
            say("message", message.clone());
        }
        if rule.on_error == Some(OnError::Allow) {
            say("onError", "allow".into());
        }
        if rule.at_most == Some(AtMost::Warn) {
            say("atMost", "warn".into());
        }
        if rule.exemptable {
            say("exemptable", "true".into());
        }
    }
    if !said.is_empty() {
        let _ = write!(text, "\nWhat the policy sets\n{said}");
    }
    text
}
