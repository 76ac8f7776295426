//! Since when namespaces enforce what they enforce, as audits have seen it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::select::Select;
use super::session::Session;
use super::{Audit, EnforcedSince, Enforcing, Stored};

/// Stands for the first audit that noted anything: before it nobody looked. No namespace is called so.
const FIRST: &str = "*";

/// Notes what an audit saw enforced: what is new began after the one before, and what is not there any more is forgotten.
pub(super) async fn note(session: &mut dyn Session, audit: &Audit, enforcing: &[Enforcing]) -> Stored<()> {
    let since = audit.finished.unwrap_or(audit.started);
    let known = rows(session, &audit.cluster, None).await?;
    let has_looked = known.iter().any(|(of, _)| of.namespace == FIRST);
    let not_before = if has_looked { before(session, audit).await? } else { None };
    let first = Enforcing { namespace: FIRST.into(), ..Enforcing::default() };
    let known: BTreeSet<Enforcing> = known.into_iter().map(|(of, _)| of).collect();
    let wanted: BTreeSet<&Enforcing> = enforcing.iter().chain([&first]).collect();
    let insert = "INSERT INTO enforcing (cluster, namespace, policy, severity, not_before, since) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    let new = wanted.iter().filter(|of| !known.contains(**of)).map(|of| {
        let mut row = key(audit, of);
        row.extend([not_before.into(), since.into()]);
        row
    });
    session.run_each(insert, new.collect()).await?;
    let delete = "DELETE FROM enforcing WHERE cluster = $1 AND namespace = $2 AND policy = $3 AND severity = $4";
    let gone = known.iter().filter(|of| !wanted.contains(of)).map(|of| key(audit, of));
    session.run_each(delete, gone.collect()).await.map(drop)
}

fn key(audit: &Audit, of: &Enforcing) -> Vec<super::session::Param> {
    vec![(&audit.cluster).into(), (&of.namespace).into(), (&of.policy).into(), (&of.severity).into()]
}

/// Returns when the audit before began that went through.
async fn before(session: &mut dyn Session, audit: &Audit) -> Stored<Option<Timestamp>> {
    let mut select = Select::new("started", "audit");
    select.is("cluster", &audit.cluster);
    let id = select.bind(audit.id);
    select.only(format!("id < {id} AND state IN ('complete', 'partial')"));
    let row = select.rows(session, "ORDER BY id DESC LIMIT 1").await?.into_iter().next();
    row.map(|row| row.cells().time()).transpose()
}

/// Returns since when a namespace, or what is in none, enforces what it enforces.
pub(super) async fn of(session: &mut dyn Session, cluster: &str, namespace: &str) -> Stored<Vec<EnforcedSince>> {
    Ok(rows(session, cluster, Some(namespace)).await?.into_iter().map(|(_, since)| since).collect())
}

async fn rows(
    session: &mut dyn Session,
    cluster: &str,
    namespace: Option<&str>,
) -> Stored<Vec<(Enforcing, EnforcedSince)>> {
    let mut select = Select::new("namespace, policy, severity, not_before, since", "enforcing");
    select.is("cluster", cluster);
    if let Some(namespace) = namespace {
        select.is("namespace", namespace);
    }
    let rows = select.rows(session, "ORDER BY namespace, policy, severity").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        let of = Enforcing { namespace: cells.text()?, policy: cells.text()?, severity: cells.text()? };
        let (not_before, since) = (cells.time_if_any()?, cells.time()?);
        let known = EnforcedSince { policy: of.policy.clone(), severity: of.severity.clone(), not_before, since };
        Ok((of, known))
    });
    rows.collect()
}
