//! `/namespaces`: what each does with violations and why, what is wrong there, and what enforcing more would deny.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::dress::page_of;
use super::findings::{Part, Row as FindingRow, bar, shares};
use super::links::encoded;
use super::rules::Share;
use super::shell::{Crumb, Shell, Visit};
use super::words::number;
use crate::admission::speak::countdown;
use crate::policy::modes::Grants;
use crate::policy::{Grant, GrantOrigin, Group, Mode, NamespaceMeta, RuleId, Scope};
use crate::report::finding::ObjectKey;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::lists::visible;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Facet, Filter, FindingSort, PageQuery};
use crate::webhook::in_force::InForce;

/// Pairs that are counted, at most.
const PAIRS: usize = 100_000;
/// Findings and rules of a namespace's page.
const SHOWN: usize = 15;
/// The policies whose enforcement is looked ahead to, the mildest first.
const LADDER: [&str; 3] = ["baseline", "recommended", "strict"];

const NAMESPACES: Endpoint =
    Endpoint { path: "/namespaces", about: "The page of namespaces", gives: &["text/html"], ..Endpoint::GET };

const NAMESPACE: Endpoint = Endpoint {
    path: "/namespaces/{name}",
    about: "The page of one namespace",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&NAMESPACES, namespaces).add(&NAMESPACE, namespace)
}

#[derive(Template)]
#[template(path = "namespaces.html")]
struct NamespacesPage {
    shell: Shell,
    groups: Vec<Grouped>,
    all: usize,
    enforcing: usize,
    is_counted: bool,
    ladder: &'static str,
}

#[derive(Template)]
#[template(path = "namespace.html")]
struct NamespacePage {
    shell: Shell,
    name: String,
    slots: Vec<Slot>,
    notices: Vec<String>,
    ahead: Vec<Ahead>,
    bar: Vec<Part>,
    bar_words: String,
    total: String,
    findings_href: String,
    rows: Vec<FindingRow>,
    /// What is wrong with the Namespace itself, which is outside any.
    own: Vec<FindingRow>,
    own_href: String,
    rules: Vec<Share>,
    labels: Vec<(String, String)>,
    is_counted: bool,
}

/// Namespaces of one kind.
struct Grouped {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    rows: Vec<Row>,
}

/// A namespace in a list.
struct Row {
    group: Group,
    name: String,
    modes: Vec<(Mode, String, &'static str)>,
    strongest: (&'static str, &'static str),
    /// When something begins to be denied that is warned of until then; empty where nothing does.
    begins: String,
    bar: Vec<Part>,
    bar_words: String,
    total: String,
    denied: u64,
    ahead: u64,
    /// Whether all of the rules that are looked ahead to are asked for there.
    is_judged: bool,
    has_notices: bool,
}

/// One mode of a namespace, with what it comes from.
struct Slot {
    mode: &'static str,
    policy: String,
    origin: &'static str,
    details: Vec<String>,
}

/// What enforcing a policy would deny.
struct Ahead {
    policy: &'static str,
    findings: u64,
    rules: usize,
    /// How many of its rules nothing asks for there.
    unjudged: usize,
    is_enforced: bool,
    command: String,
}

/// Returns where a grant comes from, in words.
const fn origin(origin: GrantOrigin) -> &'static str {
    match origin {
        GrantOrigin::Label => "the namespace's label",
        GrantOrigin::Configuration => "the configuration",
        GrantOrigin::Default => "the default",
        GrantOrigin::Floor => "a floor of the configuration",
    }
}

/// Returns where a grant comes from in a word; nothing where nobody said anything.
const fn told(origin: GrantOrigin) -> &'static str {
    match origin {
        GrantOrigin::Label => "label",
        GrantOrigin::Configuration => "configuration",
        GrantOrigin::Default => "",
        GrantOrigin::Floor => "floor",
    }
}

/// Returns the class and the word of the strongest thing that a namespace does now: until its date enforce only warns.
pub fn strongest(grants: &[Grant], now: Timestamp) -> (&'static str, &'static str) {
    let is_ahead = |grant: &Grant| grant.from.is_some_and(|from| from > now);
    match grants.iter().map(|grant| if is_ahead(grant) { Mode::Warn } else { grant.mode }).max() {
        Some(Mode::Enforce) => ("deny", "enforce"),
        Some(Mode::Warn) => ("warn", "warn"),
        Some(Mode::Audit) => ("record", "audit"),
        None => ("", "off"),
    }
}

/// Returns whether something begins to be denied that is warned of until then.
pub fn is_announced(grants: &[Grant], now: Timestamp) -> bool {
    grants.iter().any(|grant| grant.from.is_some_and(|from| from > now))
}

impl Slot {
    fn of(grant: &Grant, now: Timestamp) -> Self {
        let mut details = Vec::new();
        if let Some(severity) = grant.severity {
            details.push(format!("denies from {severity} up, warns below"));
        }
        if grant.mode == Mode::Enforce && grant.scope == Scope::All {
            details.push("denies also what was there before".to_owned());
        } else if grant.mode == Mode::Enforce {
            details.push("denies only what a change brings in".to_owned());
        }
        if let Some(from) = grant.from {
            details.push(announced(from, now));
        }
        Self { mode: grant.mode.as_str(), policy: grant.policy.to_string(), origin: origin(grant.origin), details }
    }
}

/// Returns from when something is denied, and how long that is still.
fn announced(from: Timestamp, now: Timestamp) -> String {
    match countdown(from, now) {
        Some(left) => format!("warns, and denies from {} on, {left}", day(from)),
        None => format!("denies since {}", day(from)),
    }
}

fn day(moment: Timestamp) -> String {
    moment.to_zoned(TimeZone::UTC).date().to_string()
}

/// Open findings of all namespaces that a reader may see: by namespace and rule, severity, and action.
#[derive(Default)]
struct Counts {
    rules: BTreeMap<String, BTreeMap<String, u64>>,
    severities: BTreeMap<String, BTreeMap<String, u64>>,
    actions: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Counts {
    async fn of(kept: &Kept, filter: &Filter) -> Result<Self, Problem> {
        let mut counts = Self::default();
        for (facet, into) in [
            (Facet::Rule, &mut counts.rules),
            (Facet::Severity, &mut counts.severities),
            (Facet::Action, &mut counts.actions),
        ] {
            for (namespace, value, findings) in kept.store.cross(filter, [Facet::Namespace, facet], PAIRS).await? {
                into.entry(namespace).or_default().insert(value, findings);
            }
        }
        Ok(counts)
    }

    /// Returns how many findings of a namespace a policy's rules have, and how many of the rules have any.
    fn ahead(&self, namespace: &str, rules: &BTreeSet<RuleId>) -> (u64, usize) {
        let found = self.rules.get(namespace).into_iter().flatten();
        let found = found.filter(|(rule, _)| rules.contains(&RuleId::from(rule.as_str())));
        found.fold((0, 0), |(findings, rules), (_, count)| (findings.saturating_add(*count), rules.saturating_add(1)))
    }
}

fn open(state: &ApiState, caller: &Caller) -> Filter {
    Filter { state: vec!["open".into()], visible: visible(&state.app, caller), ..Filter::default() }
}

async fn namespaces(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    let counts = match &state.kept {
        Some(kept) => Some(Counts::of(kept, &open(&state, &caller)).await?),
        None => None,
    };
    let in_force = state.app.in_force.load();
    let known = state.app.known_namespaces(&in_force);
    let ladder = LADDER.first().copied().unwrap_or_default();
    let first = in_force.bundle.rules_of([ladder]);
    let mut rows: Vec<Row> = known
        .iter()
        .filter(|namespace| caller.sees(&namespace.name))
        .map(|namespace| {
            let in_force = (&*in_force, state.app.own_namespace.as_deref());
            row(namespace, in_force, counts.as_ref().unwrap_or(&Counts::default()), &first, visit.now)
        })
        .collect();
    rows.sort_by(|a, b| b.denied.cmp(&a.denied).then(b.ahead.cmp(&a.ahead)).then_with(|| a.name.cmp(&b.name)));
    page_of(&NamespacesPage {
        shell: Shell::new(&state, &visit, "Namespaces", &[Crumb::here("Namespaces")]).await,
        enforcing: rows.iter().filter(|row| row.strongest.1 == "enforce").count(),
        all: rows.len(),
        groups: grouped(rows),
        is_counted: counts.is_some(),
        ladder,
    })
}

/// Returns namespaces by whose they are, yours first; groups that have none are left out.
fn grouped(rows: Vec<Row>) -> Vec<Grouped> {
    let (vendor, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.group == Group::Vendor);
    let (system, yours) = rows.into_iter().partition(|row| row.group == Group::System);
    let groups = [
        ("yours", "Yours", "What your teams run", yours),
        ("vendor", "Vendor software", "Where well-known software is installed", vendor),
        ("system", "System", "Kubernetes' own and Gatepost's; they stay out of the score", system),
    ];
    let groups = groups.into_iter().map(|(id, title, about, rows)| Grouped { id, title, about, rows });
    groups.filter(|group| !group.rows.is_empty()).collect()
}

/// Returns the next date from which something is denied, and how long that is still.
fn begins(grants: &[Grant], now: Timestamp) -> String {
    let next = grants.iter().filter_map(|grant| grant.from).filter(|from| *from > now).min();
    let words = next.and_then(|from| Some(format!("denies from {}, {}", day(from), countdown(from, now)?)));
    words.unwrap_or_default()
}

fn row(
    namespace: &NamespaceMeta,
    (in_force, own): (&InForce, Option<&str>),
    counts: &Counts,
    first: &BTreeSet<RuleId>,
    now: Timestamp,
) -> Row {
    let Grants { grants, notices } = in_force.config.modes.grants(namespace, &*in_force.bundle);
    let severities = counts.severities.get(&namespace.name).cloned().unwrap_or_default();
    let (bar, bar_words) = worded(&severities);
    let denied = counts.actions.get(&namespace.name).and_then(|actions| actions.get("deny")).copied();
    Row {
        group: Group::of(&namespace.name, own),
        name: namespace.name.clone(),
        modes: grants.iter().map(|grant| (grant.mode, grant.policy.to_string(), told(grant.origin))).collect(),
        strongest: strongest(&grants, now),
        begins: begins(&grants, now),
        bar,
        bar_words,
        total: number(severities.values().sum()),
        denied: denied.unwrap_or_default(),
        ahead: counts.ahead(&namespace.name, first).0,
        is_judged: first.is_subset(&in_force.audited_rules(namespace)),
        has_notices: !notices.is_empty(),
    }
}

/// Returns a bar of severities, and the same in words.
fn worded(severities: &BTreeMap<String, u64>) -> (Vec<Part>, String) {
    let parts = bar(severities);
    let words: Vec<String> = parts.iter().map(|part| format!("{} {}", number(part.count), part.severity)).collect();
    (parts, words.join(", "))
}

async fn namespace(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let known = state.app.known_namespaces(&in_force);
    let found = known.iter().find(|namespace| namespace.name == name && caller.sees(&name));
    let among = if caller.globs().is_some() { " among those that you may see" } else { "" };
    let namespace = found.ok_or_else(|| Problem::not_found(format!("there is no namespace \"{name}\"{among}")))?;
    let Grants { grants, notices } = in_force.config.modes.grants(namespace, &*in_force.bundle);
    let filter = Filter { namespace: vec![name.clone()], ..open(&state, &caller) };
    let object = ObjectKey { kind: "Namespace".to_owned(), name: name.clone(), ..ObjectKey::default() };
    let (counts, rows, own) = match &state.kept {
        Some(kept) => {
            let itself = Filter { kind: vec![object.kind.clone()], name: vec![name.clone()], ..open(&state, &caller) };
            let itself = Filter { namespace: vec![String::new()], ..itself };
            let (rows, own) = (worst(kept, &filter, &visit).await?, worst(kept, &itself, &visit).await?);
            (Counts::of(kept, &filter).await?, rows, own)
        }
        None => (Counts::default(), Vec::new(), Vec::new()),
    };
    let severities = counts.severities.get(&name).cloned().unwrap_or_default();
    let (bar, bar_words) = worded(&severities);
    let mut by_rule: Vec<(String, u64)> = counts.rules.get(&name).cloned().unwrap_or_default().into_iter().collect();
    by_rule.sort_by(|(x, a), (y, b)| b.cmp(a).then_with(|| x.cmp(y)));
    by_rule.truncate(SHOWN);
    let here = format!("/findings?namespace={}&mode=enforce,warn,audit", encoded(&name));
    let page = NamespacePage {
        shell: Shell::new(&state, &visit, &name, &[Crumb::to("/namespaces", "Namespaces"), Crumb::here(&name)]).await,
        slots: grants.iter().map(|grant| Slot::of(grant, visit.now)).collect(),
        notices: notices.iter().map(ToString::to_string).collect(),
        ahead: ahead(&in_force, &counts, namespace, &grants),
        total: number(severities.values().sum()),
        bar,
        bar_words,
        rules: shares(by_rule, |rule| format!("{here}&rule={}", encoded(rule))),
        findings_href: here,
        rows,
        own,
        own_href: super::resources::href(&object),
        labels: namespace.labels.clone().into_iter().collect(),
        is_counted: state.kept.is_some(),
        name,
    };
    page_of(&page)
}

/// Returns what each policy of the ladder would deny in a namespace if it were enforced.
fn ahead(in_force: &InForce, counts: &Counts, namespace: &NamespaceMeta, grants: &[Grant]) -> Vec<Ahead> {
    let (name, audited) = (&namespace.name, in_force.audited_rules(namespace));
    let of = |policy: &'static str| {
        in_force.bundle.policy(policy)?;
        let wanted = in_force.bundle.rules_of([policy]);
        let (findings, rules) = counts.ahead(name, &wanted);
        let unjudged = wanted.difference(&audited).count();
        let is_enforced = grants.iter().any(|grant| grant.mode == Mode::Enforce && &*grant.policy == policy);
        let command = format!("kubectl label namespace {name} gatepost.dev/enforce={policy} --overwrite");
        Some(Ahead { policy, findings, rules, unjudged, is_enforced, command })
    };
    LADDER.into_iter().filter_map(of).collect()
}

async fn worst(kept: &Kept, filter: &Filter, visit: &Visit) -> Result<Vec<FindingRow>, Problem> {
    let asked = PageQuery { filter: filter.clone(), sort: FindingSort::Severity, cursor: None, limit: SHOWN };
    Ok(kept.store.findings(&asked).await?.items.iter().map(|finding| FindingRow::of(finding, visit)).collect())
}
