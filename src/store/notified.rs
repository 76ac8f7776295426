//! Up to when each target has been told of what.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Stored;
use super::select::Select;
use super::session::Session;

/// Returns up to when a target has been told, by event.
pub(super) async fn of_target(session: &mut dyn Session, target: &str) -> Stored<BTreeMap<String, Timestamp>> {
    let mut select = Select::new("event, through", "notified");
    select.is("target", target);
    let rows = select.rows(session, "").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((cells.text()?, cells.time()?))
    });
    rows.collect()
}

/// Forgets that targets were told of single things that ended before a time; they stand under words, and not under one.
pub(super) async fn prune(session: &mut dyn Session, before: Timestamp) -> Stored<bool> {
    let sql = "DELETE FROM notified WHERE event LIKE '% %' AND through < $1";
    session.run(sql, vec![before.into()]).await.map(|_| false)
}

/// Remembers that a target has been told.
pub(super) async fn put(session: &mut dyn Session, (target, event): (&str, &str), through: Timestamp) -> Stored<()> {
    let sql = "INSERT INTO notified (target, event, through) VALUES ($1, $2, $3) \
        ON CONFLICT (target, event) DO UPDATE SET through = excluded.through";
    session.run(sql, vec![target.into(), event.into(), through.into()]).await.map(drop)
}
