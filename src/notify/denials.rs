//! What admission denied.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::collect::{Due, Source};
use super::notice::{Item, Notice, SHOWN, some};
use super::route::{Recipient, Router};
use crate::config::notifications::{Event, Target};
use crate::store::{Decision, Filter, PageQuery, Stored, TimeSort};

/// Decisions that are read at a time, and how often, at most: more of them are told as more.
const PAGE: usize = 1000;
const PAGES: usize = 10;

/// Who was denied what, and how often.
#[derive(Debug, Default)]
struct Denied {
    times: u64,
    rules: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Share {
    denials: u64,
    namespaces: BTreeSet<String>,
    by: BTreeMap<(String, String, String), Denied>,
}

/// Returns what is due.
pub(super) async fn due(source: &Source, target: &Target, came: (Timestamp, Timestamp), now: Timestamp) -> Stored<Due> {
    let (decisions, is_more) = read(source, came).await?;
    let through = Some(came.1);
    if decisions.is_empty() {
        return Ok(Due { through, ..Due::default() });
    }
    let namespaces = source.around.namespaces();
    let router = Router::new(target, &namespaces);
    let mut shares: BTreeMap<Recipient, Share> = BTreeMap::new();
    for decision in &decisions {
        if let Some(recipient) = router.recipient(&decision.namespace) {
            shares.entry(recipient).or_default().take(decision);
        }
    }
    let notices = shares.into_iter().map(|(recipient, share)| share.notice(source, recipient, is_more, now)).collect();
    Ok(Due { notices, through, ..Due::default() })
}

/// Reads the denials of a time, the newest first; returns whether there are more than that.
async fn read(source: &Source, came: (Timestamp, Timestamp)) -> Stored<(Vec<Decision>, bool)> {
    let filter = Filter { state: vec!["denied".to_owned()], came: Some(came), ..Filter::default() };
    let mut query = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: PAGE };
    let mut decisions = Vec::new();
    for _ in 0..PAGES {
        let page = source.store.decisions(&query).await?;
        decisions.extend(page.items);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok((decisions, query.cursor.is_some()))
}

impl Share {
    fn take(&mut self, decision: &Decision) {
        self.denials = self.denials.saturating_add(1);
        self.namespaces.insert(decision.namespace.clone());
        let object = format!("{}/{}", decision.kind, decision.name);
        let denied = self.by.entry((decision.namespace.clone(), object, decision.user.clone())).or_default();
        denied.times = denied.times.saturating_add(1);
        let denying = decision.results.iter().filter(|result| result.action == "deny");
        denied.rules.extend(denying.map(|result| result.rule.clone()));
    }

    fn notice(self, source: &Source, recipient: Recipient, is_more: bool, now: Timestamp) -> Notice {
        let mut notice = Notice::new(Event::Denials, now, &source.cluster);
        let places = some(u64::try_from(self.namespaces.len()).unwrap_or(u64::MAX), "namespace");
        let at_least = if is_more { "more than " } else { "" };
        notice.title = format!("{at_least}{} denied in {places}", some(self.denials, "request"));
        (notice.recipient, notice.count) = (recipient, self.denials);
        let mut by: Vec<_> = self.by.into_iter().collect();
        by.sort_by_key(|(_, denied)| std::cmp::Reverse(denied.times));
        notice.more = u64::try_from(by.len().saturating_sub(SHOWN)).unwrap_or(u64::MAX);
        let item = |((namespace, object, user), denied): ((String, String, String), Denied)| {
            let rules = denied.rules.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let times = if denied.times == 1 { String::new() } else { format!(", {} times", denied.times) };
            let place = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
            Item {
                url: source.links.namespace(&namespace),
                namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
                ..Item::new(&format!("{object}{place} by {user}{times}: {rules}"))
            }
        };
        notice.items = by.into_iter().take(SHOWN).map(item).collect();
        let names: Vec<String> = self.namespaces.into_iter().collect();
        notice.url = match names.as_slice() {
            [only] => source.links.namespace(only),
            _ => source.links.page("/namespaces"),
        };
        notice.namespaces = names;
        notice
    }
}
