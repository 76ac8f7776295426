//! `/namespaces`: what each does with violations and why, what is wrong there, and what enforcing more would deny.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::counts::Counts;
use super::dress::page_of;
use super::facets::{self, Chip};
use super::findings::{Part, bar};
use super::links::Place;
use super::nothing::Nothing;
use super::shell::{Crumb, Shell, Visit};
use super::words::number;
use crate::admission::speak::countdown;
use crate::policy::modes::Grants;
use crate::policy::{Grant, GrantOrigin, Group, Groups, Mode, NamespaceMeta, RuleId};
use crate::report::Score;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use crate::scan::lists::visible;
use crate::scan::problem::Problem;
use crate::store::Filter;
use crate::webhook::in_force::InForce;

/// Namespaces of a page.
const PAGE: usize = 100;
/// More pages than anybody has namespaces for.
const PAGES: usize = 100_000;
/// The policies whose enforcement is looked ahead to, the mildest first.
pub const LADDER: [&str; 3] = ["baseline", "recommended", "strict"];

const NAMESPACES: Endpoint = Endpoint {
    path: "/namespaces",
    about: "The page of namespaces",
    parameters: &[&[
        Parameter::new("text", Values::Text, "Words in the name"),
        Parameter::new("page", Values::Number(PAGES), "Which page of the list"),
    ]],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&NAMESPACES, namespaces)
}

#[derive(Template)]
#[template(path = "namespaces.html")]
struct NamespacesPage {
    shell: Shell,
    groups: Vec<Grouped>,
    all: usize,
    enforcing: usize,
    nothing: Option<Nothing>,
    is_counted: bool,
    ladder: &'static str,
    text: String,
    chips: Vec<Chip>,
    pages: Pages,
}

/// Where in the list the page is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pages {
    /// `101 to 200 of 1,240`; empty where there is one page.
    words: String,
    /// The pages before and after; empty where there is none.
    before: String,
    after: String,
}

/// Namespaces of one kind.
struct Grouped {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    /// How many there are on all pages.
    all: usize,
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
    /// How well it stands; a dash where nothing was judged.
    score: String,
    denied: u64,
    ahead: u64,
    /// Whether all of the rules that are looked ahead to are asked for there.
    is_asked: bool,
    /// Whether the last audit judged anything there.
    is_judged: bool,
    has_notices: bool,
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

/// Returns a day as dates are written.
pub fn day(moment: Timestamp) -> String {
    moment.to_zoned(TimeZone::UTC).date().to_string()
}

/// Narrows to what is open and seen.
pub fn open(state: &ApiState, caller: &Caller) -> Filter {
    Filter { state: vec!["open".into()], visible: visible(&state.app, caller), ..Filter::default() }
}

async fn namespaces(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
) -> Result<Response, Problem> {
    let (nothing, counts) = Counts::read(&state, &open(&state, &caller)).await?;
    let place = Place::of(&NAMESPACES, &query);
    let in_force = state.app.in_force.load();
    let known = state.app.known_namespaces(&in_force);
    let ladder = LADDER.first().copied().unwrap_or_default();
    let first = in_force.bundle.rules_of([ladder]);
    let text = query.text("text").unwrap_or_default().to_ascii_lowercase();
    let is_wanted = |name: &str| text.split_whitespace().all(|word| name.contains(word));
    let mut rows: Vec<Row> = known
        .iter()
        .filter(|namespace| caller.sees(&namespace.name) && is_wanted(&namespace.name))
        .map(|namespace| {
            let in_force = (&*in_force, state.app.groups(&in_force));
            row(namespace, in_force, counts.as_ref().unwrap_or(&Counts::default()), &first, visit.now)
        })
        .collect();
    rows.sort_by(|a, b| {
        let gravest = b.denied.cmp(&a.denied).then(b.ahead.cmp(&a.ahead)).then_with(|| a.name.cmp(&b.name));
        rank(a.group).cmp(&rank(b.group)).then(gravest)
    });
    let (all, enforcing) = (rows.len(), rows.iter().filter(|row| row.strongest.1 == "enforce").count());
    let of_group = rows.iter().fold(BTreeMap::new(), |mut all: BTreeMap<Group, usize>, row| {
        let number = all.entry(row.group).or_default();
        *number = number.saturating_add(1);
        all
    });
    let (before, pages) = Pages::of(&place, query.number("page").unwrap_or(1), all);
    let rows = rows.into_iter().skip(before).take(PAGE).collect();
    page_of(&NamespacesPage {
        shell: Shell::new(&state, &visit, "Namespaces", &[Crumb::here("Namespaces")]).await,
        enforcing,
        all,
        groups: grouped(rows, &of_group),
        nothing,
        is_counted: counts.is_some(),
        ladder,
        text: query.text("text").unwrap_or_default().to_owned(),
        chips: facets::chips(&place, &[("text", "Text")]),
        pages,
    })
}

/// Returns which namespaces come first: yours.
const fn rank(group: Group) -> u8 {
    match group {
        Group::Vendor => 1,
        Group::System => 2,
        Group::Yours => 0,
    }
}

impl Pages {
    /// Returns how many namespaces are before a page, and where in the list it is.
    fn of(place: &Place, page: usize, all: usize) -> (usize, Self) {
        let last = all.div_ceil(PAGE).max(1);
        let page = page.min(last);
        let before = page.saturating_sub(1).saturating_mul(PAGE);
        let at = |page: usize| place.with("page", &page.to_string()).href();
        if last == 1 {
            return (0, Self::default());
        }
        let [from, to, of] = [before.saturating_add(1), before.saturating_add(PAGE).min(all), all]
            .map(|value| number(u64::try_from(value).unwrap_or(u64::MAX)));
        let pages = Self {
            words: format!("{from} to {to} of {of} namespaces"),
            before: if page > 1 { at(page.saturating_sub(1)) } else { String::new() },
            after: if page < last { at(page.saturating_add(1)) } else { String::new() },
        };
        (before, pages)
    }
}

/// Returns the namespaces of a page by whose they are, yours first; groups that have none there are left out.
fn grouped(rows: Vec<Row>, all: &BTreeMap<Group, usize>) -> Vec<Grouped> {
    let mut of: BTreeMap<Group, Vec<Row>> = BTreeMap::new();
    for row in rows {
        of.entry(row.group).or_default().push(row);
    }
    let groups = [
        (Group::Yours, "Yours", "What your teams run"),
        (Group::Vendor, "Vendor software", "Where well-known software is installed"),
        (Group::System, "System", "Kubernetes' own and Gatepost's; they stay out of the cluster's score"),
    ];
    let groups = groups.into_iter().filter_map(|(group, title, about)| {
        let all = all.get(&group).copied().unwrap_or_default();
        Some(Grouped { id: group.as_str(), title, about, all, rows: of.remove(&group)? })
    });
    groups.collect()
}

/// Returns the next date from which something is denied, and how long that is still.
fn begins(grants: &[Grant], now: Timestamp) -> String {
    let next = grants.iter().filter_map(|grant| grant.from).filter(|from| *from > now).min();
    let words = next.and_then(|from| Some(format!("denies from {}, {}", day(from), countdown(from, now)?)));
    words.unwrap_or_default()
}

fn row(
    namespace: &NamespaceMeta,
    (in_force, groups): (&InForce, Groups<'_>),
    counts: &Counts,
    first: &BTreeSet<RuleId>,
    now: Timestamp,
) -> Row {
    let Grants { grants, notices } = in_force.config.modes.grants(namespace, &*in_force.bundle);
    let severities = counts.severities(&namespace.name);
    let (bar, bar_words) = worded(&severities);
    Row {
        group: groups.of(&namespace.name),
        name: namespace.name.clone(),
        modes: grants.iter().map(|grant| (grant.mode, grant.policy.to_string(), told(grant.origin))).collect(),
        strongest: strongest(&grants, now),
        begins: begins(&grants, now),
        bar,
        bar_words,
        total: number(severities.values().sum()),
        score: counts.score(&namespace.name).map_or("–".to_owned(), |score| format!("{:.1}", Score::points(score))),
        denied: counts.denied(&namespace.name),
        ahead: counts.ahead(&namespace.name, first).0,
        is_asked: first.is_subset(&in_force.audited_rules(namespace)),
        is_judged: counts.is_judged(&namespace.name),
        has_notices: !notices.is_empty(),
    }
}

/// Returns a bar of severities, and the same in words.
pub fn worded(severities: &BTreeMap<String, u64>) -> (Vec<Part>, String) {
    let parts = bar(severities);
    let words: Vec<String> = parts.iter().map(|part| format!("{} {}", number(part.count), part.severity)).collect();
    (parts, words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_has_pages_and_a_short_one_does_not() {
        let place = Place::at("/namespaces").with("text", "team");
        assert_eq!(Pages::of(&place, 1, 100), (0, Pages::default()));
        let (before, pages) = Pages::of(&place, 2, 1240);
        assert_eq!((before, &*pages.words), (100, "101 to 200 of 1,240 namespaces"));
        assert_eq!(pages.before, "/namespaces?text=team&page=1");
        assert_eq!(pages.after, "/namespaces?text=team&page=3");
        let (before, pages) = Pages::of(&place, 99, 101);
        assert_eq!((before, &*pages.words, &*pages.after), (100, "101 to 101 of 101 namespaces", ""));
    }
}
