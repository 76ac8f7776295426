//! `GET /api/v1/exemptions`: who may break which rule, until when, and whether anybody does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Text;

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::{self, NAMESPACE, PAGES, RULE};
use super::names::Names;
use super::problem::Problem;
use crate::policy::exemption::{Container, Exemption, ExemptionName, ExemptionSpec, ExemptionState, Subject, Written};
use crate::policy::{GroupVersionKind, RuleId};
use crate::report::finding::Finding;
use crate::store::Page;
use crate::webhook::in_force::InForce;

/// What exemptions are narrowed to.
pub const FILTERS: &[Parameter] = &[
    NAMESPACE,
    RULE,
    Parameter::new("owner", Values::List, "Who answers for them"),
    Parameter::new(
        "state",
        Values::Some(&["active", "ending", "expired", "unused", "refused"]),
        "active ones, those of them that end within 14 days, expired ones, those in force of which no use is known, \
         and those that are at fault or not allowed",
    ),
    Parameter::new("text", Values::Text, "Words in name, reason or owner"),
];

const SORT: &[Parameter] = &[Parameter::new(
    "sort",
    Values::OneOf(&["name", "ends"]),
    "The order: by namespace and name if nobody says, or those first that end first",
)];

const EXEMPTIONS: Endpoint = Endpoint {
    path: "/api/v1/exemptions",
    about: "Exemptions, with how they stand",
    parameters: &[FILTERS, SORT, PAGES],
    answer: "ExemptionList",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&EXEMPTIONS, exemptions)
}

/// An exemption, with how it stands.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its name.
    #[serde(flatten)]
    pub name: ExemptionName,
    /// How it stands.
    pub state: ExemptionState,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The instant from which it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// When it last excused something: since this process began, or as its status tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Ids of the rules that it excuses.
    pub excuses: Vec<RuleId>,
    /// What was written.
    pub spec: ExemptionSpec,
    /// Where that stands.
    pub source: Arc<str>,
}

async fn exemptions(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let seen = visible(&state, &caller, Timestamp::now());
    Ok(lists::answer(page(asked_for(&state, seen, &query)?, &query)?))
}

/// Returns every exemption that somebody may see, by namespace and name.
pub fn visible(state: &ApiState, caller: &Caller, now: Timestamp) -> Vec<Item> {
    let in_force = state.app.in_force.load();
    let last_used = |name: &ExemptionName| state.app.in_force.uses().last(name);
    let mut items = items(&in_force, last_used, now);
    items.retain(|item| caller.sees(&item.name.namespace));
    items
}

/// Returns those of exemptions that a query asks for.
pub fn asked_for(state: &ApiState, mut items: Vec<Item>, query: &Query) -> Result<Vec<Item>, Problem> {
    let (rules, names) = (lists::rules(&state.app, query), Names::of(query)?);
    items.retain(|item| names.mean(&item.name.namespace) && is_asked_for(item, query, &rules));
    Ok(items)
}

fn items(in_force: &InForce, last_used: impl Fn(&ExemptionName) -> Option<Timestamp>, now: Timestamp) -> Vec<Item> {
    let item = |written: &Written, state, cause: Option<String>| Item {
        last_used: last_used(&written.name),
        name: written.name.clone(),
        state,
        cause,
        ends: None,
        excuses: Vec::new(),
        spec: written.spec.clone(),
        source: written.source.file.clone(),
    };
    let held = in_force.exemptions.list().iter().map(|exemption| Item {
        ends: exemption.expires,
        excuses: exemption.rules.iter().cloned().collect(),
        ..item(&exemption.written, exemption.state(now), None)
    });
    let refused = in_force.exemptions.refused().iter();
    let refused = refused.map(|refused| item(&refused.written, ExemptionState::Refused, Some(refused.cause.clone())));
    let mut items: Vec<Item> = held.chain(refused).collect();
    items.sort_by_key(Item::key);
    items
}

impl Item {
    /// Returns what tells it from all others, in the order of lists: one name may stand among the files and in the cluster.
    fn key(&self) -> [Arc<str>; 4] {
        let ExemptionName { kind, namespace, name } = &self.name;
        [namespace.clone(), name.clone(), kind.as_str().into(), self.source.clone()]
    }

    /// Returns whether it is in a state of the filter.
    pub fn is_in(&self, state: &str) -> bool {
        let is_in_force = matches!(self.state, ExemptionState::Active | ExemptionState::Ending);
        match state {
            "active" => is_in_force,
            "ending" => self.state == ExemptionState::Ending,
            "expired" => self.state == ExemptionState::Expired,
            "unused" => is_in_force && self.last_used.is_none(),
            _ => self.state == ExemptionState::Refused,
        }
    }
}

fn is_asked_for(item: &Item, query: &Query, rules: &[String]) -> bool {
    let states = query.list("state");
    let said = [&*item.name.name, &*item.spec.reason, &*item.spec.owner].join("\n").to_lowercase();
    lists::is_one_of(query, "owner", |word| word == &*item.spec.owner)
        && (rules.is_empty() || item.excuses.iter().any(|rule| rules.iter().any(|asked| asked == rule.as_str())))
        && (states.is_empty() || states.iter().any(|state| item.is_in(state)))
        && lists::has_words(query, &said)
}

/// Returns the part of exemptions that a query asks for.
pub fn page(items: Vec<Item>, query: &Query) -> Result<Page<Item>, Problem> {
    let is_by_end = query.text("sort") == Some("ends");
    let keyed = items.into_iter().map(|item| {
        // Whatever never ends comes last.
        let end = item.ends.map_or(i64::MAX, |ends| ends.as_second().max(0));
        let begin = if is_by_end { format!("{end:020}\n") } else { String::new() };
        (begin + &item.key().join("\n"), item)
    });
    lists::part(query, keyed)
}

/// Returns the exemptions that are about a finding at an instant: of its rule, its object, and the container.
pub fn covering<'e>(
    in_force: &'e InForce,
    finding: &Finding,
    object: Option<&Text>,
    at: Timestamp,
) -> Vec<&'e Arc<Exemption>> {
    let labels = object.and_then(|object| object.pointer("/metadata/labels")?.as_object());
    let labels = labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let namespace = Some(finding.object.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let version = finding.api_version.rsplit('/').next().unwrap_or_default();
    let subject = Subject {
        kind: GroupVersionKind {
            group: finding.object.group.clone(),
            version: version.to_owned(),
            kind: finding.object.kind.clone(),
        },
        has_template: object.is_some_and(|object| object.pointer("/spec/template").is_some()),
        namespace,
        name: &finding.object.name,
        labels: labels.collect(),
        user: None,
    };
    let container = object.map(|object| container(object, &finding.path)).unwrap_or_default();
    in_force.exemptions.covering(&finding.rule, &subject, container, at)
}

/// Returns the container that a JSON Pointer leads into.
fn container<'o>(object: &'o Text, path: &str) -> Container<'o> {
    let text = |key: &str| container_at(object, path)?.get(key)?.as_str();
    Container { name: text("name"), image: text("image") }
}

fn container_at<'o>(object: &'o Text, path: &str) -> Option<&'o Text> {
    let lists = ["/containers/", "/initContainers/", "/ephemeralContainers/"];
    let after = lists.iter().find_map(|list| Some(path.find(list)?.saturating_add(list.len())))?;
    let end = path.get(after..)?.find('/').map_or(path.len(), |length| after.saturating_add(length));
    object.pointer(path.get(..end)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::container;

    #[test]
    fn the_container_is_the_one_the_path_leads_into() {
        let object = json!({"spec": {"containers": [{"image": "a"}, {"image": "b", "name": "app"}], "other": 1}});
        for (path, expected) in [
            ("/spec/containers/1/securityContext/privileged", Some("b")),
            ("/spec/containers/0", Some("a")),
            ("/spec/containers/7/image", None),
            ("/spec/other", None),
            ("", None),
        ] {
            assert_eq!(container(&object, path).image, expected, "{path}");
        }
    }
}
