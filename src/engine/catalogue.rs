//! Every rule and policy that there is: the embedded ones, then those of each `--policies` directory over them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::rego;
use crate::policy::exemption::{self, ExemptionName, Refused, Written};
use crate::policy::metadata::MetadataError;
use crate::policy::rule::RuleError;
use crate::policy::set::{API_VERSION, PolicyError, PolicySet};
use crate::policy::{
    Exemption, ExemptionTerms, Exemptions, Fixture, Provenance, Rule, RuleId, Source, embedded, nearest,
};

/// The generated list of built-in rules that run on the VM, and of what they were when that was shown.
const VM_LIST: &str = "vm.json";

/// Every rule, policy and shared module, in force or not.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    rules: BTreeMap<RuleId, Arc<Rule>>,
    aliases: HashMap<RuleId, RuleId>,
    sets: BTreeMap<Arc<str>, PolicySet>,
    libraries: BTreeMap<Arc<str>, (Source, Provenance)>,
    written: BTreeMap<ExemptionName, Arc<Written>>,
    exemptions: Vec<Arc<Exemption>>,
    proven_on_vm: BTreeMap<String, String>,
}

/// Something wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path of the file.
    pub file: Arc<str>,
    /// Line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub cause: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map_or(String::new(), |line| format!(":{line}"));
        write!(f, "{}{line}: {}", self.file, self.cause)
    }
}

/// Files that are no rules or policies; every fault is named, not only the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CatalogueError {
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Fault {
    fn new(file: &Arc<str>, line: Option<usize>, cause: impl fmt::Display) -> Self {
        Self { file: file.clone(), line, cause: cause.to_string() }
    }
}

impl From<PolicyError> for Fault {
    fn from(PolicyError { file, line, cause }: PolicyError) -> Self {
        Self { file, line, cause }
    }
}

impl From<rego::CompileError> for Fault {
    fn from(rego::CompileError { file, line, cause }: rego::CompileError) -> Self {
        Self { file, line, cause }
    }
}

impl Catalogue {
    /// Reads the embedded rules and policies, then the layers over them; a layer replaces by id.
    pub fn read(layers: &[Vec<Source>]) -> Result<Self, CatalogueError> {
        let shipped: Vec<Source> = embedded::FILES.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        let mut catalogue = Self::default();
        let mut faults = Vec::new();
        catalogue.add_layer(&shipped, Provenance::BuiltIn, &mut faults);
        for layer in layers {
            catalogue.add_layer(layer, Provenance::User, &mut faults);
        }
        catalogue.index_aliases(&mut faults);
        catalogue.resolve_exemptions(&mut faults);
        if faults.is_empty() { Ok(catalogue) } else { Err(CatalogueError { faults }) }
    }

    fn add_layer(&mut self, files: &[Source], provenance: Provenance, faults: &mut Vec<Fault>) {
        let mut seen: HashMap<String, Arc<str>> = HashMap::new();
        let mut once = |what: String, file: &Arc<str>, faults: &mut Vec<Fault>| {
            if let Some(other) = seen.insert(what.clone(), file.clone()) {
                faults.push(Fault::new(file, None, format_args!("{what} stands in {other} too")));
            }
        };
        for file in files {
            match Part::of(file) {
                Part::Library => {
                    self.libraries.insert(file.file.clone(), (file.clone(), provenance));
                }
                Part::Rule { family } => match Rule::parse(file.clone(), family, provenance) {
                    Ok(mut rule) => {
                        once(format!("rule \"{}\"", rule.id), &file.file, faults);
                        rule.fixtures = fixtures(&file.file, files);
                        self.rules.insert(rule.id.clone(), Arc::new(rule));
                    }
                    Err(RuleError::Metadata(MetadataError { line, cause })) => {
                        faults.push(Fault::new(&file.file, Some(line), cause));
                    }
                    Err(error) => faults.push(Fault::new(&file.file, None, error)),
                },
                Part::Policy => {
                    for document in parts_of(file) {
                        match Document::parse(document) {
                            Ok(Document::Policy(set)) => {
                                once(format!("policy \"{}\"", set.name), &file.file, faults);
                                self.sets.insert(set.name.clone(), set);
                            }
                            Ok(Document::Exemption(written)) => {
                                once(written.name.to_string(), &file.file, faults);
                                self.written.insert(written.name.clone(), written);
                            }
                            Err(error) => faults.push(error.into()),
                        }
                    }
                }
                Part::VmList => self.proven_on_vm = serde_json::from_str(&file.text).unwrap_or_default(),
                Part::Fixture | Part::Other => {}
            }
        }
    }

    fn index_aliases(&mut self, faults: &mut Vec<Fault>) {
        // Built-in rules first, so that it is the user's file that is named.
        let (built_in, own): (Vec<_>, Vec<_>) =
            self.rules.values().partition(|rule| rule.provenance == Provenance::BuiltIn);
        for rule in built_in.into_iter().chain(own) {
            for alias in &rule.aliases {
                let other = self.aliases.insert(alias.clone(), rule.id.clone());
                let other = other.or_else(|| self.rules.get(alias).map(|other| other.id.clone()));
                if let Some(other) = other {
                    let cause = format_args!("alias \"{alias}\" of \"{}\" names \"{other}\" too", rule.id);
                    faults.push(Fault::new(&rule.source.file, None, cause));
                }
            }
        }
    }

    /// Looks up what exemptions name, once every alias is known.
    fn resolve_exemptions(&mut self, faults: &mut Vec<Fault>) {
        let mut found = Vec::new();
        for written in self.written.values() {
            match self.exemption(written) {
                Ok(exemption) => found.push(Arc::new(exemption)),
                Err(error) => faults.push(error.into()),
            }
        }
        self.exemptions = found;
    }

    /// Looks up the rules that an exemption names.
    pub fn exemption(&self, written: &Arc<Written>) -> Result<Exemption, PolicyError> {
        written.resolve(&self.rules, &|name| self.rule(name))
    }

    /// Returns what is in force of the exemptions that stand among the files, and of those that stand elsewhere.
    pub fn exemptions_beside(&self, others: &[Arc<Written>], terms: &ExemptionTerms) -> Exemptions {
        let (mut all, mut refused) = (self.exemptions.clone(), Vec::new());
        for written in others {
            match self.exemption(written) {
                Ok(exemption) => all.push(Arc::new(exemption)),
                Err(error) => refused.push(Refused { written: written.clone(), cause: error.cause }),
            }
        }
        Exemptions::with_refused(all, refused, terms)
    }

    /// Returns every exemption that stands among the files, ended ones included.
    pub fn exemptions(&self) -> &[Arc<Exemption>] {
        &self.exemptions
    }

    /// Returns every rule by id.
    pub fn rules(&self) -> &BTreeMap<RuleId, Arc<Rule>> {
        &self.rules
    }

    /// Returns every policy by name.
    pub fn sets(&self) -> &BTreeMap<Arc<str>, PolicySet> {
        &self.sets
    }

    /// Returns the modules that rules share. Built-in rules see the built-in ones only, so that no module of a user's
    /// changes what was shown of them.
    pub fn libraries(&self, of: Provenance) -> Vec<Source> {
        self.shared(of).cloned().collect()
    }

    fn shared(&self, of: Provenance) -> impl Iterator<Item = &Source> {
        let is_seen = move |by: Provenance| of == Provenance::User || by == Provenance::BuiltIn;
        self.libraries.values().filter(move |(_, by)| is_seen(*by)).map(|(source, _)| source)
    }

    /// Returns whether a rule, or a module that it may import, looks at `input.strings`.
    pub fn uses_strings(&self, rule: &Rule) -> bool {
        let mentions =
            |source: &Source| source.text.contains("input.strings") || source.text.contains("input[\"strings\"]");
        mentions(&rule.source) || self.shared(rule.provenance).any(mentions)
    }

    /// Finds a rule by id or alias; the error names the nearest one.
    pub fn rule(&self, name: &str) -> Result<&Arc<Rule>, String> {
        let by_alias = || self.aliases.get(name).and_then(|id| self.rules.get(id));
        self.rules.get(name).or_else(by_alias).ok_or_else(|| {
            let known = self.rules.keys().map(RuleId::as_str).chain(self.aliases.keys().map(RuleId::as_str));
            let hint = nearest(name, known).map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
            format!("there is no rule \"{name}\"{hint}")
        })
    }

    /// Returns whether a built-in rule was shown to give the same answers on the VM as on the interpreter and OPA,
    /// in exactly its present form.
    pub fn is_proven_on_vm(&self, rule: &Rule) -> bool {
        rule.provenance == Provenance::BuiltIn
            && self.proven_on_vm.get(rule.id.as_str()).is_some_and(|digest| *digest == self.program_digest(rule))
    }

    /// Returns what a rule's compiled program depends on, as a hash in hex: its source, the shared modules, the engine.
    pub fn program_digest(&self, rule: &Rule) -> String {
        let mut hash = Sha256::new();
        hash.update(rego::ENGINE_VERSION);
        for source in self.shared(rule.provenance).chain([&rule.source]) {
            hash.update([0]);
            hash.update(source.text.as_bytes());
        }
        HEXLOWER.encode(&hash.finalize())
    }

    /// Returns a hash over a rule's fixtures, in hex.
    pub fn fixtures_digest(rule: &Rule) -> String {
        let mut hash = Sha256::new();
        for fixture in &rule.fixtures {
            hash.update([0]);
            hash.update(fixture.source.text.as_bytes());
        }
        HEXLOWER.encode(&hash.finalize())
    }

    /// Returns a hash over every rule, policy and shared module, as `sha256:…`.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let rules = self.rules.values().map(|rule| &rule.source);
        let sets = self.sets.values().map(|set| &set.source);
        for source in self.shared(Provenance::User).chain(rules).chain(sets) {
            hash.update([0]);
            hash.update(source.text.as_bytes());
        }
        format!("sha256:{}", HEXLOWER.encode(&hash.finalize()))
    }
}

/// What a document of a YAML file is.
enum Document {
    Policy(PolicySet),
    Exemption(Arc<Written>),
}

impl Document {
    fn parse(document: Source) -> Result<Self, PolicyError> {
        if exemption::is_exemption(&document) {
            return Written::parse(document).map(|written| Self::Exemption(Arc::new(written)));
        }
        PolicySet::parse(document).map(Self::Policy)
    }
}

/// Returns the documents of a file that holds exemptions; a policy has a file of its own.
fn parts_of(file: &Source) -> Vec<Source> {
    if file.text.contains("Exemption") { exemption::documents(file) } else { vec![file.clone()] }
}

/// What a file of a `policies/` directory is.
enum Part<'a> {
    Library,
    Rule { family: &'a str },
    Policy,
    Fixture,
    VmList,
    Other,
}

impl<'a> Part<'a> {
    fn of(source: &'a Source) -> Self {
        let path = &*source.file;
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.last().copied().unwrap_or(path);
        if name.ends_with(".rego") {
            if name.ends_with("_test.rego") {
                return Self::Other;
            }
            // Of the path only the folder that the file stands in: what is above it may be `/var/lib`.
            let has_metadata = source.text.lines().any(|line| line.trim_end() == "# METADATA");
            let is_library = (parts.iter().rev().nth(1) == Some(&"lib") && !has_metadata)
                || source.text.lines().any(|line| line.starts_with("package gatepost.lib"));
            let rules = parts.iter().rposition(|part| *part == "rules");
            let family = rules.and_then(|at| parts.get(at.saturating_add(1))).filter(|family| **family != name);
            return if is_library { Self::Library } else { Self::Rule { family: family.copied().unwrap_or("own") } };
        }
        match name {
            VM_LIST => Self::VmList,
            _ if is_fixture(source) => Self::Fixture,
            _ if is_yaml(name) => Self::Policy,
            _ => Self::Other,
        }
    }
}

fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Returns whether a file is a fixture: it has the name of one (`pass.yaml`, `fail-init.yaml`, but not
/// `passwords.yaml`), and is no policy, unless it stands in a rule's own folder, where no policy stands.
fn is_fixture(source: &Source) -> bool {
    let (folder, name) = source.file.rsplit_once('/').unwrap_or(("", &*source.file));
    let rest = name.strip_prefix("pass").or_else(|| name.strip_prefix("fail"));
    let is_named_so = is_yaml(name) && rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    let is_in_a_rules_folder = folder.rsplit('/').nth(2) == Some("rules");
    is_named_so && (is_in_a_rules_folder || !is_policy(&source.text))
}

/// Returns whether a file says at its margin that it is of Gatepost's group; a fixture's objects may name it elsewhere.
fn is_policy(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("apiVersion") && line.contains(API_VERSION))
}

/// Returns the fixtures that stand beside a rule, the plainly named ones first.
fn fixtures(rule: &str, files: &[Source]) -> Vec<Fixture> {
    let Some((folder, _)) = rule.rsplit_once('/') else { return Vec::new() };
    let mut found: Vec<Fixture> = files
        .iter()
        .filter_map(|file| {
            let name = file.file.strip_prefix(folder)?.strip_prefix('/')?;
            let is_one = !name.contains('/') && is_fixture(file);
            is_one.then(|| Fixture { source: file.clone(), passes: name.starts_with("pass") })
        })
        .collect();
    found.sort_by_key(|fixture| (fixture.source.file.len(), fixture.source.file.clone()));
    found
}
