//! Opening the store.

use std::path::Path;
use std::sync::Arc;

use super::database::Database;
use super::sqlite::Sqlite;
use super::{Store, StoreError, Stored};

/// The file in the data directory.
const FILE: &str = "gatepost.db";

/// Opens the store, makes it where there is none, and brings its schema up: SQLite in the data directory.
///
/// An URL of another database is refused until there is one to speak to.
pub async fn open(data_dir: &Path, database_url: Option<&str>) -> Stored<Arc<dyn Store>> {
    if database_url.is_some() {
        return Err(StoreError::Failed {
            context: "opening the store",
            cause: "only SQLite in the data directory is there yet: leave the database's URL out".into(),
        });
    }
    Ok(Arc::new(Database::Sqlite(Sqlite::open(data_dir.join(FILE)).await?)))
}
