//! The serving certificate and its authority: read from files, or made here and kept in the data directory or, in a
//! cluster, in a Secret that all replicas share.
//!
//! Whatever the source, `ca.crt` in the data directory holds what clients must trust.

mod advance;
mod clients;
mod directory;
mod files;
mod issue;
mod keeper;
mod kept;
mod own;
mod secret;
mod state;
mod takeover;
mod trust;
pub mod x509;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::tls::TlsError;

pub use advance::{Lifetimes, Plan, advance};
pub use clients::ClientAuthorities;
pub use directory::Directory;
pub use files::{Files, inspect};
pub use issue::Name;
pub use keeper::{Keeper, Settings, Source};
pub use own::{in_directory, in_secret};
pub use secret::SecretStore;
pub use state::{Authority, Broken, Contents, State};
pub use trust::Trust;

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file or directory that cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file or directory that cannot be written.
    #[error("{}: cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file that is no certificate, no key, or does not fit its companion.
    #[error("{}: {cause}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: TlsError,
    },
    /// What is kept does not fit together, and what was put there by hand is not overwritten.
    #[error("{place}: {cause}")]
    Broken {
        /// The data directory or the Secret.
        place: String,
        /// What is wrong.
        cause: Broken,
    },
    /// There is nothing to look at.
    #[error("{place}: there are no certificates")]
    Nothing {
        /// The data directory or the Secret.
        place: String,
    },
    /// A name that no certificate can bear.
    #[error("\"{0}\" is neither a DNS name nor an IP address")]
    Name(String),
    /// The certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A certificate that was just made cannot be read.
    #[error("what was made {0}")]
    Made(TlsError),
    /// The authority that somebody gave cannot issue what is needed.
    #[error("the authority in ca.crt cannot issue a serving certificate for all names: what it issues {0}")]
    Unfit(TlsError),
    /// The API server says no.
    #[error(
        "Secret {secret} cannot be used: {code} {message} (verb {verb}; what is needed is get and update on \
         secrets/gatepost-certificates and create on secrets, in that namespace)"
    )]
    Refused {
        /// The verb that was refused.
        verb: &'static str,
        /// Namespace and name.
        secret: String,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        message: String,
    },
    /// The API server does not answer.
    #[error("Secret {secret} is out of reach: {cause}")]
    OutOfReach {
        /// Namespace and name.
        secret: String,
        /// Why.
        cause: String,
    },
}

/// The Services of an installation: the webhook's, and the scanner's, which the webhook knows by its short name.
const SERVICES: [&str; 2] = ["gatepost", "gatepost-scanner"];

/// Returns the names of a serving certificate: this machine's, those of the Services in `namespace`, and the given ones.
pub fn names(namespace: Option<&str>, extra: &[String]) -> Result<Vec<Name>, CertificateError> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if let Some(namespace) = namespace {
        for service in SERVICES {
            names.extend(
                ["svc.cluster.local", "svc", ""]
                    .map(|zone| format!("{service}.{namespace}.{zone}").trim_end_matches('.').to_owned()),
            );
        }
        names.push("gatepost-scanner".to_owned());
    }
    for name in extra {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.iter().map(|name| Name::parse(name)).collect()
}

fn since_1970(second: i64) -> Duration {
    Duration::from_secs(second.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests;
