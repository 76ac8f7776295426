//! `/rules` and `/policies`: what is in force, what it says of itself, and what it finds.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::Value;

use super::caveats::unless_away;
use super::code::Code;
use super::dress::page_of;
use super::facets::{self, Menu};
use super::finding::Explained;
use super::findings::{of_rule, shares};
use super::links::{Place, encoded};
use super::nothing::Nothing;
use super::shell::{Crumb, Shell, Visit};
use super::standing::{Known, Standings};
use super::words::{at_least, number};
use crate::engine::Bundle;
use crate::policy::{KindSelector, Provenance, Rule, Severity};
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use crate::scan::lists::visible;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Facet, Filter};

/// Namespaces that a rule's page lists.
const NAMESPACES: usize = 20;
const SEVERITIES: [(&str, &str); 5] =
    [("critical", "Critical"), ("high", "High"), ("medium", "Medium"), ("low", "Low"), ("info", "Info")];

const RULES: Endpoint = Endpoint {
    path: "/rules",
    about: "The page of rules",
    parameters: &[&[
        Parameter::new("severity", Values::Some(&["critical", "high", "medium", "low", "info"]), "Severities"),
        Parameter::new("policy", Values::List, "Policies that have it"),
        Parameter::new("text", Values::Text, "Words in id, other names, title or topic"),
    ]],
    gives: &["text/html"],
    ..Endpoint::GET
};

const RULE: Endpoint = Endpoint {
    path: "/rules/{id}",
    about: "The page of one rule",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&RULES, rules).add(&RULE, rule)
}

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    shell: Shell,
    rows: Vec<Row>,
    total: usize,
    menus: Vec<Menu>,
    chips: Vec<facets::Chip>,
    text: String,
    hidden: Vec<(&'static str, String)>,
    nothing: Option<Nothing>,
    is_counted: bool,
}

#[derive(Template)]
#[template(path = "rule.html")]
struct RulePage {
    shell: Shell,
    id: String,
    severity: &'static str,
    category: String,
    explained: Explained,
    bad: Option<Code>,
    source: Code,
    is_users: bool,
    aliases: Vec<String>,
    kinds: Vec<String>,
    parameters: Vec<(String, String, String)>,
    related: Vec<String>,
    differs: String,
    policies: Vec<(String, &'static str)>,
    findings_href: String,
    nothing: Option<Nothing>,
    told: Option<Told>,
}

/// What audits found of a rule.
struct Told {
    findings: String,
    /// What the last audit counted.
    objects: String,
    /// Where nobody knows.
    gaps: String,
    /// What it means that nothing is found.
    verdict: String,
    namespaces: Vec<Share>,
}

/// A part of findings, with its share of the largest.
pub struct Share {
    /// What they have in common.
    pub label: String,
    /// Where they are listed.
    pub href: String,
    /// How many.
    pub count: String,
    /// Their share of the largest, in hundredths.
    pub hundredths: u64,
}

/// A rule in a list.
pub struct Row {
    /// Its id.
    pub id: String,
    /// What holds when it passes.
    pub title: String,
    /// Its severity.
    pub severity: &'static str,
    /// Its topic.
    pub category: String,
    /// How much work mending it is.
    pub effort: &'static str,
    /// The policies that have it.
    pub policies: String,
    /// Open findings.
    pub findings: u64,
    /// Whether there are at least so many.
    pub is_partial: bool,
    /// What the last audit counted; empty where that is not told.
    pub objects: String,
    /// Where nobody knows.
    pub gaps: String,
    /// Whether somebody here wrote it.
    pub is_users: bool,
}

impl Row {
    /// Words a rule.
    pub fn of(rule: &Rule, severity: Severity, policies: &[String], findings: u64) -> Self {
        Self {
            id: rule.id.to_string(),
            title: rule.title.clone(),
            severity: severity.as_str(),
            category: rule.category.clone(),
            effort: rule.effort.as_str(),
            policies: policies.join(", "),
            findings,
            is_partial: false,
            objects: String::new(),
            gaps: String::new(),
            is_users: rule.provenance == Provenance::User,
        }
    }

    /// Adds how the rule stands, where that is known.
    pub fn with(self, known: Option<&Known>) -> Self {
        let Some(known) = known else { return self };
        let standing = known.of(&self.id);
        let (objects, gaps) = (standing.objects(), standing.gaps());
        Self { findings: standing.findings, is_partial: known.is_partial, objects, gaps, ..self }
    }

    /// Returns the findings in words.
    pub fn count(&self) -> String {
        at_least(&number(self.findings), self.is_partial)
    }
}

/// Returns the policies that have a rule, each with the severity it gives it.
fn policies_of(bundle: &Bundle, rule: &Rule) -> Vec<(String, &'static str)> {
    let severity = |policy: &crate::engine::ResolvedPolicy| {
        let mut entries = policy.entries.iter();
        entries.find_map(|(check, entry)| {
            let is_it = bundle.checks().get(*check).is_some_and(|check| *check.rule_id() == rule.id);
            is_it.then(|| entry.severity.as_str())
        })
    };
    let each = bundle.policies().iter().filter_map(|(name, policy)| Some((name.to_string(), severity(policy)?)));
    each.collect()
}

async fn rules(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let place = Place::of(&RULES, &query);
    let Standings { nothing, known } = Standings::read(&state, &caller).await?;
    let in_force = state.app.in_force.load();
    let bundle = &in_force.bundle;
    let text = query.text("text").unwrap_or_default().to_lowercase();
    let is_wanted = |rule: &Rule, policies: &[String]| {
        let names: Vec<String> = rule.aliases.iter().map(ToString::to_string).collect();
        let all = format!("{} {} {} {}", rule.id, rule.title, rule.category, names.join(" ")).to_lowercase();
        let of = |name: &str, has: &dyn Fn(&str) -> bool| {
            place.list(name).is_empty() || place.list(name).iter().any(|value| has(value))
        };
        text.split_whitespace().all(|word| all.contains(word))
            && of("severity", &|value| value == rule.severity.as_str())
            && of("policy", &|value| policies.iter().any(|policy| policy == value))
    };
    let mut rows = Vec::new();
    for rule in bundle.catalogue().rules().values() {
        let policies: Vec<String> = policies_of(bundle, rule).into_iter().map(|(name, _)| name).collect();
        if is_wanted(rule, &policies) {
            rows.push(Row::of(rule, rule.severity, &policies, 0).with(known.as_ref()));
        }
    }
    rows.sort_by(|a, b| b.findings.cmp(&a.findings).then_with(|| a.id.cmp(&b.id)));
    let names: Vec<&str> = bundle.policies().keys().map(|name| &**name).collect();
    let policies = facets::names("Policy", "policy", &names, &place);
    page_of(&RulesPage {
        shell: Shell::new(&state, &visit, "Rules", &[Crumb::here("Rules")]).await,
        total: bundle.catalogue().rules().len(),
        rows,
        menus: vec![facets::words("Severity", "severity", &SEVERITIES, &place), policies],
        chips: facets::chips(&place, &[("severity", "Severity"), ("policy", "Policy"), ("text", "Text")]),
        text: query.text("text").unwrap_or_default().to_owned(),
        hidden: place.kept().filter(|(name, _)| *name != "text").collect(),
        nothing,
        is_counted: known.is_some(),
    })
}

async fn rule(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let bundle = &in_force.bundle;
    let rule = bundle.catalogue().rule(&id).map_err(Problem::not_found)?.clone();
    let Standings { nothing, known } = Standings::read(&state, &caller).await?;
    let rule_page = of_rule(rule.id.as_str());
    let told = match (&state.kept, known) {
        (Some(kept), Some(known)) => unless_away(told(&state, kept, &caller, &rule, &known).await)?,
        _ => None,
    };
    page_of(&RulePage {
        shell: Shell::new(
            &state,
            &visit,
            rule.id.as_str(),
            &[Crumb::to("/rules", "Rules"), Crumb::here(rule.id.as_str())],
        )
        .await,
        id: rule.id.to_string(),
        severity: rule.severity.as_str(),
        category: rule.category.clone(),
        explained: Explained::of(&rule),
        bad: rule.example(false).map(|yaml| Code::plain("A manifest that fails", yaml)),
        source: Code::plain("The rule's Rego", &rule.source.text),
        is_users: rule.provenance == Provenance::User,
        aliases: rule.aliases.iter().map(ToString::to_string).collect(),
        kinds: rule.kinds.iter().map(KindSelector::in_words).collect(),
        parameters: parameters(&rule),
        related: rule.related.clone(),
        differs: rule.differs.clone().unwrap_or_default(),
        policies: policies_of(bundle, &rule),
        findings_href: rule_page,
        nothing,
        told,
    })
}

/// Returns what audits found of a rule, as far as the reader may see.
async fn told(state: &ApiState, kept: &Kept, caller: &Caller, rule: &Rule, known: &Known) -> Result<Told, Problem> {
    let filter = Filter {
        rule: vec![rule.id.to_string()],
        state: vec!["open".into()],
        visible: visible(&state.app, caller),
        ..Filter::default()
    };
    let namespaces = kept.store.facet(&filter, Facet::Namespace, NAMESPACES).await?;
    let rule_page = of_rule(rule.id.as_str());
    let standing = known.of(rule.id.as_str());
    let findings = if standing.findings == 1 { "open finding" } else { "open findings" };
    Ok(Told {
        findings: format!("{} {findings}", known.count(standing.findings)),
        objects: standing.objects(),
        gaps: standing.gaps(),
        verdict: known.verdict(rule.id.as_str()),
        namespaces: shares(namespaces, |namespace| format!("{rule_page}&namespace={}", encoded(namespace))),
    })
}

/// Returns a rule's parameters: name, default, and what it is.
fn parameters(rule: &Rule) -> Vec<(String, String, String)> {
    let properties = rule.parameters.as_ref().and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let each = properties.into_iter().flatten().map(|(name, schema)| {
        let described = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let default = schema.get("default").map(ToString::to_string).unwrap_or_default();
        (name.clone(), default, described.to_owned())
    });
    each.collect()
}
