//! Audits, what they covered, and what they counted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::history;
use super::select::{Order, Select, page};
use super::session::{Cells, Param, Session, json, unreadable, word};
use super::{Audit, AuditState, Covered, Filter, Page, PageQuery, RuleCount, RuleSum, Stored, TimeSort, Trigger};

const COLUMNS: &str =
    "id, cluster, cause, state, started, finished, policies, objects, evaluated, opened, fixed, closed, unread";

/// Namespace of a look over all of them; no namespace is called so.
const EVERYWHERE: &str = "*";

pub(super) async fn begin(
    session: &mut dyn Session,
    (cluster, policies): (&str, &str),
    trigger: Trigger,
    now: Timestamp,
) -> Stored<Audit> {
    let abandon = "UPDATE audit SET state = 'abandoned', finished = $2 WHERE cluster = $1 AND state = 'running'";
    session.run(abandon, vec![cluster.into(), now.into()]).await?;
    let mut audit = Audit {
        id: 0,
        cluster: cluster.to_owned(),
        trigger,
        state: AuditState::Running,
        started: now,
        finished: None,
        policies: policies.to_owned(),
        objects: 0,
        evaluated: 0,
        opened: 0,
        fixed: 0,
        closed: 0,
        unread: BTreeMap::new(),
    };
    let insert = "INSERT INTO audit (cluster, cause, state, started, policies, objects, evaluated, opened, fixed, \
        closed, unread) VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0, 0, '{}') RETURNING id";
    let params =
        vec![cluster.into(), word(&trigger)?.into(), word(&AuditState::Running)?.into(), now.into(), policies.into()];
    let row = session.rows(insert, params).await?.into_iter().next();
    audit.id = row.ok_or_else(|| unreadable("the new audit has no number"))?.cells().int()?;
    Ok(audit)
}

pub(super) async fn end(
    session: &mut dyn Session,
    audit: &Audit,
    covered: &[Covered],
    counts: &[RuleCount],
) -> Stored<()> {
    let update = "UPDATE audit SET state = $2, finished = $3, policies = $4, objects = $5, evaluated = $6, opened = $7, \
        fixed = $8, closed = $9, unread = $10 WHERE id = $1";
    let params = vec![
        audit.id.into(),
        word(&audit.state)?.into(),
        audit.finished.into(),
        (&audit.policies).into(),
        audit.objects.into(),
        audit.evaluated.into(),
        audit.opened.into(),
        audit.fixed.into(),
        audit.closed.into(),
        json(&audit.unread)?.into(),
    ];
    session.run(update, params).await?;
    cover(session, audit, covered).await?;
    // Who was told to end has counted a part only: what was counted before says more.
    if audit.state != AuditState::Cancelled {
        count(session, audit, counts).await?;
    }
    history::record(session, audit).await
}

async fn cover(session: &mut dyn Session, audit: &Audit, covered: &[Covered]) -> Stored<()> {
    let sql = "INSERT INTO coverage (cluster, api_group, kind, namespace, seen) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (cluster, api_group, kind, namespace) DO UPDATE SET seen = excluded.seen \
        WHERE coverage.seen < excluded.seen";
    let seen = audit.finished.unwrap_or(audit.started);
    let rows = covered.iter().map(|part| {
        let namespace = part.namespace.as_deref().unwrap_or(EVERYWHERE);
        vec![(&audit.cluster).into(), (&part.group).into(), (&part.kind).into(), namespace.into(), seen.into()]
    });
    session.run_each(sql, rows.collect()).await.map(drop)
}

/// Writes the counts that are otherwise than in the audit before, so that an unchanged cluster writes none.
async fn count(session: &mut dyn Session, audit: &Audit, counts: &[RuleCount]) -> Stored<()> {
    let key = |count: &RuleCount| (count.policy.clone(), count.rule.clone(), count.namespace.clone());
    let before = counts_until(session, &audit.cluster, audit.id).await?;
    let mut before: BTreeMap<_, RuleCount> = before.into_iter().map(|count| (key(&count), count)).collect();
    let mut changed: Vec<RuleCount> =
        counts.iter().filter(|count| before.remove(&key(count)).as_ref() != Some(count)).cloned().collect();
    let gone = before.into_values().map(|count| RuleCount { passed: 0, failed: 0, skipped: 0, exempt: 0, ..count });
    changed.extend(gone);
    let sql = "INSERT INTO rule_count (cluster, policy, rule, namespace, audit, passed, failed, skipped, exempt) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (cluster, policy, rule, namespace, audit) DO UPDATE \
        SET passed = excluded.passed, failed = excluded.failed, skipped = excluded.skipped, exempt = excluded.exempt";
    let rows = changed.iter().map(|count| -> Vec<Param> {
        vec![
            (&audit.cluster).into(),
            (&count.policy).into(),
            (&count.rule).into(),
            (&count.namespace).into(),
            audit.id.into(),
            count.passed.into(),
            count.failed.into(),
            count.skipped.into(),
            count.exempt.into(),
        ]
    });
    session.run_each(sql, rows.collect()).await.map(drop)
}

/// Returns what an audit counted.
pub(super) async fn counts(session: &mut dyn Session, audit: i64) -> Stored<Vec<RuleCount>> {
    let mut select = Select::new("cluster", "audit");
    select.is("id", audit);
    match select.rows(session, "").await?.into_iter().next() {
        Some(row) => counts_until(session, &row.cells().text()?, audit).await,
        None => Ok(Vec::new()),
    }
}

/// Returns what an audit counted of each rule; of several policies that ask for it in a namespace, the most of each answer.
pub(super) async fn sums(session: &mut dyn Session, filter: &Filter, audit: i64) -> Stored<Vec<RuleSum>> {
    let Some(audit) = one(session, audit).await? else { return Ok(Vec::new()) };
    let most = "rule, MAX(passed) AS passes, MAX(failed) AS fails, MAX(skipped) AS skips, MAX(exempt) AS excused";
    let mut select = Select::new(most, "rule_count");
    keep_until(&mut select, &audit.cluster, audit.id);
    select.any_of("namespace", &filter.namespace);
    if let Some(visible) = &filter.visible {
        select.within("namespace", visible);
    }
    select.any_of("rule", &filter.rule);
    select.group_by("rule, namespace");
    let (counted, params) = select.build("");
    let sum = |column: &str| format!("CAST(SUM({column}) AS BIGINT)");
    let columns = ["passes", "fails", "skips", "excused"].map(sum).join(", ");
    let sql = format!("SELECT rule, {columns} FROM ({counted}) AS counted GROUP BY rule ORDER BY rule");
    let sums = session.rows(&sql, params).await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok(RuleSum {
            rule: cells.text()?,
            passed: cells.count()?,
            failed: cells.count()?,
            skipped: cells.count()?,
            exempt: cells.count()?,
        })
    });
    sums.collect()
}

/// Keeps the last count of each rule, policy and namespace up to an audit.
fn keep_until(select: &mut Select, cluster: &str, audit: i64) {
    select.is("cluster", cluster);
    let audit = select.bind(audit);
    select.only(format!(
        "audit = (SELECT MAX(l.audit) FROM rule_count AS l WHERE l.cluster = rule_count.cluster AND l.policy = \
         rule_count.policy AND l.rule = rule_count.rule AND l.namespace = rule_count.namespace AND l.audit <= {audit})"
    ));
    select.only("passed + failed + skipped + exempt > 0");
}

/// Returns the last count of each rule, policy and namespace up to an audit.
async fn counts_until(session: &mut dyn Session, cluster: &str, audit: i64) -> Stored<Vec<RuleCount>> {
    let mut select = Select::new("policy, rule, namespace, passed, failed, skipped, exempt", "rule_count");
    keep_until(&mut select, cluster, audit);
    let rows = select.rows(session, "ORDER BY policy, rule, namespace").await?;
    let counts = rows.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok(RuleCount {
            policy: cells.text()?,
            rule: cells.text()?,
            namespace: cells.text()?,
            passed: cells.count()?,
            failed: cells.count()?,
            skipped: cells.count()?,
            exempt: cells.count()?,
        })
    });
    counts.collect()
}

pub(super) async fn list(session: &mut dyn Session, query: &PageQuery<TimeSort>) -> Stored<Page<Audit>> {
    let mut select = Select::new(COLUMNS, "audit");
    select.any_of("cluster", &query.filter.cluster);
    select.any_of("state", &query.filter.state);
    select.since("started", query.filter.since);
    let order = Order::of_time(["audit", "audit-oldest"], &["audit.id"], query.sort);
    page(session, vec![select], order, (query.cursor.as_deref(), query.limit), read).await
}

/// Returns the audits that began up to a time, the newest first.
pub(super) async fn until(
    session: &mut dyn Session,
    cluster: &str,
    time: Timestamp,
    limit: usize,
) -> Stored<Vec<Audit>> {
    let mut select = Select::new(COLUMNS, "audit");
    select.is("cluster", cluster);
    let time = select.bind(time);
    select.only(format!("started <= {time}"));
    let rows = select.rows(session, &format!("ORDER BY id DESC LIMIT {limit}")).await?;
    rows.into_iter().map(|row| read(&mut row.cells())).collect()
}

pub(super) async fn one(session: &mut dyn Session, id: i64) -> Stored<Option<Audit>> {
    let mut select = Select::new(COLUMNS, "audit");
    select.is("id", id);
    select.rows(session, "").await?.into_iter().next().map(|row| read(&mut row.cells())).transpose()
}

fn read(cells: &mut Cells) -> Stored<Audit> {
    Ok(Audit {
        id: cells.int()?,
        cluster: cells.text()?,
        trigger: cells.word()?,
        state: cells.word()?,
        started: cells.time()?,
        finished: cells.time_if_any()?,
        policies: cells.text()?,
        objects: cells.count()?,
        evaluated: cells.count()?,
        opened: cells.count()?,
        fixed: cells.count()?,
        closed: cells.count()?,
        unread: cells.json()?,
    })
}
