//! What there is to tell a target of since it was told last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::notice::{Item, Notice, SHOWN, by_severity, some};
use super::route::{Recipient, Router};
use super::{Around, Links, dates, denials, digest, endings};
use crate::config::notifications::{Event, Target};
use crate::policy::{NamespaceMeta, Severity};
use crate::report::finding::Finding;
use crate::store::{Audit, Facet, Filter, FindingSort, PageQuery, Store, Stored, TimeSort};

/// Pairs of namespace and severity that are counted; there are at most five for each namespace.
const PAIRS: usize = 100_000;

/// Namespaces that a notice names.
const NAMED: usize = 100;

/// How long what was taken in may be on its way to where others read it.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);

/// Where everything is read from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) around: Arc<dyn Around>,
    pub(super) links: Links,
    pub(super) cluster: String,
}

/// What is due for a target and an event: the notices, and up to when they tell.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) notices: Vec<Notice>,
    pub(super) through: Option<Timestamp>,
    /// Exemptions that are told of before their end, in words, each with its end.
    pub(super) telling: Vec<(String, Timestamp)>,
}

/// The last audit that ended, and whether another one ended before.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) last: Audit,
    pub(super) at: Timestamp,
}

impl Source {
    /// Returns what is due after a time; `told` are exemptions that were told of before their end.
    pub(super) async fn due(
        &self,
        target: &Target,
        event: Event,
        (after, now): (Timestamp, Timestamp),
        told: &BTreeSet<String>,
    ) -> Stored<Due> {
        match event {
            Event::Findings => self.findings(target, after, now).await,
            Event::Audits => self.audits(after, now).await,
            Event::Denials => {
                let until = now.checked_sub(SETTLED).unwrap_or(now);
                denials::due(self, target, (after, until), now).await
            }
            Event::Exemptions => Ok(endings::due(self, target, (after, now), told)),
            Event::Enforcement => dates::due(self, target, (after, now)).await,
            Event::Digest => digest::due(self, target, after, now).await,
            // What fails is not kept: whoever tells remembers it.
            Event::Components | Event::Test => Ok(Due::default()),
        }
    }

    /// Returns audits that ended, the newest first, at most `limit`.
    pub(super) async fn ended(&self, limit: usize) -> Stored<Vec<Ended>> {
        let state = ["complete", "partial", "cancelled"].map(str::to_owned).to_vec();
        let filter = Filter { state, ..Filter::default() };
        let page = self.store.audits(&PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit }).await?;
        let ended = page.items.into_iter().filter_map(|last| last.finished.map(|at| Ended { last, at }));
        Ok(ended.collect())
    }

    /// Returns the last audits that ended, if the very last one did after a time: mostly none did.
    async fn ended_since(&self, after: Timestamp) -> Stored<Vec<Ended>> {
        let last = self.ended(1).await?;
        if last.first().is_some_and(|last| last.at > after) { self.ended(NAMED).await } else { Ok(Vec::new()) }
    }

    async fn findings(&self, target: &Target, after: Timestamp, now: Timestamp) -> Stored<Due> {
        let ended = self.ended_since(after).await?;
        let Some(last) = ended.first() else { return Ok(Due::default()) };
        let is_first = ended.len() < NAMED && ended.iter().all(|audit| audit.at > after);
        let filter = Filter {
            state: vec!["open".to_owned()],
            severity: at_or_above(target.severity),
            came: Some((after, last.at)),
            ..Filter::default()
        };
        let counts = self.store.cross(&filter, [Facet::Namespace, Facet::Severity], PAIRS).await?;
        let mut notices = Vec::new();
        for (recipient, share) in self.shares(target, &counts) {
            let narrowed = if share.is_whole { Vec::new() } else { share.namespaces.clone() };
            let url = self.links.findings(&narrowed);
            let filter = Filter { namespace: narrowed, ..filter.clone() };
            let mut notice = Notice::new(Event::Findings, now, &self.cluster);
            notice.recipient = recipient;
            (notice.count, notice.severities) = (share.findings, share.severities);
            let places = some(u64::try_from(share.namespaces.len()).unwrap_or(u64::MAX), "namespace");
            let severities = by_severity(&notice.severities);
            if is_first {
                notice.title =
                    format!("the first audit found {} in {places}: {severities}", some(notice.count, "violation"));
                notice.items = self.by_rule(&filter).await?;
                notice.url = url;
            } else {
                notice.title = format!("{} in {places}: {severities}", some(notice.count, "new finding"));
                let query = PageQuery { filter, sort: FindingSort::Severity, cursor: None, limit: SHOWN };
                notice.items = self.store.findings(&query).await?.items.iter().map(|one| self.item(one)).collect();
                let shown = u64::try_from(notice.items.len()).unwrap_or(u64::MAX);
                notice.more = notice.count.saturating_sub(shown);
                notice.url = self.links.audit(last.last.id);
            }
            notice.namespaces = share.namespaces.into_iter().take(NAMED).collect();
            notices.push(notice);
        }
        Ok(Due { notices, through: Some(last.at), ..Due::default() })
    }

    /// Returns the rules with most findings.
    async fn by_rule(&self, filter: &Filter) -> Stored<Vec<Item>> {
        let rules = self.store.facet(filter, Facet::Rule, SHOWN).await?;
        let item = |(rule, count): (String, u64)| Item {
            url: self.links.rule(&rule),
            rule: Some(rule.clone()),
            ..Item::new(&format!("{rule}: {count}"))
        };
        Ok(rules.into_iter().map(item).collect())
    }

    fn item(&self, finding: &Finding) -> Item {
        let (object, severity) = (&finding.object, finding.severity);
        let place = if object.namespace.is_empty() { String::new() } else { format!(" in {}", object.namespace) };
        let by = finding.brought_in.as_ref().map(|by| format!(" (by {})", by.user)).unwrap_or_default();
        let text =
            format!("{}/{}{place}: {} ({severity}): {}{by}", object.kind, object.name, finding.rule, finding.message);
        Item {
            severity: Some(severity),
            namespace: Some(object.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            rule: Some(finding.rule.to_string()),
            url: self.links.finding(&finding.id.0),
            ..Item::new(&text)
        }
    }

    async fn audits(&self, after: Timestamp, now: Timestamp) -> Stored<Due> {
        let mut ended = self.ended_since(after).await?;
        ended.retain(|audit| audit.at > after);
        let Some(last) = ended.first() else { return Ok(Due::default()) };
        let audit = &last.last;
        let mut notice = Notice::new(Event::Audits, now, &self.cluster);
        notice.count = u64::try_from(ended.len()).unwrap_or(u64::MAX);
        notice.title = match ended.len() {
            1 => said_of(audit),
            _ => format!("{} ended; the last: {}", some(notice.count, "audit"), said_of(audit)),
        };
        let unread = audit.unread.iter().map(|(kind, cause)| Item::new(&format!("{kind} was not read: {cause}")));
        notice.items = unread.take(SHOWN).collect();
        notice.more = u64::try_from(audit.unread.len().saturating_sub(SHOWN)).unwrap_or(u64::MAX);
        notice.url = self.links.audit(audit.id);
        Ok(Due { notices: vec![notice], through: Some(last.at), ..Due::default() })
    }

    /// Puts counts by namespace and severity together by who is told of them.
    fn shares(&self, target: &Target, counts: &[(String, String, u64)]) -> BTreeMap<Recipient, Share> {
        let namespaces: Vec<Arc<NamespaceMeta>> = self.around.namespaces();
        let router = Router::new(target, &namespaces);
        let mut names: Vec<&str> = counts.iter().map(|(namespace, ..)| namespace.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let all = names.len();
        let shares = router.share_out(names).into_iter().map(|(recipient, namespaces)| {
            let mut share = Share { is_whole: namespaces.len() == all, ..Share::default() };
            for (namespace, severity, count) in counts {
                if namespaces.binary_search(namespace).is_ok()
                    && let Ok(severity) = severity.parse::<Severity>()
                {
                    let sum = share.severities.entry(severity).or_default();
                    *sum = sum.saturating_add(*count);
                    share.findings = share.findings.saturating_add(*count);
                }
            }
            share.namespaces = namespaces;
            (recipient, share)
        });
        shares.collect()
    }
}

/// What one recipient is told of.
#[derive(Debug, Default)]
struct Share {
    namespaces: Vec<String>,
    severities: BTreeMap<Severity, u64>,
    findings: u64,
    /// Nobody else is told of anything.
    is_whole: bool,
}

fn said_of(audit: &Audit) -> String {
    let Audit { opened, fixed, objects, .. } = audit;
    let how =
        if audit.unread.is_empty() { "the audit looked at" } else { "the audit could not read all; it looked at" };
    format!("{how} {}: {opened} new, {fixed} fixed", some(*objects, "object"))
}

/// Returns the words of the severities from one on.
pub(super) fn at_or_above(least: Severity) -> Vec<String> {
    // Every one of them is no condition at all.
    if least == Severity::Info {
        return Vec::new();
    }
    Severity::ALL.into_iter().filter(|severity| *severity >= least).map(|severity| severity.to_string()).collect()
}
