//! Who may weaken what a namespace enforces, and who never may.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobMatcher};

/// API group of the resource on which the verbs are granted.
pub const GROUP: &str = "gatepost.dev";
/// Resource on which the verbs are granted; no object of it exists.
pub const RESOURCE: &str = "modes";

/// A right on `modes.gatepost.dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// To have less denied in a namespace than before.
    Weaken,
    /// To have a namespace's enforce only warn for a few hours.
    BreakGlass,
}

impl Verb {
    /// Returns the word that stands in roles.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weaken => "weaken",
            Self::BreakGlass => "breakglass",
        }
    }
}

/// Who asks, as the API server authenticated them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requester {
    /// User name.
    pub user: String,
    /// Uid, empty where the authenticator gives none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What else the authenticator says of them.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What the configuration says of a requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never, whatever rights they have.
    Barred,
    /// Always.
    Admin,
    /// Nothing: in a cluster its roles decide.
    Unnamed,
}

/// A user or group name, or a glob over them such as `system:serviceaccount:argocd:*`.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    matcher: GlobMatcher,
}

impl NamePattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("\"\" names nobody".into());
        }
        let glob = Glob::new(text).map_err(|error| format!("\"{text}\" is not a name pattern: {}", error.kind()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// Returns whether a name is meant; a name that looks like a glob means itself too.
    pub fn matches(&self, name: &str) -> bool {
        self.text == name || self.matcher.is_match(name)
    }
}

/// The configuration's say in who may weaken modes and break glass.
#[derive(Debug, Clone, Default)]
pub struct Authority {
    /// Users who may, by their exact names.
    pub users: BTreeSet<String>,
    /// Groups whose members may, by their exact names.
    pub groups: BTreeSet<String>,
    /// Users and groups who may not, whatever else is said of them.
    pub may_not_weaken: Vec<NamePattern>,
}

impl Authority {
    /// Returns what is said of a requester; a bar outweighs everything.
    pub fn standing(&self, requester: &Requester) -> Standing {
        let names = || std::iter::once(&requester.user).chain(&requester.groups);
        if self.may_not_weaken.iter().any(|pattern| names().any(|name| pattern.matches(name))) {
            return Standing::Barred;
        }
        let is_admin =
            self.users.contains(&requester.user) || requester.groups.iter().any(|group| self.groups.contains(group));
        if is_admin { Standing::Admin } else { Standing::Unnamed }
    }
}
