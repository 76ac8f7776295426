//! How one look at an object changes what is known of it: findings opened, reopened, excused, updated and closed.
//!
//! That an object is gone is not seen by looking at it; whoever lists objects closes its findings as deleted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::finding::{CloseReason, Finding, Fingerprint, Look, Observation, State};
use super::result::Verdict;
use crate::policy::{ExemptionNote, RuleId};

/// How a rule stands to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No rule of this name is in force.
    Off,
    /// It is in force, but nothing asks it of this object.
    NotAsked,
    /// It was asked, whatever it answered.
    Asked,
}

/// What a look changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Findings that are new, reopened, excused from now on, or otherwise than they were stored.
    pub put: Vec<Finding>,
    /// Findings that do not stand any more.
    pub close: Vec<(Fingerprint, CloseReason)>,
    /// How many are open that were not.
    pub opened: u64,
    /// How many were open and are closed because they were fixed; what was excused already was counted then.
    pub fixed: u64,
    /// How many were open and are closed for another reason.
    pub closed: u64,
}

/// Compares a look with every stored finding of its object.
///
/// Only a rule that gave an answer closes as fixed. One that does not judge the object any more closes as out of scope, and
/// one that failed leaves open what it found before. What an exemption excuses is closed, and kept with what excuses it.
pub fn changed(look: &Look, stored: &[Finding], standing: impl Fn(&RuleId) -> Standing, now: Timestamp) -> Changed {
    let known: BTreeMap<&Fingerprint, &Finding> = stored.iter().map(|finding| (&finding.id, finding)).collect();
    let mut changed = Changed::default();
    let mut seen = BTreeSet::new();
    let exempt = look.exempt.iter().map(|(observation, by)| (observation, Some(by)));
    for (observation, by) in exempt.chain(look.found.iter().map(|observation| (observation, None))) {
        let id = Fingerprint::new(&look.object, &observation.rule, &observation.place);
        if !seen.insert(id.clone()) {
            continue;
        }
        let before = known.get(&id).copied();
        let next = finding(id, look, (observation, by), before, now);
        if before.is_none_or(|before| differs(before, &next)) {
            let was_open = before.is_some_and(|before| before.state == State::Open);
            let counter = if by.is_some() { &mut changed.closed } else { &mut changed.opened };
            *counter = counter.saturating_add(u64::from(was_open == by.is_some()));
            changed.put.push(next);
        }
    }
    for before in known.values().filter(|finding| finding.stands() && !seen.contains(&finding.id)) {
        let Some(reason) = reason(look, before, &standing) else { continue };
        let counter = if reason == CloseReason::Fixed { &mut changed.fixed } else { &mut changed.closed };
        *counter = counter.saturating_add(u64::from(before.state == State::Open));
        changed.close.push((before.id.clone(), reason));
    }
    changed
}

/// Returns why a finding does not stand that the look did not find; none while nobody can tell.
fn reason(look: &Look, before: &Finding, standing: impl Fn(&RuleId) -> Standing) -> Option<CloseReason> {
    let is_of_rule = |found: &Observation| found.rule == before.rule && found.result == Verdict::Error;
    let failed = || look.found.iter().chain(look.exempt.iter().map(|(found, _)| found)).any(is_of_rule);
    match standing(&before.rule) {
        Standing::Off => Some(CloseReason::RuleOff),
        Standing::NotAsked => Some(CloseReason::OutOfScope),
        Standing::Asked if failed() => None,
        Standing::Asked if look.skipped.contains(&before.rule) => Some(CloseReason::OutOfScope),
        Standing::Asked => look.evaluated.contains(&before.rule).then_some(CloseReason::Fixed),
    }
}

fn finding(
    id: Fingerprint,
    look: &Look,
    (seen, by): (&Observation, Option<&ExemptionNote>),
    before: Option<&Finding>,
    now: Timestamp,
) -> Finding {
    let is_reopened = by.is_none() && before.is_some_and(|before| before.state == State::Closed);
    let excused_before = before.filter(|before| before.closed_because == Some(CloseReason::Exempt));
    let stood = before.filter(|before| before.state == State::Open).or(excused_before);
    Finding {
        id,
        object: look.object.clone(),
        api_version: look.api_version.clone(),
        uid: look.uid.clone(),
        owner: look.owner.clone(),
        application: look.application.clone(),
        content: look.content.clone(),
        rule: seen.rule.clone(),
        place: seen.place.clone(),
        result: seen.result,
        severity: seen.severity,
        category: seen.category.clone(),
        policies: seen.policies.clone(),
        action: seen.action,
        path: seen.path.clone(),
        message: seen.message.clone(),
        state: if by.is_some() { State::Closed } else { State::Open },
        closed_because: by.map(|_| CloseReason::Exempt),
        closed_at: by.map(|_| excused_before.and_then(|before| before.closed_at).unwrap_or(now)),
        first_seen: before.map_or(now, |before| before.first_seen),
        last_seen: now,
        reopened: before.map_or(0, |before| before.reopened).saturating_add(u32::from(is_reopened)),
        // Whoever brought it in the first time did not bring it back; that an exemption ends brings nothing in.
        brought_in: stood.and_then(|before| before.brought_in.clone()),
        exemption: by.cloned(),
    }
}

/// Returns whether there is something to write; that it was seen again is kept by the run.
fn differs(before: &Finding, next: &Finding) -> bool {
    Finding { last_seen: before.last_seen, ..next.clone() } != *before
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
