//! `/api/v1/suggestions`: which rules of a policy can be enforced, and the policy that follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists;
use super::problem::{Flaw, Problem};
use super::standing::{Looked, Standings};
use crate::policy::modes::PolicyNames as _;
use crate::policy::set::is_name;
use crate::policy::{Group, NamespaceMeta, Selector};
use crate::report::judge::policy;
use crate::report::suggest::{About, Candidate, CandidateTold, Wanted, candidates, policy_yaml};
use crate::store::{Audit, AuditState, Filter};
use crate::webhook::in_force::InForce;

/// Findings up to which a rule is nearly there, when nobody says.
const FEW: usize = 5;

/// Which namespaces are meant.
pub const SELECTOR: &[Parameter] = &[
    Parameter::new("namespace", Values::List, "Names or globs of namespaces"),
    Parameter::new("label", Values::List, "Labels that namespaces must have, as KEY=VALUE"),
];

/// What is suggested.
pub const PARAMETERS: &[Parameter] = &[
    Parameter::new(
        "policy",
        Values::Text,
        "The policy whose rules are looked at; if nobody says, the first of audit.policies",
    ),
    Parameter::new("beside", Values::Text, "A policy that is taken over whole, for what is enforced already"),
    Parameter::new(
        "days",
        Values::Number(3650),
        "For how many days a rule must have had no findings; 0 if nobody says",
    ),
    Parameter::new(
        "few",
        Values::Number(1000),
        "Findings up to which a rule is told as nearly there; 5 if nobody says",
    ),
    Parameter::new("name", Values::Text, "Name of the new policy; ready if nobody says"),
];

const FORMAT: &[Parameter] =
    &[Parameter::new("format", Values::OneOf(&["json", "yaml"]), "The format; if nobody says, what Accept asks for")];

const SUGGESTIONS: Endpoint = Endpoint {
    path: "/api/v1/suggestions",
    about: "Which rules of a policy nothing breaks, little or much does, and the policy that can be enforced now",
    parameters: &[PARAMETERS, SELECTOR, FORMAT],
    gives: &["application/json", "application/yaml"],
    statuses: &[200, 404],
    answer: "Suggestions",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&SUGGESTIONS, suggestions)
}

/// Namespaces that are chosen by name and label, of those that the caller may see.
pub struct Chosen {
    /// Those that are.
    pub namespaces: Vec<Arc<NamespaceMeta>>,
    /// How they were chosen, in words.
    pub words: String,
    /// Names or globs that were given.
    pub names: Vec<String>,
    /// Labels that were given.
    pub labels: BTreeMap<String, String>,
}

impl Chosen {
    /// Chooses as a query says; nothing said means all but the system's.
    pub fn of(state: &ApiState, caller: &Caller, in_force: &InForce, query: &Query) -> Result<Self, Problem> {
        let names = query.list("namespace").to_vec();
        let label = |text: &String| {
            let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
            let (key, value) = pair.ok_or_else(|| {
                Problem::query(vec![Flaw::of_parameter("label", format!("label: \"{text}\" is not KEY=VALUE"))])
            })?;
            Ok((key.to_owned(), value.to_owned()))
        };
        let labels: BTreeMap<String, String> = query.list("label").iter().map(label).collect::<Result<_, Problem>>()?;
        let selector = Selector::new(&names, labels.clone());
        let selector =
            selector.map_err(|error| Problem::query(vec![Flaw::of_parameter("namespace", error.to_string())]))?;
        let is_all = names.is_empty() && labels.is_empty();
        let groups = state.app.groups(in_force);
        let mut namespaces = state.app.known_namespaces(in_force);
        namespaces.retain(|namespace| {
            caller.sees(&namespace.name)
                && selector.matches(namespace)
                && !(is_all && groups.of(&namespace.name) == Group::System)
        });
        namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let words = match (names.as_slice(), pairs.as_slice()) {
            ([], []) => "in all namespaces but the system's".to_owned(),
            (names, []) => format!("in namespaces {}", names.join(", ")),
            ([], pairs) => format!("in namespaces with {}", pairs.join(", ")),
            (names, pairs) => format!("in namespaces {} with {}", names.join(", "), pairs.join(", ")),
        };
        Ok(Self { namespaces, words, names, labels })
    }

    /// Returns whether a namespace is among them.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the one of that name.
    pub fn get(&self, name: &str) -> Option<&NamespaceMeta> {
        let at = self.namespaces.binary_search_by(|known| known.name.as_str().cmp(name)).ok()?;
        self.namespaces.get(at).map(AsRef::as_ref)
    }
}

/// What is suggested, and by what.
pub struct Suggested<'a> {
    /// The last audit; none where none has ended.
    pub audit: Option<Audit>,
    /// The rules.
    pub candidates: Vec<Candidate<'a>>,
    /// The policy.
    pub yaml: String,
}

/// Looks how the rules of a policy stand in some namespaces; `days` where the query does not say.
pub async fn suggested<'a>(
    state: &ApiState,
    caller: &Caller,
    in_force: &'a InForce,
    query: &Query,
    chosen: &Chosen,
    days: usize,
) -> Result<Suggested<'a>, Problem> {
    let bundle = &in_force.bundle;
    let unknown = |error: crate::report::judge::UnknownName| Problem::not_found(error.0);
    // What a form leaves empty is not said.
    let said = |name: &str| query.text(name).filter(|text| !text.is_empty());
    let named = policy(bundle, said("policy").unwrap_or(in_force.config.audit.first())).map_err(unknown)?;
    let beside = said("beside").map(|name| policy(bundle, name).map_err(unknown)).transpose()?;
    let name = said("name").unwrap_or("ready");
    if !is_name(name) || bundle.has_policy(name) {
        let cause = if is_name(name) { "is the name of another policy" } else { "is no name for a policy" };
        return Err(Problem::query(vec![Flaw::of_parameter("name", format!("name: \"{name}\" {cause}"))]));
    }
    let days = u32::try_from(query.number("days").unwrap_or(days)).unwrap_or(u32::MAX);
    let few = u64::try_from(query.number("few").unwrap_or(FEW)).unwrap_or(u64::MAX);
    let now = Timestamp::now();
    let is_meant = |namespace: &str| chosen.has(namespace);
    let asked = |name: &str, _: &BTreeSet<String>| {
        chosen.get(name).map(|namespace| in_force.audited_rules(namespace)).unwrap_or_default()
    };
    let looked = Looked {
        store: &*state.kept()?.store,
        filter: Filter { visible: lists::visible(&state.app, caller), ..Filter::default() },
        is_meant: &is_meant,
        rules: &bundle.rules_of([&*named.name]),
        asked: &asked,
        few,
        days,
        now,
    };
    let Standings { audit, rules } = looked.standings().await?;
    let candidates = candidates(bundle, named, beside.map(AsRef::as_ref), &rules, Wanted { days, few, now });
    let about = About {
        name,
        policy: &named.name,
        beside: beside.map(|policy| &*policy.name),
        audit: &audit.as_ref().map_or("No audit has ended yet".to_owned(), audit_in_words),
        namespaces: &chosen.words,
        days,
    };
    let yaml = policy_yaml(about, &candidates);
    Ok(Suggested { audit, candidates, yaml })
}

/// Returns which audit something comes from, and what it is worth.
pub fn audit_in_words(audit: &Audit) -> String {
    let ended = audit.finished.unwrap_or(audit.started).to_zoned(TimeZone::UTC);
    let partly = if audit.state == AuditState::Complete { "" } else { ", which could not read everything" };
    format!("Audit {} of {}: {} objects{partly}", audit.id, ended.strftime("%Y-%m-%d %H:%M UTC"), audit.objects)
}

async fn suggestions(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let chosen = Chosen::of(&state, &caller, &in_force, &query)?;
    let suggested = suggested(&state, &caller, &in_force, &query, &chosen, 0).await?;
    let accepts =
        |kind: &str| headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(kind)));
    let wants_yaml = query.text("format").map_or_else(|| accepts("yaml"), |format| format == "yaml");
    if wants_yaml {
        return Ok(([(CONTENT_TYPE, "application/yaml")], suggested.yaml).into_response());
    }
    let items: Vec<CandidateTold<'_>> = suggested.candidates.iter().map(CandidateTold::from).collect();
    let namespaces: Vec<&str> = chosen.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    let told = json!({
        "audit": suggested.audit, "namespaces": namespaces, "items": items, "policy": suggested.yaml,
    });
    Ok(Json(told).into_response())
}
