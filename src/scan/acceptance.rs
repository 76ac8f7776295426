//! `/api/v1/findings/acceptance`: findings as what is accepted as it is, until a day.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::findings::{FILTERS, filter};
use super::plans::{all, file};
use super::problem::{Flaw, Problem};
use crate::policy::modes::parse_from;
use crate::policy::{Grant, GrantOrigin, Mode, RuleId};
use crate::report::accept::{Acceptance, Terms, accept};
use crate::report::finding::Finding;
use crate::report::judge::policy;
use crate::store::Filter;
use crate::webhook::in_force::InForce;

/// For how many days findings are accepted when nobody says.
const LONG: i64 = 30;

/// On what terms findings are accepted.
pub const TERMS: &[Parameter] = &[
    Parameter::new(
        "expires",
        Values::Text,
        "The date (2026-12-01) or RFC 3339 instant from which they count again; 30 days ahead if nobody says",
    ),
    Parameter::new("accountable", Values::Text, "Who answers for it; whoever asks if nobody says"),
    Parameter::new("reason", Values::Text, "Why, in one line; that it was found if nobody says"),
    Parameter::new(
        "enforce",
        Values::Text,
        "The policy that will be enforced there; what judges there today counts too",
    ),
];

const ACCEPTANCE: Endpoint = Endpoint {
    path: "/api/v1/findings/acceptance",
    about: "Exemptions that accept the open findings of a filter as they are today, until a date",
    parameters: &[FILTERS, TERMS],
    gives: &["application/yaml"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&ACCEPTANCE, acceptance)
}

async fn acceptance(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Response, Problem> {
    let accepted = accepted(&state, &caller, &query).await?;
    Ok(file("application/yaml", "accepted.yaml", accepted.acceptance.yaml))
}

/// Findings that are accepted.
pub struct Accepted {
    /// How many findings.
    pub findings: usize,
    /// The exemptions.
    pub acceptance: Acceptance,
}

/// Returns the exemptions of what is open of a filter.
pub async fn accepted(state: &ApiState, caller: &Caller, query: &Query) -> Result<Accepted, Problem> {
    let [expires, owner, reason] = terms(caller, query, Timestamp::now())?;
    let in_force = state.app.in_force.load();
    let planned = query.text("enforce").map(str::trim).filter(|name| !name.is_empty());
    if let Some(name) = planned {
        policy(&in_force.bundle, name)
            .map_err(|unknown| Problem::query(vec![Flaw::of_parameter("enforce", unknown.0)]))?;
    }
    // What is closed has nothing to be accepted, whatever the filter says.
    let open = Filter { state: vec!["open".to_owned()], ..filter(&state.app, caller, query)? };
    let findings = all(&*state.kept()?.store, open).await?;
    let grants = enforcing(state, &in_force);
    let terms = Terms { reason: &reason, owner: &owner, expires: &expires };
    let acceptance = accept(&findings, terms, |finding| {
        let grants = grants.get(&finding.object.namespace).map(Vec::as_slice).unwrap_or_default();
        let enforced = grants.iter().map(|grant| (&*grant.policy, grant.origin == GrantOrigin::Floor));
        enforced
            .chain(planned.map(|name| (name, false)))
            .any(|(name, is_floor)| holds(&in_force, name, is_floor, finding))
    });
    Ok(Accepted { findings: findings.len(), acceptance })
}

/// Returns until when, who answers for it, and why.
fn terms(caller: &Caller, query: &Query, now: Timestamp) -> Result<[String; 3], Problem> {
    let mut flaws = Vec::new();
    let mut said = |name: &'static str, default: String| {
        let text = query.text(name).map(str::trim).filter(|text| !text.is_empty());
        if text.is_some_and(|text| text.chars().any(char::is_control)) {
            flaws.push(Flaw::of_parameter(name, format!("{name}: more than one line")));
        }
        text.map_or(default, str::to_owned)
    };
    let owner = said("accountable", caller.name.clone());
    let reason = said("reason", format!("accepted as found on {}", now.to_zoned(TimeZone::UTC).date()));
    let expires = query.text("expires").map(str::trim).filter(|text| !text.is_empty());
    let expires = expires.map_or_else(|| in_a_month(now), str::to_owned);
    match parse_from(&expires) {
        Ok(end) if end <= now => {
            flaws.push(Flaw::of_parameter("expires", "expires: that is past, and would accept nothing"));
        }
        Err(cause) => flaws.push(Flaw::of_parameter("expires", format!("expires: {cause}"))),
        Ok(_) => {}
    }
    if flaws.is_empty() { Ok([expires, owner, reason]) } else { Err(Problem::query(flaws)) }
}

/// Returns the day until which findings are accepted when nobody says.
pub fn in_a_month(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).date().saturating_add(LONG.days()).to_string()
}

/// Returns what each namespace enforces.
fn enforcing(state: &ApiState, in_force: &InForce) -> HashMap<String, Vec<Grant>> {
    let known = state.app.known_namespaces(in_force);
    let each = known.iter().map(|namespace| {
        let mut grants = in_force.config.modes.grants(namespace, &*in_force.bundle).grants;
        grants.retain(|grant| grant.mode == Mode::Enforce || grant.origin == GrantOrigin::Floor);
        (namespace.name.clone(), grants)
    });
    each.collect()
}

/// Returns whether an Exemption of the namespace would leave what a policy says of a finding's rule.
fn holds(in_force: &InForce, policy: &str, is_floor: bool, finding: &Finding) -> bool {
    let is_of = |rule: &RuleId| *rule == finding.rule;
    let policy = in_force.bundle.policy(policy);
    let mut entries = policy.iter().flat_map(|policy| &policy.entries);
    entries.any(|(check, entry)| {
        let is_of_rule = in_force.bundle.checks().get(*check).is_some_and(|check| is_of(check.rule_id()));
        is_of_rule && (is_floor || !entry.exemptable)
    })
}
