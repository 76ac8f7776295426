//! Evaluating checks on a review, within a budget.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::bundle::Check;
use super::rego::{EvalError, Found, Limits, Machines, Program, Value};
use super::review::{Input, Needs};
use super::template::CONTAINER_LISTS;
use super::value::{Fields, Path, Segment};

/// What judging one object may cost.
pub struct Budget<'a> {
    /// What one rule may cost.
    pub limits: Limits,
    /// Time left for the whole request; asked before each rule.
    pub remaining: &'a dyn Fn() -> Duration,
}

/// One thing wrong at one place of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// What to do about it.
    pub message: String,
    /// Where.
    pub path: Path,
    /// Name of the container that it is in.
    pub container: Option<String>,
    /// What would mend it: values to set where there are none.
    pub patch: Vec<(Path, Value)>,
}

/// A place that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Why not.
    pub reason: String,
    /// Where.
    pub path: Path,
}

/// What one check said of one object.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The check.
    pub check: Arc<Check>,
    /// What it said.
    pub outcome: Outcome,
}

/// What evaluating a check gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was evaluated; both lists empty is a pass.
    Judged {
        /// What is wrong.
        violations: Vec<Violation>,
        /// What could not be judged.
        skips: Vec<Skip>,
    },
    /// It could not be evaluated.
    Failed(EvalError),
}

impl Judgement {
    /// Returns what is wrong, nothing if the check could not be evaluated.
    pub fn violations(&self) -> &[Violation] {
        match &self.outcome {
            Outcome::Judged { violations, .. } => violations,
            Outcome::Failed(_) => &[],
        }
    }
}

/// Evaluates checks one after the other; one's failure never hides another's answer.
pub fn judge(input: &Input, checks: &[Arc<Check>], machines: &mut Machines, budget: &Budget<'_>) -> Vec<Judgement> {
    let mut one = |check: &Arc<Check>| {
        let outcome = run(check.rule.program(), check.needs(), input, machines, budget);
        Judgement { check: check.clone(), outcome }
    };
    checks.iter().map(&mut one).collect()
}

/// Returns judgements that say of every check why it was not evaluated.
pub fn not_judged(checks: &[Arc<Check>], error: &EvalError) -> Vec<Judgement> {
    let failed = |check: &Arc<Check>| Judgement { check: check.clone(), outcome: Outcome::Failed(error.clone()) };
    checks.iter().map(failed).collect()
}

/// Runs a program on an object, within what one rule may cost and the time that is left.
pub(super) fn run(
    program: &Program,
    needs: Needs<'_>,
    input: &Input,
    machines: &mut Machines,
    budget: &Budget<'_>,
) -> Outcome {
    try_run(program, needs, input, machines, budget).unwrap_or_else(Outcome::Failed)
}

fn try_run(
    program: &Program,
    needs: Needs<'_>,
    input: &Input,
    machines: &mut Machines,
    budget: &Budget<'_>,
) -> Result<Outcome, EvalError> {
    let remaining = (budget.remaining)();
    if remaining.is_zero() {
        return Err(EvalError::NotReached);
    }
    let limits = Limits { time: budget.limits.time.min(remaining), ..budget.limits };
    let run = program.run(machines, input.for_rule(needs), limits);
    let Found { violations, skips } = run.map_err(|error| match error {
        // The request's deadline cut the rule's own limit short: not the rule's fault.
        EvalError::OutOfTime { .. } if limits.time < budget.limits.time => EvalError::NotReached,
        other => other,
    })?;
    Ok(Outcome::Judged {
        violations: elements(&violations, |element| violation(element, input.object()))?,
        skips: elements(&skips, skip)?,
    })
}

/// What two outcomes of one rule on one object say of two backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// They say the same.
    Same,
    /// They do not.
    Different,
    /// One of them was cut short.
    Unclear,
}

impl Outcome {
    /// Compares with what another backend gave: violations and skips as sets, errors by their kind, for each backend
    /// words them in its own way.
    pub(super) fn agrees_with(&self, other: &Self) -> Agreement {
        let is_same = match (self, other) {
            (Self::Judged { violations, skips }, Self::Judged { violations: others, skips: other_skips }) => {
                have_same(violations, others) && have_same(skips, other_skips)
            }
            (Self::Failed(error), _) | (_, Self::Failed(error)) if error.is_cut_short() => return Agreement::Unclear,
            (Self::Failed(one), Self::Failed(another)) => mem::discriminant(one) == mem::discriminant(another),
            _ => false,
        };
        if is_same { Agreement::Same } else { Agreement::Different }
    }
}

fn have_same<T: PartialEq>(some: &[T], others: &[T]) -> bool {
    some == others
        || (some.len() == others.len()
            && some.iter().all(|one| others.contains(one))
            && others.iter().all(|one| some.contains(one)))
}

fn elements<T>(set: &Value, read: impl Fn(&Value) -> Result<T, EvalError>) -> Result<Vec<T>, EvalError> {
    match set {
        Value::Set(items) => items.iter().map(read).collect(),
        Value::Array(items) => items.iter().map(read).collect(),
        Value::Undefined => Ok(Vec::new()),
        _ => Err(EvalError::Shape("is not in a set: write `violation contains …`".into())),
    }
}

fn violation(element: &Value, object: &Value) -> Result<Violation, EvalError> {
    let path = path(element)?;
    let container = container(&path, object);
    let fixes = element.field("patch").map_or(Some(Vec::new()), patch_entries);
    let fixes = fixes.ok_or_else(|| EvalError::Shape("has a patch that is no list of {path, value}".into()))?;
    Ok(Violation { message: message(element)?, path, container, patch: fixes })
}

fn skip(element: &Value) -> Result<Skip, EvalError> {
    Ok(Skip { reason: message(element)?, path: path(element)? })
}

fn message(element: &Value) -> Result<String, EvalError> {
    let text = element.text("message").map(str::to_owned);
    text.ok_or_else(|| EvalError::Shape("has no message".into()))
}

fn path(element: &Value) -> Result<Path, EvalError> {
    element
        .field("path")
        .map_or(Some(Path::default()), Path::from_value)
        .ok_or_else(|| EvalError::Shape("has a path that is no list of keys and indexes".into()))
}

fn patch_entries(list: &Value) -> Option<Vec<(Path, Value)>> {
    let Value::Array(entries) = list else { return None };
    entries.iter().map(patch_entry).collect()
}

fn patch_entry(entry: &Value) -> Option<(Path, Value)> {
    Some((Path::from_value(entry.field("path")?)?, entry.field("value")?.clone()))
}

/// Returns the name of the container that a path leads into.
fn container(path: &Path, object: &Value) -> Option<String> {
    let at = container_depth(path)?;
    let prefix = Path(path.0.get(..=at)?.to_vec());
    prefix.find(object)?.text("name").map(str::to_owned)
}

/// Returns the position of the index that picks the container.
pub(crate) fn container_depth(path: &Path) -> Option<usize> {
    path.0
        .windows(2)
        .position(|pair| matches!(pair, [Segment::Key(list), Segment::Index(_)] if CONTAINER_LISTS.contains(&&**list)))?
        .checked_add(1)
}
