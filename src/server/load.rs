//! From files to what judges: reading, then building it aside.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{bundle, manifests};
use crate::config::{ConfigError, Layers, Read};
use crate::engine::{Bundle, Catalogue, CatalogueError, ProgramCache};
use crate::input::policies::{PoliciesError, read_policies};
use crate::input::{Inputs, Surroundings};
use crate::policy::Source;
use crate::webhook::in_force::InForce;

/// What all files said at one moment, as far as it could be read.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Settings and configuration.
    pub read: Read,
    layers: Vec<Vec<Source>>,
    /// Tells the state of `--manifests` from others.
    manifests: Option<u64>,
}

/// Tells contents apart.
pub type Fingerprint = [u8; 32];

/// Why files cannot be put in force; every variant names its file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A directory of policies cannot be read.
    #[error("--policies: {0}")]
    Policies(#[from] PoliciesError),
    /// Rules or policies are faulty.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Manifests that stand in for a cluster cannot be read; every fault is named.
    #[error("--manifests: {}", .0.join("\n"))]
    Manifests(Vec<String>),
    /// There is no thread to read them.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl Contents {
    /// Reads the policies that settings name; `config` is the configuration file, which may stand among them.
    pub fn of(read: Read, config: Option<&Path>) -> Result<Self, LoadError> {
        let config = config.and_then(|path| path.canonicalize().ok());
        let is_policy = |source: &Source| {
            let path = Path::new(&*source.file);
            let is_named_so = config.as_ref().is_some_and(|config| config.file_name() == path.file_name());
            !is_named_so || path.canonicalize().ok() != config
        };
        let policies = |path: &PathBuf| -> Result<Vec<Source>, PoliciesError> {
            Ok(read_policies(path)?.into_iter().filter(is_policy).collect())
        };
        let layers = read.settings.policies.iter().map(policies).collect::<Result<_, _>>()?;
        let folder = read.settings.manifests.clone();
        let manifests = folder.map(|folder| Inputs::new(&[folder], io::empty()).state());
        Ok(Self { read, layers, manifests })
    }

    /// Reads every file.
    pub fn read(layers: &Layers) -> Result<Self, LoadError> {
        Self::of(layers.resolve(layers.text()?.as_deref())?, layers.file())
    }

    /// Returns what tells these contents from others.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let sources = self.layers.iter().flatten().flat_map(|source| [&*source.file, &*source.text]);
        for text in self.read.text().into_iter().chain(sources) {
            hash.update(text.len().to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(self.manifests.unwrap_or_default().to_le_bytes());
        hash.finalize().into()
    }

    /// Returns what tells the state of `--manifests` from others; none without them.
    pub const fn manifests(&self) -> Option<u64> {
        self.manifests
    }

    /// Compiles and checks everything together; without a cluster, manifests stand in for it.
    pub fn build(&self, cache: &ProgramCache, has_cluster: bool) -> Result<InForce, LoadError> {
        let Read { settings, config, .. } = &self.read;
        let bundle = bundle::build(Catalogue::read(&self.layers)?, cache, settings)?;
        config.check_policies(&bundle)?;
        config.check_exemptions(bundle.catalogue())?;
        let mut surroundings = Surroundings::new([]);
        if !has_cluster {
            surroundings = manifests::read(settings.manifests.as_deref(), inventory_kinds(&bundle))?;
            surroundings.add_namespaces(&config.static_namespaces);
        }
        let in_force = InForce::new(bundle, config.clone(), surroundings, settings);
        Ok(InForce { written: self.read.to_yaml().into(), ..in_force })
    }
}

/// Returns the kinds that rules look up, as `apiGroup/Kind`.
pub fn inventory_kinds(bundle: &Bundle) -> BTreeSet<String> {
    bundle.catalogue().rules().values().flat_map(|rule| rule.inventory.iter().cloned()).collect()
}

/// One thing that keeps files from being put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, or the flag or variable that is at fault.
    pub place: String,
    /// Line, counted from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong, and how to mend it.
    pub cause: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let separator = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{separator}{}", self.cause)
    }
}

impl LoadError {
    /// Returns everything that is wrong, each with its place.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Config(ConfigError { origin, cause }) => {
                let place = origin.file().map_or_else(|| origin.to_string(), |path| path.display().to_string());
                vec![Fault { place, line: origin.line(), cause: cause.clone() }]
            }
            Self::Policies(PoliciesError { path, cause }) => {
                let place = path.display().to_string();
                vec![Fault { place, line: None, cause: format!("cannot be read: {cause}") }]
            }
            Self::Catalogue(CatalogueError { faults }) => {
                let line = |line: Option<usize>| line.and_then(|line| u64::try_from(line).ok());
                let fault = |fault: &crate::engine::Fault| Fault {
                    place: fault.file.to_string(),
                    line: line(fault.line),
                    cause: fault.cause.clone(),
                };
                faults.iter().map(fault).collect()
            }
            Self::Manifests(causes) => {
                let fault = |cause: &String| Fault { place: "--manifests".into(), line: None, cause: cause.clone() };
                causes.iter().map(fault).collect()
            }
            Self::System(cause) => vec![Fault { place: String::new(), line: None, cause: cause.to_string() }],
        }
    }
}
