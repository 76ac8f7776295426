//! Opening the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::database::{Database, Place};
use super::observe::{Observer, Unobserved};
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::url::DatabaseUrl;
use super::{Store, StoreError, Stored};

/// The file in the data directory.
const FILE: &str = "gatepost.db";

/// First and longest wait before the store is opened again.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_mins(1);
/// How long to wait where a newer Gatepost has been.
const NEWER: Duration = Duration::from_mins(10);

/// A PostgreSQL database that the store is kept in.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where it is, and who connects.
    pub address: Address,
    /// PEM file of the authorities that vouch for the server; none: those of the machine.
    pub authority: Option<PathBuf>,
}

/// Where a database is said to be.
#[derive(Debug, Clone)]
pub enum Address {
    /// Here.
    Url(DatabaseUrl),
    /// In a file, which is read again for every connection.
    File(PathBuf),
}

/// Opens the store, makes it where there is none, and brings its schema up: in a PostgreSQL database if one is given,
/// else in a file of SQLite in the data directory.
pub async fn open(data_dir: &Path, remote: Option<Remote>) -> Stored<Arc<dyn Store>> {
    open_observed(data_dir, remote, Arc::new(Unobserved)).await
}

/// Opens the store as [`open`] does, and has somebody told how it fares.
pub async fn open_observed(
    data_dir: &Path,
    remote: Option<Remote>,
    observer: Arc<dyn Observer>,
) -> Stored<Arc<dyn Store>> {
    let database = Database::unopened(observer);
    database.open(place(data_dir, remote.as_ref()).await?);
    Ok(Arc::new(database))
}

/// Returns a store that need not be open yet: opening is tried at once, and where it fails again and again, ever later. As
/// long as it is not open it answers with the reason. `told` is told how each try ended.
pub async fn open_or_wait(
    data_dir: &Path,
    remote: Option<Remote>,
    observer: Arc<dyn Observer>,
    told: impl Fn(Result<(), &StoreError>) + Send + Sync + 'static,
) -> Arc<dyn Store> {
    let database = Arc::new(Database::unopened(observer));
    let directory = data_dir.to_owned();
    let Err(mut failure) = try_once(data_dir, remote.clone(), &database, &told).await else { return database };
    let waiting = database.clone();
    tokio::spawn(async move {
        let mut pauses = Pauses::default();
        loop {
            tokio::time::sleep(pauses.after(&failure)).await;
            match try_once(&directory, remote.clone(), &waiting, &told).await {
                Ok(()) => return,
                Err(again) => failure = again,
            }
        }
    });
    database
}

async fn try_once(
    data_dir: &Path,
    remote: Option<Remote>,
    database: &Database,
    told: &impl Fn(Result<(), &StoreError>),
) -> Stored<()> {
    match place(data_dir, remote.as_ref()).await {
        Ok(place) => {
            database.open(place);
            told(Ok(()));
            Ok(())
        }
        Err(failure) => {
            database.note(failure.to_string());
            told(Err(&failure));
            Err(failure)
        }
    }
}

async fn place(data_dir: &Path, remote: Option<&Remote>) -> Stored<Place> {
    Ok(match remote {
        Some(remote) => Place::Postgres(Postgres::open(remote).await?),
        None => Place::Sqlite(Sqlite::open(data_dir.join(FILE)).await?),
    })
}

/// How long to wait before a store is opened again.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    /// Returns 2 seconds at first, twice as long each time, and a minute at most. A schema does not become an older one by
    /// itself.
    fn after(&mut self, failure: &StoreError) -> Duration {
        if matches!(failure, StoreError::Newer { .. }) {
            return NEWER;
        }
        let pause = SHORTEST.saturating_mul(2_u32.saturating_pow(self.0)).min(LONGEST);
        self.0 = self.0.saturating_add(1).min(30);
        pause
    }
}

/// Reads the address of a database from a file.
pub(super) fn read_url(file: &Path) -> Stored<DatabaseUrl> {
    let faulty = |cause: String| StoreError::Failed {
        context: "reading the database's address",
        cause: format!("{}: {cause}", file.display()),
    };
    let text = std::fs::read_to_string(file).map_err(|error| faulty(error.to_string()))?;
    text.parse().map_err(faulty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_opened_again_ever_later_and_rarely_where_the_schema_is_newer() {
        let mut pauses = Pauses::default();
        let failed = StoreError::Failed { context: "opening the store", cause: "no".into() };
        let seconds: Vec<u64> = (0..8).map(|_| pauses.after(&failed).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pauses.after(&StoreError::Newer { found: 9, known: 6 }), NEWER);
    }
}
