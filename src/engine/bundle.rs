//! The bundle in force: every rule compiled, every policy resolved, and an index of who looks at what.
//!
//! A bundle is immutable; a change of policies builds another and swaps it in whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::catalogue::{Catalogue, CatalogueError, Fault};
use super::compiled::{BackendChoice, CompiledRule, ProgramCache, compile_all, default_parameters};
use super::parameters;
use super::reads::Reads;
use super::rego::Value;
use super::review::{Needs, Review};
use crate::policy::kinds::{CONTROLLERS, KindSelector};
use crate::policy::modes::PolicyNames;
use crate::policy::set::{self, Entry};
use crate::policy::{GroupVersionKind, PolicyEntries, Rule, RuleId};

/// One thing to evaluate: a rule with certain parameters, however many policies ask for it.
#[derive(Debug)]
pub struct Check {
    /// Position among the bundle's checks.
    pub id: usize,
    /// The rule.
    pub rule: Arc<CompiledRule>,
    parameters: Option<Value>,
}

impl Check {
    /// Returns the rule's id.
    pub fn rule_id(&self) -> &RuleId {
        &self.rule.rule.id
    }

    /// Returns what the check wants of the input.
    pub fn needs(&self) -> Needs<'_> {
        Needs {
            parameters: self.parameters.as_ref(),
            strings: self.rule.uses_strings,
            secret_data: self.rule.rule.reads_secret_data,
        }
    }

    /// Returns whether the rule looks at a kind of workload.
    pub fn looks_at(&self, workload: &GroupVersionKind) -> bool {
        self.rule.rule.kinds.iter().any(|kind| kind.matches(workload, true))
    }

    fn matches(&self, review: &Review, has_template: bool) -> bool {
        let rule = &self.rule.rule;
        rule.operations.contains(&review.operation)
            && rule.places.contains(&review.origin)
            && rule.kinds.iter().any(|kind| kind.matches(&review.kind, has_template))
    }
}

/// A policy with its checks.
#[derive(Debug)]
pub struct ResolvedPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// One line for lists.
    pub title: String,
    /// Who it is for.
    pub description: String,
    /// What it makes of each of its checks, by the check's id.
    pub entries: BTreeMap<usize, Entry>,
}

/// Every compiled rule, resolved policy, and the index over them.
#[derive(Debug)]
pub struct Bundle {
    catalogue: Catalogue,
    digest: String,
    checks: Vec<Arc<Check>>,
    policies: BTreeMap<Arc<str>, Arc<ResolvedPolicy>>,
    rules: BTreeMap<RuleId, Arc<CompiledRule>>,
    index: Index,
}

impl Bundle {
    /// Compiles and resolves everything; every fault is named, not only the first.
    pub fn build(
        catalogue: Catalogue,
        cache: &ProgramCache,
        choice: BackendChoice<'_>,
    ) -> Result<Self, CatalogueError> {
        let mut faults = Vec::new();
        let rules = compile_all(&catalogue, cache, choice, &mut faults);
        let mut checks = Checks { rules: &rules, list: Vec::new(), known: HashMap::new() };
        let mut policies = BTreeMap::new();
        for set in catalogue.sets().values() {
            match checks.policy(set, &catalogue) {
                Ok(policy) => {
                    policies.insert(policy.name.clone(), Arc::new(policy));
                }
                Err(fault) => faults.push(fault),
            }
        }
        // Every rule can be asked for by itself, with its defaults, unless it has parameters without one.
        let has_defaults = |rule: &Rule| rule.parameters.as_ref().is_none_or(|schema| schema.get("required").is_none());
        let alone = catalogue.rules().values().filter(|rule| rules.contains_key(&rule.id) && has_defaults(rule));
        for rule in alone {
            if let Err(cause) = checks.check(rule, &serde_json::Map::new()) {
                faults.push(Fault { file: rule.source.file.clone(), line: None, cause });
            }
        }
        if !faults.is_empty() {
            return Err(CatalogueError { faults });
        }
        let checks = checks.list;
        let digest = catalogue.digest();
        Ok(Self { digest, index: Index::of(&checks), checks, policies, rules, catalogue })
    }

    /// Returns the rules and policies that the bundle was built from.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the hash over all rules and policies, as `sha256:…`.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns a policy by name.
    pub fn policy(&self, name: &str) -> Option<&Arc<ResolvedPolicy>> {
        self.policies.get(name)
    }

    /// Returns the rules that policies have; a name that no policy has adds none.
    pub fn rules_of<'n>(&self, policies: impl IntoIterator<Item = &'n str>) -> BTreeSet<RuleId> {
        let policies = policies.into_iter().filter_map(|name| self.policies.get(name));
        let checks = policies.flat_map(|policy| policy.entries.keys()).filter_map(|check| self.checks.get(*check));
        checks.map(|check| check.rule_id().clone()).collect()
    }

    /// Returns every policy by name.
    pub fn policies(&self) -> &BTreeMap<Arc<str>, Arc<ResolvedPolicy>> {
        &self.policies
    }

    /// Returns every compiled rule by id.
    pub fn rules(&self) -> &BTreeMap<RuleId, Arc<CompiledRule>> {
        &self.rules
    }

    /// Returns what rules read of the objects that they look up, by `apiGroup/Kind`.
    pub fn reads(&self) -> Reads {
        let mut all = Reads::new();
        for (kind, kept) in self.rules.values().flat_map(|rule| &rule.reads) {
            all.entry(kind.clone()).or_default().join(kept);
        }
        all
    }

    /// Returns whether a rule of some policies reads who wrote which field of the object that it judges.
    pub fn read_managed_fields(&self, policies: &[Arc<ResolvedPolicy>]) -> bool {
        let checks =
            policies.iter().flat_map(|policy| policy.entries.keys()).filter_map(|check| self.checks.get(*check));
        checks.into_iter().any(|check| check.rule.reads_managed_fields)
    }

    /// Returns every check.
    pub fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// Returns a policy of one name that holds single rules, each with its defaults.
    pub fn policy_of_rules(&self, name: &str, rules: &[Arc<Rule>]) -> ResolvedPolicy {
        let wanted = |check: &&Arc<Check>| {
            let defaults = default_parameters(&check.rule.rule);
            check.parameters == defaults && rules.iter().any(|rule| rule.id == *check.rule_id())
        };
        let entries = self.checks.iter().filter(wanted).map(|check| (check.id, Entry::of(&check.rule.rule))).collect();
        ResolvedPolicy { name: name.into(), title: String::new(), description: String::new(), entries }
    }

    /// Returns the checks of some policies that look at a review, each once; `has_template` is the input's
    /// `Input::has_template`.
    pub fn matching(&self, review: &Review, has_template: bool, policies: &[&ResolvedPolicy]) -> Vec<Arc<Check>> {
        let asked = |id: &usize| policies.iter().any(|policy| policy.entries.contains_key(id));
        let candidates = self.index.candidates(&review.kind.group, &review.kind.kind);
        candidates
            .filter(asked)
            .filter_map(|id| self.checks.get(id))
            .filter(|check| check.matches(review, has_template))
            .cloned()
            .collect()
    }
}

impl PolicyNames for Bundle {
    fn has_policy(&self, name: &str) -> bool {
        self.policies.contains_key(name)
    }

    fn policy_names(&self) -> Vec<&str> {
        self.policies.keys().map(|name| &**name).collect()
    }
}

impl PolicyEntries for Bundle {
    fn entries(&self, policy: &str) -> Option<&BTreeMap<usize, Entry>> {
        self.policies.get(policy).map(|policy| &policy.entries)
    }

    fn rule_of(&self, check: usize) -> Option<&Rule> {
        self.checks.get(check).map(|check| &*check.rule.rule)
    }
}

struct Checks<'a> {
    rules: &'a BTreeMap<RuleId, Arc<CompiledRule>>,
    list: Vec<Arc<Check>>,
    known: HashMap<(RuleId, String), usize>,
}

impl Checks<'_> {
    fn policy(&mut self, set: &set::PolicySet, catalogue: &Catalogue) -> Result<ResolvedPolicy, Fault> {
        let entries = set::resolve(set, catalogue.sets(), catalogue.rules(), &|name| catalogue.rule(name))?;
        let mut resolved = BTreeMap::new();
        for (id, entry) in entries {
            // What did not compile is a fault already.
            let Some(rule) = catalogue.rules().get(&id).filter(|_| self.rules.contains_key(&id)) else { continue };
            let check = self.check(rule, &entry.parameters).map_err(|cause| set.fault("rules", id.as_str(), cause))?;
            resolved.insert(check, entry);
        }
        let set::PolicySpec { title, description, .. } = &set.spec;
        Ok(ResolvedPolicy {
            name: set.name.clone(),
            title: title.clone(),
            description: description.clone(),
            entries: resolved,
        })
    }

    /// Returns the id of the check for a rule with parameters, making it if it is new.
    fn check(&mut self, rule: &Rule, given: &serde_json::Map<String, serde_json::Value>) -> Result<usize, String> {
        let parameters = parameters::check(rule, given)?;
        let key = (rule.id.clone(), parameters.as_ref().map_or(String::new(), ToString::to_string));
        if let Some(id) = self.known.get(&key) {
            return Ok(*id);
        }
        let compiled = self.rules.get(&rule.id).ok_or_else(|| format!("rule \"{}\" did not compile", rule.id))?;
        let id = self.list.len();
        let parameters = parameters.map(Value::from);
        self.list.push(Arc::new(Check { id, rule: compiled.clone(), parameters }));
        self.known.insert(key, id);
        Ok(id)
    }
}

/// Which checks may look at a kind: those that name it, and those that must be asked.
#[derive(Debug, Default)]
struct Index {
    named: HashMap<String, HashMap<String, Vec<usize>>>,
    general: Vec<usize>,
}

impl Index {
    fn of(checks: &[Arc<Check>]) -> Self {
        let mut index = Self::default();
        for check in checks {
            for selector in &check.rule.rule.kinds {
                index.add(check.id, selector);
            }
        }
        index
    }

    fn add(&mut self, id: usize, selector: &KindSelector) {
        match selector {
            KindSelector::Kind { group: Some(group), kind: Some(kind) } => self.name(id, group, kind),
            KindSelector::Group(kinds) => kinds.iter().for_each(|(group, kind)| self.name(id, group, kind)),
            KindSelector::Workloads => {
                CONTROLLERS.iter().chain([&("", "Pod")]).for_each(|(group, kind)| self.name(id, group, kind));
                self.general.push(id);
            }
            KindSelector::Any | KindSelector::Kind { .. } => self.general.push(id),
        }
    }

    fn name(&mut self, id: usize, group: &str, kind: &str) {
        self.named.entry(group.to_owned()).or_default().entry(kind.to_owned()).or_default().push(id);
    }

    /// Returns ids in rising order, each once.
    fn candidates(&self, group: &str, kind: &str) -> impl Iterator<Item = usize> {
        let named = self.named.get(group).and_then(|kinds| kinds.get(kind)).into_iter().flatten();
        named.chain(&self.general).copied().collect::<BTreeSet<_>>().into_iter()
    }
}
