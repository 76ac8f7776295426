//! How a live registration differs from what it should say, in words.

use std::fmt;

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, RuleWithOperations, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::entry::Entry;
use super::wanted::PROBE;

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The entry is not there.
    Missing,
    /// There is an entry that is not ours.
    Foreign,
    /// Where the API server sends requests.
    Address,
    /// What happens when no answer comes: a choice.
    FailurePolicy,
    /// Operations and resources on CREATE and UPDATE.
    Rules,
    /// Resources whose deletion rules in force ask about.
    Deletions,
    /// Which namespaces are judged.
    NamespaceSelector,
    /// Which labels an object must have.
    ObjectSelector,
    /// What is left out by CEL.
    MatchConditions,
    /// A field that says how to ask: review versions, match policy, side effects, timeout, reinvocation.
    Manner,
}

/// One difference; its text names the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry's name.
    pub entry: String,
    /// What it is about.
    pub field: Field,
    /// What is otherwise, and what follows from it.
    pub says: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.entry, self.says)
    }
}

/// Compares the entries of a live configuration with those that it should have. CA bundles are not compared: who knows the
/// authorities asks [`Authorities::missing_in`](super::authorities::Authorities::missing_in).
pub fn differences(live: &[Entry], wanted: &[Entry]) -> Vec<Difference> {
    let mut found = Vec::new();
    for wanted in wanted {
        let mut tell = |field, says| found.push(Difference { entry: wanted.name.clone(), field, says });
        match live.iter().find(|live| live.name == wanted.name) {
            Some(live) => entry(live, wanted, &mut tell),
            None => tell(Field::Missing, "is missing: what it asks about is not judged".to_owned()),
        }
    }
    let is_known = |entry: &Entry| entry.name == PROBE || wanted.iter().any(|wanted| wanted.name == entry.name);
    let foreign = live.iter().filter(|entry| !is_known(entry));
    found.extend(foreign.map(|entry| Difference {
        entry: entry.name.clone(),
        field: Field::Foreign,
        says: "is not one of Gatepost's".to_owned(),
    }));
    found
}

/// Tells what is changed where a configuration is written whole, so that it says nothing but what it should.
pub fn changes(live: &[Entry], should: &[Entry]) -> Vec<String> {
    let change = |difference: Difference| match difference.field {
        Field::Missing => format!("{} is added", difference.entry),
        Field::Foreign => format!("{} is taken out", difference.entry),
        _ => format!("{} is put right: {}", difference.entry, difference.says),
    };
    differences(live, should).into_iter().map(change).collect()
}

fn entry(live: &Entry, wanted: &Entry, tell: &mut impl FnMut(Field, String)) {
    let (is, should) = (address(&live.client_config), address(&wanted.client_config));
    if is != should {
        tell(Field::Address, format!("asks {is}, not {should}"));
    }
    if live.failure_policy != wanted.failure_policy {
        let is = live.failure_policy.as_deref().unwrap_or("Fail");
        let then = if is == "Fail" { "are refused" } else { "go on unjudged" };
        let should = wanted.failure_policy.as_deref().unwrap_or_default();
        let says =
            format!("failurePolicy is {is}, not {should}: requests {then} for as long as Gatepost does not answer");
        tell(Field::FailurePolicy, says);
    }
    rules(live, wanted, tell);
    selector(Field::NamespaceSelector, live.namespace_selector.as_ref(), wanted.namespace_selector.as_ref(), tell);
    selector(Field::ObjectSelector, live.object_selector.as_ref(), wanted.object_selector.as_ref(), tell);
    conditions(live, wanted, tell);
    manner(live, wanted, tell);
}

fn address(config: &WebhookClientConfig) -> String {
    match (&config.service, &config.url) {
        (Some(service), _) => {
            let (port, path) = (service.port.unwrap_or(443), service.path.as_deref().unwrap_or("/"));
            format!("Service {}/{} at port {port} and path {path}", service.namespace, service.name)
        }
        (None, Some(url)) => url.clone(),
        (None, None) => "nobody".to_owned(),
    }
}

/// One thing to ask about: what a rule says, multiplied out.
struct Asked<'a> {
    group: &'a str,
    version: &'a str,
    operation: &'a str,
    resource: &'a str,
    scope: &'a str,
}

impl Asked<'_> {
    fn is_covered_by(&self, rules: &[RuleWithOperations]) -> bool {
        rules.iter().any(|rule| {
            let has = |list: &Option<Vec<String>>, text: &str| {
                list.iter().flatten().any(|entry| entry == "*" || entry == text)
            };
            let scope = rule.scope.as_deref().unwrap_or("*");
            (scope == "*" || scope == self.scope)
                && has(&rule.api_groups, self.group)
                && has(&rule.api_versions, self.version)
                && has(&rule.operations, self.operation)
                && rule.resources.iter().flatten().any(|pattern| covers(pattern, self.resource))
        })
    }
}

/// Returns whether a resource pattern covers another: `*` all but subresources, `*/*` everything, `pods/*` those of Pods.
fn covers(pattern: &str, resource: &str) -> bool {
    let (Some((parent, sub)), (other, other_sub)) = (pattern.split_once('/'), split(resource)) else {
        return pattern == resource || (pattern == "*" && !resource.contains('/'));
    };
    let matches = |pattern: &str, text: &str| pattern == "*" || pattern == text;
    pattern == "*/*" || (matches(parent, other) && other_sub.is_some_and(|other| matches(sub, other)))
}

fn split(resource: &str) -> (&str, Option<&str>) {
    resource.split_once('/').map_or((resource, None), |(parent, sub)| (parent, Some(sub)))
}

fn asked(rules: &[RuleWithOperations]) -> impl Iterator<Item = Asked<'_>> {
    rules.iter().flat_map(|rule| {
        let scope = rule.scope.as_deref().unwrap_or("*");
        let operations = rule.operations.iter().flatten();
        operations.flat_map(move |operation| {
            rule.api_groups.iter().flatten().flat_map(move |group| {
                rule.api_versions.iter().flatten().flat_map(move |version| {
                    rule.resources.iter().flatten().map(move |resource| Asked {
                        group,
                        version,
                        operation,
                        resource,
                        scope,
                    })
                })
            })
        })
    })
}

/// Returns what one list of rules asks about and the other does not, as `DELETE of apps/deployments`.
fn uncovered<'a>(rules: &'a [RuleWithOperations], by: &[RuleWithOperations]) -> Vec<Asked<'a>> {
    asked(rules).filter(|asked| !asked.is_covered_by(by)).collect()
}

fn list(asked: &[&Asked<'_>]) -> String {
    let one = |asked: &&Asked<'_>| {
        let group = if asked.group.is_empty() { "core" } else { asked.group };
        format!("{} of {group}/{}", asked.operation, asked.resource)
    };
    asked.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn rules(live: &Entry, wanted: &Entry, tell: &mut impl FnMut(Field, String)) {
    let (is, should) = (live.rules.as_deref().unwrap_or_default(), wanted.rules.as_deref().unwrap_or_default());
    let missing = uncovered(should, is);
    let (deletions, rules): (Vec<_>, Vec<_>) = missing.iter().partition(|asked| asked.operation == "DELETE");
    if !rules.is_empty() {
        tell(Field::Rules, format!("does not ask about {}", list(&rules)));
    }
    if !deletions.is_empty() {
        let says = format!("does not ask about {}, which rules in force want to judge", list(&deletions));
        tell(Field::Deletions, says);
    }
    let more = uncovered(is, should);
    if !more.is_empty() {
        tell(Field::Rules, format!("asks about more than is judged: {}", list(&more.iter().collect::<Vec<_>>())));
    }
}

/// Returns how many resources are to be asked about on DELETE, and are not.
pub fn missing_deletions(live: &[Entry], wanted: &[Entry]) -> usize {
    let rules = |entry: &Entry| entry.rules.clone().unwrap_or_default();
    let missing = wanted.iter().map(|wanted| {
        let is = live.iter().find(|live| live.name == wanted.name).map(rules).unwrap_or_default();
        let should = rules(wanted);
        uncovered(&should, &is).iter().filter(|asked| asked.operation == "DELETE").count()
    });
    missing.sum()
}

fn selector(
    field: Field,
    live: Option<&LabelSelector>,
    wanted: Option<&LabelSelector>,
    tell: &mut impl FnMut(Field, String),
) {
    let (is, should) = (requirements(live), requirements(wanted));
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|text| !those.contains(text)).cloned().collect()
    };
    let what = if field == Field::NamespaceSelector { "namespaces" } else { "objects" };
    let (more, less) = (only(&is, &should), only(&should, &is));
    if !more.is_empty() {
        tell(field, format!("asks only about {what} where {}", more.join(" and ")));
    }
    if !less.is_empty() {
        tell(field, format!("asks also about {what} that should be left out by {}", less.join(" and ")));
    }
}

/// Returns what a selector asks for, in words; labels are expressions too.
fn requirements(selector: Option<&LabelSelector>) -> Vec<String> {
    let Some(LabelSelector { match_expressions, match_labels }) = selector else { return Vec::new() };
    let expression = |requirement: &LabelSelectorRequirement| {
        let LabelSelectorRequirement { key, operator, values } = requirement;
        let mut values = values.clone().unwrap_or_default();
        values.sort_unstable();
        let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(", ")) };
        format!("{key} {operator}{values}")
    };
    let labels = match_labels.iter().flatten().map(|(key, value)| format!("{key} In [{value}]"));
    match_expressions.iter().flatten().map(expression).chain(labels).collect()
}

fn conditions(live: &Entry, wanted: &Entry, tell: &mut impl FnMut(Field, String)) {
    let (is, should) = (live.match_conditions.as_deref(), wanted.match_conditions.as_deref());
    let (is, should) = (is.unwrap_or_default(), should.unwrap_or_default());
    let find = |list: &[MatchCondition], name: &str| {
        list.iter().find(|condition| condition.name == name).map(|condition| condition.expression.clone())
    };
    for MatchCondition { name, expression } in should {
        match find(is, name) {
            None => tell(Field::MatchConditions, format!("the match condition {name} is missing")),
            Some(other) if other != *expression => {
                tell(Field::MatchConditions, format!("the match condition {name} is {other}, not {expression}"));
            }
            Some(_) => {}
        }
    }
    for MatchCondition { name, expression } in is.iter().filter(|condition| find(should, &condition.name).is_none()) {
        tell(Field::MatchConditions, format!("asks only where the match condition {name} holds: {expression}"));
    }
}

fn manner(live: &Entry, wanted: &Entry, tell: &mut impl FnMut(Field, String)) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let seconds = |value: Option<i32>| value.map(|seconds| seconds.to_string()).unwrap_or_default();
    let fields = [
        (
            "admissionReviewVersions",
            live.admission_review_versions.join(", "),
            wanted.admission_review_versions.join(", "),
        ),
        ("matchPolicy", text(&live.match_policy), text(&wanted.match_policy)),
        ("reinvocationPolicy", text(&live.reinvocation_policy), text(&wanted.reinvocation_policy)),
        ("sideEffects", live.side_effects.clone(), wanted.side_effects.clone()),
        ("timeoutSeconds", seconds(live.timeout_seconds), seconds(wanted.timeout_seconds)),
    ];
    for (name, is, should) in fields.into_iter().filter(|(_, is, should)| is != should) {
        tell(Field::Manner, format!("{name} is {is}, not {should}"));
    }
}
