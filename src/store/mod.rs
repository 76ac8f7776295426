//! What Gatepost remembers: findings, audits, decisions, checks and tokens, in SQLite or PostgreSQL.
//!
//! One trait; both implementations pass the same tests. It stores what it is told: what opens and closes a finding is
//! decided in [`crate::report`], who may read what in the API.

mod audits;
mod change;
mod counts;
mod database;
mod enforced;
mod findings;
mod history;
mod mode_changes;
mod notified;
mod observe;
pub mod open;
mod postgres;
mod presence;
mod prune;
mod query;
mod record;
mod reports;
mod schema;
mod select;
mod session;
mod sqlite;
mod syncs;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::items_after_statements,
    reason = "a failing test is what it is for"
)]
mod tests;
mod tokens;
mod turns;
pub mod url;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

pub use mode_changes::{ModeChanged, ModeKeys};
pub use observe::{Observer, Operation};
pub use open::{Address, Remote, open, open_observed, open_or_wait};
pub use query::{
    ApplicationCount, Facet, Filter, FindingSort, History, OpenChange, OpenCount, Page, PageQuery, ResourceCount,
    ResourceSort, Retention, TimeSort,
};
pub use record::{
    Audit, AuditState, Batch, BroughtBySync, Changes, Check, Covered, Decision, DecisionResult, EnforcedSince,
    Enforcing, Presence, RuleCount, RuleSum, SlotChange, Taken, Token, Trigger, Turn, Unsynced,
};
pub use url::DatabaseUrl;

use crate::report::finding::{Finding, Fingerprint, ObjectKey};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by a newer Gatepost.
    #[error("the store has schema version {found}, and this Gatepost knows up to {known}: use the newer one again")]
    Newer {
        /// The store's version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A cursor that this store did not give.
    #[error("the cursor is not one of this list's: begin again without it")]
    Cursor,
    /// Its database does not answer for now.
    #[error("the database does not answer: {cause}")]
    Away {
        /// Why.
        cause: String,
    },
    /// It could not be opened so far, and that is tried again.
    #[error("the store is not open: {cause}")]
    Unopened {
        /// Why not.
        cause: String,
    },
    /// It cannot be opened, read or written.
    #[error("{context}: {cause}")]
    Failed {
        /// What was being done.
        context: &'static str,
        /// What the database says.
        cause: String,
    },
}

/// Shorthand for everything that a store answers.
pub type Stored<T> = Result<T, StoreError>;

/// Everything that is kept.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Begins an audit; those of the cluster that still run are abandoned.
    async fn begin_audit(&self, cluster: &str, trigger: Trigger, policies: &str, now: Timestamp) -> Stored<Audit>;

    /// Returns every finding, open or closed, of these objects.
    async fn findings_of(&self, objects: &[ObjectKey]) -> Stored<Vec<Finding>>;

    /// Writes what looks at objects change, in one transaction.
    async fn change(&self, cluster: &str, changes: Changes, now: Timestamp) -> Stored<()>;

    /// Returns objects of a kind with findings that stand, excused or not, in ascending order, after one of them, at most `limit`.
    async fn objects_with_findings(
        &self,
        cluster: &str,
        group: &str,
        kind: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Stored<Vec<ObjectKey>>;

    /// Returns the `(group, kind)` pairs of a cluster that have findings which stand, excused or not.
    async fn kinds_with_findings(&self, cluster: &str) -> Stored<Vec<(String, String)>>;

    /// Ends an audit: its figures, what it covered (from which `last_seen` of open findings follows), and its counts.
    async fn end_audit(&self, audit: &Audit, covered: &[Covered], counts: &[RuleCount]) -> Stored<()>;

    /// Returns audits, the newest first.
    async fn audits(&self, query: &PageQuery<TimeSort>) -> Stored<Page<Audit>>;

    /// Returns the counts of an audit.
    async fn counts(&self, audit: i64) -> Stored<Vec<RuleCount>>;

    /// Returns what an audit counted of each rule, each object once whatever policies ask for the rule; of a filter,
    /// namespaces and rules count.
    async fn rule_sums(&self, filter: &Filter, audit: i64) -> Stored<Vec<RuleSum>>;

    /// Returns one audit.
    async fn audit(&self, id: i64) -> Stored<Option<Audit>>;

    /// Returns how open findings changed after one audit and up to another, and how they stood after the first; of a
    /// filter, clusters and namespaces count.
    async fn history(&self, filter: &Filter, from: i64, to: i64) -> Stored<History>;

    /// Returns how many findings are open; of a filter, everything counts that [`Store::facet`] need not count rows for.
    async fn open_counts(&self, filter: &Filter) -> Stored<Vec<OpenCount>>;

    /// Returns the namespaces, the empty one for objects outside any, in which the last audit judged something.
    async fn judged_namespaces(&self) -> Stored<Vec<String>>;

    /// Returns a page of findings.
    async fn findings(&self, query: &PageQuery<FindingSort>) -> Stored<Page<Finding>>;

    /// Returns one finding.
    async fn finding(&self, id: &Fingerprint) -> Stored<Option<Finding>>;

    /// Returns an object as it was judged.
    async fn content(&self, digest: &str) -> Stored<Option<String>>;

    /// Returns how many findings there are for each value of a facet, most first, at most `limit` values.
    async fn facet(&self, filter: &Filter, facet: Facet, limit: usize) -> Stored<Vec<(String, u64)>>;

    /// Returns the same for several facets, each with a filter of its own; one pass over findings is for all of them.
    async fn facets(&self, asked: &[(Filter, Facet)], limit: usize) -> Stored<Vec<Vec<(String, u64)>>>;

    /// Returns how many findings there are for each pair of values of two facets, most first, at most `limit` pairs.
    async fn cross(&self, filter: &Filter, facets: [Facet; 2], limit: usize) -> Stored<Vec<(String, String, u64)>>;

    /// Returns how many objects of each kind have findings, by their top owner: `Deployment/web`, `Pod`, 12.
    async fn owned(&self, filter: &Filter) -> Stored<Vec<(String, String, u64)>>;

    /// Returns objects with open findings.
    async fn resources(&self, query: &PageQuery<ResourceSort>) -> Stored<Page<ResourceCount>>;

    /// Returns what delivers objects with open findings, in ascending order.
    async fn applications(&self, filter: &Filter) -> Stored<Vec<ApplicationCount>>;

    /// Takes in a report; who brought an open finding in follows from its decisions.
    async fn take_in(&self, batch: &Batch) -> Stored<Taken>;

    /// Returns decisions, the newest first.
    async fn decisions(&self, query: &PageQuery<TimeSort>) -> Stored<Page<Decision>>;

    /// Returns one decision.
    async fn decision(&self, uid: &str) -> Stored<Option<Decision>>;

    /// Returns checks without their results, the newest first.
    async fn checks(&self, query: &PageQuery<TimeSort>) -> Stored<Page<Check>>;

    /// Returns one check.
    async fn check(&self, id: i64) -> Stored<Option<Check>>;

    /// Returns the audits that began up to a time, the newest first, at most `limit`.
    async fn audits_until(&self, cluster: &str, time: Timestamp, limit: usize) -> Stored<Vec<Audit>>;

    /// Notes everything that an audit which has ended saw enforced in its cluster.
    async fn note_enforcing(&self, audit: &Audit, enforcing: &[Enforcing]) -> Stored<()>;

    /// Returns since when a namespace, or what is in none, enforces what it enforces.
    async fn enforced_since(&self, cluster: &str, namespace: &str) -> Stored<Vec<EnforcedSince>>;

    /// Notes that a process of a cluster, which has answered requests since a time, does so now.
    async fn note_presence(&self, cluster: &str, source: &str, since: Timestamp) -> Stored<()>;

    /// Returns the first process of a cluster that ever answered requests, the last that was heard of before a time, and
    /// all that were heard of then or after it; the earliest first.
    async fn presence(&self, cluster: &str, from: Timestamp) -> Stored<Vec<Presence>>;

    /// Returns findings of what an Application of Argo CD delivers that somebody brought in since a time, where nobody has
    /// looked by which sync; the oldest first, at most `limit`.
    async fn unsynced(&self, cluster: &str, since: Timestamp, limit: usize) -> Stored<Vec<Unsynced>>;

    /// Notes by which sync findings were brought in, or that it was by none.
    async fn note_syncs(&self, found: Vec<(Unsynced, Option<BroughtBySync>)>) -> Stored<()>;

    /// Returns up to when a target of notifications has been told, by event.
    async fn notified(&self, target: &str) -> Stored<BTreeMap<String, Timestamp>>;

    /// Remembers that a target has been told of an event up to a time.
    async fn set_notified(&self, target: &str, event: &str, through: Timestamp) -> Stored<()>;

    /// Remembers a change of modes; its number is given here.
    async fn put_mode_change(&self, change: &ModeChanged) -> Stored<()>;

    /// Returns changes of modes, the newest first.
    async fn mode_changes(&self, query: &PageQuery<TimeSort>) -> Stored<Page<ModeChanged>>;

    /// Returns one change of modes.
    async fn mode_change(&self, id: i64) -> Stored<Option<ModeChanged>>;

    /// Keeps a token.
    async fn put_token(&self, token: &Token) -> Stored<()>;

    /// Returns every token, the newest first.
    async fn tokens(&self) -> Stored<Vec<Token>>;

    /// Returns the token of an id.
    async fn token(&self, id: &str) -> Stored<Option<Token>>;

    /// Takes a token away; returns whether there was one.
    async fn revoke(&self, id: &str) -> Stored<bool>;

    /// Takes the turn of this name for a holder, or keeps it; returns who has it. Another's turn that still stands as it
    /// was seen before is taken over if it is said to be `outlived`.
    async fn take_turn(&self, name: &str, holder: &str, outlived: Option<Turn>) -> Stored<Turn>;

    /// Gives a turn up for whoever comes next, if this holder has it.
    async fn leave_turn(&self, name: &str, holder: &str) -> Stored<()>;

    /// Lets go of what is too old, in steps that leave others as much of the store as they take.
    async fn prune(&self, retention: Retention) -> Stored<()>;

    /// Returns how many bytes it takes.
    async fn size(&self) -> Stored<u64>;

    /// Returns whether it answers.
    async fn ping(&self) -> Stored<()>;
}
