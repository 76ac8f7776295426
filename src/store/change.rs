//! What a look at objects changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::counts::{KEY, Tally};
use super::findings::{brought_in, brought_params, gravity};
use super::select::Select;
use super::session::{Param, Session, json, word};
use super::{Changes, Stored, syncs};
use crate::report::finding::{BroughtIn, Finding, State};

/// Rows that one statement asks for.
pub(super) const AT_ONCE: usize = 200;

/// How long before a finding is found its decision may have been.
pub(super) const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// How far the clocks of those who decide and those who look may be apart.
pub(super) const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

const WRITTEN: [&str; 36] = [
    "id",
    "cluster",
    "api_group",
    "kind",
    "namespace",
    "name",
    "api_version",
    "uid",
    "owner",
    "app_kind",
    "app_namespace",
    "application",
    "content",
    "rule",
    "place",
    "result",
    "gravity",
    "category",
    "policies",
    "action",
    "path",
    "message",
    "state",
    "closed_because",
    "closed_at",
    "first_seen",
    "seen",
    "opened_at",
    "reopened",
    "brought_by",
    "brought_user",
    "brought_at",
    "brought_app_namespace",
    "brought_application",
    "brought_revision",
    "exemption",
];

/// Keeps what stands, but for an exemption.
pub(super) const EXCUSED: &str = "closed_because = 'exempt' AND exemption IS NOT NULL";

/// A finding that stands was last seen by the last complete look over its kind, which its row does not say.
fn close() -> String {
    format!(
        "UPDATE finding SET state = 'closed', closed_because = $2, closed_at = $3, seen = COALESCE((SELECT MAX(c.seen) \
         FROM coverage AS c WHERE c.cluster = finding.cluster AND c.api_group = finding.api_group AND \
         c.kind = finding.kind AND c.namespace IN ('*', finding.namespace) AND c.seen > finding.seen), finding.seen) \
         WHERE id = $1 AND (state = 'open' OR ({EXCUSED}))"
    )
}

/// What a change must know of a finding that is there.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Its columns of [`KEY`].
    pub(super) key: Vec<Param>,
    is_open: bool,
    is_excused: bool,
    opened: Timestamp,
    brought_in: Option<BroughtIn>,
}

impl Known {
    const fn stands(&self) -> bool {
        self.is_open || self.is_excused
    }
}

/// Writes changes; the caller's transaction makes them one.
pub(super) async fn apply(session: &mut dyn Session, changes: &Changes, now: Timestamp) -> Stored<()> {
    let contents = changes.contents.iter().map(|content| vec![(&content.digest).into(), (&content.text).into()]);
    let keep = "INSERT INTO content (digest, text) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";
    session.run_each(keep, contents.collect()).await?;
    let put = each_once(&changes.put);
    let closing: BTreeSet<&str> = changes.close.iter().map(|(id, _)| id.0.as_str()).collect();
    let mut ids: Vec<&str> = put.iter().map(|finding| finding.id.0.as_str()).chain(closing.iter().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut known = known(session, &ids).await?;
    let mut tally = Tally::default();
    put_all(session, put, &closing, &mut known, &mut tally, now).await?;
    close_all(session, changes, &mut known, &mut tally, now).await?;
    tally.write(session).await
}

/// Returns each finding once: the last that is told counts.
fn each_once(put: &[Finding]) -> Vec<&Finding> {
    let mut ids = HashSet::new();
    let mut once: Vec<&Finding> = put.iter().rev().filter(|finding| ids.insert(&finding.id)).collect();
    once.reverse();
    once
}

async fn put_all(
    session: &mut dyn Session,
    put: Vec<&Finding>,
    closing: &BTreeSet<&str>,
    known: &mut BTreeMap<String, Known>,
    tally: &mut Tally,
    now: Timestamp,
) -> Stored<()> {
    // What is there is written in the order of ids, as everybody does; what is new as it was told, so that neighbours in the
    // cluster are neighbours in the store.
    let is_there = |finding: &&Finding| known.contains_key(&finding.id.0);
    let (mut there, new): (Vec<&Finding>, Vec<&Finding>) = put.into_iter().partition(is_there);
    there.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let stands = |finding: &&&Finding| known.get(&finding.id.0).is_some_and(Known::stands);
    let come = there.iter().filter(|finding| !stands(finding)).chain(&new);
    let come: Vec<&str> = come.map(|finding| finding.id.0.as_str()).collect();
    let brought = remembered(session, &come, now).await?;
    let mut rows = Vec::with_capacity(there.len().saturating_add(new.len()));
    for finding in there.into_iter().chain(new) {
        let id = finding.id.0.as_str();
        let before = known.get(id);
        let standing = before.filter(|before| before.stands());
        let brought_in = match standing {
            Some(standing) => finding.brought_in.as_ref().or(standing.brought_in.as_ref()),
            // Whoever brought it in the last time did not bring it back.
            None if before.is_some() => brought.get(id),
            None => finding.brought_in.as_ref().or_else(|| brought.get(id)),
        };
        let after = Known {
            key: key(finding)?,
            is_open: finding.state == State::Open,
            is_excused: finding.is_excused(),
            // What was excused opens when the exemption ends.
            opened: before.filter(|before| before.is_open).map_or(now, |before| before.opened),
            brought_in: brought_in.cloned(),
        };
        rows.push(columns(finding, &after)?);
        if let Some(before) = before {
            tally.add(before.key.clone(), -1);
        }
        if closing.contains(id) {
            tally.add(after.key.clone(), 1);
            known.insert(id.to_owned(), after);
        } else {
            tally.add(after.key, 1);
        }
    }
    session.run_each(&upsert(), rows).await.map(drop)
}

async fn close_all(
    session: &mut dyn Session,
    changes: &Changes,
    known: &mut BTreeMap<String, Known>,
    tally: &mut Tally,
    now: Timestamp,
) -> Stored<()> {
    let mut rows = Vec::new();
    for (id, reason) in &changes.close {
        let Some(known) = known.get_mut(&id.0).filter(|known| known.stands()) else { continue };
        let reason = word(reason)?;
        tally.add(known.key.clone(), -1);
        (known.is_open, known.is_excused) = (false, false);
        // The key ends with state and reason.
        known.key.truncate(known.key.len().saturating_sub(2));
        known.key.extend(["closed".into(), reason.as_str().into()]);
        tally.add(known.key.clone(), 1);
        rows.push(vec![(&id.0).into(), reason.into(), now.into()]);
    }
    rows.sort();
    session.run_each(&close(), rows).await.map(drop)
}

/// Returns what is known of findings, by id.
pub(super) async fn known(session: &mut dyn Session, ids: &[&str]) -> Stored<BTreeMap<String, Known>> {
    let mut found = BTreeMap::new();
    for some in ids.chunks(AT_ONCE) {
        let columns = format!("id, opened_at, {}, exemption, {KEY}", syncs::COLUMNS);
        let mut select = Select::new(columns, "finding");
        within(&mut select, "id", some);
        for row in select.rows(session, "").await? {
            let mut cells = row.cells();
            let (id, opened, brought_in) = (cells.text()?, cells.time()?, syncs::brought_in(&mut cells)?);
            let has_exemption = cells.text_if_any()?.is_some();
            let key = cells.rest();
            let is_open = key.iter().rev().nth(1) == Some(&Param::from("open"));
            let is_excused = has_exemption && key.last() == Some(&Param::from("exempt"));
            found.insert(id, Known { key, is_open, is_excused, opened, brought_in });
        }
    }
    Ok(found)
}

/// Returns who brought findings in that no look had found, by id.
async fn remembered(session: &mut dyn Session, ids: &[&str], now: Timestamp) -> Stored<BTreeMap<String, BroughtIn>> {
    let mut found = BTreeMap::new();
    for some in ids.chunks(AT_ONCE) {
        let mut select = Select::new("id, brought_by, brought_user, brought_at", "brought_in");
        within(&mut select, "id", some);
        let (from, to) = (select.bind(earlier(now, REMEMBERED)), select.bind(earlier(now, -CLOCKS)));
        select.only(format!("brought_at BETWEEN {from} AND {to}"));
        for row in select.rows(session, "").await? {
            let mut cells = row.cells();
            let id = cells.text()?;
            found.extend(brought_in(&mut cells)?.map(|brought| (id, brought)));
        }
    }
    Ok(found)
}

/// Returns a time before another, as far as there are times.
pub(super) fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(time)
}

/// Keeps ids; the number of parameters is always the same, so that the statement is prepared once.
pub(super) fn within(select: &mut Select, column: &'static str, ids: &[&str]) {
    let padding = ids.iter().cycle().skip(ids.len());
    let most = if ids.len() == 1 { 1 } else { AT_ONCE };
    select.within(column, ids.iter().chain(padding).take(most).copied());
}

/// Returns the columns of [`KEY`].
fn key(finding: &Finding) -> Stored<Vec<Param>> {
    let object = &finding.object;
    Ok(vec![
        (&object.cluster).into(),
        (&object.namespace).into(),
        (&object.group).into(),
        (&object.kind).into(),
        finding.rule.as_str().into(),
        (&finding.category).into(),
        gravity(finding.severity).into(),
        finding.action.as_str().into(),
        finding.application.as_ref().map_or("", |application| &application.name).into(),
        word(&finding.state)?.into(),
        finding.closed_because.as_ref().map(word).transpose()?.unwrap_or_default().into(),
    ])
}

/// Returns the columns of [`WRITTEN`].
fn columns(finding: &Finding, known: &Known) -> Stored<Vec<Param>> {
    let object = &finding.object;
    let application = finding.application.as_ref();
    let mut row: Vec<Param> = vec![
        (&finding.id.0).into(),
        (&object.cluster).into(),
        (&object.group).into(),
        (&object.kind).into(),
        (&object.namespace).into(),
        (&object.name).into(),
        (&finding.api_version).into(),
        (&finding.uid).into(),
        (&finding.owner).into(),
        application.map_or("", |application| &application.kind).into(),
        application.map_or("", |application| &application.namespace).into(),
        application.map_or("", |application| &application.name).into(),
        (&finding.content).into(),
        finding.rule.as_str().into(),
        (&finding.place).into(),
        finding.result.as_str().into(),
        gravity(finding.severity).into(),
        (&finding.category).into(),
        json(&finding.policies)?.into(),
        finding.action.as_str().into(),
        (&finding.path).into(),
        (&finding.message).into(),
        word(&finding.state)?.into(),
        finding.closed_because.as_ref().map(word).transpose()?.unwrap_or_default().into(),
        finding.closed_at.into(),
        finding.first_seen.into(),
        finding.last_seen.into(),
        known.opened.into(),
        i64::from(finding.reopened).into(),
    ];
    row.extend(brought_params(known.brought_in.as_ref()));
    row.extend(syncs::params(known.brought_in.as_ref()));
    row.push(finding.exemption.as_ref().map(json).transpose()?.into());
    Ok(row)
}

/// What a finding shows is there before it.
fn upsert() -> String {
    let values: Vec<String> = (1..=WRITTEN.len()).map(|number| format!("${number}")).collect();
    let place = |wanted: &str| WRITTEN.iter().zip(1..).find(|(column, _)| **column == wanted).map_or(0, |(_, at)| at);
    let written = WRITTEN.iter().chain([&"content_number"]).skip(1);
    let updates: Vec<String> = written.map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO finding ({}, content_number) VALUES ({}, (SELECT number FROM content WHERE digest = ${})) \
         ON CONFLICT (id) DO UPDATE SET {}",
        WRITTEN.join(", "),
        values.join(", "),
        place("content"),
        updates.join(", ")
    )
}
