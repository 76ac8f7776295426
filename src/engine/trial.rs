//! Whether a user's rule may run on the VM: tried on its own fixtures, on both backends, when it is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::compiled::default_parameters;
use super::judge::{Agreement, Budget, Outcome, run};
use super::rego::{Machines, Program, Value};
use super::review::{Input, Needs, Review};
use crate::policy::Rule;

/// Functions whose answers depend on more than the input, so that two evaluations may differ on any backend.
const NOT_REPEATABLE: [&str; 4] = ["time.now_ns", "rand.intn", "uuid.rfc4122", "opa.runtime"];

/// The same rule for the VM and for the interpreter.
type Programs = [Arc<Program>; 2];

/// What users' rules are tried with.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// Returns the reviews that a rule's fixtures stand for.
    pub examples: &'a dyn Fn(&Rule) -> Result<Vec<Review>, String>,
    /// What the trial may cost, of one rule on one example, and of all rules together.
    pub budget: &'a Budget<'a>,
    /// Of so many evaluations of a rule on the VM, one is due to be repeated on the interpreter.
    pub repeat_one_in: NonZeroU64,
}

impl fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("repeat_one_in", &self.repeat_one_in).finish_non_exhaustive()
    }
}

/// What a trial showed; only [`Verdict::Agreed`] lets a rule run on the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// VM and interpreter gave the same answers on so many objects.
    Agreed(usize),
    /// There are no fixtures.
    NoFixtures,
    /// A fixture cannot be read.
    Unreadable(String),
    /// The rule finds nothing in any of its fixtures.
    FindsNothing,
    /// The rule calls this function, whose answers change.
    NotRepeatable(&'static str),
    /// The VM's compiler does not take it.
    NotCompiled(String),
    /// The answers differ on this object, counted from 1 over all fixtures; 0 is an empty object.
    Differs(usize),
    /// The time for trials was over before this one was done.
    OutOfTime,
    /// Both agreed on the fixtures, and differed at work.
    Withdrawn,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agreed(count) => write!(f, "VM and interpreter agree on the {count} objects of its fixtures"),
            Self::NoFixtures => f.write_str("it has no fixtures"),
            Self::Unreadable(cause) => write!(f, "a fixture cannot be read: {cause}"),
            Self::FindsNothing => f.write_str("it finds nothing in any of its fixtures"),
            Self::NotRepeatable(function) => write!(f, "it calls {function}, whose answers change"),
            Self::NotCompiled(cause) => write!(f, "the VM does not take it: {cause}"),
            Self::Differs(0) => f.write_str("VM and interpreter differ on an empty object"),
            Self::Differs(number) => write!(f, "VM and interpreter differ on object {number} of its fixtures"),
            Self::OutOfTime => f.write_str("there was no time to try its fixtures"),
            Self::Withdrawn => f.write_str("VM and interpreter differed on an object at work"),
        }
    }
}

impl Verdict {
    /// Returns whether it holds as long as rule and fixtures stay as they are.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::OutOfTime)
    }
}

impl Trial<'_> {
    /// Tries a rule. `text` is all Rego that it may come to; `programs` compiles it for the VM and for the interpreter.
    pub(super) fn of(
        &self,
        rule: &Rule,
        uses_strings: bool,
        text: &[&str],
        programs: impl FnOnce() -> Result<Programs, Verdict>,
    ) -> Verdict {
        self.run(rule, uses_strings, text, programs).unwrap_or_else(|verdict| verdict)
    }

    fn run(
        &self,
        rule: &Rule,
        uses_strings: bool,
        text: &[&str],
        programs: impl FnOnce() -> Result<Programs, Verdict>,
    ) -> Result<Verdict, Verdict> {
        if rule.fixtures.is_empty() {
            return Err(Verdict::NoFixtures);
        }
        let called = |text: &str| NOT_REPEATABLE.into_iter().find(|function| text.contains(function));
        if let Some(function) = text.iter().find_map(|text| called(text)) {
            return Err(Verdict::NotRepeatable(function));
        }
        if (self.budget.remaining)().is_zero() {
            return Err(Verdict::OutOfTime);
        }
        let examples = (self.examples)(rule).map_err(Verdict::Unreadable)?;
        let programs = programs()?;
        let parameters = default_parameters(rule);
        let needs =
            Needs { parameters: parameters.as_ref(), strings: uses_strings, secret_data: rule.reads_secret_data };
        let nothing = Review::of_file(Value::new_object(), None, BTreeMap::new());
        let mut finds = false;
        for (number, review) in std::iter::once(&nothing).chain(&examples).enumerate() {
            finds |= self.answers_alike(&programs, needs, &Input::new(review), number)?;
        }
        if finds { Ok(Verdict::Agreed(examples.len())) } else { Err(Verdict::FindsNothing) }
    }

    /// Returns whether both backends found something, or why the rule stays on the interpreter.
    fn answers_alike(
        &self,
        programs: &Programs,
        needs: Needs<'_>,
        input: &Input,
        number: usize,
    ) -> Result<bool, Verdict> {
        let mut machines = Machines::default();
        let [vm, interpreter] =
            programs.each_ref().map(|program| run(program, needs, input, &mut machines, self.budget));
        match vm.agrees_with(&interpreter) {
            Agreement::Same => Ok(matches!(vm, Outcome::Judged { violations, .. } if !violations.is_empty())),
            Agreement::Different => Err(Verdict::Differs(number)),
            Agreement::Unclear => Err(Verdict::OutOfTime),
        }
    }
}
