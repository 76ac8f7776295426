//! An exemption as it is written, in a file or as a custom resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::criteria::Criteria;
use super::labels::LabelSelector;
use super::{Exemption, ExemptionKind, ExemptionName};
use crate::policy::modes::parse_from;
use crate::policy::rule::{Rule, RuleId, Source};
use crate::policy::set::{API_VERSION, PolicyError, line_of};
use crate::policy::suggest::{nearest, with_nearest_field};

/// What an exemption says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExemptionSpec {
    /// Rules that it excuses, by id or alias.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Families all of whose rules it excuses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// The objects that it is about.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: MatchSpec,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// A date (from midnight UTC) or RFC 3339 instant from which it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// The objects that an exemption is about; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchSpec {
    /// Names or globs of the namespaces that they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Kinds, as rules name them: `apps/Deployment`, `workloads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// Names or globs of the objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Labels of the objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Names or globs of containers: only violations in one of them are excused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<String>>,
    /// Images or globs: only violations in containers with one of them are excused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
    /// Names or globs of users: only what they ask for is excused, and only at admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
}

fn is_default(spec: &MatchSpec) -> bool {
    *spec == MatchSpec::default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: ExemptionSpec,
    #[serde(default, rename = "status")]
    _status: serde::de::IgnoredAny,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

/// An exemption whose rules are not looked up yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its name.
    pub name: ExemptionName,
    /// What it says.
    pub spec: ExemptionSpec,
    /// Where it stands.
    pub source: Source,
}

/// What a document's `kind` says that it is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Head {
    kind: String,
}

/// Returns the documents of a YAML file, each with as many empty lines above it as there are lines before, so that
/// errors name the lines of the file.
pub fn documents(source: &Source) -> Vec<Source> {
    let mut documents = Vec::new();
    let mut open = String::new();
    for (number, line) in source.text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(std::mem::replace(&mut open, "\n".repeat(number.saturating_add(1))));
        } else {
            open.push_str(line);
            open.push('\n');
        }
    }
    documents.push(open);
    let says_something = |text: &String| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let document = |text: String| Source { file: source.file.clone(), text: text.into() };
    documents.into_iter().filter(says_something).map(document).collect()
}

/// Returns whether a document is an exemption, whole or not.
pub fn is_exemption(document: &Source) -> bool {
    if !document.text.contains("Exemption") {
        return false;
    }
    let head: Head = serde_saphyr::from_str(&document.text).unwrap_or_default();
    head.kind == ExemptionKind::Exemption.as_str() || head.kind == ExemptionKind::ClusterExemption.as_str()
}

impl Written {
    /// Reads a document.
    pub fn parse(source: Source) -> Result<Self, PolicyError> {
        let object: Object = serde_saphyr::from_str(&source.text).map_err(|error| PolicyError {
            file: source.file.clone(),
            line: error.location().and_then(|location| usize::try_from(location.line()).ok()),
            cause: with_nearest_field(&error.without_snippet().to_string()),
        })?;
        let kind = match object.kind.as_str() {
            "ClusterExemption" => ExemptionKind::ClusterExemption,
            _ => ExemptionKind::Exemption,
        };
        let Metadata { name, namespace } = object.metadata;
        let namespace = namespace.unwrap_or_default().into();
        let name = ExemptionName { kind, namespace, name: name.as_str().into() };
        let written = Self { name, spec: object.spec, source };
        if object.api_version != API_VERSION {
            let cause = format!("apiVersion \"{}\" is not {API_VERSION}", object.api_version);
            return Err(written.fault("apiVersion", "apiVersion", cause));
        }
        written.check_name()?;
        Ok(written)
    }

    fn check_name(&self) -> Result<(), PolicyError> {
        let ExemptionName { kind, namespace, name } = &self.name;
        let cause = match kind {
            _ if name.is_empty() => "has no metadata.name",
            ExemptionKind::Exemption if namespace.is_empty() => {
                "an Exemption needs metadata.namespace; a ClusterExemption counts in the whole cluster"
            }
            ExemptionKind::ClusterExemption if !namespace.is_empty() => {
                "a ClusterExemption is in no namespace; take out metadata.namespace, or write an Exemption"
            }
            ExemptionKind::Exemption | ExemptionKind::ClusterExemption | ExemptionKind::Annotation => return Ok(()),
        };
        Err(self.fault("metadata", "metadata", cause))
    }

    /// Returns an error that points at the line where a word stands below a key.
    pub fn fault(&self, key: &str, word: &str, cause: impl Into<String>) -> PolicyError {
        let line = line_of(&self.source.text, key, word);
        PolicyError { file: self.source.file.clone(), line, cause: cause.into() }
    }

    /// Looks up the rules, and reads everything else.
    pub fn resolve<'r>(
        self: &Arc<Self>,
        rules: &BTreeMap<RuleId, Arc<Rule>>,
        find_rule: &dyn Fn(&str) -> Result<&'r Arc<Rule>, String>,
    ) -> Result<Exemption, PolicyError> {
        let spec = &self.spec;
        for (key, text, what) in [("reason", &spec.reason, "say why"), ("owner", &spec.owner, "say who answers for it")]
        {
            if text.trim().is_empty() {
                return Err(self.fault("spec", key, format!("spec.{key} is required: {what}")));
            }
        }
        let criteria = Criteria::read(&spec.matches)
            .map_err(|(key, word, cause)| self.fault(key, &word, format!("spec.match.{key}: {cause}")))?;
        if self.name.kind == ExemptionKind::ClusterExemption && criteria.is_empty() {
            let cause = "spec.match is required: a ClusterExemption that matches everything switches its rules off";
            return Err(self.fault("spec", "match", cause));
        }
        let end = |text: &String| {
            parse_from(text).map_err(|cause| self.fault("spec", "expires", format!("spec.expires: {cause}")))
        };
        Ok(Exemption {
            name: self.name.clone(),
            rules: self.rules(rules, find_rule)?,
            criteria,
            reason: spec.reason.trim().into(),
            owner: spec.owner.trim().into(),
            expires: spec.expires.as_ref().map(end).transpose()?,
            written: self.clone(),
        })
    }

    fn rules<'r>(
        &self,
        rules: &BTreeMap<RuleId, Arc<Rule>>,
        find_rule: &dyn Fn(&str) -> Result<&'r Arc<Rule>, String>,
    ) -> Result<BTreeSet<RuleId>, PolicyError> {
        let mut found = BTreeSet::new();
        for name in &self.spec.rules {
            let rule = find_rule(name).map_err(|cause| self.fault("rules", name, format!("spec.rules: {cause}")))?;
            found.insert(rule.id.clone());
        }
        for family in &self.spec.families {
            let of_family = rules.values().filter(|rule| rule.family == *family).map(|rule| rule.id.clone());
            let mut members = of_family.peekable();
            if members.peek().is_none() {
                let near = nearest(family, rules.values().map(|rule| rule.family.as_str()));
                let hint = near.map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
                let cause = format!("spec.families: there is no family \"{family}\"{hint}");
                return Err(self.fault("families", family, cause));
            }
            found.extend(members);
        }
        if found.is_empty() {
            return Err(self.fault("spec", "spec", "spec names neither rules nor families"));
        }
        Ok(found)
    }
}
