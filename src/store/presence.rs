//! When there was somebody to answer requests.

use jiff::Timestamp;

use super::select::Select;
use super::session::Session;
use super::{Presence, Stored};

/// Notes that a process which has answered since a time does so now.
pub(super) async fn note(
    session: &mut dyn Session,
    cluster: &str,
    source: &str,
    since: Timestamp,
    now: Timestamp,
) -> Stored<()> {
    // The clocks of both need not agree.
    let heard = now.max(since);
    let sql = "INSERT INTO presence (cluster, source, since, heard) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (cluster, source, since) DO UPDATE SET heard = excluded.heard";
    session.run(sql, vec![cluster.into(), source.into(), since.into(), heard.into()]).await.map(drop)
}

/// Returns the first process that ever answered, the last that was heard of before a time, and all that were heard of then
/// or after it; the earliest first.
pub(super) async fn since(session: &mut dyn Session, cluster: &str, from: Timestamp) -> Stored<Vec<Presence>> {
    let mut select = Select::new("since, heard", "presence");
    select.is("cluster", cluster);
    let (of, from) = (select.bind(cluster), select.bind(from));
    select.only(format!(
        "(heard >= {from} OR since = (SELECT MIN(f.since) FROM presence AS f WHERE f.cluster = {of}) \
         OR heard = (SELECT MAX(l.heard) FROM presence AS l WHERE l.cluster = {of} AND l.heard < {from}))"
    ));
    let rows = select.rows(session, "ORDER BY since, heard").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok(Presence { since: cells.time()?, heard: cells.time()? })
    });
    rows.collect()
}
