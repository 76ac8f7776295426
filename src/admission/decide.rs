//! From judgements and grants to a decision: what is denied, what is warned of, what is only recorded.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::exempt::{Excused, Excuses, Exempted};
use crate::engine::judge::container_depth;
use crate::engine::{Bundle, Check, EvalError, Judgement, Outcome, Path, Review, Segment, Violation};
use crate::policy::set::Entry;
use crate::policy::{AtMost, Exemptions, Grant, Mode, OnError, Operation, Origin, RuleId, Scope, Severity};
use crate::report::finding;
use crate::report::message::render_message;
use crate::report::redact::Redactor;

/// What a mode makes of a violation, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Only recorded.
    Record,
    /// Told to the user, who goes on.
    Warn,
    /// The request is refused.
    Deny,
}

impl Action {
    /// Returns the word of reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

/// What a grant says of one check, before scope is considered.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// What its policy makes of the rule.
    pub entry: &'a Entry,
    /// What happens to a violation.
    pub action: Action,
    /// Set when only the date keeps it from being denied.
    pub denied_from: Option<Timestamp>,
}

/// Returns what each grant says of a check's violations, or of its failure, the strongest first; of equal ones, the
/// first grant wins.
pub fn claims<'a>(
    bundle: &'a Bundle,
    grants: &'a [Grant],
    check: &Check,
    failed: bool,
    origin: Origin,
    now: Timestamp,
) -> Vec<Claim<'a>> {
    let claim = |grant: &'a Grant| {
        let entry = bundle.policy(&grant.policy)?.entries.get(&check.id)?;
        Some(claim(grant, entry, check, failed, origin, now))
    };
    let mut claims: Vec<Claim<'a>> = grants.iter().filter_map(claim).collect();
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.action));
    claims
}

fn claim<'a>(
    grant: &'a Grant,
    entry: &'a Entry,
    check: &Check,
    failed: bool,
    origin: Origin,
    now: Timestamp,
) -> Claim<'a> {
    let in_cluster = origin != Origin::Files;
    let at_most_warn = entry.at_most == Some(AtMost::Warn)
        || (in_cluster && check.rule.rule.at_most == Some(AtMost::Warn))
        || grant.severity.is_some_and(|least| entry.severity < least)
        || (failed && entry.on_error == OnError::Allow);
    let not_yet = grant.from.filter(|from| now < *from);
    let (action, denied_from) = match (grant.mode, at_most_warn, not_yet) {
        (Mode::Audit, _, _) => (Action::Record, None),
        (Mode::Enforce, false, None) => (Action::Deny, None),
        (Mode::Enforce, false, Some(from)) => (Action::Warn, Some(from)),
        (Mode::Warn, _, _) | (Mode::Enforce, true, _) => (Action::Warn, None),
    };
    Claim { grant, entry, action, denied_from }
}

/// One thing that is told, or recorded, of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The rule.
    pub rule: RuleId,
    /// The policy whose grant is the strongest.
    pub policy: Arc<str>,
    /// Severity in that policy.
    pub severity: Severity,
    /// What happens.
    pub action: Action,
    /// What is wrong.
    pub what: What,
    /// The place by names, as a finding has it; empty for what is about the whole.
    pub place: String,
    /// From when it will be denied, where only the date holds it back, and the instant at which that was said.
    pub denied_from: Option<(Timestamp, Timestamp)>,
    /// Whether only broken glass keeps it from being denied.
    pub under_break_glass: bool,
}

impl Told {
    /// Returns the place; none where the rule could not be evaluated.
    pub const fn path(&self) -> Option<&Path> {
        self.what.path()
    }
}

/// A violation, or a rule that could not be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Something is wrong.
    Violation(Violation),
    /// The rule gave no answer.
    Error(EvalError),
}

impl What {
    const fn path(&self) -> Option<&Path> {
        match self {
            Self::Violation(violation) => Some(&violation.path),
            Self::Error(_) => None,
        }
    }

    /// Returns the place by names, as a finding has it; empty for what is about the whole.
    fn place(&self, review: &Review) -> String {
        self.path().map(|path| finding::place(path, &review.object)).unwrap_or_default()
    }

    fn message(&self) -> String {
        match self {
            Self::Violation(violation) => violation.message.clone(),
            Self::Error(error) => error.to_string(),
        }
    }
}

/// Circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Rules and policies.
    pub bundle: &'a Bundle,
    /// Who judges, and with what force.
    pub grants: &'a [Grant],
    /// The object and what is done with it.
    pub review: &'a Review,
    /// Who may break which rule.
    pub exemptions: &'a Exemptions,
    /// Whether enforce only warns now, where its grant yields to that.
    pub is_glass_broken: bool,
    /// Now.
    pub now: Timestamp,
}

/// What becomes of everything that was found.
#[derive(Debug, Default)]
pub struct Decided {
    /// What is told or recorded, the gravest first.
    pub told: Vec<Told>,
    /// What exemptions excuse; nobody is told.
    pub exempted: Vec<Exempted>,
}

/// Decides on every judgement. `judge_old` evaluates checks on the object as it stood before; it is asked once at
/// most, and only when the answer would be a denial that the past may excuse.
pub fn decide(
    circumstances: Circumstances<'_>,
    judgements: &[Judgement],
    judge_old: impl FnOnce(&[Arc<Check>]) -> Vec<Judgement>,
) -> Decided {
    let Circumstances { bundle, grants, review, exemptions, is_glass_broken, now } = circumstances;
    let claimed: Vec<(&Judgement, Vec<Claim<'_>>)> = judgements
        .iter()
        .filter(|judgement| judgement.found_something())
        .map(|judgement| {
            let failed = matches!(judgement.outcome, Outcome::Failed(_));
            let mut claims = claims(bundle, grants, &judgement.check, failed, Origin::Admission, now);
            // Of those who deny, one that broken glass cannot soften speaks first.
            claims.sort_by_key(|claim| {
                (std::cmp::Reverse(claim.action), is_glass_broken && claim.grant.yields_to_break_glass)
            });
            (judgement, claims)
        })
        .collect();
    let excuses = Excuses::new(review, exemptions, now);
    let found: Vec<Found<'_, '_>> =
        claimed.iter().flat_map(|(judgement, claims)| Found::all(judgement, claims, &excuses)).collect();
    let past = if review.operation == Operation::Update {
        let mut excusable: Vec<Arc<Check>> = found
            .iter()
            .filter(|found| found.excused.standing.iter().any(Claim::may_be_excused))
            .map(|found| found.check.clone())
            .collect();
        excusable.dedup_by_key(|check| check.id);
        if excusable.is_empty() { Past::default() } else { Past::of(&judge_old(&excusable)) }
    } else {
        Past::default()
    };
    let redactor = Redactor::of_all([&review.object, &review.old_object]);
    let mut told: Vec<Told> = found.iter().filter_map(|found| tell(found, &past, circumstances, &redactor)).collect();
    told.sort_by(|a, b| {
        let key = |told: &Told| (told.action, told.under_break_glass, told.severity);
        key(b).cmp(&key(a)).then_with(|| a.rule.cmp(&b.rule))
    });
    let told = once_per_place(told);
    let mut exempted: Vec<Exempted> = found.iter().filter_map(|found| found.exempted(review, &redactor)).collect();
    exempted.retain(|exempt| !told.iter().any(|told| told.rule == exempt.rule && told.path() == exempt.path.as_ref()));
    Decided { told, exempted }
}

/// One thing that a check found, and who has a claim on it.
struct Found<'a, 'c> {
    check: &'a Arc<Check>,
    what: FoundWhat<'a>,
    claims: &'a [Claim<'c>],
    excused: Excused<'a, 'c>,
}

#[derive(Clone, Copy)]
enum FoundWhat<'a> {
    Violation(&'a Violation),
    Error(&'a EvalError),
}

impl<'a, 'c> Found<'a, 'c> {
    fn all(judgement: &'a Judgement, claims: &'a [Claim<'c>], excuses: &Excuses<'_>) -> Vec<Self> {
        let check = &judgement.check;
        let one = |what| {
            let violation = match what {
                FoundWhat::Violation(violation) => Some(violation),
                FoundWhat::Error(_) => None,
            };
            Self { check, what, claims, excused: excuses.apply(check, violation, claims) }
        };
        match &judgement.outcome {
            Outcome::Failed(error) => vec![one(FoundWhat::Error(error))],
            Outcome::Judged { violations, .. } => violations.iter().map(FoundWhat::Violation).map(one).collect(),
        }
    }

    fn exempted(&self, review: &Review, redactor: &Redactor) -> Option<Exempted> {
        let by = self.excused.by.clone()?;
        let strongest = self.claims.first()?;
        let what = self.said(strongest.entry, review, redactor);
        Some(Exempted {
            rule: self.check.rule_id().clone(),
            policy: strongest.grant.policy.clone(),
            severity: strongest.entry.severity,
            place: what.place(review),
            message: what.message(),
            path: what.path().cloned(),
            by,
        })
    }

    /// Returns what is wrong, as it may be told.
    fn said(&self, entry: &Entry, review: &Review, redactor: &Redactor) -> What {
        match self.what {
            FoundWhat::Violation(violation) => What::Violation(Violation {
                message: redactor.redact(render_message(entry, violation, review)),
                path: redactor.redact_path(&violation.path),
                ..violation.clone()
            }),
            FoundWhat::Error(EvalError::Rego(cause)) => What::Error(EvalError::Rego(redactor.redact(cause.clone()))),
            FoundWhat::Error(error) => What::Error(error.clone()),
        }
    }
}

impl Claim<'_> {
    fn may_be_excused(&self) -> bool {
        self.action == Action::Deny && self.grant.scope == Scope::New
    }
}

impl Judgement {
    fn found_something(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_)) || !self.violations().is_empty()
    }
}

/// A policy or a rule of a user's may put what a Secret holds into a message; it goes no further than this.
fn tell(found: &Found<'_, '_>, past: &Past, circumstances: Circumstances<'_>, redactor: &Redactor) -> Option<Told> {
    let Circumstances { review, is_glass_broken, .. } = circumstances;
    let was_there = |claim: &Claim<'_>| match found.what {
        FoundWhat::Violation(violation) => past.had(found.check, violation, claim.entry.on_error),
        FoundWhat::Error(_) => past.failed(found.check),
    };
    let effective = found.excused.standing.iter().map(|claim| {
        let excused = claim.may_be_excused() && was_there(claim);
        (if excused { Action::Warn } else { claim.action }, claim)
    });
    // The first of the strongest: claims are in order, but an excuse may have weakened the first.
    let (action, claim) = effective.fold(None, |best: Option<(Action, &Claim<'_>)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    })?;
    // Only now: what would be denied is found out as if the glass were whole.
    let under_break_glass = is_glass_broken && action == Action::Deny && claim.grant.yields_to_break_glass;
    let action = if under_break_glass { Action::Warn } else { action };
    let what = found.said(claim.entry, review, redactor);
    Some(Told {
        rule: found.check.rule_id().clone(),
        place: what.place(review),
        policy: claim.grant.policy.clone(),
        severity: claim.entry.severity,
        action,
        what,
        denied_from: claim.denied_from.map(|from| (from, circumstances.now)),
        under_break_glass,
    })
}

/// Several checks of one rule (the same rule with other parameters) may find the same place: it is told once.
fn once_per_place(told: Vec<Told>) -> Vec<Told> {
    let mut seen = HashSet::new();
    let place = |told: &Told| match &told.what {
        What::Violation(violation) => {
            let message = violation.path.0.is_empty().then(|| violation.message.clone());
            (told.rule.clone(), Some((violation.path.clone(), message)))
        }
        What::Error(_) => (told.rule.clone(), None),
    };
    told.into_iter().filter(|told| seen.insert(place(told))).collect()
}

/// What was there before.
#[derive(Debug, Default)]
struct Past {
    checks: HashMap<usize, Before>,
}

#[derive(Debug)]
enum Before {
    /// These places, by container name rather than index.
    Violations(BTreeSet<Place>),
    /// The rule could not be evaluated then either.
    Failed,
    /// There was no time to look.
    Unknown,
}

impl Past {
    fn of(judgements: &[Judgement]) -> Self {
        let before = |outcome: &Outcome| match outcome {
            Outcome::Judged { violations, .. } => Before::Violations(violations.iter().map(place).collect()),
            Outcome::Failed(EvalError::NotReached) => Before::Unknown,
            Outcome::Failed(_) => Before::Failed,
        };
        Self { checks: judgements.iter().map(|judged| (judged.check.id, before(&judged.outcome))).collect() }
    }

    fn had(&self, check: &Check, violation: &Violation, on_error: OnError) -> bool {
        match self.checks.get(&check.id) {
            Some(Before::Violations(places)) => places.contains(&place(violation)),
            Some(Before::Failed | Before::Unknown) => on_error == OnError::Allow,
            None => false,
        }
    }

    fn failed(&self, check: &Check) -> bool {
        matches!(self.checks.get(&check.id), Some(Before::Failed))
    }
}

/// Where a violation is; for rules that do not say where, what they say.
type Place = (Path, Option<String>);

/// Returns a violation's place with the container's name instead of its index, so that a container put in front of
/// others does not make theirs new.
fn place(violation: &Violation) -> Place {
    let mut path = violation.path.clone();
    let name = violation.container.as_deref();
    let index = container_depth(&path).and_then(|depth| path.0.get_mut(depth));
    if let (Some(name), Some(index)) = (name, index) {
        *index = Segment::Key(name.into());
    }
    let message = path.0.is_empty().then(|| violation.message.clone());
    (path, message)
}
