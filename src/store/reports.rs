//! Reports that are taken in, and what they brought: decisions, checks, and who brought findings in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;

use super::change::{AT_ONCE, CLOCKS, EXCUSED, REMEMBERED, earlier, within};
use super::findings::brought_params;
use super::select::{Order, Select, page};
use super::session::{Cells, Param, Session, json};
use super::{Batch, Check, Decision, DecisionResult, Page, PageQuery, Stored, Taken, TimeSort};
use crate::policy::RuleId;
use crate::report::finding::{BroughtIn, Fingerprint, ObjectKey};

const DECISION: &str = "uid, decided, cluster, operation, api_group, kind, namespace, name, requester, verified, \
    dry_run, allowed, reason, duration_us, break_glass, results, changes";

const CHECK: &str = "id, judged, cluster, source, revision, policies, passed, summary, violations";

/// Takes a batch in; the caller's transaction makes it whole.
pub(super) async fn take_in(session: &mut dyn Session, batch: &Batch, now: Timestamp) -> Stored<Taken> {
    let once = "INSERT INTO batch (source, batch_key, taken) VALUES ($1, $2, $3) \
        ON CONFLICT (source, batch_key) DO NOTHING";
    if session.run(once, vec![(&batch.source).into(), (&batch.key).into(), now.into()]).await? == 0 {
        return Ok(Taken::Known);
    }
    keep(session, batch, now).await?;
    let checks = batch.checks.iter().map(|check| check_params(check, batch)).collect::<Stored<_>>()?;
    let insert = "INSERT INTO judged (judged, cluster, source, revision, policies, passed, summary, violations, results) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    session.run_each(insert, checks).await?;
    bring_in(session, batch).await?;
    Ok(Taken::Stored)
}

/// Keeps decisions. What was found after an answer is reported after it, under the same uid: the results are put together.
async fn keep(session: &mut dyn Session, batch: &Batch, now: Timestamp) -> Stored<()> {
    let mut decisions: BTreeMap<&str, Decision> = BTreeMap::new();
    for decision in &batch.decisions {
        match decisions.entry(&decision.uid) {
            Entry::Vacant(vacant) => _ = vacant.insert(decision.clone()),
            Entry::Occupied(mut known) => _ = add(&mut known.get_mut().results, &decision.results),
        }
    }
    let uids: Vec<&str> = decisions.keys().copied().collect();
    let mut changed = Vec::new();
    for some in uids.chunks(AT_ONCE) {
        let mut select = Select::new("uid, namespace, results", "decision");
        within(&mut select, "uid", some);
        for row in select.rows(session, "").await? {
            let mut cells = row.cells();
            let (uid, namespace) = (cells.text()?, cells.text()?);
            let mut results: Vec<DecisionResult> = cells.json()?;
            let Some(again) = decisions.remove(uid.as_str()) else { continue };
            // Whoever may report on one namespace says nothing of another's.
            if again.namespace == namespace && add(&mut results, &again.results) {
                changed.push(vec![uid.into(), json(&results)?.into()]);
            }
        }
    }
    session.run_each("UPDATE decision SET results = $2 WHERE uid = $1", changed).await?;
    let new = decisions.values().map(|decision| decision_params(decision, batch, now)).collect::<Stored<_>>()?;
    let insert = format!(
        "INSERT INTO decision ({DECISION}, taken) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
         $15, $16, $17, $18) ON CONFLICT (uid) DO NOTHING"
    );
    session.run_each(&insert, new).await.map(drop)
}

/// Adds results that are not there; returns whether there were any.
fn add(results: &mut Vec<DecisionResult>, more: &[DecisionResult]) -> bool {
    let before = results.len();
    for result in more {
        if !results.contains(result) {
            results.push(result.clone());
        }
    }
    results.len() > before
}

/// Writes who brought open findings in, and remembers it for those that no look has found yet.
async fn bring_in(session: &mut dyn Session, batch: &Batch) -> Stored<()> {
    let (mut found, mut remembered) = (Vec::new(), Vec::new());
    for decision in batch.decisions.iter().filter(|decision| brings_in(decision)) {
        let object = ObjectKey { cluster: cluster_of(&decision.cluster, batch).to_owned(), ..decision.object() };
        let (user, time) = (decision.user.clone(), decision.time);
        let by = BroughtIn { decision: decision.uid.clone(), user, time, application: None, revision: None };
        // What is excused was brought in, too: it opens when the exemption ends.
        let was_found = |result: &&DecisionResult| matches!(result.result.as_str(), "fail" | "exempt");
        for result in decision.results.iter().filter(was_found) {
            let id = Fingerprint::new(&object, &RuleId::from(result.rule.as_str()), &result.place);
            let mut row: Vec<Param> = vec![id.0.into()];
            row.extend(brought_params(Some(&by)));
            let opened = [earlier(by.time, CLOCKS), earlier(by.time, -REMEMBERED)].map(Param::from);
            found.push(row.iter().cloned().chain(opened).collect());
            row.push(earlier(by.time, REMEMBERED).into());
            remembered.push(row);
        }
    }
    // What was open long before did not come with this request, which only told it again.
    let update = format!(
        "UPDATE finding SET brought_by = $2, brought_user = $3, brought_at = $4 WHERE id = $1 \
         AND (state = 'open' OR ({EXCUSED})) AND brought_by IS NULL AND opened_at BETWEEN $5 AND $6"
    );
    session.run_each(&update, found).await?;
    // The first of several requests in a row is who brought it in.
    let remember = "INSERT INTO brought_in (id, brought_by, brought_user, brought_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (id) DO UPDATE SET brought_by = excluded.brought_by, brought_user = excluded.brought_user, \
        brought_at = excluded.brought_at WHERE brought_in.brought_at < $5";
    session.run_each(remember, remembered).await.map(drop)
}

fn brings_in(decision: &Decision) -> bool {
    decision.allowed && !decision.dry_run && decision.operation != "DELETE" && !decision.name.is_empty()
}

fn cluster_of<'a>(own: &'a str, batch: &'a Batch) -> &'a str {
    if own.is_empty() { &batch.cluster } else { own }
}

fn decision_params(decision: &Decision, batch: &Batch, taken: Timestamp) -> Stored<Vec<Param>> {
    Ok(vec![
        (&decision.uid).into(),
        decision.time.into(),
        cluster_of(&decision.cluster, batch).into(),
        (&decision.operation).into(),
        (&decision.group).into(),
        (&decision.kind).into(),
        (&decision.namespace).into(),
        (&decision.name).into(),
        (&decision.user).into(),
        decision.verified.into(),
        decision.dry_run.into(),
        decision.allowed.into(),
        (&decision.reason).into(),
        decision.duration_us.into(),
        decision.break_glass.as_deref().into(),
        json(&decision.results)?.into(),
        json(&decision.changes)?.into(),
        taken.into(),
    ])
}

fn decision(cells: &mut Cells) -> Stored<Decision> {
    Ok(Decision {
        uid: cells.text()?,
        time: cells.time()?,
        cluster: cells.text()?,
        operation: cells.text()?,
        group: cells.text()?,
        kind: cells.text()?,
        namespace: cells.text()?,
        name: cells.text()?,
        user: cells.text()?,
        verified: cells.is_set()?,
        dry_run: cells.is_set()?,
        allowed: cells.is_set()?,
        reason: cells.text()?,
        duration_us: cells.count()?,
        break_glass: cells.text_if_any()?,
        results: cells.json()?,
        changes: cells.json()?,
    })
}

pub(super) async fn decision_of(session: &mut dyn Session, uid: &str) -> Stored<Option<Decision>> {
    let mut select = Select::new(DECISION, "decision");
    select.is("uid", uid);
    select.rows(session, "").await?.into_iter().next().map(|row| decision(&mut row.cells())).transpose()
}

pub(super) async fn decisions(session: &mut dyn Session, query: &PageQuery<TimeSort>) -> Stored<Page<Decision>> {
    let filter = &query.filter;
    let mut select = Select::new(DECISION, "decision");
    select.any_of("cluster", &filter.cluster);
    select.any_of("namespace", &filter.namespace);
    if let Some(visible) = &filter.visible {
        select.within("namespace", visible);
    }
    select.any_of("kind", &filter.kind);
    select.any_of("name", &filter.name);
    let states = filter.state.iter().map(|state| match state.as_str() {
        "allowed" => 1_i64,
        "denied" => 0,
        _ => -1,
    });
    select.any_of("allowed", states);
    let mut wanted: BTreeMap<&str, &[String]> = BTreeMap::new();
    // Results are JSON without spaces, so that a field and its value are one piece of it.
    for (field, values) in
        [("rule", &filter.rule), ("policy", &filter.policy), ("severity", &filter.severity), ("action", &filter.action)]
    {
        let piece = |value: &String| format!("\"{field}\":{}", serde_json::Value::from(value.as_str()));
        select.holds_one("results", &values.iter().map(piece).collect::<Vec<_>>());
        if !values.is_empty() {
            wanted.insert(field, values);
        }
    }
    if wanted.len() > 1 {
        // One result has them all, and not each another one.
        let wanted = select.bind(json(&wanted)?);
        select.only(format!("has_result({wanted}, results)"));
    }
    with_finding(&mut select, "application", &filter.application);
    with_finding(&mut select, "owner", &filter.owner);
    select.since("decided", filter.since);
    select.came("taken", filter.came);
    select.words(&["name", "results"], filter.text.as_deref());
    let order = Order::of_time(["decision", "decision-oldest"], &["decided", "uid"], query.sort);
    page(session, vec![select], order, (query.cursor.as_deref(), query.limit), decision).await
}

/// Keeps decisions about objects of which a finding has one of the values; none is no condition.
///
/// What delivers and what owns an object is not known at admission: audits find it.
fn with_finding(select: &mut Select, column: &str, values: &[String]) {
    if values.is_empty() {
        return;
    }
    let values: Vec<String> = values.iter().map(|value| select.bind(value)).collect();
    let same = ["cluster", "api_group", "kind", "namespace", "name"].map(|part| format!("f.{part} = decision.{part}"));
    select.only(format!(
        "EXISTS (SELECT 1 FROM finding AS f WHERE {} AND f.{column} IN ({}))",
        same.join(" AND "),
        values.join(", ")
    ));
}

fn check_params(check: &Check, batch: &Batch) -> Stored<Vec<Param>> {
    let commit = if check.commit.is_empty() { &batch.commit } else { &check.commit };
    Ok(vec![
        check.time.into(),
        cluster_of(&check.cluster, batch).into(),
        (&check.source).into(),
        commit.into(),
        (&check.policies).into(),
        check.passed.into(),
        json(&check.summary)?.into(),
        json(&check.violations)?.into(),
        json(&check.results)?.into(),
    ])
}

fn check(cells: &mut Cells) -> Stored<Check> {
    Ok(Check {
        id: cells.int()?,
        time: cells.time()?,
        cluster: cells.text()?,
        source: cells.text()?,
        commit: cells.text()?,
        policies: cells.text()?,
        passed: cells.is_set()?,
        summary: cells.json()?,
        violations: cells.json()?,
        results: Vec::new(),
    })
}

pub(super) async fn check_of(session: &mut dyn Session, id: i64) -> Stored<Option<Check>> {
    let mut select = Select::new(format!("{CHECK}, results"), "judged");
    select.is("id", id);
    let Some(row) = select.rows(session, "").await?.into_iter().next() else { return Ok(None) };
    let mut cells = row.cells();
    let found = check(&mut cells)?;
    Ok(Some(Check { results: cells.json()?, ..found }))
}

pub(super) async fn checks(session: &mut dyn Session, query: &PageQuery<TimeSort>) -> Stored<Page<Check>> {
    let filter = &query.filter;
    let mut select = Select::new(CHECK, "judged");
    select.any_of("cluster", &filter.cluster);
    select.any_of("source", &filter.source);
    let states = filter.state.iter().map(|state| match state.as_str() {
        "passed" => 1_i64,
        "failed" => 0,
        _ => -1,
    });
    select.any_of("passed", states);
    select.since("judged", filter.since);
    let order = Order::of_time(["check", "check-oldest"], &["judged", "judged.id"], query.sort);
    page(session, vec![select], order, (query.cursor.as_deref(), query.limit), check).await
}
