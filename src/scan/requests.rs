//! Which of the last requests would have been denied if their namespaces had enforced something else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::preview::{Counted, Counts};
use super::suggestions::Chosen;
use crate::admission::{Action, claims};
use crate::engine::Check;
use crate::policy::enforcement::EnforceKeys;
use crate::policy::{Grant, Mode, Origin, RuleId, Scope};
use crate::report::finding::{Finding, Fingerprint, ObjectKey};
use crate::store::{Decision, DecisionResult, Filter, PageQuery, Store, Stored, TimeSort};
use crate::webhook::in_force::InForce;

/// Requests that are looked at.
const LOOKED_AT: usize = 1000;
/// Requests that are told one by one.
const TOLD: usize = 100;

/// What would have been denied of the last requests.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsTold {
    /// Requests that were looked at.
    pub looked_at: u64,
    /// When the oldest of them came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Those that were admitted, and would have been denied.
    pub denied: u64,
    /// Updates of which nobody knows whether they brought in what is wrong.
    pub perhaps: u64,
    /// Requests by rule, both kinds.
    pub rules: Counted,
    /// Requests by the object's owner.
    pub owners: Counted,
    /// Requests by what delivers the object.
    pub applications: Counted,
    /// The last of them.
    pub items: Vec<RequestTold>,
    /// Rules of the policy that nobody asked for then, so that requests say nothing of them.
    pub unasked: Vec<String>,
}

/// A request that would have been denied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestTold {
    /// Its uid.
    pub uid: String,
    /// When it came.
    pub time: Timestamp,
    /// What was done.
    pub operation: String,
    /// The object's kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// Whether that is certain.
    pub is_certain: bool,
    /// What it would have been denied for.
    pub rules: Vec<String>,
}

/// How an update stands to something that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Brought {
    Before,
    Unknown,
    In,
}

/// Looks at the last requests of some namespaces.
pub async fn requests(
    store: &dyn Store,
    in_force: &InForce,
    keys: &EnforceKeys,
    chosen: &Chosen,
    at: Timestamp,
) -> Stored<RequestsTold> {
    let names: Vec<String> = chosen.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
    let filter = Filter { visible: Some(names), ..Filter::default() };
    let asked = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: LOOKED_AT };
    let decisions = store.decisions(&asked).await?.items;
    let mut grants: BTreeMap<&str, Vec<Grant>> = BTreeMap::new();
    for namespace in &chosen.namespaces {
        let then = in_force.config.modes.grants(&keys.applied(namespace), &*in_force.bundle).grants;
        grants.insert(&namespace.name, then);
    }
    let mut told = RequestsTold {
        looked_at: u64::try_from(decisions.len()).unwrap_or(u64::MAX),
        since: decisions.last().map(|decision| decision.time),
        unasked: unasked(in_force, chosen, grants.values().flatten()),
        ..RequestsTold::default()
    };
    let suspects = decisions.iter().filter(|decision| decision.allowed && !decision.dry_run);
    let suspects: Vec<(&Decision, Vec<(&DecisionResult, Scope)>)> = suspects
        .map(|decision| {
            let grants = grants.get(decision.namespace.as_str()).map(Vec::as_slice).unwrap_or_default();
            let denied =
                decision.results.iter().filter_map(|result| Some((result, denies(in_force, grants, result, at)?)));
            (decision, denied.collect())
        })
        .filter(|(_, denied): &(_, Vec<_>)| !denied.is_empty())
        .collect();
    let objects: BTreeSet<ObjectKey> = suspects.iter().map(|(decision, _)| decision.object()).collect();
    let objects: Vec<ObjectKey> = objects.into_iter().collect();
    let findings = store.findings_of(&objects).await?;
    let findings: BTreeMap<&Fingerprint, &Finding> = findings.iter().map(|finding| (&finding.id, finding)).collect();
    let (mut rules, mut owners, mut applications) = (Counts::default(), Counts::default(), Counts::default());
    for (decision, denied) in suspects {
        let brought = |(result, scope): &(&DecisionResult, Scope)| match (decision.operation.as_str(), scope) {
            ("UPDATE", Scope::New) => brought(decision, result, &findings),
            _ => Brought::In,
        };
        let certainty = denied.iter().map(&brought).max().unwrap_or(Brought::Before);
        if certainty == Brought::Before {
            continue;
        }
        let broken = denied.iter().filter(|result| brought(result) != Brought::Before);
        let broken: BTreeSet<String> = broken.map(|(result, _)| result.rule.clone()).collect();
        let of_object = findings.values().find(|finding| finding.object == decision.object());
        for rule in &broken {
            rules.add(rule);
        }
        let own = || format!("{}/{}", decision.kind, decision.name);
        let owner = of_object.map(|finding| finding.owner.clone()).filter(|owner| !owner.is_empty());
        owners.add(&format!("{} {}", decision.namespace, owner.unwrap_or_else(own)));
        if let Some(application) = of_object.and_then(|finding| finding.application.as_ref()) {
            applications.add(&application.name);
        }
        let count = if certainty == Brought::In { &mut told.denied } else { &mut told.perhaps };
        *count = count.saturating_add(1);
        if told.items.len() < TOLD {
            told.items.push(request(decision, certainty == Brought::In, broken));
        }
    }
    Ok(RequestsTold { rules: rules.sorted(), owners: owners.sorted(), applications: applications.sorted(), ..told })
}

fn request(decision: &Decision, is_certain: bool, rules: BTreeSet<String>) -> RequestTold {
    RequestTold {
        uid: decision.uid.clone(),
        time: decision.time,
        operation: decision.operation.clone(),
        kind: decision.kind.clone(),
        namespace: decision.namespace.clone(),
        name: decision.name.clone(),
        user: decision.user.clone(),
        is_certain,
        rules: rules.into_iter().collect(),
    }
}

/// Returns what an UPDATE is denied for by the grants that deny something that was told; none where none does.
fn denies(in_force: &InForce, grants: &[Grant], result: &DecisionResult, at: Timestamp) -> Option<Scope> {
    if result.result == "exempt" {
        return None;
    }
    let rule = RuleId::from(result.rule.as_str());
    let failed = result.result == "error";
    let of_rule = in_force.bundle.checks().iter().filter(|check| *check.rule_id() == rule);
    let denying = of_rule.flat_map(|check: &std::sync::Arc<Check>| {
        claims(&in_force.bundle, grants, check, failed, Origin::Admission, at)
    });
    let scopes: Vec<Scope> =
        denying.filter(|claim| claim.action == Action::Deny).map(|claim| claim.grant.scope).collect();
    if scopes.contains(&Scope::All) { Some(Scope::All) } else { scopes.first().copied() }
}

/// Returns whether an update brought in what it was told of, as far as findings tell.
fn brought(decision: &Decision, result: &DecisionResult, findings: &BTreeMap<&Fingerprint, &Finding>) -> Brought {
    let id = Fingerprint::new(&decision.object(), &RuleId::from(result.rule.as_str()), &result.place);
    match findings.get(&id) {
        Some(finding) if finding.brought_in.as_ref().is_some_and(|by| by.decision == decision.uid) => Brought::In,
        Some(finding) if finding.first_seen < decision.time => Brought::Before,
        _ => Brought::Unknown,
    }
}

/// Returns the rules that would be enforced and that some namespace does not ask for as it is.
fn unasked<'a>(in_force: &InForce, chosen: &Chosen, then: impl Iterator<Item = &'a Grant>) -> Vec<String> {
    let rules = |policy: &str| -> BTreeSet<String> {
        let policy = in_force.bundle.policy(policy);
        let checks = policy.iter().flat_map(|policy| policy.entries.keys());
        checks.filter_map(|id| in_force.bundle.checks().get(*id)).map(|check| check.rule_id().to_string()).collect()
    };
    let policies: BTreeSet<&str> =
        then.filter(|grant| grant.mode == Mode::Enforce).map(|grant| &*grant.policy).collect();
    let enforced: BTreeSet<String> = policies.into_iter().flat_map(rules).collect();
    let mut unasked = BTreeSet::new();
    for namespace in &chosen.namespaces {
        let grants = in_force.config.modes.grants(namespace, &*in_force.bundle).grants;
        let asked: BTreeSet<String> = grants.iter().flat_map(|grant| rules(&grant.policy)).collect();
        unasked.extend(enforced.difference(&asked).cloned());
    }
    unasked.into_iter().collect()
}
