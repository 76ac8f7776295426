//! The exemptions that are in force, by the rules that they excuse.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

use super::criteria::Container;
use super::{Exemption, ExemptionKind, ExemptionState, Subject, Written};
use crate::policy::rule::RuleId;

/// The configuration's say in exemptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExemptionTerms {
    /// Namespaces whose Exemptions count beyond their own.
    pub from: BTreeSet<String>,
    /// Whether an exemption may do without an end.
    pub permanent: bool,
    /// Whether an object's annotations may excuse what it breaks, where nothing is enforced.
    pub skip_annotations: bool,
}

impl ExemptionTerms {
    /// Checks whether an exemption may be in force; the error says why not.
    pub fn check(&self, exemption: &Exemption) -> Result<(), String> {
        if exemption.expires.is_none() && !self.permanent {
            let cause = "spec.expires is required: a date such as 2026-12-01; the configuration may allow exemptions \
                         without an end (exemptions.permanent)";
            return Err(cause.into());
        }
        Ok(())
    }
}

/// Everything that excuses; most rules have none, and cost one look.
#[derive(Debug, Clone, Default)]
pub struct Exemptions {
    list: Vec<Arc<Exemption>>,
    by_rule: HashMap<RuleId, Vec<Arc<Exemption>>>,
    refused: Vec<Refused>,
    from: BTreeSet<String>,
    skip_annotations: bool,
}

/// An exemption that excuses nothing, because it is at fault or the configuration does not allow it.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What was written.
    pub written: Arc<Written>,
    /// What is wrong with it.
    pub cause: String,
}

impl Exemptions {
    /// Puts exemptions in force; those that the configuration does not allow are refused.
    pub fn new(list: impl IntoIterator<Item = Arc<Exemption>>, terms: &ExemptionTerms) -> Self {
        Self::with_refused(list, Vec::new(), terms)
    }

    /// Puts exemptions in force beside those that are refused already.
    pub fn with_refused(
        all: impl IntoIterator<Item = Arc<Exemption>>,
        mut refused: Vec<Refused>,
        terms: &ExemptionTerms,
    ) -> Self {
        let mut list: Vec<Arc<Exemption>> = Vec::new();
        for exemption in all {
            match terms.check(&exemption) {
                Ok(()) => list.push(exemption),
                Err(cause) => refused.push(Refused { written: exemption.written.clone(), cause }),
            }
        }
        let mut by_rule: HashMap<RuleId, Vec<Arc<Exemption>>> = HashMap::new();
        for exemption in &list {
            for rule in &exemption.rules {
                by_rule.entry(rule.clone()).or_default().push(exemption.clone());
            }
        }
        let ExemptionTerms { from, skip_annotations, .. } = terms.clone();
        Self { list, by_rule, refused, from, skip_annotations }
    }

    /// Returns every exemption, ended ones included.
    pub fn list(&self) -> &[Arc<Exemption>] {
        &self.list
    }

    /// Returns those that excuse nothing.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Returns how many stand how, in the order of [`ExemptionState::ALL`].
    pub fn count(&self, now: Timestamp) -> [usize; ExemptionState::ALL.len()] {
        ExemptionState::ALL.map(|state| match state {
            ExemptionState::Refused => self.refused.len(),
            _ => self.list.iter().filter(|exemption| exemption.state(now) == state).count(),
        })
    }

    /// Returns whether an object's annotations count.
    pub const fn heed_annotations(&self) -> bool {
        self.skip_annotations
    }

    /// Returns whether one names the rule.
    pub fn name_rule(&self, rule: &RuleId) -> bool {
        self.by_rule.contains_key(rule)
    }

    /// Returns those that excuse what a rule finds in an object now: in this container, or outside of containers.
    pub fn covering(
        &self,
        rule: &RuleId,
        subject: &Subject<'_>,
        container: Container<'_>,
        now: Timestamp,
    ) -> Vec<&Arc<Exemption>> {
        let of_rule = self.by_rule.get(rule).into_iter().flatten();
        let covers = |exemption: &&Arc<Exemption>| {
            exemption.holds(now)
                && self.reaches(exemption, subject.namespace)
                && exemption.criteria.mean(subject)
                && exemption.criteria.mean_user(subject.user)
                && exemption.criteria.mean_container(container)
        };
        of_rule.filter(covers).collect()
    }

    /// Adds to a hash what could change the verdict on an object that itself stays the same, but for dates.
    pub fn hash_of(&self, subject: &Subject<'_>, hash: &mut impl Hasher) {
        self.skip_annotations.hash(hash);
        for exemption in self.about(subject) {
            (&exemption.name, &exemption.rules, &exemption.written.spec).hash(hash);
        }
    }

    /// Adds to a hash what could change the verdict on any object, but for dates.
    pub fn hash_all(&self, hash: &mut impl Hasher) {
        (self.skip_annotations, &self.from).hash(hash);
        for exemption in &self.list {
            (&exemption.name, &exemption.rules, &exemption.written.spec).hash(hash);
        }
    }

    /// Returns the first instant after this one at which something that is excused in an object may count again.
    pub fn next_end(&self, subject: &Subject<'_>, now: Timestamp) -> Option<Timestamp> {
        self.about(subject).filter_map(|exemption| exemption.expires).filter(|end| now < *end).min()
    }

    /// Returns those that may excuse something in an object, whoever asks and whatever container it is in.
    fn about(&self, subject: &Subject<'_>) -> impl Iterator<Item = &Arc<Exemption>> {
        let is_about = |exemption: &&Arc<Exemption>| {
            self.reaches(exemption, subject.namespace) && exemption.criteria.mean(subject)
        };
        self.list.iter().filter(is_about)
    }

    /// Returns whether an exemption counts in a namespace.
    fn reaches(&self, exemption: &Exemption, namespace: Option<&str>) -> bool {
        let named = exemption.criteria.names_namespace(namespace);
        let own = &exemption.name.namespace;
        match exemption.name.kind {
            ExemptionKind::ClusterExemption | ExemptionKind::Annotation => named.unwrap_or(true),
            // Beyond its own namespace it counts only where it says so, and only if its own is trusted.
            ExemptionKind::Exemption if namespace == Some(&**own) => named.unwrap_or(true),
            ExemptionKind::Exemption => named.unwrap_or(false) && self.from.contains(&**own),
        }
    }
}
