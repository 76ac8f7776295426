//! Dates from which something is denied: announced, counted down, and come.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::collect::{Due, Source};
use super::notice::{Item, Notice, SHOWN, some};
use super::route::{Recipient, Router};
use crate::admission::speak::countdown;
use crate::config::notifications::{Event, Target};
use crate::policy::modes::ENFORCE_FROM;
use crate::store::{Facet, Filter, PageQuery, Stored, TimeSort};

/// How long before a date it is told.
const BEFORE: [SignedDuration; 2] = [SignedDuration::from_hours(7 * 24), SignedDuration::from_hours(24)];
/// Changes of modes that are looked at.
const CHANGES: usize = 1000;
/// Severities that are counted, and more.
const SEVERITIES: usize = 10;

/// From when a namespace denies what a policy finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dated {
    /// When.
    pub from: Timestamp,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The policy.
    pub policy: Arc<str>,
}

/// Returns what is due: each date is told of when it is announced from the dashboard, a week and a day before it, and when
/// it has come.
pub(super) async fn due(source: &Source, target: &Target, (after, until): (Timestamp, Timestamp)) -> Stored<Due> {
    let mut told = source.around.dates();
    let announced = announced(source, (after, until)).await?;
    told.retain(|dated| is_due(dated, (after, until)) || (dated.from > until && announced.contains(&dated.namespace)));
    told.sort();
    told.dedup();
    let namespaces = source.around.namespaces();
    let router = Router::new(target, &namespaces);
    let mut shares: BTreeMap<Recipient, Vec<Dated>> = BTreeMap::new();
    for dated in told {
        if let Some(recipient) = router.recipient(&dated.namespace) {
            shares.entry(recipient).or_default().push(dated);
        }
    }
    let mut notices = Vec::new();
    for (recipient, dates) in shares {
        notices.push(notice(source, recipient, &dates, until).await?);
    }
    Ok(Due { notices, through: Some(until), ..Due::default() })
}

fn is_due(dated: &Dated, (after, until): (Timestamp, Timestamp)) -> bool {
    let before = BEFORE.iter().filter_map(|before| dated.from.checked_sub(*before).ok());
    before.chain([dated.from]).any(|time| after < time && time <= until)
}

/// Returns the namespaces whose date was written from the dashboard between two times.
async fn announced(source: &Source, (after, until): (Timestamp, Timestamp)) -> Stored<Vec<Arc<str>>> {
    let filter = Filter { since: Some(after), ..Filter::default() };
    let page =
        source.store.mode_changes(&PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: CHANGES }).await?;
    let dated = page.items.into_iter().filter(|change| after < change.time && change.time <= until);
    Ok(dated
        .filter(|change| change.after.annotations.contains_key(ENFORCE_FROM))
        .map(|change| change.namespace.into())
        .collect())
}

async fn notice(source: &Source, recipient: Recipient, dates: &[Dated], now: Timestamp) -> Stored<Notice> {
    let mut notice = Notice::new(Event::Enforcement, now, &source.cluster);
    notice.recipient = recipient;
    notice.count = count(dates.len());
    notice.title = title(dates, now);
    notice.more = count(dates.len().saturating_sub(SHOWN));
    let mut namespaces: Vec<String> = dates.iter().map(|dated| dated.namespace.to_string()).collect();
    namespaces.sort();
    namespaces.dedup();
    notice.url = source.links.findings(&namespaces);
    for dated in dates.iter().take(SHOWN) {
        notice.items.push(item(source, dated, now).await?);
    }
    notice.namespaces = namespaces;
    Ok(notice)
}

fn title(dates: &[Dated], now: Timestamp) -> String {
    let came = dates.iter().filter(|dated| dated.from <= now).count();
    let coming = dates.len().saturating_sub(came);
    match (dates, came, coming) {
        ([one], ..) => words(one, now),
        (_, _, 0) => format!("{} began to deny", some(count(came), "namespace")),
        (_, 0, _) => format!("{} will begin to deny", some(count(coming), "namespace")),
        _ => format!("{} began to deny, {coming} more will", some(count(came), "namespace")),
    }
}

/// Says from when a namespace denies: `shop denies what baseline finds from 2026-12-01, in 5 days`.
fn words(dated: &Dated, now: Timestamp) -> String {
    let Dated { from, namespace, policy } = dated;
    let day = from.to_zoned(TimeZone::UTC).date();
    match countdown(*from, now) {
        Some(left) => format!("{namespace} denies what {policy} finds from {day}, {left}"),
        None => format!("{namespace} denies what {policy} finds since {day}"),
    }
}

/// Says it of one, with what is left to mend.
async fn item(source: &Source, dated: &Dated, now: Timestamp) -> Stored<Item> {
    let one = |text: &Arc<str>| vec![text.to_string()];
    let filter = Filter {
        namespace: one(&dated.namespace),
        policy: one(&dated.policy),
        state: vec!["open".to_owned()],
        ..Filter::default()
    };
    let severities = source.store.facet(&filter, Facet::Severity, SEVERITIES).await?;
    let left = some(severities.iter().map(|(_, count)| count).sum(), "finding");
    Ok(Item {
        namespace: Some(dated.namespace.to_string()),
        url: source.links.namespace(&dated.namespace),
        ..Item::new(&format!("{}: {left} of it open", words(dated, now)))
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
