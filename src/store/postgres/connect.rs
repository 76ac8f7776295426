//! Connecting: with the address as it is now, for passwords change while a process lives.

use std::path::PathBuf;
use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::store::Stored;
use crate::store::open::{Address, Remote, read_url};
use crate::store::url::Encryption;

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

/// Makes connections.
pub(super) struct Connector {
    /// The file that the address is read from again for each of them.
    file: Option<PathBuf>,
    encryption: Encryption,
    tls: MakeRustlsConnect,
}

impl Connector {
    /// Reads what there is to read; returns the address beside it.
    pub(super) fn new(remote: &Remote) -> Stored<(Self, Config)> {
        let (url, file) = match &remote.address {
            Address::Url(url) => (url.clone(), None),
            Address::File(file) => (read_url(file)?, Some(file.clone())),
        };
        let authority = remote.authority.as_deref();
        let encryption = tls::encryption(&url, authority)?;
        let tls = tls::connector(encryption, authority)?;
        Ok((Self { file, encryption, tls }, url.config(encryption)))
    }
}

impl Connect for Connector {
    fn connect(&self, at_start: &Config) -> Connecting<'_> {
        let at_start = at_start.clone();
        Box::pin(async move {
            let config = match self.file.as_deref().map(read_url) {
                Some(Ok(url)) => url.config(self.encryption),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the database's address cannot be read again, the one of the start is used");
                    at_start
                }
                None => at_start,
            };
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let driven = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    let cause = super::chain(&error);
                    tracing::warn!(cause, "a connection to the database broke");
                }
            });
            Ok((client, driven))
        })
    }
}
