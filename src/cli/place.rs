//! Where the store of a `gatepost serve` is, for commands that open it themselves.

use std::path::PathBuf;
use std::sync::Arc;

use super::UsageError;
use crate::config::Secret;
use crate::store::open::{Address, Remote};
use crate::store::{self, Store};

/// Arguments that name the store; as variables they are those of `gatepost serve`, so that in its Pod none is needed.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// Data directory of the `gatepost serve` that is meant
    #[arg(long, value_name = "DIR", env = "GATEPOST_DATA_DIR", default_value = "gatepost-data")]
    data_dir: PathBuf,
    /// Its PostgreSQL database, if it has one
    #[arg(long, value_name = "URL", env = "GATEPOST_DATABASE_URL", hide_env_values = true)]
    database_url: Option<Secret>,
    /// File that holds the URL of --database-url
    #[arg(long, value_name = "FILE", env = "GATEPOST_DATABASE_URL_FILE", conflicts_with = "database_url")]
    database_url_file: Option<PathBuf>,
    /// Authorities in PEM that vouch for the database's server
    #[arg(long, value_name = "FILE", env = "GATEPOST_DATABASE_CA")]
    database_ca: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store.
    pub async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        let url = self.database_url.as_ref().map(|url| url.expose().parse().map(Address::Url)).transpose();
        let url = url.map_err(|fault: String| UsageError(format!("--database-url {fault}")))?;
        let address = url.or_else(|| self.database_url_file.clone().map(Address::File));
        let remote = address.map(|address| Remote { address, authority: self.database_ca.clone() });
        Ok(store::open(&self.data_dir, remote).await?)
    }
}
