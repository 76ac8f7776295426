//! `gatepost policies suggest`: the policy of what nothing breaks, from what audits found.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use globset::{Glob, GlobSet, GlobSetBuilder};
use jiff::Timestamp;
use serde_json::json;

use super::catalogue::{PolicyArgs, policy};
use super::output::{self, Format};
use super::place::StoreArgs;
use super::{UsageError, exit};
use crate::config::Config;
use crate::policy::modes::PolicyNames as _;
use crate::policy::set::is_name;
use crate::policy::{Group, Groups};
use crate::report::suggest::{About, CandidateTold, Wanted, candidates, policy_yaml};
use crate::scan::standing::{Looked, Standings};
use crate::scan::suggestions::audit_in_words;
use crate::store::Filter;

/// Arguments of `gatepost policies suggest`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The answer is a policy with counts as comments; what is not ready stands below it. Put it beside your other policies and \
enforce it:
  gatepost policies suggest --from-audit > policies/ready.yaml
  gatepost policies list --policies policies
  kubectl label namespace NAME gatepost.dev/enforce=ready")]
pub struct Args {
    /// By what audits found, in the store of a `gatepost serve`
    #[arg(long, required = true)]
    from_audit: bool,
    /// The policy whose rules are looked at; if not given, the first of the configuration's audit.policies, by which the
    /// audit judges everything
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Read audit.policies from a configuration file [default: strict]
    #[arg(long, value_name = "FILE", env = "GATEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// A policy that is taken over whole, for what is enforced already
    #[arg(long, value_name = "NAME")]
    beside: Option<String>,
    /// Glob of namespaces that count; may be repeated. If not given, all but the system's
    #[arg(long = "namespace", value_name = "GLOB", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// For how many days a rule must have had no findings
    #[arg(long, value_name = "N", default_value_t = 0)]
    days: u32,
    /// Findings up to which a rule is told as nearly there
    #[arg(long, value_name = "N", default_value_t = 5)]
    few: u64,
    /// Name of the new policy
    #[arg(long, value_name = "NAME", default_value = "ready")]
    name: String,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Print the policy, or as JSON how each rule stands
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Suggests; 5 if the store does not answer, 2 if no audit has ended.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bundle = args.policies.bundle()?;
    let config = Config::read(args.config.as_deref())?;
    config.check_policies(&bundle)?;
    let named = policy(&bundle, args.policy.as_deref().unwrap_or(config.audit.first()))?;
    let beside = args.beside.as_deref().map(|name| policy(&bundle, name)).transpose()?;
    if !is_name(&args.name) || bundle.has_policy(&args.name) {
        let cause = if is_name(&args.name) { "is taken" } else { "is no name: small letters, digits and dashes" };
        return Err(UsageError(format!("--name \"{}\" {cause}", args.name)).into());
    }
    let globs = globs(&args.namespaces)?;
    super::in_runtime(async {
        let store = args.store.open().await?;
        let groups = Groups { terms: &config.groups, own: None };
        let is_meant = |namespace: &str| match &globs {
            Some(globs) => globs.is_match(namespace),
            None => groups.of(namespace) != Group::System,
        };
        let (now, days, few) = (Timestamp::now(), args.days, args.few);
        let filter = Filter::default();
        // What namespaces ask for is not known here, but what was counted there is.
        let asked = |_: &str, counted: &BTreeSet<String>| bundle.rules_of(counted.iter().map(String::as_str));
        let rules = &bundle.rules_of([&*named.name]);
        let looked = Looked { store: &*store, filter, is_meant: &is_meant, rules, asked: &asked, few, days, now };
        let Standings { audit, rules } = looked.standings().await?;
        let Some(audit) = audit else {
            output::tell("error: no audit has ended yet, so nothing is known of what breaks which rule");
            return Ok(ExitCode::from(exit::USAGE));
        };
        let found = candidates(&bundle, named, beside.map(AsRef::as_ref), &rules, Wanted { days, few, now });
        let namespaces = match args.namespaces.as_slice() {
            [] => "in all namespaces but the system's".to_owned(),
            globs => format!("in namespaces {}", globs.join(", ")),
        };
        let about = About {
            name: &args.name,
            policy: &named.name,
            beside: args.beside.as_deref(),
            audit: &audit_in_words(&audit),
            namespaces: &namespaces,
            days,
        };
        output::print(&match args.output {
            Format::Text => policy_yaml(about, &found),
            Format::Json => {
                let items: Vec<CandidateTold<'_>> = found.iter().map(CandidateTold::from).collect();
                format!("{:#}\n", json!({"audit": audit, "items": items}))
            }
        })
    })
}

fn globs(written: &[String]) -> anyhow::Result<Option<GlobSet>> {
    if written.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for glob in written {
        let fault = |error: globset::Error| UsageError(format!("--namespace \"{glob}\" is no glob: {}", error.kind()));
        set.add(Glob::new(glob).map_err(fault)?);
    }
    Ok(Some(set.build()?))
}
