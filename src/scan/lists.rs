//! What lists share: the parameters of pages and filters, and what they ask of the store.

use std::collections::BTreeMap;

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value as Text, json};

use super::access::Caller;
use super::endpoint::{Parameter, Query, Values};
use super::names::Names;
use super::problem::{Flaw, Problem};
use crate::config::Lifetime;
use crate::store::{Filter, Page, PageQuery, StoreError, TimeSort};
use crate::webhook::handlers::App;

/// Items of a page when nobody says how many, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

/// What says which part of a list is asked for.
pub const PAGES: &[Parameter] = &[
    Parameter::new("limit", Values::Number(LONGEST_PAGE), "How many at most; 100 if nobody says"),
    Parameter::new("cursor", Values::Text, "Where to go on: the `next` of the page before"),
];

pub const NAMESPACE: Parameter =
    Parameter::new("namespace", Values::List, "Namespaces: names, globs such as team-*, and !NAME for all but these");
pub const APPLICATION: Parameter =
    Parameter::new("application", Values::List, "Argo CD Applications, Flux Kustomizations and releases, by name");
pub const RULE: Parameter = Parameter::new("rule", Values::List, "Rules, by id or another name");
pub const POLICY: Parameter = Parameter::new("policy", Values::List, "Policies");
pub const SEVERITY: Parameter =
    Parameter::new("severity", Values::Some(&["critical", "high", "medium", "low", "info"]), "Severities");
pub const EFFORT: Parameter =
    Parameter::new("effort", Values::Some(&["easy", "medium", "hard"]), "What mending it takes");
pub const KIND: Parameter = Parameter::new("kind", Values::List, "Kinds");
pub const MODE: Parameter =
    Parameter::new("mode", Values::Some(&["enforce", "warn", "audit"]), "What the namespace does with it");
pub const OWNER: Parameter = Parameter::new("owner", Values::List, "Top owners, as Kind/name");

/// What lists of what happened are ordered by.
pub const TIMES: &[Parameter] =
    &[Parameter::new("sort", Values::OneOf(&["newest", "oldest"]), "The order; the newest first if nobody says")];

/// Returns the order in time that is asked for.
pub fn time_sort(query: &Query) -> TimeSort {
    if query.text("sort") == Some("oldest") { TimeSort::Oldest } else { TimeSort::Newest }
}

/// Returns a key that comes before those of smaller numbers, for lists whose keys are in ascending order.
pub fn greatest_first(number: u64) -> String {
    format!("{:020}", u64::MAX.saturating_sub(number))
}

/// Returns how many findings there are of all severities.
pub fn sum<S>(open: &BTreeMap<S, u64>) -> u64 {
    open.values().fold(0, |sum, findings| sum.saturating_add(*findings))
}

/// Returns whether a filter holds nothing, or one of its words is meant.
pub fn is_one_of(query: &Query, filter: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    let words = query.list(filter);
    words.is_empty() || words.iter().any(|word| is_meant(word))
}

/// Returns whether each word of the query's text stands in what is said, in lower case.
pub fn has_words(query: &Query, said: &str) -> bool {
    let text = query.text("text").unwrap_or_default().to_lowercase();
    text.split_whitespace().all(|word| said.contains(word))
}

/// Returns what a page is asked of the store with.
pub fn page<S>(query: &Query, filter: Filter, sort: S) -> PageQuery<S> {
    let cursor = query.text("cursor").map(str::to_owned);
    PageQuery { filter, sort, cursor, limit: limit(query) }
}

/// Returns how many items a page may hold.
pub fn limit(query: &Query) -> usize {
    query.number("limit").unwrap_or(PAGE)
}

/// Returns a page as lists are answered.
pub fn answer<T: Serialize>(Page { items, next }: Page<T>) -> Json<Text> {
    Json(json!({"items": items, "next": next}))
}

/// Returns the part of a whole list that is asked for, in the ascending order of its keys, each of which there is once.
///
/// A cursor goes on only in the order that it was made for.
pub fn part<T>(query: &Query, all: impl IntoIterator<Item = (String, T)>) -> Result<Page<T>, Problem> {
    let order = query.text("sort").unwrap_or_default();
    let limit = query.number("limit").unwrap_or(PAGE);
    let after = query.text("cursor").map(|cursor| key(cursor, order).ok_or(StoreError::Cursor)).transpose()?;
    let all: BTreeMap<String, T> = all.into_iter().collect();
    let mut left = all.into_iter().skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after)).peekable();
    let (mut items, mut last) = (Vec::new(), None);
    while let Some((key, item)) = left.next_if(|_| items.len() < limit) {
        items.push(item);
        last = Some(key);
    }
    let next = last
        .filter(|_| left.peek().is_some())
        .map(|key| URL_SAFE_NO_PAD.encode(json!(["after", order, key]).to_string()));
    Ok(Page { items, next })
}

/// Returns the key after which a whole list goes on.
fn key(cursor: &str, order: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let [tag, of, key]: [String; 3] = serde_json::from_slice(&bytes).ok()?;
    (tag == "after" && of == order).then_some(key)
}

/// Returns what a list is narrowed to, but for its states.
pub fn filter(app: &App, caller: &Caller, query: &Query) -> Result<Filter, Problem> {
    let list = |name| query.list(name).to_vec();
    Ok(Filter {
        namespace: Names::of(query)?.known(app),
        visible: visible(app, caller),
        application: list("application"),
        rule: rules(app, query),
        policy: list("policy"),
        severity: list("severity"),
        kind: list("kind"),
        action: query.list("mode").iter().map(|mode| action(mode).to_owned()).collect(),
        owner: list("owner"),
        since: since(query)?,
        text: query.text("text").map(str::to_owned),
        ..Filter::default()
    })
}

/// Returns the namespaces that the caller may see, where they may not see all.
pub fn visible(app: &App, caller: &Caller) -> Option<Vec<String>> {
    caller.globs()?;
    let known = app.known_namespaces(&app.in_force.load());
    let seen = known.iter().filter(|namespace| caller.sees(&namespace.name));
    Some(seen.map(|namespace| namespace.name.clone()).collect())
}

fn action(mode: &str) -> &'static str {
    match mode {
        "enforce" => "deny",
        "warn" => "warn",
        _ => "record",
    }
}

/// Returns the time from which on something counts.
pub fn since(query: &Query) -> Result<Option<Timestamp>, Problem> {
    query.text("since").map(|text| time(text, Timestamp::now())).transpose()
}

/// Reads a time, or how long ago it was.
fn time(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let ago = || {
        let ago = SignedDuration::from_secs(text.parse::<Lifetime>().ok()?.seconds());
        now.checked_sub(ago).ok()
    };
    text.parse().ok().or_else(ago).ok_or_else(|| {
        let detail = format!("since: \"{text}\" is neither an RFC 3339 time nor a length of time such as 7d or 12h");
        Problem::query(vec![Flaw::of_parameter("since", detail)])
    })
}

/// Returns the rules that are asked for, by their ids: one that is not in force may still have findings.
pub fn rules(app: &App, query: &Query) -> Vec<String> {
    let in_force = app.in_force.load();
    let catalogue = in_force.bundle.catalogue();
    let id = |name: &String| catalogue.rule(name).map_or_else(|_| name.clone(), |rule| rule.id.to_string());
    let named: Vec<String> = query.list("rule").iter().map(id).collect();
    let efforts = query.list("effort");
    if efforts.is_empty() {
        return named;
    }
    let is_meant = |id: &str| named.is_empty() || named.iter().any(|name| name == id);
    let rules = catalogue.rules().values().filter(|rule| efforts.iter().any(|effort| *effort == rule.effort.as_str()));
    let found: Vec<String> = rules.map(|rule| rule.id.to_string()).filter(|id| is_meant(id)).collect();
    // No rule takes what is asked for: nothing is found, and not everything.
    if found.is_empty() { vec![String::new()] } else { found }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;
    use crate::scan::endpoint::Endpoint;

    const LIST: Endpoint = Endpoint { parameters: &[PAGES], ..Endpoint::GET };

    fn query(text: &str) -> Query {
        let request = axum::http::Request::get(format!("/?{text}")).body(()).unwrap();
        Query::read(&LIST, &request.into_parts().0).unwrap()
    }

    #[test]
    fn parts_of_a_list_hold_each_item_once() {
        let all = || ["a", "b", "c", "d", "e"].map(|key| (key.to_owned(), key));
        let mut walked = Vec::new();
        let mut next = query("limit=2");
        loop {
            let page = part(&next, all()).unwrap();
            walked.push(page.items.concat());
            let Some(cursor) = page.next else { break };
            next = query(&format!("limit=2&cursor={cursor}"));
        }
        assert_eq!(walked, ["ab", "cd", "e"]);
        assert_eq!(part(&query("limit=5"), all()).unwrap().next, None);
        assert!(part(&query("cursor=garbage"), all()).is_err());
        assert!(part(&query(""), Vec::<(String, ())>::new()).unwrap().items.is_empty());
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let now: Timestamp = "2026-05-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-05-01T12:00:00Z", Some("2026-05-01T12:00:00Z")),
            ("12h", Some("2026-05-01T12:00:00Z")),
            ("7d", Some("2026-04-25T00:00:00Z")),
            ("yesterday", None),
            ("", None),
        ] {
            let read = time(text, now).ok().map(|time| time.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
