//! Opening the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database::{Database, Place};
use super::observe::{Observer, Unobserved};
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::url::DatabaseUrl;
use super::{Store, StoreError, Stored};

/// The file in the data directory.
const FILE: &str = "gatepost.db";

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
    let place = match remote {
        Some(remote) => Place::Postgres(Postgres::open(&remote).await?),
        None => Place::Sqlite(Sqlite::open(data_dir.join(FILE)).await?),
    };
    Ok(Arc::new(Database { place, observer }))
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
