//! [`Store`] over whichever database: each method is one job in one transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::observe::{Observer, Operation, is_failed};
use super::postgres::Postgres;
use super::prune::{self, Step};
use super::session::Session;
use super::sqlite::Sqlite;
use super::{
    ApplicationCount, Audit, Batch, BroughtBySync, Changes, Check, Covered, Decision, EnforcedSince, Enforcing, Facet,
    Filter, FindingSort, History, ModeChanged, OpenCount, Page, PageQuery, Presence, ResourceCount, ResourceSort,
    Retention, RuleCount, RuleSum, Store, StoreError, Stored, Taken, TimeSort, Token, Trigger, Turn, Unsynced,
};
use super::{
    audits, change, counts, enforced, findings, history, mode_changes, notified, presence, reports, syncs, tokens,
    turns,
};
use crate::report::finding::{Finding, Fingerprint, ObjectKey};

/// What is done in one transaction.
pub(super) type Job<T> = Box<dyn for<'a> FnOnce(&'a mut dyn Session) -> BoxFuture<'a, Stored<T>> + Send>;

/// A store in a database.
#[derive(Debug)]
pub(super) struct Database {
    /// Empty until it is open.
    place: OnceLock<Place>,
    /// Why it is not open.
    unopened: Mutex<String>,
    observer: Arc<dyn Observer>,
}

/// Where a database is.
#[derive(Debug)]
pub(super) enum Place {
    /// In a file.
    Sqlite(Sqlite),
    /// On a server.
    Postgres(Postgres),
}

impl Database {
    /// Takes in a database that is not open.
    pub(super) fn unopened(observer: Arc<dyn Observer>) -> Self {
        Self { place: OnceLock::new(), unopened: Mutex::default(), observer }
    }

    /// Has it be open from now on.
    pub(super) fn open(&self, place: Place) {
        // Nobody opens it twice.
        let _ = self.place.set(place);
    }

    /// Notes why it cannot be opened.
    pub(super) fn note(&self, cause: String) {
        *self.unopened.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn place(&self) -> Stored<&Place> {
        let cause = || self.unopened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.place.get().ok_or_else(|| StoreError::Unopened { cause: cause() })
    }

    async fn read<T: Send + 'static>(&self, job: Job<T>) -> Stored<T> {
        let place = self.place()?;
        let begun = Instant::now();
        let answer = match place {
            Place::Sqlite(sqlite) => sqlite.read(job).await,
            Place::Postgres(postgres) => postgres.read(job).await,
        };
        self.observer.observe(Operation::Read, begun.elapsed(), is_failed(&answer));
        answer
    }

    async fn write<T: Send + 'static>(&self, job: Job<T>) -> Stored<T> {
        let place = self.place()?;
        let begun = Instant::now();
        let answer = match place {
            Place::Sqlite(sqlite) => sqlite.write(job).await,
            Place::Postgres(postgres) => postgres.write(job).await,
        };
        self.observer.observe(Operation::Write, begun.elapsed(), is_failed(&answer));
        answer
    }
}

#[async_trait]
impl Store for Database {
    async fn begin_audit(&self, cluster: &str, trigger: Trigger, policies: &str, now: Timestamp) -> Stored<Audit> {
        let (cluster, policies) = (cluster.to_owned(), policies.to_owned());
        self.write(Box::new(move |session| {
            Box::pin(async move { audits::begin(session, (&cluster, &policies), trigger, now).await })
        }))
        .await
    }

    async fn findings_of(&self, objects: &[ObjectKey]) -> Stored<Vec<Finding>> {
        let objects = objects.to_vec();
        self.read(Box::new(move |session| Box::pin(async move { findings::of_objects(session, &objects).await }))).await
    }

    async fn change(&self, _cluster: &str, changes: Changes, now: Timestamp) -> Stored<()> {
        self.write(Box::new(move |session| Box::pin(async move { change::apply(session, &changes, now).await }))).await
    }

    async fn objects_with_findings(
        &self,
        cluster: &str,
        group: &str,
        kind: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Stored<Vec<ObjectKey>> {
        let (cluster, group, kind, after) = (cluster.to_owned(), group.to_owned(), kind.to_owned(), after.cloned());
        self.read(Box::new(move |session| {
            Box::pin(async move { findings::objects(session, (&cluster, &group, &kind), after.as_ref(), limit).await })
        }))
        .await
    }

    async fn kinds_with_findings(&self, cluster: &str) -> Stored<Vec<(String, String)>> {
        let cluster = cluster.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { counts::kinds(session, &cluster).await }))).await
    }

    async fn end_audit(&self, audit: &Audit, covered: &[Covered], counts: &[RuleCount]) -> Stored<()> {
        let (audit, covered, counts) = (audit.clone(), covered.to_vec(), counts.to_vec());
        self.write(Box::new(move |session| {
            Box::pin(async move { audits::end(session, &audit, &covered, &counts).await })
        }))
        .await
    }

    async fn audits(&self, query: &PageQuery<TimeSort>) -> Stored<Page<Audit>> {
        let query = query.clone();
        self.read(Box::new(move |session| Box::pin(async move { audits::list(session, &query).await }))).await
    }

    async fn counts(&self, audit: i64) -> Stored<Vec<RuleCount>> {
        self.read(Box::new(move |session| Box::pin(async move { audits::counts(session, audit).await }))).await
    }

    async fn rule_sums(&self, filter: &Filter, audit: i64) -> Stored<Vec<RuleSum>> {
        let filter = filter.clone();
        self.read(Box::new(move |session| Box::pin(async move { audits::sums(session, &filter, audit).await }))).await
    }

    async fn audit(&self, id: i64) -> Stored<Option<Audit>> {
        self.read(Box::new(move |session| Box::pin(async move { audits::one(session, id).await }))).await
    }

    async fn history(&self, filter: &Filter, from: i64, to: i64) -> Stored<History> {
        let filter = filter.clone();
        self.read(Box::new(move |session| Box::pin(async move { history::between(session, &filter, from, to).await })))
            .await
    }

    async fn open_counts(&self, filter: &Filter) -> Stored<Vec<OpenCount>> {
        let filter = filter.clone();
        self.read(Box::new(move |session| Box::pin(async move { counts::open(session, &filter).await }))).await
    }

    async fn judged_namespaces(&self) -> Stored<Vec<String>> {
        self.read(Box::new(move |session| Box::pin(async move { history::judged(session).await }))).await
    }

    async fn findings(&self, query: &PageQuery<FindingSort>) -> Stored<Page<Finding>> {
        let query = query.clone();
        self.read(Box::new(move |session| Box::pin(async move { findings::list(session, &query).await }))).await
    }

    async fn finding(&self, id: &Fingerprint) -> Stored<Option<Finding>> {
        let id = id.clone();
        self.read(Box::new(move |session| Box::pin(async move { findings::one(session, &id.0).await }))).await
    }

    async fn content(&self, digest: &str) -> Stored<Option<String>> {
        let digest = digest.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { findings::content(session, &digest).await }))).await
    }

    async fn facet(&self, filter: &Filter, facet: Facet, limit: usize) -> Stored<Vec<(String, u64)>> {
        let filter = filter.clone();
        self.read(Box::new(move |session| Box::pin(async move { counts::facet(session, &filter, facet, limit).await })))
            .await
    }

    async fn facets(&self, asked: &[(Filter, Facet)], limit: usize) -> Stored<Vec<Vec<(String, u64)>>> {
        let asked = asked.to_vec();
        self.read(Box::new(move |session| Box::pin(async move { counts::facets(session, &asked, limit).await }))).await
    }

    async fn cross(&self, filter: &Filter, facets: [Facet; 2], limit: usize) -> Stored<Vec<(String, String, u64)>> {
        let filter = filter.clone();
        self.read(Box::new(move |session| {
            Box::pin(async move { counts::cross(session, &filter, facets, limit).await })
        }))
        .await
    }

    async fn owned(&self, filter: &Filter) -> Stored<Vec<(String, String, u64)>> {
        let filter = filter.clone();
        self.read(Box::new(move |session| Box::pin(async move { counts::owned(session, &filter).await }))).await
    }

    async fn resources(&self, query: &PageQuery<ResourceSort>) -> Stored<Page<ResourceCount>> {
        let query = query.clone();
        self.read(Box::new(move |session| Box::pin(async move { findings::resources(session, &query).await }))).await
    }

    async fn applications(&self, filter: &Filter) -> Stored<Vec<ApplicationCount>> {
        let filter = filter.clone();
        self.read(Box::new(move |session| Box::pin(async move { findings::applications(session, &filter).await })))
            .await
    }

    async fn take_in(&self, batch: &Batch) -> Stored<Taken> {
        let batch = batch.clone();
        self.write(Box::new(move |session| {
            Box::pin(async move { reports::take_in(session, &batch, Timestamp::now()).await })
        }))
        .await
    }

    async fn decisions(&self, query: &PageQuery<TimeSort>) -> Stored<Page<Decision>> {
        let query = query.clone();
        self.read(Box::new(move |session| Box::pin(async move { reports::decisions(session, &query).await }))).await
    }

    async fn decision(&self, uid: &str) -> Stored<Option<Decision>> {
        let uid = uid.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { reports::decision_of(session, &uid).await }))).await
    }

    async fn checks(&self, query: &PageQuery<TimeSort>) -> Stored<Page<Check>> {
        let query = query.clone();
        self.read(Box::new(move |session| Box::pin(async move { reports::checks(session, &query).await }))).await
    }

    async fn check(&self, id: i64) -> Stored<Option<Check>> {
        self.read(Box::new(move |session| Box::pin(async move { reports::check_of(session, id).await }))).await
    }

    async fn audits_until(&self, cluster: &str, time: Timestamp, limit: usize) -> Stored<Vec<Audit>> {
        let cluster = cluster.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { audits::until(session, &cluster, time, limit).await })))
            .await
    }

    async fn note_enforcing(&self, audit: &Audit, enforcing: &[Enforcing]) -> Stored<()> {
        let (audit, enforcing) = (audit.clone(), enforcing.to_vec());
        self.write(Box::new(move |session| Box::pin(async move { enforced::note(session, &audit, &enforcing).await })))
            .await
    }

    async fn enforced_since(&self, cluster: &str, namespace: &str) -> Stored<Vec<EnforcedSince>> {
        let (cluster, namespace) = (cluster.to_owned(), namespace.to_owned());
        self.read(Box::new(move |session| Box::pin(async move { enforced::of(session, &cluster, &namespace).await })))
            .await
    }

    async fn note_presence(&self, cluster: &str, source: &str, since: Timestamp) -> Stored<()> {
        let (cluster, source) = (cluster.to_owned(), source.to_owned());
        self.write(Box::new(move |session| {
            Box::pin(async move { presence::note(session, &cluster, &source, since, Timestamp::now()).await })
        }))
        .await
    }

    async fn presence(&self, cluster: &str, from: Timestamp) -> Stored<Vec<Presence>> {
        let cluster = cluster.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { presence::since(session, &cluster, from).await })))
            .await
    }

    async fn unsynced(&self, cluster: &str, since: Timestamp, limit: usize) -> Stored<Vec<Unsynced>> {
        let cluster = cluster.to_owned();
        self.read(Box::new(move |session| {
            Box::pin(async move { syncs::unsynced(session, &cluster, since, limit).await })
        }))
        .await
    }

    async fn note_syncs(&self, found: Vec<(Unsynced, Option<BroughtBySync>)>) -> Stored<()> {
        self.write(Box::new(move |session| Box::pin(async move { syncs::note(session, &found).await }))).await
    }

    async fn notified(&self, target: &str) -> Stored<BTreeMap<String, Timestamp>> {
        let target = target.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { notified::of_target(session, &target).await }))).await
    }

    async fn set_notified(&self, target: &str, event: &str, through: Timestamp) -> Stored<()> {
        let (target, event) = (target.to_owned(), event.to_owned());
        self.write(Box::new(move |session| {
            Box::pin(async move { notified::put(session, (&target, &event), through).await })
        }))
        .await
    }

    async fn put_mode_change(&self, change: &ModeChanged) -> Stored<()> {
        let change = change.clone();
        self.write(Box::new(move |session| Box::pin(async move { mode_changes::put(session, &change).await }))).await
    }

    async fn mode_changes(&self, query: &PageQuery<TimeSort>) -> Stored<Page<ModeChanged>> {
        let query = query.clone();
        self.read(Box::new(move |session| Box::pin(async move { mode_changes::list(session, &query).await }))).await
    }

    async fn mode_change(&self, id: i64) -> Stored<Option<ModeChanged>> {
        self.read(Box::new(move |session| Box::pin(async move { mode_changes::one(session, id).await }))).await
    }

    async fn put_token(&self, token: &Token) -> Stored<()> {
        let token = token.clone();
        self.write(Box::new(move |session| Box::pin(async move { tokens::put(session, &token).await }))).await
    }

    async fn tokens(&self) -> Stored<Vec<Token>> {
        self.read(Box::new(move |session| Box::pin(async move { tokens::all(session).await }))).await
    }

    async fn token(&self, id: &str) -> Stored<Option<Token>> {
        let id = id.to_owned();
        self.read(Box::new(move |session| Box::pin(async move { tokens::one(session, &id).await }))).await
    }

    async fn revoke(&self, id: &str) -> Stored<bool> {
        let id = id.to_owned();
        self.write(Box::new(move |session| Box::pin(async move { tokens::revoke(session, &id).await }))).await
    }

    async fn take_turn(&self, name: &str, holder: &str, outlived: Option<Turn>) -> Stored<Turn> {
        if let Place::Sqlite(sqlite) = self.place()? {
            return sqlite.take_turn(name, holder);
        }
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(Box::new(move |session| {
            Box::pin(async move { turns::take(session, (&name, &holder), outlived.as_ref()).await })
        }))
        .await
    }

    async fn leave_turn(&self, name: &str, holder: &str) -> Stored<()> {
        if let Place::Sqlite(sqlite) = self.place()? {
            sqlite.leave_turn(name, holder);
            return Ok(());
        }
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(Box::new(move |session| Box::pin(async move { turns::leave(session, (&name, &holder)).await })))
            .await
    }

    async fn prune(&self, retention: Retention) -> Stored<()> {
        let now = Timestamp::now();
        for step in Step::ALL {
            let mut is_more = true;
            while is_more {
                let begun = Instant::now();
                let take: Job<bool> =
                    Box::new(move |session| Box::pin(async move { step.take(session, retention, now).await }));
                is_more = self.write(take).await?;
                tokio::time::sleep(begun.elapsed()).await;
            }
        }
        let mut after = String::new();
        loop {
            let begun = Instant::now();
            let from = std::mem::take(&mut after);
            let look: Job<Vec<String>> =
                Box::new(move |session| Box::pin(async move { prune::unshown(session, &from).await }));
            let unshown = self.read(look).await?;
            let Some(last) = unshown.last() else { return Ok(()) };
            after.clone_from(last);
            self.write(Box::new(move |session| Box::pin(async move { prune::contents(session, unshown).await })))
                .await?;
            tokio::time::sleep(begun.elapsed()).await;
        }
    }

    async fn size(&self) -> Stored<u64> {
        let ask = match self.place()? {
            Place::Sqlite(_) => "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            Place::Postgres(_) => {
                "SELECT CAST(COALESCE(SUM(pg_total_relation_size(oid)), 0) AS BIGINT) FROM pg_class \
                 WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            }
        };
        self.read(Box::new(move |session| Box::pin(async move { counts::one(session, ask).await }))).await
    }

    async fn ping(&self) -> Stored<()> {
        let ask = "SELECT COUNT(*) FROM token";
        self.read(Box::new(move |session| Box::pin(async move { session.rows(ask, Vec::new()).await.map(drop) }))).await
    }
}
