//! A rule: its metadata, its source, and the examples that document it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::kinds::{KindError, KindSelector};
use super::metadata::{
    self, AtMost, Dialect, Effort, Mend, Metadata, MetadataError, Operation, Origin, Reads, Severity,
};

/// A rule's kebab-case id, for example `container-image-tag`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(Arc<str>);

impl RuleId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for RuleId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for RuleId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

impl Serialize for RuleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Where a text came from, and the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path that error messages name.
    pub file: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

impl Source {
    /// Builds a source from a path and a text.
    pub fn new(file: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), text: text.into() }
    }
}

/// Who brought a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// Embedded at build time.
    BuiltIn,
    /// Read from a `--policies` directory.
    User,
}

/// One fixture of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// The YAML and where it stands.
    pub source: Source,
    /// Whether the rule must find nothing in it.
    pub passes: bool,
}

/// One check: what it looks at, how bad a violation is, how to mend it, and the Rego that finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Other names for it.
    pub aliases: Vec<RuleId>,
    /// Folder it stands in, for example `containers`.
    pub family: String,
    /// What holds when it passes.
    pub title: String,
    /// Why it matters.
    pub description: String,
    /// What happens to whom if it stays.
    pub impact: String,
    /// What to write instead.
    pub fix: String,
    /// The same as steps that need nobody.
    pub mend: Vec<Mend>,
    /// Why there are no such steps, or what they leave over.
    pub by_hand: String,
    /// Default severity.
    pub severity: Severity,
    /// Topic.
    pub category: String,
    /// How much work the fix is.
    pub effort: Effort,
    /// Kinds that it looks at.
    pub kinds: Vec<KindSelector>,
    /// Operations that it is asked about.
    pub operations: Vec<Operation>,
    /// Where it runs.
    pub places: Vec<Origin>,
    /// JSON Schema of its parameters.
    pub parameters: Option<serde_json::Value>,
    /// Kinds (`apiGroup/Kind`) that it looks up.
    pub inventory: Vec<String>,
    /// Whether it sees the values of Secrets.
    pub reads_secret_data: bool,
    /// The view of the review that it is written for.
    pub dialect: Dialect,
    /// How it judges otherwise than Datree's.
    pub differs: Option<String>,
    /// Strongest action at admission and in the audit.
    pub at_most: Option<AtMost>,
    /// Links to read on.
    pub related: Vec<String>,
    /// Rego package, for example `gatepost.rules.container_image_tag`.
    pub package: String,
    /// Its Rego.
    pub source: Source,
    /// Who brought it.
    pub provenance: Provenance,
    /// What it must and must not find.
    pub fixtures: Vec<Fixture>,
}

/// Why a file is no rule.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The METADATA block is missing or wrong.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// An entry of `kinds` is neither a group name nor `apiGroup/Kind`.
    #[error("METADATA: custom.kinds: {0}")]
    Kind(#[from] KindError),
}

impl Rule {
    /// Reads a rule from its Rego source.
    pub fn parse(source: Source, family: &str, provenance: Provenance) -> Result<Self, RuleError> {
        let Metadata { title, description, scope: _, related_resources, custom } = metadata::read(&source.text)?;
        let kinds = custom.kinds.iter().map(|kind| kind.parse()).collect::<Result<_, _>>()?;
        Ok(Self {
            id: RuleId::from(custom.id.as_str()),
            aliases: custom.aliases.iter().map(|alias| RuleId::from(alias.as_str())).collect(),
            family: family.to_owned(),
            title,
            description: description.trim().to_owned(),
            impact: custom.impact.trim().to_owned(),
            fix: custom.fix.trim().to_owned(),
            mend: custom.mend,
            by_hand: custom.by_hand.unwrap_or_default().trim().to_owned(),
            severity: custom.severity,
            category: custom.category,
            effort: custom.effort,
            kinds,
            operations: custom.operations,
            places: custom.places,
            parameters: custom.parameters,
            inventory: custom.inventory,
            reads_secret_data: custom.reads == Some(Reads::SecretData),
            dialect: custom.dialect,
            differs: custom.differs,
            at_most: custom.at_most,
            related: related_resources,
            package: package_of(&source.text),
            source,
            provenance,
            fixtures: Vec::new(),
        })
    }

    /// Returns the first fixture that passes or fails: the good or the bad example of the documentation.
    pub fn example(&self, passes: bool) -> Option<&str> {
        self.fixtures.iter().find(|fixture| fixture.passes == passes).map(|fixture| &*fixture.source.text)
    }
}

fn package_of(source: &str) -> String {
    source
        .lines()
        .find_map(|line| line.strip_prefix("package "))
        .map(|rest| rest.split(['#', ';']).next().unwrap_or(rest).trim().to_owned())
        .unwrap_or_default()
}
