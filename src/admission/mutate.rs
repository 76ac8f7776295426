//! Mending one new object: the patches of a policy's rules marked `mutate: true`, applied rule by rule to a copy.
//!
//! Rules are applied in the order of their ids, each to what those before it left, until none has anything more to set:
//! so an object that was mended comes back unchanged. A rule that fails is left out whole, and the others are applied
//! without it. Whatever else goes wrong leaves the object as it was: mutation denies nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;

use super::decision::subject;
use super::envelope::Envelope;
use super::patch::{Addition, Draft, PatchError};
use super::request::{Means, NamespaceState, Reviewer};
use crate::engine::{Budget, Check, EvalError, Input, Machines, Outcome, Path, Review, Value, judge};
use crate::policy::{Operation, RuleId};
use crate::report::redact::Redactor;

#[cfg(test)]
mod tests;

/// Rules may wait for what others set: after so many rounds, one that still sets something does not come to an end.
const ROUNDS: usize = 10;

/// What became of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// Kind and name, for example `CronJob/report`.
    pub subject: String,
    /// The policy whose patches were asked for.
    pub policy: Option<Arc<str>>,
    /// The places that were set, and by which rule, in the order in which they were set.
    pub set: Vec<(RuleId, Path)>,
    /// Rules that are left out, and why.
    pub left_out: Vec<(RuleId, String)>,
    /// Why nothing was tried, or everything given up.
    pub failure: Option<Failure>,
    /// What makes the mended object of the one that came.
    pub patch: Vec<Addition>,
}

/// Why a rule's patches are left out.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Evaluation(EvalError),
    #[error(transparent)]
    Patch(#[from] PatchError),
    #[error("it still sets something after {ROUNDS} rounds")]
    Endless,
}

impl Fault {
    /// Returns whether asking again would cost as much again, for nothing.
    fn is_costly(&self) -> bool {
        matches!(self, Self::Evaluation(EvalError::OutOfTime { .. } | EvalError::OutOfInstructions { .. }))
    }
}

/// Why an object is as it was although its namespace may ask for patches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object cannot be read.
    #[error("{0}")]
    Unreadable(EvalError),
    /// The namespace could not be read in time, so nobody knows whether it asks for patches.
    #[error("the namespace could not be read in time")]
    UnreadNamespace,
    /// The deadline came first, or the evaluation panicked.
    #[error("the patches were not worked out in time")]
    NotReached,
}

impl Mutation {
    /// Returns what is said of an object that nobody asks to mend.
    pub fn none(envelope: &Envelope) -> Self {
        Self {
            subject: subject(envelope, &Value::Null),
            policy: None,
            set: Vec::new(),
            left_out: Vec::new(),
            failure: None,
            patch: Vec::new(),
        }
    }

    /// Returns what is said of an object whose patches could not be worked out.
    pub fn failed(envelope: &Envelope, failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::none(envelope) }
    }

    /// Returns whether something went wrong, be it with one rule.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some() || !self.left_out.is_empty()
    }

    /// Returns the rules that set something, each once.
    pub fn rules(&self) -> BTreeSet<&RuleId> {
        self.set.iter().map(|(rule, _)| rule).collect()
    }

    /// Returns the rules that set something, each with the places: `rule: /a/b, /c; other-rule: /d`.
    pub fn summary(&self) -> String {
        let mut rules: BTreeMap<&RuleId, Vec<String>> = BTreeMap::new();
        for (rule, path) in &self.set {
            rules.entry(rule).or_default().push(path.to_string());
        }
        let each: Vec<String> = rules.iter().map(|(rule, paths)| format!("{rule}: {}", paths.join(", "))).collect();
        each.join("; ")
    }
}

impl Envelope {
    /// Returns whether the request is one that patches are for: an object that is created in a namespace.
    pub fn may_be_mutated(&self) -> bool {
        self.operation() == Operation::Create && self.sub_resource.is_empty() && self.judging_namespace().is_some()
    }
}

impl Reviewer<'_> {
    /// Works out what the namespace's mutate policy sets in a new object.
    pub fn mutate(&self, envelope: &Envelope, means: Means<'_>) -> Mutation {
        if !envelope.may_be_mutated() {
            return Mutation::none(envelope);
        }
        let policy = match self.mutate_policy(&means.namespace) {
            Ok(Some(policy)) => policy,
            Ok(None) => return Mutation::none(envelope),
            Err(failure) => return Mutation::failed(envelope, failure),
        };
        let object = match envelope.object() {
            Ok(object) => object,
            Err(error) => return Mutation::failed(envelope, Failure::Unreadable(error)),
        };
        let untouched =
            Mutation { subject: subject(envelope, &object), policy: Some(policy.clone()), ..Mutation::none(envelope) };
        if self.is_left_alone(envelope, &object) {
            return untouched;
        }
        let Means { namespace, inventory, remaining, machines, .. } = means;
        let namespace = match namespace {
            NamespaceState::Known(namespace) => Some(namespace),
            NamespaceState::Unread(_) | NamespaceState::None => None,
        };
        let review = Review {
            kubernetes_version: self.kubernetes_version,
            ..envelope.review(object, Value::Null, namespace, inventory)
        };
        let input = Input::new(&review);
        let checks = self.mutating_checks(&policy, &review, input.has_template());
        let mut mender = Mender { review: &review, input, machines, budget: Budget { limits: self.limits, remaining } };
        mender.mend(checks, untouched)
    }

    /// Returns the policy whose patches a namespace asks for, if it asks for any.
    pub fn mutate_policy(&self, namespace: &NamespaceState) -> Result<Option<Arc<str>>, Failure> {
        match namespace {
            NamespaceState::Known(namespace) => Ok(self.modes.mutation(namespace, self.bundle)),
            NamespaceState::Unread(_) => Err(Failure::UnreadNamespace),
            NamespaceState::None => Ok(None),
        }
    }

    /// Returns whether somebody else's word goes before the policy's: a controller makes the object of a template, and
    /// would not know it again.
    fn is_left_alone(&self, envelope: &Envelope, object: &Value) -> bool {
        self.controllers.owner_of(&envelope.kind, object, envelope.user_name()).is_some()
    }

    /// Returns the checks whose patches a policy applies to an object, in the order of their rules' ids.
    fn mutating_checks(&self, policy: &str, review: &Review, has_template: bool) -> Vec<Arc<Check>> {
        let Some(policy) = self.bundle.policy(policy) else { return Vec::new() };
        let mut checks = self.bundle.matching(review, has_template, &[policy.as_ref()]);
        checks.retain(|check| policy.entries.get(&check.id).is_some_and(|entry| entry.mutate));
        checks.sort_by(|a, b| a.rule_id().cmp(b.rule_id()));
        checks
    }
}

/// What one object is mended with.
struct Mender<'a> {
    review: &'a Review,
    /// The input of the object as it came.
    input: Input,
    machines: &'a mut Machines,
    budget: Budget<'a>,
}

/// Why rules did not come to rest.
enum Stopped {
    /// This one must be left out.
    Rule(Arc<Check>, Fault),
    /// There is no time left.
    NotReached,
}

/// What rules made of an object when none had anything more to set.
struct Settled<'a> {
    draft: Draft<'a>,
    set: Vec<(RuleId, Path)>,
    /// Rules that never set anything, because they fail.
    failing: Vec<(Arc<Check>, Fault)>,
}

impl<'a> Mender<'a> {
    /// Applies what can be applied; a rule that fails after all is left out, and the others begin again without it.
    fn mend(&mut self, mut checks: Vec<Arc<Check>>, untouched: Mutation) -> Mutation {
        let redactor = Redactor::of(&self.review.object);
        let said = |(check, fault): (Arc<Check>, Fault)| (check.rule_id().clone(), redactor.redact(fault.to_string()));
        let mut left_out = Vec::new();
        loop {
            match self.settle(&checks) {
                Ok(Settled { draft, set, failing }) => {
                    left_out.extend(failing.into_iter().map(said));
                    let set = set.into_iter().map(|(rule, path)| (rule, redactor.redact_path(&path))).collect();
                    return Mutation { set, left_out, patch: draft.additions(), ..untouched };
                }
                Err(Stopped::NotReached) => {
                    return Mutation { left_out, failure: Some(Failure::NotReached), ..untouched };
                }
                Err(Stopped::Rule(check, fault)) => {
                    checks.retain(|other| other.id != check.id);
                    left_out.push(said((check, fault)));
                }
            }
        }
    }

    /// Applies rules one after the other, again and again, until none sets anything more. What one sets may be what
    /// another needs, so a rule that fails is asked again as long as something changes.
    fn settle(&mut self, checks: &[Arc<Check>]) -> Result<Settled<'a>, Stopped> {
        let mut input = self.input.clone();
        let mut settled = Settled { draft: Draft::of(&self.review.object), set: Vec::new(), failing: Vec::new() };
        for round in 0..=ROUNDS {
            let before = settled.set.len();
            settled.failing.clear();
            for check in checks {
                let patches = self.patches(&input, check);
                let places = patches.and_then(|patches| Ok(settled.draft.add(patches.iter())?));
                match places {
                    Ok(places) if places.is_empty() => {}
                    Ok(_) if round == ROUNDS => return Err(Stopped::Rule(check.clone(), Fault::Endless)),
                    Ok(places) => {
                        settled.set.extend(places.into_iter().map(|path| (check.rule_id().clone(), path)));
                        let object = settled.draft.object().clone();
                        input = Input::new(&Review { object, ..self.review.clone() });
                    }
                    Err(Fault::Evaluation(EvalError::NotReached)) => return Err(Stopped::NotReached),
                    Err(fault) if fault.is_costly() => return Err(Stopped::Rule(check.clone(), fault)),
                    Err(fault) => settled.failing.push((check.clone(), fault)),
                }
            }
            if settled.set.len() == before {
                break;
            }
        }
        settled.whole()
    }

    /// Returns what one rule would set in the object as it stands.
    fn patches(&mut self, input: &Input, check: &Arc<Check>) -> Result<Vec<(Path, Value)>, Fault> {
        let mut patches = Vec::new();
        for judgement in judge(input, slice::from_ref(check), self.machines, &self.budget) {
            match judgement.outcome {
                Outcome::Judged { violations, .. } => {
                    patches.extend(violations.into_iter().flat_map(|violation| violation.patch));
                }
                Outcome::Failed(error) => return Err(Fault::Evaluation(error)),
            }
        }
        Ok(patches)
    }
}

impl Settled<'_> {
    /// Refuses what a rule set only in part, because it failed later.
    fn whole(mut self) -> Result<Self, Stopped> {
        let set_something = |rule: &RuleId| self.set.iter().any(|(known, _)| known == rule);
        match self.failing.iter().position(|(check, _)| set_something(check.rule_id())) {
            Some(at) => {
                let (check, fault) = self.failing.swap_remove(at);
                Err(Stopped::Rule(check, fault))
            }
            None => Ok(self),
        }
    }
}
