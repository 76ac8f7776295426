//! A namespace's metadata, and selecting namespaces by name and label.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

/// The part of a Namespace that decides how its objects are judged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceMeta {
    /// Name of the namespace; filled in from the key where it is configured.
    #[serde(default)]
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl NamespaceMeta {
    /// Returns a namespace without labels or annotations.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// Selects namespaces: any of the name globs, and all of the labels.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    names: Vec<GlobMatcher>,
    labels: BTreeMap<String, String>,
}

/// A name glob that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{glob}\" is not a name pattern: {cause}")]
pub struct SelectorError {
    glob: String,
    cause: String,
}

impl Selector {
    /// Builds a selector from name globs (none: every name) and labels (none: any).
    pub fn new(names: &[String], labels: BTreeMap<String, String>) -> Result<Self, SelectorError> {
        let compile = |glob: &String| {
            Glob::new(glob)
                .map(|glob| glob.compile_matcher())
                .map_err(|error| SelectorError { glob: glob.clone(), cause: error.kind().to_string() })
        };
        Ok(Self { names: names.iter().map(compile).collect::<Result<_, _>>()?, labels })
    }

    /// Returns whether a namespace of this name would be selected if it had the right labels.
    pub fn could_match(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|glob| glob.is_match(name))
    }

    /// Returns the keys of the labels that a namespace must have.
    pub fn label_keys(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(String::as_str)
    }

    /// Returns whether a namespace is selected.
    pub fn matches(&self, namespace: &NamespaceMeta) -> bool {
        self.could_match(&namespace.name)
            && self.labels.iter().all(|(key, value)| namespace.labels.get(key) == Some(value))
    }
}
