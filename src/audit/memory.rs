//! What one audit leaves for the next: of each object what it was judged by, and what came of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::follow::Followed;
use super::owner::Owners;
use super::unjudged::Unjudged;
use crate::engine::Judgement;
use crate::policy::RuleId;
use crate::policy::exemption::ExemptionName;
use crate::report::Verdict;
use crate::store::RuleCount;

/// What a rule of a policy said of an object.
pub type Counted = (Arc<str>, RuleId, Verdict);

/// Everything that rules said of an object, by its number: thousands of objects share one.
pub type OutcomeId = u32;

/// The number of a namespace, or of none.
pub type NamespaceId = u32;

/// One object, in few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Over uid, resource version, and what judged it.
    pub hash: u64,
    /// Over uid and resource version.
    pub version: u64,
    /// What was said of it.
    pub outcome: OutcomeId,
    /// The number of its namespace.
    pub namespace: NamespaceId,
}

/// What rules found in an object of which exemptions excuse something, or on which a mode has a date: when one ends or
/// the other comes, it is judged by that again.
#[derive(Debug)]
pub struct Held {
    /// The object's namespace and name.
    pub name: (String, String),
    /// The first instant at which something may count again, or more; none where nothing ends or has a date.
    pub until: Option<Timestamp>,
    /// What excuses something.
    pub by: Vec<ExemptionName>,
    /// What each check said.
    pub judgements: Vec<Judgement>,
}

/// Objects of a kind, by their digest.
#[derive(Debug, Clone, Default)]
pub struct OfKind {
    /// All of them.
    pub objects: HashMap<u128, Remembered>,
    /// The few that are judged otherwise when a time has come.
    pub held: HashMap<u128, Arc<Held>>,
    /// The few that could not be judged.
    pub unjudged: HashMap<u128, Unjudged>,
    /// What judged each namespace's objects: see [`super::scope::Place`].
    pub places: HashMap<NamespaceId, u64>,
    /// Over what judged all of them beside that; none where not all of them were read.
    pub basis: Option<u64>,
}

/// What is remembered between audits; losing it costs one evaluation of everything.
#[derive(Debug, Default)]
pub struct Memory {
    kinds: HashMap<(String, String), Arc<OfKind>>,
    numbers: HashMap<Arc<[Counted]>, OutcomeId>,
    outcomes: Vec<Arc<[Counted]>>,
    namespaces: Vec<Arc<str>>,
    numbered: HashMap<Arc<str>, NamespaceId>,
    policies: String,
    /// Workloads, for what belongs to them.
    pub owners: Arc<Owners>,
    /// The first date from which some namespace will enforce something, as the last pass saw it.
    pub next_date: Option<Timestamp>,
    /// Watches of kinds; none are kept where there is no next audit.
    followed: HashMap<(String, String), Followed>,
    keeps_watches: bool,
}

impl Memory {
    /// Forgets everything that was judged by other rules.
    pub fn begin(&mut self, policies: &str) {
        if self.policies != policies {
            *self = Self { policies: policies.to_owned(), keeps_watches: self.keeps_watches, ..Self::default() };
        }
    }

    /// Keeps watches between audits, so that the next reads only what changed.
    pub fn following() -> Self {
        Self { keeps_watches: true, ..Self::default() }
    }

    /// Returns whether watches are kept.
    pub const fn keeps_watches(&self) -> bool {
        self.keeps_watches
    }

    /// Takes the watch of a kind away; whoever does not [`follow`](Self::follow) it again ends it.
    pub fn unfollow(&mut self, group: &str, kind: &str) -> Option<Followed> {
        self.followed.remove(&(group.to_owned(), kind.to_owned()))
    }

    /// Keeps the watch of a kind.
    pub fn follow(&mut self, group: &str, kind: &str, followed: Followed) {
        if self.keeps_watches {
            self.followed.insert((group.to_owned(), kind.to_owned()), followed);
        }
    }

    /// Returns the first instant after another at which something will be judged otherwise, though nothing changes.
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let ends = self.kinds.values().flat_map(|kind| kind.held.values()).filter_map(|held| held.until);
        ends.chain(self.next_date).filter(|at| *at > after).min()
    }

    /// Has every kind be listed as a whole; what is as it was is not judged again.
    pub fn distrust(&mut self) {
        self.followed.clear();
        for known in self.kinds.values_mut() {
            Arc::make_mut(known).basis = None;
        }
    }

    /// Returns the number of a namespace.
    pub fn number_of(&mut self, namespace: &str) -> NamespaceId {
        if let Some(number) = self.numbered.get(namespace) {
            return *number;
        }
        let (name, number): (Arc<str>, _) =
            (namespace.into(), u32::try_from(self.namespaces.len()).unwrap_or(u32::MAX));
        self.namespaces.push(name.clone());
        self.numbered.insert(name, number);
        number
    }

    /// Returns the namespace of a number.
    pub fn namespace(&self, number: NamespaceId) -> Arc<str> {
        let name = usize::try_from(number).ok().and_then(|number| self.namespaces.get(number));
        name.cloned().unwrap_or_default()
    }

    /// Adds what was learnt of a kind that was followed, and forgets what is gone.
    pub fn change(&mut self, group: &str, kind: &str, learnt: OfKind, gone: &HashSet<u128>, basis: Option<u64>) {
        let known = Arc::make_mut(self.kinds.entry((group.to_owned(), kind.to_owned())).or_default());
        known.objects.retain(|digest, _| !gone.contains(digest));
        known.held.retain(|digest, _| !gone.contains(digest) && !learnt.objects.contains_key(digest));
        known.unjudged.retain(|digest, _| !gone.contains(digest) && !learnt.objects.contains_key(digest));
        known.objects.extend(learnt.objects);
        known.held.extend(learnt.held);
        known.unjudged.extend(learnt.unjudged);
        known.places.extend(learnt.places);
        known.basis = basis;
    }

    /// Returns what is known of a kind's objects.
    pub fn of_kind(&self, group: &str, kind: &str) -> Arc<OfKind> {
        self.kinds.get(&(group.to_owned(), kind.to_owned())).cloned().unwrap_or_default()
    }

    /// Keeps what was learnt of a kind; what was not listed is forgotten if the list was `complete`.
    pub fn keep(&mut self, group: &str, kind: &str, learnt: OfKind, complete: bool) {
        let known = self.kinds.entry((group.to_owned(), kind.to_owned())).or_default();
        if complete {
            *known = Arc::new(learnt);
        } else {
            let known = Arc::make_mut(known);
            known.held.retain(|digest, _| !learnt.objects.contains_key(digest));
            known.held.extend(learnt.held);
            known.unjudged.retain(|digest, _| !learnt.objects.contains_key(digest));
            known.unjudged.extend(learnt.unjudged);
            known.objects.extend(learnt.objects);
            known.basis = None;
        }
    }

    /// Returns the number of an outcome.
    pub fn number(&mut self, outcome: Vec<Counted>) -> OutcomeId {
        if let Some(number) = self.numbers.get(outcome.as_slice()) {
            return *number;
        }
        let (outcome, number): (Arc<[Counted]>, _) =
            (outcome.into(), u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX));
        self.outcomes.push(outcome.clone());
        self.numbers.insert(outcome, number);
        number
    }

    /// Adds up the outcomes of objects by namespace.
    pub fn counts(&self, objects: &HashMap<(String, OutcomeId), u64>) -> Vec<RuleCount> {
        let mut counts: HashMap<(Arc<str>, RuleId, &str), RuleCount> = HashMap::new();
        for ((namespace, number), times) in objects.iter().filter(|(_, times)| **times > 0) {
            let outcome = usize::try_from(*number).ok().and_then(|number| self.outcomes.get(number));
            for (policy, rule, verdict) in outcome.into_iter().flat_map(|outcome| outcome.iter()) {
                let count = counts.entry((policy.clone(), rule.clone(), namespace.as_str()));
                let count = count.or_insert_with(|| RuleCount {
                    policy: policy.to_string(),
                    rule: rule.to_string(),
                    namespace: namespace.clone(),
                    passed: 0,
                    failed: 0,
                    skipped: 0,
                    exempt: 0,
                });
                let counter = match verdict {
                    Verdict::Pass => &mut count.passed,
                    Verdict::Fail => &mut count.failed,
                    Verdict::Exempt => &mut count.exempt,
                    Verdict::Skip | Verdict::Error => &mut count.skipped,
                };
                *counter = counter.saturating_add(*times);
            }
        }
        let mut counts: Vec<RuleCount> = counts.into_values().collect();
        counts.sort_by(|a, b| (&a.policy, &a.rule, &a.namespace).cmp(&(&b.policy, &b.rule, &b.namespace)));
        counts
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_remembered_like_what_was_judged() {
        let mut memory = Memory::default();
        memory.begin("a");
        let outcome = |verdict| vec![(Arc::from("strict"), RuleId::from("r"), verdict)];
        let (pass, fail) = (memory.number(outcome(Verdict::Pass)), memory.number(outcome(Verdict::Fail)));
        assert_eq!(memory.number(outcome(Verdict::Pass)), pass);
        let objects = HashMap::from([(("shop".to_owned(), pass), 3), (("shop".to_owned(), fail), 2)]);
        let counts = memory.counts(&objects);
        assert_eq!((counts.len(), counts[0].passed, counts[0].failed), (1, 3, 2));
    }

    #[test]
    fn forgets_what_a_complete_list_did_not_hold_and_what_other_rules_judged() {
        let mut memory = Memory::default();
        memory.begin("a");
        let one = |digest: u128| {
            let held = HashMap::from([(
                digest,
                Arc::new(Held { name: Default::default(), until: None, by: Vec::new(), judgements: Vec::new() }),
            )]);
            OfKind {
                objects: HashMap::from([(digest, Remembered { hash: 1, version: 1, outcome: 0, namespace: 0 })]),
                held,
                ..OfKind::default()
            }
        };
        memory.keep("", "Pod", one(1), true);
        memory.keep("", "Pod", one(2), false);
        let kept = memory.of_kind("", "Pod");
        assert_eq!((kept.objects.len(), kept.held.len()), (2, 2));
        memory.keep("", "Pod", OfKind { held: HashMap::new(), ..one(2) }, false);
        assert_eq!(memory.of_kind("", "Pod").held.keys().collect::<Vec<_>>(), [&1]);
        memory.keep("", "Pod", one(3), true);
        let kept = memory.of_kind("", "Pod");
        assert_eq!((&kept.objects, kept.held.len()), (&one(3).objects, 1));
        memory.begin("b");
        assert!(memory.of_kind("", "Pod").objects.is_empty());
    }
}
