//! The rules and policies that a command works with.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::UsageError;
use crate::engine::{BackendChoice, Bundle, Catalogue, ProgramCache, ResolvedPolicy};
use crate::input::read_policies;
use crate::policy::Rule;
use crate::report::judge;

/// Where rules and policies come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PolicyArgs {
    /// Read rules and policies from a directory, over those that ship; may be given more than once
    #[arg(long = "policies", value_name = "DIR", env = "GATEPOST_POLICIES", value_delimiter = ',')]
    pub directories: Vec<PathBuf>,
}

impl PolicyArgs {
    /// Reads every rule and policy.
    pub fn catalogue(&self) -> anyhow::Result<Catalogue> {
        let layers = self.directories.iter().map(|dir| read_policies(dir)).collect::<Result<Vec<_>, _>>();
        let layers = layers.context("--policies")?;
        Ok(Catalogue::read(&layers)?)
    }

    /// Reads and compiles every rule and policy.
    pub fn bundle(&self) -> anyhow::Result<Bundle> {
        Ok(Bundle::build(self.catalogue()?, &ProgramCache::default(), BackendChoice::default())?)
    }
}

/// Finds a policy by name; the error names the nearest one.
pub fn policy<'a>(bundle: &'a Bundle, name: &str) -> Result<&'a Arc<ResolvedPolicy>, UsageError> {
    judge::policy(bundle, name).map_err(|error| UsageError(error.0))
}

/// Finds a rule by id or alias; the error names the nearest one.
pub fn rule<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Arc<Rule>, UsageError> {
    catalogue.rule(name).map_err(UsageError)
}
