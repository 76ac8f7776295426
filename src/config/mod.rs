//! The configuration: file and settings, checked, and turned into what the core understands.

mod authority;
mod file;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admission::Controllers;
use crate::policy::modes::OFF;
use crate::policy::modes::PolicyNames;
use crate::policy::mutation::SLOT_LABELS;
use crate::policy::{Modes, NamespaceMeta, nearest};

pub use file::ConfigError;
pub use settings::{LogFormat, Registration, Settings, in_pod};

/// The whole configuration, valid in itself.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Which policies judge what.
    pub modes: Modes,
    /// Namespaces and their metadata where there is no cluster.
    pub static_namespaces: BTreeMap<String, NamespaceMeta>,
    /// Whose objects were judged as templates; entries replace the shipped ones for their kind.
    pub controllers: Controllers,
    /// Where it was read from.
    pub path: Option<PathBuf>,
}

impl Config {
    /// Reads a configuration file; none gives the defaults.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::new(path, None, format!("cannot be read: {cause}")))?;
        file::parse(path, &text)
    }

    /// Checks that every policy that the configuration names exists; the error names the nearest one.
    pub fn check_policies(&self, policies: &impl PolicyNames) -> Result<(), ConfigError> {
        let of_static = self.static_namespaces.values().flat_map(|namespace| {
            let named = |label: &str| {
                let name = namespace.labels.get(label).filter(|name| *name != OFF)?;
                Some((format!("static.{}.labels", namespace.name), Arc::from(name.as_str())))
            };
            SLOT_LABELS.into_iter().filter_map(named)
        });
        let named = self.modes.named_policies().into_iter().chain(of_static);
        let unknown = named.into_iter().find(|(_, name)| !policies.has_policy(name));
        let Some((place, name)) = unknown else { return Ok(()) };
        let hint =
            nearest(&name, policies.policy_names()).map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
        let path = self.path.clone().unwrap_or_default();
        Err(ConfigError::new(&path, None, format!("{place}: there is no policy \"{name}\"{hint}")))
    }
}
