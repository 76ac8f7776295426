//! The exemptions that are in force, by the rules that they excuse.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Exemption, ExemptionKind, Subject};
use crate::policy::rule::RuleId;

/// The configuration's say in exemptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExemptionTerms {
    /// Namespaces whose Exemptions count beyond their own.
    pub from: BTreeSet<String>,
    /// Whether an exemption may do without an end.
    pub permanent: bool,
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
    from: BTreeSet<String>,
}

impl Exemptions {
    /// Puts exemptions in force; those that the configuration does not allow are left out.
    pub fn new(list: impl IntoIterator<Item = Arc<Exemption>>, terms: &ExemptionTerms) -> Self {
        let list: Vec<Arc<Exemption>> = list.into_iter().filter(|exemption| terms.check(exemption).is_ok()).collect();
        let mut by_rule: HashMap<RuleId, Vec<Arc<Exemption>>> = HashMap::new();
        for exemption in &list {
            for rule in &exemption.rules {
                by_rule.entry(rule.clone()).or_default().push(exemption.clone());
            }
        }
        Self { list, by_rule, from: terms.from.clone() }
    }

    /// Returns every exemption, ended ones included.
    pub fn list(&self) -> &[Arc<Exemption>] {
        &self.list
    }

    /// Returns whether one names the rule.
    pub fn name_rule(&self, rule: &RuleId) -> bool {
        self.by_rule.contains_key(rule)
    }

    /// Returns those that excuse what a rule finds in an object now: in a container with this image, or outside of
    /// containers.
    pub fn covering(
        &self,
        rule: &RuleId,
        subject: &Subject<'_>,
        image: Option<&str>,
        now: Timestamp,
    ) -> Vec<&Arc<Exemption>> {
        let of_rule = self.by_rule.get(rule).into_iter().flatten();
        let covers = |exemption: &&Arc<Exemption>| {
            exemption.holds(now)
                && self.reaches(exemption, subject.namespace)
                && exemption.criteria.mean(subject)
                && exemption.criteria.mean_user(subject.user)
                && exemption.criteria.mean_image(image)
        };
        of_rule.filter(covers).collect()
    }

    /// Adds to a hash what could change the verdict on an object that itself stays the same.
    pub fn hash_of(&self, subject: &Subject<'_>, now: Timestamp, hash: &mut impl Hasher) {
        let could = |exemption: &&Arc<Exemption>| {
            self.reaches(exemption, subject.namespace) && exemption.criteria.mean(subject)
        };
        for exemption in self.list.iter().filter(could) {
            (&exemption.name, &exemption.rules, &exemption.written.spec, exemption.holds(now)).hash(hash);
        }
    }

    /// Returns whether an exemption counts in a namespace.
    fn reaches(&self, exemption: &Exemption, namespace: Option<&str>) -> bool {
        let named = exemption.criteria.names_namespace(namespace);
        let own = &exemption.name.namespace;
        match exemption.name.kind {
            ExemptionKind::ClusterExemption => named.unwrap_or(true),
            // Beyond its own namespace it counts only where it says so, and only if its own is trusted.
            ExemptionKind::Exemption if namespace == Some(&**own) => named.unwrap_or(true),
            ExemptionKind::Exemption => named.unwrap_or(false) && self.from.contains(&**own),
        }
    }
}
