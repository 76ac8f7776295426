//! `/api/v1/namespaces`: the modes in force and where each comes from, what is open, and what enforcing would deny.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::{self, NAMESPACE, PAGES, POLICY, SEVERITY};
use super::names::Names;
use super::problem::Problem;
use super::trends::add;
use crate::engine::Bundle;
use crate::policy::{AtMost, Grant, GrantOrigin, Group, Groups, Mode, NamespaceMeta, RuleId, Scope, Severity};
use crate::report::Score;
use crate::report::score::Open;
use crate::store::{Filter, OpenCount};
use crate::webhook::in_force::InForce;

const FILTERS: &[Parameter] = &[
    NAMESPACE,
    Parameter::new("group", Values::Some(&["yours", "system", "vendor"]), "Whose they are, by their names"),
    Parameter::new("mode", Values::Some(&["enforce", "warn", "audit"]), "Modes that are in force there"),
    POLICY,
    Parameter::new("rule", Values::List, "Rules that have open findings there, by id or another name"),
    Parameter::new("severity", SEVERITY.values, "Severities of open findings there"),
    Parameter::new("text", Values::Text, "Words in the name"),
];

const SORT: &[Parameter] = &[Parameter::new(
    "sort",
    Values::OneOf(&["name", "findings", "wouldBeDenied", "score"]),
    "The order: by name if nobody says, most findings first, most that would be denied first, or the worst score first",
)];

const NAMESPACES: Endpoint = Endpoint {
    path: "/api/v1/namespaces",
    about: "Namespaces with their modes, open findings, what enforcing would deny, and score; and the cluster's score",
    parameters: &[FILTERS, SORT, PAGES],
    answer: "NamespaceList",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&NAMESPACES, namespaces)
}

/// A policy that judges a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModeTold {
    /// What happens to a violation.
    pub mode: Mode,
    /// The policy.
    pub policy: Arc<str>,
    /// Who says so.
    pub origin: GrantOrigin,
    /// Under enforce: from this severity on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Under enforce: what an UPDATE is denied for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Under enforce: when it begins to deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

impl From<Grant> for ModeTold {
    fn from(grant: Grant) -> Self {
        let Grant { mode, policy, severity, scope, from, origin, .. } = grant;
        Self { mode, policy, origin, severity, scope: (mode == Mode::Enforce).then_some(scope), from }
    }
}

/// How a namespace stands.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceTold {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub group: Group,
    /// What judges it.
    pub modes: Vec<ModeTold>,
    /// Whose patches its new objects get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutate: Option<Arc<str>>,
    /// What does not mean what its author thought.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Open findings by severity.
    pub open: BTreeMap<Severity, u64>,
    /// Open findings that are warned of and would be denied if what warns enforced.
    pub would_be_denied: u64,
    /// How well it stands; none where nothing has been judged.
    pub score: Option<Score>,
}

async fn namespaces(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let store = &state.kept()?.store;
    let in_force = state.app.in_force.load();
    let filter = Filter { visible: lists::visible(&state.app, &caller), ..Filter::default() };
    let mut counts: BTreeMap<String, Vec<OpenCount>> = BTreeMap::new();
    for count in store.open_counts(&filter).await? {
        counts.entry(count.namespace.clone()).or_default().push(count);
    }
    let judged = store.judged_namespaces().await?.into_iter();
    let judged: BTreeSet<String> = judged.filter(|name| caller.sees(name)).collect();
    let groups = state.app.groups(&in_force);
    let known = state.app.known_namespaces(&in_force);
    let seen = known.iter().filter(|namespace| caller.sees(&namespace.name));
    let told = seen.map(|namespace| {
        let counts = counts.get(&namespace.name).map(Vec::as_slice).unwrap_or_default();
        told(namespace, (&in_force, groups), counts, judged.contains(&namespace.name))
    });
    let mut told: BTreeMap<String, NamespaceTold> = told.map(|told| (told.name.clone(), told)).collect();
    let cluster = cluster(&counts, groups, &judged);
    let rules = lists::rules(&state.app, &query);
    let breaks = |name: &str| {
        let mut counts = counts.get(name).into_iter().flatten();
        rules.is_empty() || counts.any(|count| rules.iter().any(|rule| rule == count.rule.as_str()))
    };
    let names = Names::of(&query)?;
    told.retain(|name, namespace| names.mean(name) && is_asked(namespace, &query) && breaks(name));
    let keyed = told.into_values().map(|told| (key(&told, query.text("sort")), told));
    let page = lists::part(&query, keyed)?;
    Ok(Json(json!({"items": page.items, "next": page.next, "cluster": cluster})))
}

/// Returns how a namespace stands.
fn told(
    namespace: &NamespaceMeta,
    (in_force, groups): (&InForce, Groups<'_>),
    counts: &[OpenCount],
    is_judged: bool,
) -> NamespaceTold {
    let (modes, bundle) = (&in_force.config.modes, &*in_force.bundle);
    let grants = modes.grants(namespace, bundle);
    let (mut by_severity, mut open, mut would_be_denied) = (BTreeMap::new(), Open::default(), 0_u64);
    for count in counts {
        add(&mut by_severity, count.severity, count.findings);
        open.add(&count.rule, count.severity, count.findings);
        if count.action == crate::admission::Action::Warn && may_be_denied(bundle, &grants.grants, &count.rule) {
            would_be_denied = would_be_denied.saturating_add(count.findings);
        }
    }
    NamespaceTold {
        name: namespace.name.clone(),
        group: groups.of(&namespace.name),
        mutate: modes.mutation(namespace, bundle),
        modes: grants.grants.into_iter().map(ModeTold::from).collect(),
        notices: grants.notices.iter().map(ToString::to_string).collect(),
        score: (is_judged || !counts.is_empty()).then(|| open.score()),
        open: by_severity,
        would_be_denied,
    }
}

/// Returns whether a policy that warns there has the rule, and neither it nor the rule says that it never denies.
fn may_be_denied(bundle: &Bundle, grants: &[Grant], rule: &RuleId) -> bool {
    let warned = grants.iter().filter(|grant| grant.mode == Mode::Warn);
    let mut entries = warned.filter_map(|grant| bundle.policy(&grant.policy)).flat_map(|policy| &policy.entries);
    entries.any(|(check, entry)| {
        let check = bundle.checks().get(*check).filter(|check| check.rule_id() == rule);
        check.is_some_and(|check| entry.at_most != Some(AtMost::Warn) && check.rule.rule.at_most != Some(AtMost::Warn))
    })
}

fn cluster(counts: &BTreeMap<String, Vec<OpenCount>>, groups: Groups<'_>, judged: &BTreeSet<String>) -> Text {
    let (mut by_severity, mut open, mut outside) = (BTreeMap::new(), Open::default(), BTreeMap::new());
    for count in counts.values().flatten() {
        if count.namespace.is_empty() {
            add(&mut outside, count.severity, count.findings);
        } else if groups.is_scored(&count.namespace) {
            add(&mut by_severity, count.severity, count.findings);
            open.add(&count.rule, count.severity, count.findings);
        }
    }
    let is_judged = judged.iter().chain(counts.keys()).any(|name| groups.is_scored(name));
    json!({"score": is_judged.then(|| open.score()), "open": by_severity, "outsideNamespaces": outside})
}

/// Returns what a namespace is ordered by.
fn key(told: &NamespaceTold, sort: Option<&str>) -> String {
    let begin = match sort {
        Some("findings") => lists::greatest_first(lists::sum(&told.open)),
        Some("wouldBeDenied") => lists::greatest_first(told.would_be_denied),
        // What has not been judged has no score, and comes last.
        Some("score") => told.score.map_or_else(|| "none".to_owned(), |score| format!("{:05.1}", score.points())),
        _ => String::new(),
    };
    format!("{begin}\n{}", told.name)
}

fn is_asked(namespace: &NamespaceTold, query: &Query) -> bool {
    lists::is_one_of(query, "group", |word| namespace.group.as_str() == word)
        && lists::is_one_of(query, "mode", |word| namespace.modes.iter().any(|told| told.mode.as_str() == word))
        && lists::is_one_of(query, "policy", |word| namespace.modes.iter().any(|told| &*told.policy == word))
        && lists::is_one_of(query, "severity", |word| namespace.open.keys().any(|open| open.as_str() == word))
        && lists::has_words(query, &namespace.name)
}
