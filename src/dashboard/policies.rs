//! `/policies`: which rules a policy has, who asks for it, and what enforcing it would deny.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::code::Code;
use super::dress::page_of;
use super::findings::{Part, bar};
use super::links::encoded;
use super::nothing::Nothing;
use super::rules::Row as RuleRow;
use super::shell::{Crumb, Shell, Visit};
use super::standing::{Known, Outlook, Standing, Standings};
use crate::engine::{Bundle, ResolvedPolicy};
use crate::policy::Mode;
use crate::report::judge;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::webhook::in_force::InForce;

const POLICIES: Endpoint =
    Endpoint { path: "/policies", about: "The page of policies", gives: &["text/html"], ..Endpoint::GET };

const POLICY: Endpoint = Endpoint {
    path: "/policies/{name}",
    about: "The page of one policy",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&POLICIES, policies).add(&POLICY, policy)
}

#[derive(Template)]
#[template(path = "policies.html")]
struct PoliciesPage {
    shell: Shell,
    rows: Vec<Row>,
    nothing: Option<Nothing>,
    is_counted: bool,
}

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    shell: Shell,
    row: Row,
    description: String,
    rules: Vec<RuleRow>,
    nothing: Option<Nothing>,
    outlook: Option<Outlook>,
    includes: Vec<String>,
    source: Option<Code>,
}

/// A policy in a list.
struct Row {
    name: String,
    title: String,
    rules: usize,
    bar: Vec<Part>,
    bar_words: String,
    asked: String,
    counted: Option<Counted>,
    findings_href: String,
}

/// What audits found of a policy's rules.
struct Counted {
    findings: String,
    /// What the last audit counted: each object once for each rule.
    objects: String,
    /// Rules that no object was there for.
    unmatched: usize,
}

impl Counted {
    fn of(rules: &[RuleRow], known: &Known) -> Self {
        let sum = |sum: Standing, of: Standing| Standing {
            passed: sum.passed.saturating_add(of.passed),
            failed: sum.failed.saturating_add(of.failed),
            skipped: sum.skipped.saturating_add(of.skipped),
            exempt: sum.exempt.saturating_add(of.exempt),
            findings: sum.findings.saturating_add(of.findings),
            unjudged: 0,
        };
        let all = rules.iter().map(|rule| known.of(&rule.id)).fold(Standing::default(), sum);
        Self {
            findings: known.count(all.findings),
            objects: all.objects(),
            unmatched: rules.iter().filter(|rule| known.of(&rule.id).is_unmatched()).count(),
        }
    }
}

/// Namespaces that ask for each policy: in how many each mode does.
fn asked(state: &ApiState, caller: &Caller, in_force: &InForce) -> BTreeMap<String, BTreeMap<Mode, usize>> {
    let mut asked: BTreeMap<String, BTreeMap<Mode, usize>> = BTreeMap::new();
    let namespaces = state.app.known_namespaces(in_force);
    for namespace in namespaces.iter().filter(|namespace| caller.sees(&namespace.name)) {
        for grant in in_force.config.modes.grants(namespace, &*in_force.bundle).grants {
            let modes = asked.entry(grant.policy.to_string()).or_default();
            let namespaces = modes.entry(grant.mode).or_default();
            *namespaces = namespaces.saturating_add(1);
        }
    }
    asked
}

/// Returns the rules of a policy, the gravest and the most found first.
fn rules(bundle: &Bundle, policy: &ResolvedPolicy, known: Option<&Known>) -> Vec<RuleRow> {
    let each = policy.entries.iter().filter_map(|(check, entry)| {
        let rule = &bundle.checks().get(*check)?.rule.rule;
        Some((entry.severity, RuleRow::of(rule, entry.severity, &[], 0).with(known)))
    });
    let mut rules: Vec<_> = each.collect();
    rules.sort_by(|(a, x), (b, y)| b.cmp(a).then(y.findings.cmp(&x.findings)).then_with(|| x.id.cmp(&y.id)));
    rules.into_iter().map(|(_, row)| row).collect()
}

fn row(
    policy: &ResolvedPolicy,
    rules: &[RuleRow],
    asked: Option<&BTreeMap<Mode, usize>>,
    known: Option<&Known>,
) -> Row {
    let mut severities: BTreeMap<String, u64> = BTreeMap::new();
    for rule in rules {
        let count = severities.entry(rule.severity.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    let bar = bar(&severities);
    let words: Vec<String> = bar.iter().map(|part| format!("{} {}", part.count, part.severity)).collect();
    let asked: Vec<String> = Mode::ALL
        .into_iter()
        .filter_map(|mode| Some((mode, asked?.get(&mode)?)))
        .map(|(mode, namespaces)| format!("{} in {namespaces}", mode.as_str()))
        .collect();
    Row {
        name: policy.name.to_string(),
        title: Some(&policy.title)
            .filter(|title| !title.eq_ignore_ascii_case(&policy.name))
            .cloned()
            .unwrap_or_default(),
        rules: rules.len(),
        bar_words: words.join(", "),
        bar,
        asked: asked.join(", "),
        counted: known.map(|known| Counted::of(rules, known)),
        findings_href: format!("/findings?policy={}&mode=enforce,warn,audit", encoded(&policy.name)),
    }
}

async fn policies(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    let Standings { nothing, known } = Standings::read(&state, &caller).await?;
    let known = known.as_ref();
    let in_force = state.app.in_force.load();
    let asked = asked(&state, &caller, &in_force);
    let bundle = &in_force.bundle;
    let of = |policy: &Arc<ResolvedPolicy>| row(policy, &rules(bundle, policy, known), asked.get(&*policy.name), known);
    page_of(&PoliciesPage {
        shell: Shell::new(&state, &visit, "Policies", &[Crumb::here("Policies")]).await,
        rows: bundle.policies().values().map(of).collect(),
        nothing,
        is_counted: known.is_some(),
    })
}

async fn policy(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let policy = judge::policy(&in_force.bundle, &name).map_err(|unknown| Problem::not_found(unknown.0))?;
    let Standings { nothing, known } = Standings::read(&state, &caller).await?;
    let known = known.as_ref();
    let rules = rules(&in_force.bundle, policy, known);
    let set = in_force.bundle.catalogue().sets().get(&*policy.name);
    let asked = asked(&state, &caller, &in_force);
    page_of(&PolicyPage {
        shell: Shell::new(&state, &visit, &name, &[Crumb::to("/policies", "Policies"), Crumb::here(&name)]).await,
        row: row(policy, &rules, asked.get(&*policy.name), known),
        description: policy.description.clone(),
        nothing,
        outlook: known.map(|known| known.outlook(rules.iter().map(|rule| rule.id.as_str()))),
        rules,
        includes: set.map(|set| set.spec.include.clone()).unwrap_or_default(),
        source: set.map(|set| Code::plain("The policy as it is written", &set.source.text)),
    })
}
