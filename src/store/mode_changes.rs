//! What was changed of modes through Gatepost: by whom, and why.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::select::{Order, Select, page};
use super::session::{Cells, Session, json};
use super::{Page, PageQuery, Stored, TimeSort};

/// A namespace's own keys, labels and annotations apart, before or after a change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModeKeys {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A change of what a namespace enforces, written through Gatepost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModeChanged {
    /// Its number; given by the store.
    pub id: i64,
    /// When.
    pub time: Timestamp,
    /// The namespace.
    pub namespace: String,
    /// Who, as the cluster knows them.
    pub user: String,
    /// Why.
    pub reason: String,
    /// What stood there.
    pub before: ModeKeys,
    /// What stands there since.
    pub after: ModeKeys,
    /// The change that it takes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<i64>,
}

const COLUMNS: &str = "id, changed, namespace, requester, reason, before_it, after_it, takes_back";

pub(super) async fn put(session: &mut dyn Session, change: &ModeChanged) -> Stored<()> {
    let sql = "INSERT INTO mode_change (changed, namespace, requester, reason, before_it, after_it, takes_back) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let params = vec![
        change.time.into(),
        (&change.namespace).into(),
        (&change.user).into(),
        (&change.reason).into(),
        json(&change.before)?.into(),
        json(&change.after)?.into(),
        change.takes_back.into(),
    ];
    session.run(sql, params).await.map(drop)
}

pub(super) async fn list(session: &mut dyn Session, query: &PageQuery<TimeSort>) -> Stored<Page<ModeChanged>> {
    let mut select = Select::new(COLUMNS, "mode_change");
    select.any_of("namespace", &query.filter.namespace);
    if let Some(visible) = &query.filter.visible {
        select.within("namespace", visible);
    }
    select.since("changed", query.filter.since);
    let order = Order::of_time(["mode", "mode-oldest"], &["changed", "mode_change.id"], query.sort);
    page(session, vec![select], order, (query.cursor.as_deref(), query.limit), read).await
}

pub(super) async fn one(session: &mut dyn Session, id: i64) -> Stored<Option<ModeChanged>> {
    let mut select = Select::new(COLUMNS, "mode_change");
    select.is("id", id);
    select.rows(session, "").await?.into_iter().next().map(|row| read(&mut row.cells())).transpose()
}

fn read(cells: &mut Cells) -> Stored<ModeChanged> {
    Ok(ModeChanged {
        id: cells.int()?,
        time: cells.time()?,
        namespace: cells.text()?,
        user: cells.text()?,
        reason: cells.text()?,
        before: cells.json()?,
        after: cells.json()?,
        takes_back: cells.int_if_any()?,
    })
}
