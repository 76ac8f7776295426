//! PostgreSQL: a pool of connections, writers that take turns, and readers that each see one picture.

mod connect;
mod session;
mod tls;

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::sync::OnceCell;
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use super::database::Job;
use super::open::Remote;
use super::schema::{self, Dialect};
use super::{StoreError, Stored};
use connect::Connector;
use session::Statements;

/// Connections at a time.
const CONNECTIONS: usize = 8;

/// How long a job waits for a connection.
const WAIT: Duration = Duration::from_secs(30);

/// How long making a connection may take, over all hosts.
const CREATE: Duration = Duration::from_secs(15);

/// How long a connection may take to say that it still works.
const RECYCLE: Duration = Duration::from_secs(5);

/// Writers take turns, in whichever process they are: a change adds to counts and rests on what it has read.
///
/// A writer that is lost on the way must not hold the turn until the server finds out by itself.
const TURN: &str = "SET LOCAL lock_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = '60s'; \
    SELECT pg_advisory_xact_lock(1734439023, 1)";

/// Of several processes that start at once, one brings the schema up and the others find it done.
const SCHEMA_TURN: &str = "SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(1734439023, 2)";

/// A database of a PostgreSQL server.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: Pool,
    is_current: OnceCell<()>,
}

impl Postgres {
    /// Connects, and brings the schema up.
    ///
    /// A server that is away for now keeps nobody from starting: the schema is then brought up by the first job that
    /// finds it back, and until then every job fails.
    pub(super) async fn open(remote: &Remote) -> Stored<Self> {
        let (connector, config) = Connector::new(remote)?;
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let pool = Pool::builder(Manager::from_connect(config, connector, manager))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CREATE))
            .recycle_timeout(Some(RECYCLE))
            .build()
            .map_err(failed("opening the store"))?;
        let postgres = Self { pool, is_current: OnceCell::new() };
        match postgres.bring_up().await {
            Err(error @ StoreError::Away { .. }) => {
                tracing::warn!(%error, "nothing is kept until the database is back");
            }
            brought_up => brought_up?,
        }
        Ok(postgres)
    }

    /// Runs a job that writes, when its turn comes.
    pub(super) async fn write<T: Send + 'static>(&self, job: Job<T>) -> Stored<T> {
        self.bring_up().await?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed("beginning a transaction"))?;
        transaction.batch_execute(TURN).await.map_err(failed("waiting to write"))?;
        let answer = job(&mut Statements(&transaction)).await?;
        transaction.commit().await.map_err(failed("ending a transaction"))?;
        Ok(answer)
    }

    /// Runs a job that only reads, on one picture of the store.
    pub(super) async fn read<T: Send + 'static>(&self, job: Job<T>) -> Stored<T> {
        self.bring_up().await?;
        let mut client = self.client().await?;
        let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let transaction = transaction.start().await.map_err(failed("beginning a transaction"))?;
        let answer = job(&mut Statements(&transaction)).await?;
        transaction.commit().await.map_err(failed("ending a transaction"))?;
        Ok(answer)
    }

    async fn client(&self) -> Stored<Client> {
        self.pool.get().await.map_err(unconnected)
    }

    /// Brings the schema up, where that was not done yet.
    async fn bring_up(&self) -> Stored<()> {
        self.is_current.get_or_try_init(|| self.migrate()).await.copied()
    }

    async fn migrate(&self) -> Stored<()> {
        let mut holder = self.client().await?;
        let turn = holder.transaction().await.map_err(failed("beginning a transaction"))?;
        turn.batch_execute(SCHEMA_TURN).await.map_err(failed("waiting to bring the schema up"))?;
        let mut client = self.client().await?;
        let runner = schema::runner(Dialect::Postgres)?;
        runner.run_async(&mut **client).await.map_err(schema::failed)?;
        turn.rollback().await.map_err(failed("ending a transaction"))
    }
}

/// Says why there is no connection: the server is away for now, or does not want us.
#[expect(clippy::needless_pass_by_value, reason = "goes into map_err")]
fn unconnected(error: PoolError) -> StoreError {
    match &error {
        PoolError::Backend(error) if is_away(error) => StoreError::Away { cause: chain(error) },
        PoolError::Backend(error) => StoreError::Failed { context: "connecting to the database", cause: chain(error) },
        other => StoreError::Away { cause: chain(other) },
    }
}

/// Returns whether trying again later may help.
fn is_away(error: &tokio_postgres::Error) -> bool {
    let waits = [
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
    ];
    match error.code() {
        Some(code) => waits.contains(code),
        // What rustls has against the other side comes as an I/O error around its own.
        None => causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| error.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>())),
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns everything that an error says: the first line alone is "db error".
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            // Writing to a String does not fail.
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

fn failed<E: Error + 'static>(context: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError::Failed { context, cause: chain(&error) }
}
