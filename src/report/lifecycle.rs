//! How one look at an object changes what is known of it: findings opened, reopened, updated and closed.
//!
//! That an object is gone is not seen by looking at it; whoever lists objects closes its findings as deleted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::finding::{CloseReason, Finding, Fingerprint, Look, Observation, State};
use super::result::Verdict;
use crate::policy::RuleId;

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
    /// Findings that are new, reopened, or otherwise than they were stored.
    pub put: Vec<Finding>,
    /// Findings that do not stand any more.
    pub close: Vec<(Fingerprint, CloseReason)>,
    /// How many of `put` are new or reopened.
    pub opened: u64,
}

impl Changed {
    /// Returns how many are closed because they were fixed.
    pub fn fixed(&self) -> u64 {
        let fixed = self.close.iter().filter(|(_, reason)| *reason == CloseReason::Fixed);
        u64::try_from(fixed.count()).unwrap_or(u64::MAX)
    }
}

/// Compares a look with every stored finding of its object.
///
/// Only a rule that gave an answer closes as fixed. One that does not judge the object any more closes as out of scope, and
/// one that failed leaves open what it found before.
pub fn changed(look: &Look, stored: &[Finding], standing: impl Fn(&RuleId) -> Standing, now: Timestamp) -> Changed {
    let known: BTreeMap<&Fingerprint, &Finding> = stored.iter().map(|finding| (&finding.id, finding)).collect();
    let mut changed = Changed::default();
    let mut found = BTreeSet::new();
    for observation in look.found.iter().filter(|observation| !is_exempt(look, &observation.rule, &observation.place)) {
        let id = Fingerprint::new(&look.object, &observation.rule, &observation.place);
        if !found.insert(id.clone()) {
            continue;
        }
        let before = known.get(&id).copied();
        let is_opened = before.is_none_or(|finding| finding.state == State::Closed);
        let next = finding(id, look, observation, before, now);
        if before.is_none_or(|before| is_opened || differs(before, &next)) {
            changed.opened = changed.opened.saturating_add(u64::from(is_opened));
            changed.put.push(next);
        }
    }
    let open = known.values().filter(|finding| finding.state == State::Open && !found.contains(&finding.id));
    changed.close = open.filter_map(|open| Some((open.id.clone(), reason(look, open, &standing)?))).collect();
    changed
}

fn is_exempt(look: &Look, rule: &RuleId, place: &str) -> bool {
    look.exempt.iter().any(|(exempt, at, _)| exempt == rule && at == place)
}

/// Returns why a finding does not stand that the look did not find; none while nobody can tell.
fn reason(look: &Look, open: &Finding, standing: impl Fn(&RuleId) -> Standing) -> Option<CloseReason> {
    if is_exempt(look, &open.rule, &open.place) {
        return Some(CloseReason::Exempt);
    }
    let failed = || look.found.iter().any(|found| found.rule == open.rule && found.result == Verdict::Error);
    match standing(&open.rule) {
        Standing::Off => Some(CloseReason::RuleOff),
        Standing::NotAsked => Some(CloseReason::OutOfScope),
        Standing::Asked if failed() => None,
        Standing::Asked if look.skipped.contains(&open.rule) => Some(CloseReason::OutOfScope),
        Standing::Asked => look.evaluated.contains(&open.rule).then_some(CloseReason::Fixed),
    }
}

fn finding(id: Fingerprint, look: &Look, seen: &Observation, before: Option<&Finding>, now: Timestamp) -> Finding {
    let is_reopened = before.is_some_and(|before| before.state == State::Closed);
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
        state: State::Open,
        closed_because: None,
        closed_at: None,
        first_seen: before.map_or(now, |before| before.first_seen),
        last_seen: now,
        reopened: before.map_or(0, |before| before.reopened).saturating_add(u32::from(is_reopened)),
        // Whoever brought it in the first time did not bring it back.
        brought_in: before.filter(|_| !is_reopened).and_then(|before| before.brought_in.clone()),
    }
}

/// Returns whether there is something to write; that it was seen again is kept by the run.
fn differs(before: &Finding, next: &Finding) -> bool {
    Finding { last_seen: before.last_seen, ..next.clone() } != *before
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
