//! `gatepost explain`: what a rule wants, why, and how to fix a violation.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::catalogue::{PolicyArgs, rule};
use super::{UsageError, output};
use crate::engine::Catalogue;
use crate::engine::compiled::compile_one;
use crate::policy::{KindSelector, Provenance, Rule};
use crate::server::bundle;

const WIDTH: usize = 100;
/// Column in which the facts at the head stand.
const FACTS: usize = 14;

/// Arguments of `gatepost explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A rule's id, or another name for it; without one, every rule is listed
    rule: Option<String>,
    #[command(flatten)]
    policies: PolicyArgs,
}

/// Explains a rule, or lists them all.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let catalogue = args.policies.catalogue()?;
    match &args.rule {
        None => output::print(&list(&catalogue)),
        Some(name) => match rule(&catalogue, name) {
            Ok(rule) => output::print(&explanation(rule, evaluator(&catalogue, rule)?)),
            Err(UsageError(cause)) => Err(UsageError(format!("{cause}; `gatepost explain` lists them")).into()),
        },
    }
}

fn list(catalogue: &Catalogue) -> String {
    let width = catalogue.rules().keys().map(|id| id.as_str().len()).max().unwrap_or_default();
    let mut text = String::new();
    for rule in catalogue.rules().values() {
        let _ = writeln!(text, "{:<width$}  {:<8}  {}", rule.id, rule.severity, rule.title);
    }
    text
}

/// Returns what evaluates a user's rule in `gatepost serve`, and why.
fn evaluator(catalogue: &Catalogue, rule: &Arc<Rule>) -> anyhow::Result<String> {
    if rule.provenance == Provenance::BuiltIn {
        return Ok(String::new());
    }
    let compiled = bundle::with_trial(NonZeroU64::MIN, |choice| compile_one(catalogue, rule, choice))?;
    let because = compiled.verdict.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(format!("{}: {because}", compiled.program().backend().as_str()))
}

fn explanation(rule: &Rule, evaluator: String) -> String {
    let mut text = format!("{}\n{}\n\n", rule.id, rule.title);
    let kinds: Vec<String> = rule.kinds.iter().map(KindSelector::in_words).collect();
    let facts = [
        ("Severity", rule.severity.to_string()),
        ("Category", rule.category.clone()),
        ("Kinds", kinds.join(", ")),
        ("Effort", rule.effort.as_str().to_owned()),
        ("Evaluated by", evaluator),
        ("Also called", rule.aliases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let value = output::wrapped(value, FACTS, WIDTH);
        let _ = write!(text, "{name:<FACTS$}{}", value.trim_start());
    }
    section(&mut text, "Why", &rule.description);
    section(&mut text, "Impact", &rule.impact);
    section(&mut text, "How to fix", &rule.fix);
    parameters(&mut text, rule);
    example(&mut text, "Bad", rule.example(false));
    example(&mut text, "Good", rule.example(true));
    section(&mut text, "Judged otherwise than by Datree", rule.differs.as_deref().unwrap_or_default());
    if !rule.related.is_empty() {
        let _ = write!(text, "\nRead on\n  {}\n", rule.related.join("\n  "));
    }
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(text, "\n{title}\n{}", output::wrapped(body, 2, WIDTH));
    }
}

fn parameters(text: &mut String, rule: &Rule) {
    let properties = rule.parameters.as_ref().and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    for (position, (name, schema)) in properties.into_iter().flatten().enumerate() {
        if position == 0 {
            text.push_str("\nParameters\n");
        }
        let described = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        let default = schema.get("default").map_or(String::new(), |default| format!(" (default {default})"));
        let _ = writeln!(text, "  {name}: {}{default} {}", described("type"), described("description"));
    }
}

fn example(text: &mut String, title: &str, yaml: Option<&str>) {
    let Some(yaml) = yaml else { return };
    let _ = writeln!(text, "\n{title}");
    for line in yaml.trim_end().lines() {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
}
