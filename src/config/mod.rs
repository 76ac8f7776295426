//! The configuration: file and settings, checked, and turned into what the core understands.

mod audit;
pub mod auth;
mod authority;
mod exemptions;
mod file;
mod groups;
mod layers;
mod lifetime;
pub mod notifications;
mod origin;
mod outline;
mod print;
mod receiver;
mod scalars;
mod secret;
mod settings;
mod slots;
mod variables;
mod web_address;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::admission::Controllers;
use crate::engine::{Catalogue, CatalogueError, Fault};
use crate::policy::modes::OFF;
use crate::policy::modes::PolicyNames;
use crate::policy::mutation::SLOT_LABELS;
use crate::policy::{Exemption, ExemptionTerms, GroupTerms, Modes, NamespaceMeta, nearest};

pub use audit::{AuditTerms, INSTANCE_LABEL};
pub use layers::{Layers, Pod, Read, Value};
pub use lifetime::Lifetime;
pub use origin::{ConfigError, Origin};
pub use receiver::Receiver;
pub use scalars::{Flags, Scalar, scalars};
pub use secret::Secret;
pub use settings::{FailurePolicy, LogFormat, PolicyReports, Registration, Role, Settings, in_pod};
pub use slots::Slots;
pub use variables::unknown_variables;
pub use web_address::WebAddress;

/// The whole configuration, valid in itself.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Which policies judge what.
    pub modes: Modes,
    /// Namespaces and their metadata where there is no cluster.
    pub static_namespaces: BTreeMap<String, NamespaceMeta>,
    /// Whose objects were judged as templates; entries replace the shipped ones for their kind.
    pub controllers: Controllers,
    /// Which exemptions count.
    pub exemptions: ExemptionTerms,
    /// What the audit judges by beside what namespaces ask for.
    pub audit: AuditTerms,
    /// Whose namespaces are.
    pub groups: GroupTerms,
    /// Who is told of what.
    pub notifications: Arc<[notifications::Target]>,
    /// How people sign in.
    pub auth: Arc<auth::Auth>,
    /// Where each policy is named: `namespaces[0].set.enforce`, `defaults.warn`, and the sections as a whole.
    pub places: BTreeMap<String, Origin>,
}

impl Config {
    /// Reads a configuration file; none gives the defaults.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let layers = Layers::of_file(path);
        Ok(layers.resolve(layers.text()?.as_deref())?.config)
    }

    /// Reads the text of a configuration file; the path is for error messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Ok(Layers::of_file(path).resolve(Some(text))?.config)
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
        let named = self.modes.named_policies().into_iter().chain(self.audit.named_policies()).chain(of_static);
        let unknown = named.into_iter().find(|(_, name)| !policies.has_policy(name));
        let Some((place, name)) = unknown else { return Ok(()) };
        let hint =
            nearest(&name, policies.policy_names()).map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
        Err(ConfigError { origin: self.origin(&place), cause: format!("{place}: there is no policy \"{name}\"{hint}") })
    }

    /// Checks that the configuration allows the exemptions that stand among the files; every fault is named.
    pub fn check_exemptions(&self, catalogue: &Catalogue) -> Result<(), CatalogueError> {
        let fault = |exemption: &Arc<Exemption>| {
            let cause = self.exemptions.check(exemption).err()?;
            Some(Fault::from(exemption.written.fault("spec", "spec", cause)))
        };
        let faults: Vec<Fault> = catalogue.exemptions().iter().filter_map(fault).collect();
        if faults.is_empty() { Ok(()) } else { Err(CatalogueError { faults }) }
    }

    /// Returns where something was said, or at least where its section begins.
    fn origin(&self, place: &str) -> Origin {
        let section = || self.places.get(place.split(['.', '[']).next().unwrap_or(place));
        self.places.get(place).or_else(section).cloned().unwrap_or(Origin::Default)
    }
}

#[cfg(test)]
mod tests;
