//! Which syncs of Argo CD's Applications brought findings in.

use jiff::Timestamp;

use super::findings::{self, CLUSTER};
use super::select::Select;
use super::session::{Cells, Param, Session};
use super::{BroughtBySync, Stored, Unsynced};
use crate::report::finding::{Application, BroughtIn, Fingerprint};

/// The columns that [`brought_in`] reads.
pub(super) const COLUMNS: &str = "brought_by, brought_user, brought_at, brought_app_namespace, brought_application, \
    brought_revision";

/// Returns findings of what an Application delivers that somebody brought in since a time, where nobody has looked by which
/// sync; the oldest first.
pub(super) async fn unsynced(
    session: &mut dyn Session,
    cluster: &str,
    since: Timestamp,
    limit: usize,
) -> Stored<Vec<Unsynced>> {
    let mut select = Select::new("id, app_namespace, application, brought_at", "finding");
    select.is(CLUSTER, cluster);
    select.is("app_kind", Application::ARGO);
    select.since("brought_at", Some(since));
    select.only("brought_at IS NOT NULL AND brought_revision IS NULL");
    let rows = select.rows(session, &format!("ORDER BY brought_at, id LIMIT {limit}")).await?;
    let found = rows.into_iter().map(|row| {
        let mut cells = row.cells();
        let (id, namespace, name) = (cells.text()?, cells.text()?, cells.text()?);
        let application = Application { kind: Application::ARGO.to_owned(), namespace, name };
        Ok(Unsynced { finding: Fingerprint(id), application, time: cells.time()? })
    });
    found.collect()
}

/// Notes by which sync findings were brought in, or that it was by none.
pub(super) async fn note(session: &mut dyn Session, found: &[(Unsynced, Option<BroughtBySync>)]) -> Stored<()> {
    let rows = found.iter().map(|(of, by)| {
        let by = by.as_ref();
        vec![
            (&of.finding.0).into(),
            of.time.into(),
            by.map(|by| by.application.namespace.as_str()).into(),
            by.map(|by| by.application.name.as_str()).into(),
            by.map_or("", |by| by.revision.as_str()).into(),
        ]
    });
    // Whoever brought it in again meanwhile is another.
    let update = "UPDATE finding SET brought_app_namespace = $3, brought_application = $4, \
        brought_revision = $5 WHERE id = $1 AND brought_at = $2";
    session.run_each(update, rows.collect()).await.map(drop)
}

/// Returns the columns of a finding that say by which sync it was brought in.
pub(super) fn params(brought: Option<&BroughtIn>) -> [Param; 3] {
    let application = brought.and_then(|brought| brought.application.as_ref());
    [
        application.map(|application| application.namespace.as_str()).into(),
        application.map(|application| application.name.as_str()).into(),
        brought.and_then(|brought| brought.revision.as_deref()).into(),
    ]
}

/// Reads who brought a finding in, and by which sync.
pub(super) fn brought_in(cells: &mut Cells) -> Stored<Option<BroughtIn>> {
    let brought = findings::brought_in(cells)?;
    let (namespace, name, revision) = (cells.text_if_any()?, cells.text_if_any()?, cells.text_if_any()?);
    let named = namespace.zip(name);
    let application =
        named.map(|(namespace, name)| Application { kind: Application::ARGO.to_owned(), namespace, name });
    let revision = revision.filter(|revision| !revision.is_empty());
    Ok(brought.map(|brought| BroughtIn { application, revision, ..brought }))
}
