//! The METADATA block of a rule: its shape, and how it is read from Rego source.
//!
//! The build script includes this file as it is, so that a rule which would be refused at start does not build:
//! it names nothing else of the crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much harm a violation does, from `info` up to `critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// A matter of taste or of small costs.
    Low,
    /// Likely to hurt some day.
    Medium,
    /// Likely to hurt soon, or badly.
    High,
    /// Hands the node or the cluster to whoever controls the object.
    Critical,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Returns the word that users write and read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What somebody wrote is none of the words that were expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not one of {expected}")]
pub struct UnknownWord {
    /// The text that was read.
    pub found: String,
    /// The words that would have been accepted.
    pub expected: &'static str,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| UnknownWord { found: text.into(), expected: "critical, high, medium, low, info" })
    }
}

/// How much work the fix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Minutes.
    Easy,
    /// Needs a look at the application.
    Medium,
    /// Needs measuring or a change of the application.
    Hard,
}

impl Effort {
    /// Returns the word that users write and read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Medium => "medium",
            Self::Hard => "hard",
        }
    }
}

/// What is done to an object, in the words of an AdmissionRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// The object is new.
    Create,
    /// The object is changed.
    Update,
    /// The object goes.
    Delete,
    /// A subresource such as `pods/exec` is opened.
    Connect,
}

impl Operation {
    /// Returns the word of the AdmissionReview API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Where an object is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In an admission request.
    Admission,
    /// In a pass over what stands in the cluster.
    Audit,
    /// In files, before there is a cluster.
    Files,
}

impl Origin {
    /// Returns the word that rules see as `input.origin`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Audit => "audit",
            Self::Files => "files",
        }
    }
}

/// The strongest action that a violation may lead to in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtMost {
    /// Never denied, only warned of.
    Warn,
}

/// The view of the review that a rule is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `input` as this project derives it.
    #[default]
    Gatepost,
}

/// The `custom` part of a rule's METADATA block.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Custom {
    /// Kebab-case id.
    pub id: String,
    /// Other names that are accepted wherever the id is, Datree's identifiers among them.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Default severity; a policy may set another.
    pub severity: Severity,
    /// Topic, for example `workload`.
    pub category: String,
    /// What happens to whom if it stays.
    #[serde(default)]
    pub impact: String,
    /// How much work the fix is.
    #[serde(default = "default_effort")]
    pub effort: Effort,
    /// Group names (`workloads`, `pods`, `*`) or `apiGroup/Kind` entries (`core/Pod`, `apps/*`).
    pub kinds: Vec<String>,
    /// Operations that the rule is asked about; CREATE and UPDATE by default.
    #[serde(default = "default_operations")]
    pub operations: Vec<Operation>,
    /// Where the rule runs; everywhere by default.
    #[serde(default = "default_places", rename = "where")]
    pub places: Vec<Origin>,
    /// What to write instead.
    pub fix: String,
    /// The same as steps that need nobody, in the order in which they are taken.
    #[serde(default)]
    pub mend: Vec<Mend>,
    /// Why there are no such steps, or what they leave over.
    #[serde(default)]
    pub by_hand: Option<String>,
    /// JSON Schema of the parameters, with defaults.
    #[serde(default)]
    pub parameters: Option<serde_json::Value>,
    /// Kinds (`apiGroup/Kind`) that the rule looks up in `input.inventory`.
    #[serde(default)]
    pub inventory: Vec<String>,
    /// `secret-data` where the rule must see the values of Secrets.
    #[serde(default)]
    pub reads: Option<Reads>,
    /// The view of the review that the rule is written for.
    #[serde(default)]
    pub dialect: Dialect,
    /// How and why the rule judges otherwise than Datree's.
    #[serde(default)]
    pub differs: Option<String>,
    /// `warn` where a violation must never be denied in a cluster, whatever a policy says.
    #[serde(default)]
    pub at_most: Option<AtMost>,
}

/// What a rule may see that others may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The values of Secrets.
    SecretData,
}

/// One step of mending what a rule finds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "WrittenMend")]
pub struct Mend {
    /// Where, as a Relative JSON Pointer from the place of the violation; `*` stands for every item of a list.
    pub at: String,
    /// What is done there.
    pub step: Step,
    /// What a person has to look at in the value; empty where there is only one.
    pub choose: String,
}

/// What is done at a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A value is written, over what is there.
    Set {
        /// The value.
        value: serde_json::Value,
        /// A Relative JSON Pointer to what is written instead, where something stands there.
        like: Option<String>,
    },
    /// What is there is taken out.
    Remove,
    /// A number, true or false is put into quotes.
    Quote,
    /// `apiVersion` gets this version, and keeps its group.
    Version(String),
}

/// A step as it stands in METADATA.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMend {
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    set: Option<serde_json::Value>,
    #[serde(default)]
    like: Option<String>,
    #[serde(default)]
    remove: bool,
    #[serde(default)]
    quote: bool,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    choose: String,
}

impl TryFrom<WrittenMend> for Mend {
    type Error = &'static str;

    fn try_from(written: WrittenMend) -> Result<Self, Self::Error> {
        let WrittenMend { at, set, like, remove, quote, version, choose } = written;
        if set.is_none() && (like.is_some() || !choose.is_empty()) {
            return Err("like and choose stand beside set");
        }
        let step = match (set, remove, quote, version) {
            (Some(value), false, false, None) => Step::Set { value, like },
            (None, true, false, None) => Step::Remove,
            (None, false, true, None) => Step::Quote,
            (None, false, false, Some(version)) => Step::Version(version),
            _ => return Err("a step of mend has one of set, remove, quote and version"),
        };
        Ok(Self { at: at.unwrap_or_else(|| "0".to_owned()), step, choose })
    }
}

fn default_effort() -> Effort {
    Effort::Medium
}

fn default_operations() -> Vec<Operation> {
    vec![Operation::Create, Operation::Update]
}

fn default_places() -> Vec<Origin> {
    vec![Origin::Admission, Origin::Audit, Origin::Files]
}

/// A rule's METADATA block.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// One line: what holds when the rule passes.
    pub title: String,
    /// Why it matters, in two sentences.
    #[serde(default)]
    pub description: String,
    /// OPA's own scope annotation; `package` is the only one that is read.
    #[serde(default)]
    pub scope: Option<String>,
    /// Links to read on.
    #[serde(default)]
    pub related_resources: Vec<String>,
    /// What this project adds.
    pub custom: Custom,
}

/// Why a rule's source is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct MetadataError {
    /// Line of the source, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub cause: String,
}

impl MetadataError {
    fn new(line: usize, cause: impl Into<String>) -> Self {
        Self { line, cause: cause.into() }
    }
}

/// Reads the METADATA block that stands above `package`, and checks what every rule must say.
pub fn read(source: &str) -> Result<Metadata, MetadataError> {
    let (first, yaml) = block(source)?;
    let metadata: Metadata = serde_saphyr::from_str(&yaml).map_err(|error| {
        let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
        MetadataError::new(line.unwrap_or(first), format!("METADATA: {}", error.without_snippet()))
    })?;
    check(&metadata, first)?;
    Ok(metadata)
}

/// Returns the line of the block's first YAML line, counted from 1, and the YAML without its comment signs; empty lines
/// stand for what is above it, so that errors name lines of the source.
fn block(source: &str) -> Result<(usize, String), MetadataError> {
    let lines: Vec<&str> = source.lines().collect();
    let package = lines
        .iter()
        .position(|line| line.starts_with("package "))
        .ok_or_else(|| MetadataError::new(1, "no package declaration"))?;
    let start = lines
        .iter()
        .take(package)
        .position(|line| line.trim_end() == "# METADATA")
        .ok_or_else(|| MetadataError::new(package.saturating_add(1), "no METADATA block above the package"))?;
    let above = start.saturating_add(1);
    let block = lines.iter().skip(above).map_while(|line| line.strip_prefix('#'));
    let yaml: Vec<&str> = block.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    Ok((above.saturating_add(1), format!("{}{}", "\n".repeat(above), yaml.join("\n"))))
}

fn check(metadata: &Metadata, line: usize) -> Result<(), MetadataError> {
    let custom = &metadata.custom;
    let missing = [
        ("title", metadata.title.trim().is_empty()),
        ("custom.id", custom.id.is_empty()),
        ("custom.category", custom.category.is_empty()),
        ("custom.kinds", custom.kinds.is_empty()),
        ("custom.operations", custom.operations.is_empty()),
        ("custom.where", custom.places.is_empty()),
        ("custom.fix", custom.fix.trim().is_empty()),
    ];
    if let Some((name, _)) = missing.into_iter().find(|(_, empty)| *empty) {
        return Err(MetadataError::new(line, format!("METADATA: {name} is empty")));
    }
    if !is_kebab_case(&custom.id) {
        return Err(MetadataError::new(line, format!("METADATA: custom.id \"{}\" is not in kebab-case", custom.id)));
    }
    Ok(())
}

/// Returns whether a text is made of lower-case words and digits joined by single hyphens.
pub fn is_kebab_case(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split('-').all(word)
}
