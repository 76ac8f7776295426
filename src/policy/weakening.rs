//! Comparing what judged a namespace with what is to judge it: whether anything that was denied is denied no more.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::metadata::AtMost;
use super::modes::{Grant, GrantOrigin, Mode, PolicyNames, Scope};
use super::rule::{Rule, RuleId};
use super::set::{Entry, OnError};

/// Says what policies make of each check. A check is a rule with certain parameters.
pub trait PolicyEntries: PolicyNames {
    /// Returns what a policy makes of its checks, by their ids; nothing for a policy that does not exist.
    fn entries(&self, policy: &str) -> Option<&BTreeMap<usize, Entry>>;
    /// Returns the rule of a check.
    fn rule_of(&self, check: usize) -> Option<&Rule>;
}

/// What of a namespace's modes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A slot.
    Slot(Mode),
    /// The floors that apply.
    Floors,
    /// Break-glass.
    BreakGlass,
}

impl Part {
    /// Returns the word of logs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slot(mode) => mode.as_str(),
            Self::Floors => "floors",
            Self::BreakGlass => "break-glass",
        }
    }
}

/// One change that a Namespace write makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    /// What changes.
    pub part: Part,
    /// What held before, in words: `off`, `baseline`, `baseline (high and above)`.
    pub from: String,
    /// What is to hold.
    pub to: String,
    /// Rules that would be denied less than before, in order; none unless the change weakens.
    pub weakened: Vec<RuleId>,
}

impl ModeChange {
    /// Returns whether something that was denied would be denied no more, or a floor's grant be lost.
    pub fn weakens(&self) -> bool {
        !self.weakened.is_empty()
    }
}

/// Returns what changes from one namespace's grants to another's.
///
/// Floors are held against floors alone: a slot that says the same is no substitute, for anyone may change it later.
/// The enforce slot is held against everything that judges from then on, so a floor or another policy that covers it
/// makes its end no weakening. Warn and audit slots belong to whoever may write the namespace.
pub fn mode_changes(old: &[Grant], new: &[Grant], policies: &impl PolicyEntries, now: Timestamp) -> Vec<ModeChange> {
    let mut changes: Vec<ModeChange> = Vec::new();
    let floors = |grants: &[Grant]| -> Vec<Grant> { grants.iter().filter(|grant| grant.is_floor()).cloned().collect() };
    let (old_floors, new_floors) = (floors(old), floors(new));
    let weakened = weaker(&strength(&old_floors, policies, now), &strength(&new_floors, policies, now), policies);
    if !weakened.is_empty() || old_floors != new_floors {
        let [from, to] = [&old_floors, &new_floors].map(|floors| in_words_with_modes(floors, now));
        changes.push(ModeChange { part: Part::Floors, from, to, weakened });
    }
    for mode in Mode::ALL {
        let [before, after] = [old, new].map(|grants| slot(grants, mode));
        let mut weakened = Vec::new();
        if let Some(before) = before.filter(|_| mode == Mode::Enforce) {
            let mut denied = strength(std::slice::from_ref(before), policies, now);
            denied.retain(|(_, aspect), _| matches!(aspect, Aspect::Denied { .. }));
            weakened = weaker(&denied, &strength(new, policies, now), policies);
        }
        let [from, to] = [before, after].map(|grant| grant.map_or("off".into(), |grant| in_words(grant, now)));
        if from != to {
            changes.push(ModeChange { part: Part::Slot(mode), from, to, weakened });
        }
    }
    changes
}

/// Returns what grants are in words, each with its mode: `enforce baseline (scope all), warn strict`, or `none`.
pub fn in_words_with_modes(grants: &[Grant], now: Timestamp) -> String {
    let each: Vec<String> =
        grants.iter().map(|grant| format!("{} {}", grant.mode.as_str(), in_words(grant, now))).collect();
    if each.is_empty() { "none".into() } else { each.join(", ") }
}

/// Returns the rules of everything that grants deny, warn of or record.
pub fn rules_of(grants: &[Grant], policies: &impl PolicyEntries, now: Timestamp) -> Vec<RuleId> {
    weaker(&strength(grants, policies, now), &Strength::new(), policies)
}

fn slot(grants: &[Grant], mode: Mode) -> Option<&Grant> {
    grants.iter().find(|grant| grant.mode == mode && !grant.is_floor())
}

fn in_words(grant: &Grant, now: Timestamp) -> String {
    let mut limits = Vec::new();
    limits.extend(grant.severity.map(|severity| format!("{severity} and above")));
    limits.extend((grant.scope == Scope::All).then(|| "scope all".to_owned()));
    limits.extend(grant.from.filter(|from| *from > now).map(|from| format!("from {from}")));
    if limits.is_empty() { grant.policy.to_string() } else { format!("{} ({})", grant.policy, limits.join(", ")) }
}

impl Grant {
    fn is_floor(&self) -> bool {
        self.origin == GrantOrigin::Floor
    }
}

/// One way in which a check bears on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aspect {
    /// The request is denied.
    Denied {
        /// For a rule that cannot be evaluated, not for a violation.
        failed: bool,
        /// For what was there before, not for what an UPDATE brings in.
        standing: bool,
        /// While glass is broken, too.
        under_break_glass: bool,
    },
    /// The requester is warned.
    Warned,
    /// It is recorded.
    Recorded,
}

/// From when each check bears on requests, by its id.
type Strength = BTreeMap<(usize, Aspect), Timestamp>;

fn strength(grants: &[Grant], policies: &impl PolicyEntries, now: Timestamp) -> Strength {
    let mut strength = Strength::new();
    for grant in grants {
        for (check, entry) in policies.entries(&grant.policy).into_iter().flatten() {
            let rule = policies.rule_of(*check);
            for (aspect, since) in bearing(grant, entry, rule, now) {
                let earliest = strength.entry((*check, aspect)).or_insert(since);
                *earliest = since.min(*earliest);
            }
        }
    }
    strength
}

fn bearing(grant: &Grant, entry: &Entry, rule: Option<&Rule>, now: Timestamp) -> Vec<(Aspect, Timestamp)> {
    let always = Timestamp::MIN;
    let mut bearing = vec![(Aspect::Recorded, always)];
    if grant.mode != Mode::Audit {
        bearing.push((Aspect::Warned, always));
    }
    let is_denied = grant.mode == Mode::Enforce
        && entry.at_most != Some(AtMost::Warn)
        && rule.is_none_or(|rule| rule.at_most != Some(AtMost::Warn))
        && grant.severity.is_none_or(|least| entry.severity >= least);
    if is_denied {
        // A day that has come is no limit any more.
        let since = grant.from.filter(|from| *from > now).unwrap_or(always);
        let any = [false, true];
        let ways = any.into_iter().flat_map(|failed| any.map(|standing| (failed, standing)));
        let ways = ways.flat_map(|(failed, standing)| any.map(|glass| (failed, standing, glass)));
        bearing.extend(
            ways.filter(|(failed, standing, glass)| {
                (!failed || entry.on_error == OnError::Deny)
                    && (!standing || grant.scope == Scope::All)
                    && (!glass || !grant.yields_to_break_glass)
            })
            .map(|(failed, standing, under_break_glass)| {
                (Aspect::Denied { failed, standing, under_break_glass }, since)
            }),
        );
    }
    bearing
}

fn weaker(old: &Strength, new: &Strength, policies: &impl PolicyEntries) -> Vec<RuleId> {
    let is_weaker = |key: &(usize, Aspect), since: &Timestamp| new.get(key).is_none_or(|now| now > since);
    let checks = old.iter().filter(|(key, since)| is_weaker(key, since)).map(|((check, _), _)| *check);
    let mut rules: Vec<RuleId> = checks.filter_map(|check| Some(policies.rule_of(check)?.id.clone())).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}
