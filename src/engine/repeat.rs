//! Watching users' rules on the VM: now and then an evaluation is repeated on the interpreter, and a rule on which the
//! two differ runs on the interpreter from then on.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::bundle::Check;
use super::judge::{Agreement, Budget, Judgement, Outcome, run};
use super::rego::{Machines, Program};
use super::review::Input;
use crate::policy::RuleId;

/// How one version of a rule stands: shared by all bundles that hold it, however often policies are reloaded.
#[derive(Debug, Default)]
pub(super) struct Standing {
    evaluations: AtomicU64,
    is_withdrawn: AtomicBool,
}

impl Standing {
    pub(super) fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Ordering::Relaxed)
    }
}

/// The standing of every version of a rule that was let onto the VM, by the digest of its program.
#[derive(Debug, Clone, Default)]
pub(super) struct Standings(Arc<Mutex<HashMap<String, Arc<Standing>>>>);

impl Standings {
    /// Returns the standing of a version; versions that no bundle holds any more are forgotten, unless one was withdrawn.
    pub(super) fn of(&self, digest: &str) -> Arc<Standing> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = known.get(digest) {
            return standing.clone();
        }
        known.retain(|_, standing| Arc::strong_count(standing) > 1 || standing.is_withdrawn());
        known.entry(digest.to_owned()).or_default().clone()
    }
}

/// What is needed to watch a rule on the VM.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) interpreter: Arc<Program>,
    pub(super) standing: Arc<Standing>,
    pub(super) one_in: NonZeroU64,
}

impl Watch {
    /// Counts an evaluation on the VM, and returns whether it is one that is repeated: the first, and then every so many.
    fn is_due(&self) -> bool {
        let before = self.standing.evaluations.fetch_add(1, Ordering::Relaxed);
        before.is_multiple_of(self.one_in.get()) && !self.standing.is_withdrawn()
    }
}

/// An evaluation on the VM that is to be repeated on the interpreter, when there is time.
#[derive(Debug)]
pub struct Repeat {
    input: Input,
    check: Arc<Check>,
    outcome: Outcome,
}

/// What repeating showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeated {
    /// The interpreter gave the same answer.
    Same,
    /// Nothing: one of the two ran out of time, or out of instructions.
    Unclear,
    /// The interpreter gave another answer; the rule runs on the interpreter now.
    Different(Difference),
}

/// A rule on which VM and interpreter differ. What it looked at is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The rule.
    pub rule: RuleId,
    /// Digest of its program.
    pub digest: String,
}

impl Repeat {
    /// Counts these judgements of users' rules on the VM, and returns those that are due to be repeated.
    pub fn due(input: &Input, judgements: &[Judgement]) -> Vec<Self> {
        let is_due = |judgement: &&Judgement| judgement.check.rule.watch.as_ref().is_some_and(Watch::is_due);
        let repeat = |judgement: &Judgement| Self {
            input: input.clone(),
            check: judgement.check.clone(),
            outcome: judgement.outcome.clone(),
        };
        judgements.iter().filter(is_due).map(repeat).collect()
    }

    /// Evaluates the rule on the interpreter, and withdraws it from the VM if the answer is another one.
    pub fn run(&self, machines: &mut Machines, budget: &Budget<'_>) -> Repeated {
        let rule = &self.check.rule;
        let Some(watch) = &rule.watch else { return Repeated::Unclear };
        let outcome = run(&watch.interpreter, self.check.needs(), &self.input, machines, budget);
        match self.outcome.agrees_with(&outcome) {
            Agreement::Same => Repeated::Same,
            Agreement::Unclear => Repeated::Unclear,
            Agreement::Different => {
                watch.standing.is_withdrawn.store(true, Ordering::Relaxed);
                Repeated::Different(Difference { rule: rule.rule.id.clone(), digest: rule.digest.clone() })
            }
        }
    }
}
