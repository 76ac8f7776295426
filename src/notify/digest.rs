//! Once a week: what is open, what came and what was fixed, for each owner of namespaces.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::collect::{Due, Source, at_or_above};
use super::endings;
use super::notice::{Item, Notice, SHOWN, by_severity, some};
use super::route::{Recipient, Router};
use crate::config::notifications::{Event, Target};
use crate::policy::exemption::ExemptionState;
use crate::policy::{NamespaceMeta, Severity};
use crate::store::{Filter, History, OpenCount, Stored};

/// The annotation or label of a Namespace that says whose it is.
pub(super) const OWNER: &str = "gatepost.dev/owner";

/// On which day and at which time (UTC) it goes out.
const DAY: Weekday = Weekday::Monday;
const HOUR: i8 = 8;

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Returns what is due: a digest once its time has come since the last one.
pub(super) async fn due(source: &Source, target: &Target, after: Timestamp, now: Timestamp) -> Stored<Due> {
    let Some(until) = last_time(now).filter(|time| *time > after) else { return Ok(Due::default()) };
    let filter = Filter { severity: at_or_above(target.severity), ..Filter::default() };
    let open = source.store.open_counts(&filter).await?;
    let history = week(source, until).await?;
    let namespaces = source.around.namespaces();
    let router = Router::new(target, &namespaces);
    let owners: BTreeMap<&str, &str> =
        namespaces.iter().filter_map(|meta| Some((meta.name.as_str(), owner(meta)?))).collect();
    let judged = source.store.judged_namespaces().await?;
    let names: BTreeSet<&str> =
        judged.iter().chain(open.iter().map(|count| &count.namespace)).map(String::as_str).collect();
    let mut shares: BTreeMap<(Recipient, &str), BTreeSet<&str>> = BTreeMap::new();
    for name in names {
        if let Some(recipient) = router.recipient(name) {
            let owner = owners.get(name).copied().unwrap_or_default();
            shares.entry((recipient, owner)).or_default().insert(name);
        }
    }
    let notices = shares.into_iter().map(|((recipient, owner), names)| {
        let mut notice = Week { source, open: &open, history: &history, names: &names, now }.notice(owner);
        notice.recipient = recipient;
        notice
    });
    Ok(Due { notices: notices.collect(), through: Some(until), ..Due::default() })
}

/// Returns whose a namespace is.
fn owner(meta: &NamespaceMeta) -> Option<&str> {
    meta.annotations.get(OWNER).or_else(|| meta.labels.get(OWNER)).map(String::as_str).filter(|owner| !owner.is_empty())
}

/// Returns the last time at which a digest was due.
fn last_time(now: Timestamp) -> Option<Timestamp> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let days = today.weekday().since(DAY);
    let at = |back: i8| {
        let day = today.checked_sub(i64::from(back).days()).ok()?;
        let time = day.to_datetime(Time::new(HOUR, 0, 0, 0).ok()?);
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    at(days).filter(|time| *time <= now).or_else(|| at(days.saturating_add(7)))
}

/// Returns what came and went in the week before a time.
async fn week(source: &Source, until: Timestamp) -> Stored<History> {
    let since = until.checked_sub(WEEK).unwrap_or(Timestamp::UNIX_EPOCH);
    let ended = source.ended(10_000).await?;
    let Some(last) = ended.first() else { return Ok(History::default()) };
    let from = ended.iter().find(|audit| audit.at <= since).map_or(0, |audit| audit.last.id);
    source.store.history(&Filter::default(), from, last.last.id).await
}

struct Week<'a> {
    source: &'a Source,
    open: &'a [OpenCount],
    history: &'a History,
    names: &'a BTreeSet<&'a str>,
    now: Timestamp,
}

impl Week<'_> {
    fn notice(&self, owner: &str) -> Notice {
        let mut notice = Notice::new(Event::Digest, self.now, &self.source.cluster);
        notice.owner = Some(owner.to_owned()).filter(|owner| !owner.is_empty());
        let mut by_rule: BTreeMap<&str, (Severity, u64)> = BTreeMap::new();
        for count in self.open.iter().filter(|count| self.names.contains(count.namespace.as_str())) {
            let sum = notice.severities.entry(count.severity).or_default();
            *sum = sum.saturating_add(count.findings);
            notice.count = notice.count.saturating_add(count.findings);
            let rule = by_rule.entry(count.rule.as_str()).or_insert((count.severity, 0));
            rule.1 = rule.1.saturating_add(count.findings);
        }
        let mine = || self.history.changes.iter().filter(|change| self.names.contains(change.namespace.as_str()));
        let opened = mine().fold(0_u64, |sum, change| sum.saturating_add(change.opened));
        let fixed = mine().fold(0_u64, |sum, change| sum.saturating_add(change.fixed));
        let whose = if owner.is_empty() { "the week".to_owned() } else { format!("the week of {owner}") };
        let open = match by_severity(&notice.severities) {
            none if none.is_empty() => "nothing is open".to_owned(),
            severities => format!("{} open ({severities})", some(notice.count, "finding")),
        };
        notice.title = format!("{whose}: {open}, {opened} new, {fixed} fixed");
        notice.items = self.items(by_rule);
        notice.namespaces = self.names.iter().map(|name| (*name).to_owned()).collect();
        notice.url = self.source.links.findings(&notice.namespaces);
        notice
    }

    /// Returns the rules that most is open of, the gravest first, and the exemptions that will end.
    fn items(&self, by_rule: BTreeMap<&str, (Severity, u64)>) -> Vec<Item> {
        let mut rules: Vec<_> = by_rule.into_iter().collect();
        rules.sort_by_key(|(_, (severity, count))| std::cmp::Reverse((*severity, *count)));
        let rule = |(rule, (severity, count)): (&str, (Severity, u64))| Item {
            severity: Some(severity),
            rule: Some(rule.to_owned()),
            url: self.source.links.rule(rule),
            ..Item::new(&format!("{rule} ({severity}): {count}"))
        };
        let exemptions = self.source.around.exemptions();
        let ending = exemptions.list().iter().filter_map(|exemption| {
            let is_mine = self.names.contains(&*exemption.name.namespace);
            let is_ending = exemption.state(self.now) == ExemptionState::Ending;
            Some(endings::item(exemption.expires.filter(|_| is_mine && is_ending)?, exemption, self.now))
        });
        rules.into_iter().take(SHOWN).map(rule).chain(ending.take(SHOWN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_due_on_mondays_at_eight() {
        for (now, expected) in [
            ("2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"),
            ("2026-11-23T07:59:59Z", "2026-11-16T08:00:00Z"),
            ("2026-11-29T23:00:00Z", "2026-11-23T08:00:00Z"),
            ("2026-11-24T01:00:00Z", "2026-11-23T08:00:00Z"),
        ] {
            let found = now.parse().ok().and_then(last_time).map(|time| time.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{now}");
        }
    }
}
