//! What is too old goes, in steps that keep no other writer waiting for long.

use jiff::Timestamp;

use super::change::{EXCUSED, REMEMBERED, earlier, known};
use super::counts::Tally;
use super::select::Select;
use super::session::{Param, Session};
use super::{Retention, Stored, history, notified};

/// Rows that go in one transaction.
const AT_ONCE: u64 = 2_000;

/// One kind of what goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Decisions,
    Batches,
    Memories,
    Findings,
    Checks,
    Counts,
    History,
    Audits,
    Modes,
    Endings,
    Presence,
}

impl Step {
    /// In the order in which they are taken.
    pub(super) const ALL: [Self; 11] = [
        Self::Decisions,
        Self::Batches,
        Self::Memories,
        Self::Findings,
        Self::Checks,
        Self::Counts,
        Self::History,
        Self::Audits,
        Self::Modes,
        Self::Endings,
        Self::Presence,
    ];

    /// Takes one step; returns whether more of the kind may be left.
    pub(super) async fn take(self, session: &mut dyn Session, retention: Retention, now: Timestamp) -> Stored<bool> {
        let before = retention.history_before;
        match self {
            Self::Decisions => delete(session, ("decision", "uid", "decided"), retention.decisions_before).await,
            Self::Batches => {
                let sql = format!(
                    "DELETE FROM batch WHERE (source, batch_key) IN (SELECT source, batch_key FROM batch \
                     WHERE taken < $1 ORDER BY taken LIMIT {AT_ONCE})"
                );
                session.run(&sql, vec![retention.decisions_before.into()]).await.map(|gone| gone == AT_ONCE)
            }
            Self::Memories => delete(session, ("brought_in", "id", "brought_at"), earlier(now, REMEMBERED)).await,
            Self::Findings => findings(session, before).await,
            Self::Checks => delete(session, ("judged", "id", "judged"), before).await,
            Self::Counts => counts(session, before).await,
            Self::History => history::prune(session, before.into(), AT_ONCE).await.map(|gone| gone == AT_ONCE),
            Self::Audits => delete(session, ("audit", "id", "finished"), before).await,
            Self::Modes => delete(session, ("mode_change", "id", "changed"), before).await,
            Self::Endings => notified::prune(session, before).await,
            Self::Presence => {
                session.run("DELETE FROM presence WHERE heard < $1", vec![before.into()]).await.map(|_| false)
            }
        }
    }
}

async fn delete(session: &mut dyn Session, (table, id, time): (&str, &str, &str), before: Timestamp) -> Stored<bool> {
    let sql = format!(
        "DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM {table} WHERE {time} < $1 ORDER BY {time} LIMIT {AT_ONCE})"
    );
    session.run(&sql, vec![before.into()]).await.map(|gone| gone == AT_ONCE)
}

async fn findings(session: &mut dyn Session, before: Timestamp) -> Stored<bool> {
    let mut select = Select::new("id", "finding");
    let before = select.bind(before);
    // What is excused stands, however long it has been.
    select.only(format!("closed_at IS NOT NULL AND state = 'closed' AND closed_at < {before} AND NOT ({EXCUSED})"));
    let rows = select.rows(session, &format!("ORDER BY closed_at LIMIT {AT_ONCE}")).await?;
    let ids = rows.into_iter().map(|row| row.cells().text()).collect::<Stored<Vec<_>>>()?;
    let mut tally = Tally::default();
    for known in known(session, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await?.into_values() {
        tally.add(known.key, -1);
    }
    tally.write(session).await?;
    let gone: Vec<Vec<Param>> = ids.iter().map(|id| vec![id.into()]).collect();
    let gone = session.run_each("DELETE FROM finding WHERE id = $1", gone).await?;
    Ok(gone == AT_ONCE)
}

/// A count goes when a later one stands in its place for every audit that stays.
async fn counts(session: &mut dyn Session, before: Timestamp) -> Stored<bool> {
    let key = "cluster, policy, rule, namespace, audit";
    let sql = format!(
        "DELETE FROM rule_count WHERE ({key}) IN (SELECT {key} FROM rule_count WHERE EXISTS (SELECT 1 FROM rule_count \
         AS l WHERE l.cluster = rule_count.cluster AND l.policy = rule_count.policy AND l.rule = rule_count.rule \
         AND l.namespace = rule_count.namespace AND l.audit > rule_count.audit AND l.audit <= (SELECT MAX(a.id) \
         FROM audit AS a WHERE a.cluster = rule_count.cluster AND a.finished < $1)) LIMIT {AT_ONCE})"
    );
    if session.run(&sql, vec![before.into()]).await? == AT_ONCE {
        return Ok(true);
    }
    session.run("DELETE FROM finding_count WHERE findings <= 0", Vec::new()).await.map(|_| false)
}

const UNSHOWN: &str = "NOT EXISTS (SELECT 1 FROM finding WHERE finding.content_number = content.number)";

/// Returns contents that no finding shows any more, after one of them: looking keeps no writer waiting.
pub(super) async fn unshown(session: &mut dyn Session, after: &str) -> Stored<Vec<String>> {
    let mut select = Select::new("digest", "content");
    let after = select.bind(after);
    select.only(format!("digest > {after} AND {UNSHOWN}"));
    let rows = select.rows(session, &format!("ORDER BY digest LIMIT {AT_ONCE}")).await?;
    rows.into_iter().map(|row| row.cells().text()).collect()
}

/// Lets go of contents; those that a finding has come to show meanwhile stay.
pub(super) async fn contents(session: &mut dyn Session, digests: Vec<String>) -> Stored<()> {
    let gone = digests.into_iter().map(|digest| vec![digest.into()]).collect();
    session.run_each(&format!("DELETE FROM content WHERE digest = $1 AND {UNSHOWN}"), gone).await.map(drop)
}
