//! What was open when each audit ended, and what came and went by then: written where it changed.

use std::collections::BTreeMap;

use super::findings::severity;
use super::select::Select;
use super::session::{Cells, Param, Session};
use super::{Audit, Filter, History, OpenChange, Stored};

/// Namespace, rule and gravity.
type Key = (String, String, i64);

/// What an audit found at a [`Key`].
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    open: u64,
    opened: u64,
    fixed: u64,
}

/// Writes what is open now that an audit has ended.
pub(super) async fn record(session: &mut dyn Session, audit: &Audit) -> Stored<()> {
    let before = standing(session, audit).await?;
    let mut now: BTreeMap<Key, Counted> = before.keys().map(|key| (key.clone(), Counted::default())).collect();
    for (key, findings) in counted(open_now(audit), session).await? {
        now.entry(key).or_default().open = findings;
    }
    // What an audit that never ended changed is told by the one after it. Of what is open nearly everything opened before:
    // the expression keeps the index over states from being chosen.
    let since = ended_before(session, audit).await?;
    for (key, findings) in counted(changed(audit, ("opened_at", since), "state || '' = 'open'"), session).await? {
        now.entry(key).or_default().opened = findings;
    }
    for (key, findings) in
        counted(changed(audit, ("closed_at", since), "closed_because = 'fixed' AND exemption IS NULL"), session).await?
    {
        now.entry(key).or_default().fixed = findings;
    }
    let is_other = |key: &Key, at: &Counted| {
        at.opened > 0 || at.fixed > 0 || before.get(key).copied().unwrap_or_default() != at.open
    };
    let rows = now.into_iter().filter(|(key, at)| is_other(key, at)).map(|((namespace, rule, gravity), at)| {
        vec![
            (&audit.cluster).into(),
            namespace.into(),
            rule.into(),
            gravity.into(),
            audit.id.into(),
            at.open.into(),
            at.opened.into(),
            at.fixed.into(),
        ]
    });
    let sql = "INSERT INTO open_count (cluster, namespace, rule, gravity, audit, standing, opened, fixed) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (cluster, namespace, rule, gravity, audit) DO UPDATE \
        SET standing = excluded.standing, opened = excluded.opened, fixed = excluded.fixed";
    session.run_each(sql, rows.collect()).await.map(drop)
}

fn open_now(audit: &Audit) -> Select {
    let mut select = Select::new("namespace, rule, gravity, CAST(SUM(findings) AS BIGINT)", "finding_count");
    select.is("cluster", &audit.cluster);
    select.only("state = 'open' AND findings > 0");
    select
}

fn changed(audit: &Audit, (time, since): (&str, i64), condition: &str) -> Select {
    let mut select = Select::new("namespace, rule, gravity, COUNT(*)", "finding");
    let since = select.bind(since);
    select.only(format!("{time} > {since} AND {condition}"));
    select.is(super::findings::CLUSTER, &audit.cluster);
    select
}

async fn counted(mut select: Select, session: &mut dyn Session) -> Stored<Vec<(Key, u64)>> {
    select.group_by("namespace, rule, gravity");
    let rows = select.rows(session, "").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((key(&mut cells)?, cells.count()?))
    });
    rows.collect()
}

fn key(cells: &mut Cells) -> Stored<Key> {
    Ok((cells.text()?, cells.text()?, cells.int()?))
}

/// Returns what was open after the last audit that was written.
async fn standing(session: &mut dyn Session, audit: &Audit) -> Stored<BTreeMap<Key, u64>> {
    let mut select = Select::new("namespace, rule, gravity, standing", "open_count");
    select.is("cluster", &audit.cluster);
    let until = select.bind(audit.id);
    select.only(format!("audit = {} AND standing > 0", latest(&format!("< {until}"))));
    let rows = select.rows(session, "").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((key(&mut cells)?, cells.count()?))
    });
    rows.collect()
}

/// Returns the newest audit that wrote a row of the same key, of those that a condition names.
fn latest(condition: &str) -> String {
    format!(
        "(SELECT MAX(l.audit) FROM open_count AS l WHERE l.cluster = open_count.cluster AND l.namespace = \
         open_count.namespace AND l.rule = open_count.rule AND l.gravity = open_count.gravity AND l.audit {condition})"
    )
}

/// Returns when the last audit of the cluster ended; before all times if none did.
async fn ended_before(session: &mut dyn Session, audit: &Audit) -> Stored<i64> {
    let mut select = Select::new("MAX(finished)", "audit");
    select.is("cluster", &audit.cluster);
    let id = select.bind(audit.id);
    select.only(format!("id < {id} AND state IN ('complete', 'partial', 'cancelled')"));
    let row = select.rows(session, "").await?.into_iter().next();
    Ok(row.map(|row| row.cells().int_if_any()).transpose()?.flatten().unwrap_or(i64::MIN))
}

/// Returns what changed after an audit and up to another one, and before it how things stood after the first.
pub(super) async fn between(session: &mut dyn Session, filter: &Filter, from: i64, to: i64) -> Stored<History> {
    let mut select = Select::new("audit, cluster, namespace, rule, gravity, standing, opened, fixed", "open_count");
    narrow(&mut select, filter);
    let (first, last) = (select.bind(from), select.bind(to));
    select.only(format!("audit <= {last} AND (audit > {first} OR audit = {})", latest(&format!("<= {first}"))));
    let rows = select.rows(session, "ORDER BY audit, cluster, namespace, rule, gravity").await?;
    let changes = rows.into_iter().map(|row| {
        let mut cells = row.cells();
        let change = OpenChange {
            audit: cells.int()?,
            cluster: cells.text()?,
            namespace: cells.text()?,
            rule: cells.text()?.as_str().into(),
            severity: severity(cells.int()?)?,
            open: cells.count()?,
            opened: cells.count()?,
            fixed: cells.count()?,
        };
        let is_earlier = change.audit < from;
        Ok(if is_earlier { OpenChange { audit: from, opened: 0, fixed: 0, ..change } } else { change })
    });
    let changes = changes.collect::<Stored<_>>()?;
    Ok(History { judged_from: judged_from(session, filter).await?, changes })
}

fn narrow(select: &mut Select, filter: &Filter) {
    select.any_of("cluster", &filter.cluster);
    select.any_of("namespace", &filter.namespace);
    if let Some(visible) = &filter.visible {
        select.within("namespace", visible);
    }
}

/// Returns the first audit that is known to have judged anything there.
async fn judged_from(session: &mut dyn Session, filter: &Filter) -> Stored<Option<i64>> {
    let mut select = Select::new("MIN(audit)", "rule_count");
    narrow(&mut select, filter);
    select.only("passed + failed > 0");
    let row = select.rows(session, "").await?.into_iter().next();
    Ok(row.map(|row| row.cells().int_if_any()).transpose()?.flatten())
}

/// Returns the namespaces in which the last audit judged something.
pub(super) async fn judged(session: &mut dyn Session) -> Stored<Vec<String>> {
    let mut select = Select::new("DISTINCT namespace", "rule_count");
    select.only(
        "audit = (SELECT MAX(l.audit) FROM rule_count AS l WHERE l.cluster = rule_count.cluster AND l.policy = \
         rule_count.policy AND l.rule = rule_count.rule AND l.namespace = rule_count.namespace)",
    );
    select.only("passed + failed > 0");
    select.rows(session, "ORDER BY namespace").await?.into_iter().map(|row| row.cells().text()).collect()
}

/// Lets go of what a later count stands in place of, for every audit that stays, at most so many rows; returns how many.
pub(super) async fn prune(session: &mut dyn Session, before: Param, at_once: u64) -> Stored<u64> {
    let ended = "<= (SELECT MAX(a.id) FROM audit AS a WHERE a.cluster = open_count.cluster AND a.finished < $1)";
    let key = "cluster, namespace, rule, gravity, audit";
    let sql = format!(
        "DELETE FROM open_count WHERE ({key}) IN (SELECT {key} FROM open_count WHERE audit < {} LIMIT {at_once})",
        latest(ended)
    );
    session.run(&sql, vec![before]).await
}
