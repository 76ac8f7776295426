//! `/api/v1/rules` and `/api/v1/policies`: what there is to judge by, its documentation, and what is open of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::{self, EFFORT, PAGES, POLICY, SEVERITY};
use super::problem::Problem;
use super::trends::add;
use crate::engine::{Bundle, ResolvedPolicy};
use crate::policy::set::Entry;
use crate::policy::{AtMost, Effort, KindSelector, OnError, Operation, Origin, Provenance, Rule, RuleId, Severity};
use crate::store::Filter;

const RULE_FILTERS: &[Parameter] = &[
    POLICY,
    SEVERITY,
    EFFORT,
    lists::RULE,
    Parameter::new("category", Values::List, "Topics"),
    Parameter::new("text", Values::Text, "Words in id, title or description"),
];

const RULE_SORT: &[Parameter] = &[Parameter::new(
    "sort",
    Values::OneOf(&["id", "severity", "findings"]),
    "The order: by id if nobody says, the gravest first, or most open findings first",
)];

const POLICY_FILTERS: &[Parameter] = &[
    Parameter::new("policy", Values::List, "Policies, by name"),
    Parameter::new("rule", Values::List, "Rules that they have, by id or another name"),
    Parameter::new("text", Values::Text, "Words in name, title or description"),
];

const POLICY_SORT: &[Parameter] = &[Parameter::new(
    "sort",
    Values::OneOf(&["name", "rules", "findings"]),
    "The order: by name if nobody says, most rules first, or most open findings first",
)];

const RULES: Endpoint = Endpoint {
    path: "/api/v1/rules",
    about: "Every rule with its documentation and how many findings of it are open",
    parameters: &[RULE_FILTERS, RULE_SORT, PAGES],
    answer: "RuleList",
    ..Endpoint::GET
};

const RULE: Endpoint = Endpoint {
    path: "/api/v1/rules/{id}",
    about: "One rule, by id or another name, with examples and its source",
    statuses: &[200, 404],
    answer: "Rule",
    ..Endpoint::GET
};

const POLICIES: Endpoint = Endpoint {
    path: "/api/v1/policies",
    about: "Every policy, how many rules it has, and how many findings of these are open",
    parameters: &[POLICY_FILTERS, POLICY_SORT, PAGES],
    answer: "PolicyList",
    ..Endpoint::GET
};

const ONE_POLICY: Endpoint = Endpoint {
    path: "/api/v1/policies/{name}",
    about: "One policy, with what it makes of each of its rules",
    statuses: &[200, 404],
    answer: "Policy",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&RULES, rules).add(&RULE, rule).add(&POLICIES, policies).add(&ONE_POLICY, policy)
}

type BySeverity = BTreeMap<Severity, u64>;

/// A rule, as its documentation has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleTold<'a> {
    id: &'a RuleId,
    aliases: &'a [RuleId],
    title: &'a str,
    severity: Severity,
    category: &'a str,
    family: &'a str,
    effort: Effort,
    kinds: Vec<String>,
    operations: &'a [Operation],
    #[serde(rename = "where")]
    places: &'a [Origin],
    description: &'a str,
    impact: &'a str,
    fix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<AtMost>,
    related: &'a [String],
    provenance: Provenance,
    /// Policies that have it.
    policies: Vec<&'a str>,
    /// Open findings by severity.
    open: &'a BySeverity,
}

/// What a policy makes of a rule.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryTold<'a> {
    id: &'a RuleId,
    title: &'a str,
    severity: Severity,
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: &'a Map<String, Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    on_error: OnError,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<AtMost>,
    mutate: bool,
    exemptable: bool,
    /// Open findings of the rule by severity, whichever policy asks for it.
    open: &'a BySeverity,
}

/// Open findings by rule and severity, as far as the caller sees them.
struct OpenOf(BTreeMap<RuleId, BySeverity>);

impl OpenOf {
    /// Returns what is open; nothing where nothing is kept.
    async fn read(state: &ApiState, caller: &Caller) -> Result<Self, Problem> {
        let mut open: BTreeMap<RuleId, BySeverity> = BTreeMap::new();
        let Some(kept) = &state.kept else { return Ok(Self(open)) };
        let filter = Filter { visible: lists::visible(&state.app, caller), ..Filter::default() };
        for count in kept.store.open_counts(&filter).await? {
            add(open.entry(count.rule).or_default(), count.severity, count.findings);
        }
        Ok(Self(open))
    }

    fn of(&self, rule: &RuleId) -> &BySeverity {
        static NONE: BySeverity = BTreeMap::new();
        self.0.get(rule).unwrap_or(&NONE)
    }
}

async fn rules(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let in_force = state.app.in_force.load();
    let bundle = &in_force.bundle;
    let open = OpenOf::read(&state, &caller).await?;
    let all = bundle.catalogue().rules().values().map(|rule| told(bundle, rule, &open));
    let keyed = all.filter(|rule| is_asked(rule, &query)).map(|rule| {
        let begin = match query.text("sort") {
            Some("severity") => lists::greatest_first(rule.severity as u64),
            Some("findings") => lists::greatest_first(lists::sum(rule.open)),
            _ => String::new(),
        };
        (format!("{begin}\n{}", rule.id), rule)
    });
    Ok(lists::answer(lists::part(&query, keyed)?))
}

async fn rule(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Text>, Problem> {
    let in_force = state.app.in_force.load();
    let bundle = &in_force.bundle;
    let rule = bundle.catalogue().rule(&id).map_err(Problem::not_found)?;
    let open = OpenOf::read(&state, &caller).await?;
    let mut told = json!(told(bundle, rule, &open));
    if let Some(fields) = told.as_object_mut() {
        fields.insert("examples".into(), json!({"bad": rule.example(false), "good": rule.example(true)}));
        fields.insert("source".into(), json!(rule.source.text));
    }
    Ok(Json(told))
}

fn told<'a>(bundle: &'a Bundle, rule: &'a Rule, open: &'a OpenOf) -> RuleTold<'a> {
    let has = |policy: &ResolvedPolicy| entries(bundle, policy).any(|(of, _)| of.id == rule.id);
    RuleTold {
        id: &rule.id,
        aliases: &rule.aliases,
        title: &rule.title,
        severity: rule.severity,
        category: &rule.category,
        family: &rule.family,
        effort: rule.effort,
        kinds: rule.kinds.iter().map(kind).collect(),
        operations: &rule.operations,
        places: &rule.places,
        description: &rule.description,
        impact: &rule.impact,
        fix: &rule.fix,
        parameters: rule.parameters.as_ref(),
        differs: rule.differs.as_deref(),
        at_most: rule.at_most,
        related: &rule.related,
        provenance: rule.provenance,
        policies: bundle.policies().values().filter(|policy| has(policy)).map(|policy| &*policy.name).collect(),
        open: open.of(&rule.id),
    }
}

/// Returns the rules of a policy, with what it makes of each.
fn entries<'a>(bundle: &'a Bundle, policy: &'a ResolvedPolicy) -> impl Iterator<Item = (&'a Rule, &'a Entry)> {
    policy.entries.iter().filter_map(|(check, entry)| Some((&*bundle.checks().get(*check)?.rule.rule, entry)))
}

/// Returns kinds in the words of METADATA.
fn kind(selector: &KindSelector) -> String {
    let any = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".into());
    match selector {
        KindSelector::Any => "*".into(),
        KindSelector::Workloads => "workloads".into(),
        KindSelector::Kind { group, kind } => {
            let group = group.as_deref().map_or("*", |group| if group.is_empty() { "core" } else { group });
            format!("{group}/{}", any(kind))
        }
        KindSelector::Group(kinds) => {
            let name =
                |(group, kind): &(&str, &str)| format!("{}/{kind}", if group.is_empty() { "core" } else { group });
            kinds.iter().map(name).collect::<Vec<_>>().join(", ")
        }
    }
}

fn is_asked(rule: &RuleTold<'_>, query: &Query) -> bool {
    let said = [rule.id.as_str(), rule.title, rule.description].join("\n").to_lowercase();
    let is_named = |word: &str| rule.id.as_str() == word || rule.aliases.iter().any(|alias| alias.as_str() == word);
    lists::is_one_of(query, "policy", |word| rule.policies.contains(&word))
        && lists::is_one_of(query, "rule", is_named)
        && lists::is_one_of(query, "severity", |word| rule.severity.as_str() == word)
        && lists::is_one_of(query, "effort", |word| rule.effort.as_str() == word)
        && lists::is_one_of(query, "category", |word| rule.category == word)
        && lists::has_words(query, &said)
}

async fn policies(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let in_force = state.app.in_force.load();
    let bundle = &in_force.bundle;
    let open = OpenOf::read(&state, &caller).await?;
    let rules = lists::rules(&state.app, &query);
    let is_asked = |policy: &&Arc<ResolvedPolicy>| {
        let said = [&*policy.name, &*policy.title, &*policy.description].join("\n").to_lowercase();
        let has = |rule: &String| entries(bundle, policy).any(|(of, _)| of.id.as_str() == rule);
        lists::is_one_of(&query, "policy", |word| *policy.name == *word)
            && (rules.is_empty() || rules.iter().any(has))
            && lists::has_words(&query, &said)
    };
    let keyed = bundle.policies().values().filter(is_asked).map(|policy| {
        let (rules, of_all) = in_policy(bundle, policy, &open);
        let begin = match query.text("sort") {
            Some("rules") => lists::greatest_first(u64::try_from(rules).unwrap_or(u64::MAX)),
            Some("findings") => lists::greatest_first(lists::sum(&of_all)),
            _ => String::new(),
        };
        (format!("{begin}\n{}", policy.name), summary(policy, rules, &of_all))
    });
    Ok(lists::answer(lists::part(&query, keyed)?))
}

async fn policy(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Text>, Problem> {
    let in_force = state.app.in_force.load();
    let bundle = &in_force.bundle;
    let unknown = || Problem::not_found(format!("there is no policy \"{name}\""));
    let policy = bundle.policy(&name).ok_or_else(unknown)?;
    let open = OpenOf::read(&state, &caller).await?;
    let mut rules: Vec<EntryTold<'_>> =
        entries(bundle, policy).map(|(rule, entry)| entry_told(rule, entry, &open)).collect();
    rules.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(b.id)));
    let (count, of_all) = in_policy(bundle, policy, &open);
    let mut told = summary(policy, count, &of_all);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("rules".into(), json!(rules));
        let set = bundle.catalogue().sets().get(&policy.name);
        fields.insert("source".into(), json!(set.map(|set| &set.source.text)));
    }
    Ok(Json(told))
}

fn entry_told<'a>(rule: &'a Rule, entry: &'a Entry, open: &'a OpenOf) -> EntryTold<'a> {
    EntryTold {
        id: &rule.id,
        title: &rule.title,
        severity: entry.severity,
        parameters: &entry.parameters,
        message: entry.message.as_deref(),
        on_error: entry.on_error,
        at_most: entry.at_most.or(rule.at_most),
        mutate: entry.mutate,
        exemptable: entry.exemptable,
        open: open.of(&rule.id),
    }
}

/// Returns how many rules a policy has, and the open findings of them.
fn in_policy(bundle: &Bundle, policy: &ResolvedPolicy, open: &OpenOf) -> (usize, BySeverity) {
    let rules: BTreeSet<&RuleId> = entries(bundle, policy).map(|(rule, _)| &rule.id).collect();
    let mut of_all = BySeverity::new();
    for (severity, count) in rules.iter().flat_map(|rule| open.of(rule)) {
        add(&mut of_all, *severity, *count);
    }
    (rules.len(), of_all)
}

fn summary(policy: &ResolvedPolicy, rules: usize, of_all: &BySeverity) -> Text {
    json!({
        "name": policy.name,
        "title": policy.title,
        "description": policy.description.trim(),
        "ruleCount": rules,
        "open": of_all,
    })
}
