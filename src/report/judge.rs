//! Judging one object as `gatepost scan` does: the same at the command line, at the scan endpoint and in the audit.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::result::{Judged, Location, ScanEntry, Summary, results};
use crate::engine::{Budget, Bundle, Check, Input, Judgement, Limits, Machines, Path, ResolvedPolicy, Review, judge};
use crate::policy::modes::PolicyNames as _;
use crate::policy::{Exemptions, Grant, Rule, nearest};

/// The policy that is asked when nobody names one.
pub const DEFAULT_POLICY: &str = "recommended";

/// A name that no rule or policy has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownName(pub String);

/// Returns the policies of these names, narrowed to these rules where some are named.
///
/// No policy is `recommended`; rules without a policy are taken from the whole catalogue with their defaults. The error
/// names the nearest rule or policy.
pub fn asked(bundle: &Bundle, policies: &[String], rules: &[String]) -> Result<Vec<Arc<ResolvedPolicy>>, UnknownName> {
    let rule = |name: &String| bundle.catalogue().rule(name).cloned().map_err(UnknownName);
    let rules = rules.iter().map(rule).collect::<Result<Vec<Arc<Rule>>, _>>()?;
    if rules.is_empty() {
        let default = [DEFAULT_POLICY.to_owned()];
        let names = if policies.is_empty() { &default[..] } else { policies };
        return names.iter().map(|name| policy(bundle, name).cloned()).collect();
    }
    if policies.is_empty() {
        return Ok(vec![Arc::new(bundle.policy_of_rules("", &rules))]);
    }
    let found = policies.iter().map(|name| policy(bundle, name).cloned()).collect::<Result<Vec<_>, _>>()?;
    let of_rule = |id: &usize, rule: &Rule| bundle.checks().get(*id).is_some_and(|check| *check.rule_id() == rule.id);
    let has = |policy: &ResolvedPolicy, rule: &Rule| policy.entries.keys().any(|id| of_rule(id, rule));
    if let Some(missing) = rules.iter().find(|rule| !found.iter().any(|policy| has(policy, rule))) {
        return Err(UnknownName(format!("rule \"{}\" is not in policy {}", missing.id, policies.join(", "))));
    }
    let narrowed = |policy: &Arc<ResolvedPolicy>| {
        let entries = policy.entries.iter().filter(|(id, _)| rules.iter().any(|rule| of_rule(id, rule)));
        Arc::new(ResolvedPolicy {
            name: policy.name.clone(),
            title: policy.title.clone(),
            description: policy.description.clone(),
            entries: entries.map(|(id, entry)| (*id, entry.clone())).collect(),
        })
    };
    Ok(found.iter().map(narrowed).collect())
}

/// Finds a policy by name; the error names the nearest one.
pub fn policy<'a>(bundle: &'a Bundle, name: &str) -> Result<&'a Arc<ResolvedPolicy>, UnknownName> {
    bundle.policy(name).ok_or_else(|| unknown_policy(name, bundle.policy_names()))
}

/// Returns the error for a policy that does not exist.
pub fn unknown_policy<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> UnknownName {
    let hint = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    UnknownName(format!("there is no policy \"{name}\", {hint}"))
}

/// What objects are judged by, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// Rules and policies.
    pub bundle: &'a Bundle,
    /// The policies that are asked: see [`asked`].
    pub policies: &'a [Arc<ResolvedPolicy>],
    /// What one rule may cost on one object.
    pub limits: Limits,
    /// Who may break which rule.
    pub exemptions: &'a Exemptions,
    /// Now.
    pub now: Timestamp,
    /// Whether passes are results too.
    pub shows_passed: bool,
}

impl Judge<'_> {
    /// Returns what every check said that the policies ask of an object.
    pub fn judgements(&self, review: &Review, machines: &mut Machines) -> Vec<Judgement> {
        self.judgements_of(review, machines, |_| true)
    }

    /// Returns what those checks said that the policies ask of an object and that are wanted.
    pub fn judgements_of(
        &self,
        review: &Review,
        machines: &mut Machines,
        is_wanted: impl Fn(&Check) -> bool,
    ) -> Vec<Judgement> {
        let input = Input::new(review);
        let policies: Vec<&ResolvedPolicy> = self.policies.iter().map(|policy| &**policy).collect();
        let mut checks = self.bundle.matching(review, input.has_template(), &policies);
        checks.retain(|check| is_wanted(check));
        judge(&input, &checks, machines, &Budget { limits: self.limits, remaining: &|| Duration::MAX })
    }

    /// Judges an object in a namespace with these grants; `locate` says where a place stands in a file.
    pub fn object(
        &self,
        review: &Review,
        grants: &[Grant],
        machines: &mut Machines,
        locate: impl Fn(&Path) -> Option<Location>,
    ) -> (Vec<ScanEntry>, Summary) {
        let judged = Judged {
            review,
            judgements: &self.judgements(review, machines),
            bundle: self.bundle,
            policies: self.policies,
            grants,
            exemptions: self.exemptions,
            now: self.now,
            shows_passed: self.shows_passed,
        };
        results(judged, locate)
    }
}
