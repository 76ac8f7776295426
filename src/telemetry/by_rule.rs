//! Counters that have a rule's name as a label: only while the rule is in force, and so many at most in all.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::metrics::add;
use crate::policy::RuleId;

/// Most series of all these counters together; further ones are counted under [`OTHER`]. 500 rules that deny, warn,
/// record and fail have 2,000.
pub(super) const MOST_SERIES: usize = 2_300;
/// Stands for rules that have no series of their own: those over the limit, and those that are not in force any more.
pub(super) const OTHER: &str = "__other__";

/// The rules in force, and the series that all counters by rule have between them.
#[derive(Debug, Clone, Default)]
pub struct RuleSeries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    in_force: RwLock<HashSet<RuleId>>,
    taken: AtomicUsize,
}

impl RuleSeries {
    /// Names the rules in force; counters must then [`ByRule::retain`] theirs.
    pub(super) fn set_in_force(&self, rules: HashSet<RuleId>) {
        *self.0.in_force.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    fn contains(&self, rule: &RuleId) -> bool {
        self.0.in_force.read().unwrap_or_else(PoisonError::into_inner).contains(rule)
    }

    /// Takes one of the series that there may be; returns whether one was left.
    fn take(&self) -> bool {
        let one_more = |taken: usize| (taken < MOST_SERIES).then(|| taken + 1);
        self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn give_back(&self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Labels of which one is a rule.
pub(super) trait OfRule: Clone + Eq + Hash {
    /// Returns the rule.
    fn rule(&self) -> &RuleId;
    /// Returns the same labels of another rule.
    fn with_rule(&self, rule: RuleId) -> Self;
}

/// A rule as the only label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RuleLabels {
    pub(super) rule: RuleId,
}

impl EncodeLabelSet for RuleLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("rule", self.rule.as_str()).encode(encoder.encode_label())
    }
}

impl OfRule for RuleLabels {
    fn rule(&self) -> &RuleId {
        &self.rule
    }

    fn with_rule(&self, rule: RuleId) -> Self {
        Self { rule }
    }
}

/// A counter for each rule.
#[derive(Debug)]
pub(super) struct ByRule<L: OfRule> {
    family: Family<L, Counter>,
    known: Mutex<HashSet<L>>,
    series: RuleSeries,
}

impl<L: OfRule + EncodeLabelSet + fmt::Debug + Send + Sync + 'static> ByRule<L> {
    pub(super) fn register(registry: &mut Registry, series: &RuleSeries, name: &str, help: &str) -> Self {
        Self { family: add(registry, name, help), known: Mutex::default(), series: series.clone() }
    }
}

impl<L: OfRule> ByRule<L> {
    /// Counts one more.
    pub(super) fn count(&self, labels: &L) {
        if self.family.get(labels).map(|counter| counter.inc()).is_some() {
            return;
        }
        let mut known = self.known();
        if known.contains(labels) || (self.series.contains(labels.rule()) && self.series.take()) {
            self.family.get_or_create(labels).inc();
            known.insert(labels.clone());
        } else {
            self.family.get_or_create(&labels.with_rule(OTHER.into())).inc();
        }
    }

    /// Takes away the series of rules that are not in force; the others go on counting.
    pub(super) fn retain(&self) {
        self.known().retain(|labels| {
            let is_in_force = self.series.contains(labels.rule());
            if !is_in_force {
                self.family.remove(labels);
                self.series.give_back();
            }
            is_in_force
        });
    }

    fn known(&self) -> MutexGuard<'_, HashSet<L>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
