//! A policy as it is written: a named list of rules, and what it makes of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::metadata::{AtMost, Severity};
use super::rule::{Rule, RuleId, Source};
use super::suggest::nearest;

/// What enforcement does when a rule cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The request is denied, for that rule only.
    #[default]
    Deny,
    /// The request is admitted with a warning.
    Allow,
}

/// The apiVersion of Gatepost's own objects.
pub const API_VERSION: &str = "gatepost.dev/v1alpha1";

/// A Policy object (`gatepost.dev/v1alpha1`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyObject {
    /// `gatepost.dev/v1alpha1`.
    pub api_version: String,
    /// `Policy`.
    pub kind: String,
    /// Its name.
    pub metadata: PolicyMetadata,
    /// What it asks.
    pub spec: PolicySpec,
}

/// The metadata that a Policy file carries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PolicyMetadata {
    /// The policy's name.
    pub name: String,
}

/// What a policy asks.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// One line for lists.
    #[serde(default)]
    pub title: String,
    /// Who it is for.
    #[serde(default)]
    pub description: String,
    /// Policies whose rules are taken over, as they have them.
    #[serde(default)]
    pub include: Vec<String>,
    /// Rules that are left out of what was included or selected.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Rules, by id or by selector; later entries win.
    #[serde(default)]
    pub rules: Vec<RuleEntry>,
}

/// One entry of a policy's `rules`: either an id or a selector, and what is set for what it names.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleEntry {
    /// A rule's id or alias.
    #[serde(default)]
    pub id: Option<String>,
    /// All rules with these properties.
    #[serde(default)]
    pub select: Option<Select>,
    /// Another severity than the rule's own.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Another message, with `{{kind}}`, `{{name}}`, `{{namespace}}`, `{{container}}` and `{{path}}`.
    #[serde(default)]
    pub message: Option<String>,
    /// Parameters, checked against the rule's schema.
    #[serde(default)]
    pub parameters: Option<serde_json::Map<String, serde_json::Value>>,
    /// What enforcement does when the rule cannot be evaluated.
    #[serde(default)]
    pub on_error: Option<OnError>,
    /// The strongest action.
    #[serde(default)]
    pub at_most: Option<AtMost>,
    /// Whether the rule's patches are applied.
    #[serde(default)]
    pub mutate: Option<bool>,
    /// Whether an Exemption of a namespace may excuse what is enforced.
    #[serde(default)]
    pub exemptable: Option<bool>,
}

/// Selects rules by what they say of themselves; all given properties must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Select {
    /// The folder that the rule stands in.
    #[serde(default)]
    pub family: Option<String>,
    /// Its category.
    #[serde(default)]
    pub category: Option<String>,
    /// At least this severity.
    #[serde(default)]
    pub severity: Option<Severity>,
}

impl Select {
    /// Returns whether a rule is selected.
    pub fn matches(&self, rule: &Rule) -> bool {
        self.family.as_ref().is_none_or(|family| *family == rule.family)
            && self.category.as_ref().is_none_or(|category| *category == rule.category)
            && self.severity.is_none_or(|severity| rule.severity >= severity)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a policy makes of one rule, with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Severity in this policy.
    pub severity: Severity,
    /// Message in this policy, if another than the rule's.
    pub message: Option<Arc<str>>,
    /// Parameters as the policy gives them; the schema's defaults are filled in later.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// What enforcement does when the rule cannot be evaluated.
    pub on_error: OnError,
    /// The strongest action.
    pub at_most: Option<AtMost>,
    /// Whether the rule's patches are applied.
    pub mutate: bool,
    /// Whether an Exemption of a namespace may excuse what is enforced.
    pub exemptable: bool,
}

impl Entry {
    /// Returns what a policy makes of a rule when it only names it.
    pub fn of(rule: &Rule) -> Self {
        Self {
            severity: rule.severity,
            message: None,
            parameters: serde_json::Map::new(),
            on_error: OnError::Deny,
            at_most: None,
            mutate: false,
            exemptable: false,
        }
    }

    fn apply(&mut self, entry: &RuleEntry) {
        self.severity = entry.severity.unwrap_or(self.severity);
        self.message = entry.message.as_deref().map(Arc::from).or_else(|| self.message.take());
        if let Some(parameters) = &entry.parameters {
            self.parameters.clone_from(parameters);
        }
        self.on_error = entry.on_error.unwrap_or(self.on_error);
        self.at_most = entry.at_most.or(self.at_most);
        self.mutate = entry.mutate.unwrap_or(self.mutate);
        self.exemptable = entry.exemptable.unwrap_or(self.exemptable);
    }
}

/// A policy as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySet {
    /// Its name.
    pub name: Arc<str>,
    /// What it asks.
    pub spec: PolicySpec,
    /// Where it stands.
    pub source: Source,
}

/// Why a policy file is no policy, or does not fit the rules that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}", Place(file, *line))]
pub struct PolicyError {
    /// Path of the file.
    pub file: Arc<str>,
    /// Line in the file, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub cause: String,
}

struct Place<'a>(&'a str, Option<usize>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        self.1.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

impl PolicySet {
    /// Reads a Policy file.
    pub fn parse(source: Source) -> Result<Self, PolicyError> {
        let object: PolicyObject = serde_saphyr::from_str(&source.text).map_err(|error| PolicyError {
            file: source.file.clone(),
            line: error.location().and_then(|location| usize::try_from(location.line()).ok()),
            cause: error.without_snippet().to_string(),
        })?;
        let set = Self { name: object.metadata.name.as_str().into(), spec: object.spec, source };
        if object.api_version != API_VERSION {
            let cause = format!("apiVersion \"{}\" is not {API_VERSION}", object.api_version);
            return Err(set.fault("apiVersion", "apiVersion", cause));
        }
        if object.kind != "Policy" {
            return Err(set.fault("kind", "kind", format!("kind \"{}\" is not Policy", object.kind)));
        }
        if set.name.is_empty() || &*set.name == super::modes::OFF {
            return Err(set.fault("metadata", "name", format!("\"{}\" is not a name for a policy", set.name)));
        }
        set.spec.rules.iter().try_for_each(entry_is_whole).map_err(|cause| set.fault("rules", "rules", cause))?;
        Ok(set)
    }

    /// Returns an error that points at the line where a word stands below a key.
    pub fn fault(&self, key: &str, word: &str, cause: String) -> PolicyError {
        PolicyError { file: self.source.file.clone(), line: line_of(&self.source.text, key, word), cause }
    }
}

fn entry_is_whole(entry: &RuleEntry) -> Result<(), String> {
    match (&entry.id, &entry.select) {
        (Some(_), None) => Ok(()),
        (None, Some(select)) if !select.is_empty() => Ok(()),
        (None, Some(_)) => Err("an entry of rules has an empty select: name family, category or severity".into()),
        (Some(id), Some(_)) => Err(format!("the entry of rules for \"{id}\" has both id and select")),
        (None, None) => Err("an entry of rules has neither id nor select".into()),
    }
}

/// Returns the first line, counted from 1, that has a word from the line of a key on; else the key's own.
pub(super) fn line_of(text: &str, key: &str, word: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts = |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
    let section = text.lines().position(starts);
    let mut lines = text.lines().enumerate().skip(section.unwrap_or_default());
    let found = lines.find(|(_, line)| line.split(|c| !is_part(c)).any(|part| part == word));
    found.map(|(index, _)| index).or(section).map(|index| index.saturating_add(1))
}

/// Returns whether a text can be a policy's name everywhere: as the value of a label, in an address, and in YAML.
pub fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let has_ends = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
    has_ends && text.len() <= 63 && text.bytes().all(is_word) && text != super::modes::OFF
}

/// What a policy makes of each of its rules.
pub type Entries = BTreeMap<RuleId, Entry>;

/// Works out what each rule of a policy is, its includes followed; `find_rule` resolves ids and aliases.
pub fn resolve<'a>(
    set: &PolicySet,
    sets: &BTreeMap<Arc<str>, PolicySet>,
    rules: &'a BTreeMap<RuleId, Arc<Rule>>,
    find_rule: &dyn Fn(&str) -> Result<&'a Arc<Rule>, String>,
) -> Result<Entries, PolicyError> {
    Resolver { sets, rules, find_rule }.entries(set, &mut Vec::new())
}

struct Resolver<'a, 'b> {
    sets: &'b BTreeMap<Arc<str>, PolicySet>,
    rules: &'a BTreeMap<RuleId, Arc<Rule>>,
    find_rule: &'b dyn Fn(&str) -> Result<&'a Arc<Rule>, String>,
}

impl Resolver<'_, '_> {
    fn entries(&self, set: &PolicySet, path: &mut Vec<Arc<str>>) -> Result<Entries, PolicyError> {
        path.push(set.name.clone());
        let mut entries = Entries::new();
        for name in &set.spec.include {
            entries.extend(self.included(set, name, path)?);
        }
        for entry in &set.spec.rules {
            let word = entry.id.as_deref().unwrap_or("select");
            for rule in self.named(entry).map_err(|cause| set.fault("rules", word, format!("rules: {cause}")))? {
                entries.entry(rule.id.clone()).or_insert_with(|| Entry::of(rule)).apply(entry);
            }
        }
        for excluded in &set.spec.exclude {
            let rule = (self.find_rule)(excluded)
                .map_err(|cause| set.fault("exclude", excluded, format!("exclude: {cause}")))?;
            entries.remove(&rule.id);
        }
        path.pop();
        Ok(entries)
    }

    fn included(&self, set: &PolicySet, name: &str, path: &mut Vec<Arc<str>>) -> Result<Entries, PolicyError> {
        let Some(included) = self.sets.get(name) else {
            let known = self.sets.keys().map(|name| &**name);
            let hint = nearest(name, known).map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
            return Err(set.fault("include", name, format!("include: there is no policy \"{name}\"{hint}")));
        };
        if path.iter().any(|above| **above == *name) {
            return Err(set.fault(
                "include",
                name,
                format!("include: {} includes {name} again", path.join(" includes ")),
            ));
        }
        self.entries(included, path)
    }

    fn named(&self, entry: &RuleEntry) -> Result<Vec<&Arc<Rule>>, String> {
        match (&entry.id, &entry.select) {
            (Some(id), _) => Ok(vec![(self.find_rule)(id)?]),
            (None, Some(select)) => Ok(self.rules.values().filter(|rule| select.matches(rule)).collect()),
            (None, None) => Ok(Vec::new()),
        }
    }
}
