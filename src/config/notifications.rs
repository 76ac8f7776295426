//! The section `notifications`: who is told of what, and by which way.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use globset::GlobMatcher;
use http::Uri;
use serde::{Deserialize, Serialize};

use self::template::Template;
use crate::policy::Severity;

pub mod template;
mod written;

pub(super) use self::written::{TargetText, convert};

/// The least time between two messages of one kind, where nothing is said.
const PAUSE: Duration = Duration::from_mins(1);

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Findings that an audit opened.
    Findings,
    /// Requests that admission denied.
    Denials,
    /// Audits that ended.
    Audits,
    /// Parts of Gatepost that fail, and that work again.
    Components,
    /// Exemptions that are about to end, or have ended.
    Exemptions,
    /// Dates from which something is denied that is warned of until then.
    Enforcement,
    /// What is open, once a week, for each owner.
    Digest,
    /// Whether a target is reached; told when somebody asks.
    #[serde(skip_deserializing)]
    Test,
}

impl Event {
    /// Every kind that a target may take.
    pub const ALL: [Self; 7] = [
        Self::Findings,
        Self::Denials,
        Self::Audits,
        Self::Components,
        Self::Exemptions,
        Self::Enforcement,
        Self::Digest,
    ];

    /// What a target takes that names none.
    const USUAL: [Self; 5] = [Self::Findings, Self::Denials, Self::Components, Self::Exemptions, Self::Enforcement];

    /// Returns its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Findings => "findings",
            Self::Denials => "denials",
            Self::Audits => "audits",
            Self::Components => "components",
            Self::Exemptions => "exemptions",
            Self::Enforcement => "enforcement",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which namespaces a target hears of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// All of them, and what is in none.
    #[default]
    All,
    /// Those that ask for it by their annotation.
    Annotated,
}

/// Where a URL or a password stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the configuration.
    Here(String),
    /// In a file, which is read for each delivery.
    File(PathBuf),
}

/// How a connection to a mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MailTls {
    /// It begins in clear and must become TLS before anything is said.
    #[default]
    Starttls,
    /// It is TLS from the start.
    Tls,
    /// It is not: only for a server on this machine or in this network.
    None,
}

/// What mail needs.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub tls: MailTls,
    /// Who signs in, and the file of the password.
    pub sign_in: Option<(String, PathBuf)>,
    /// Who sends.
    pub from: String,
    /// Who is told, where no annotation says otherwise.
    pub to: Vec<String>,
    /// Addresses that an annotation may name.
    pub allow: Vec<GlobMatcher>,
}

/// By which way a target is told.
#[derive(Debug, Clone)]
pub enum Way {
    /// An incoming webhook as Slack has it, and many others.
    Slack {
        /// Where to.
        url: Place,
    },
    /// Any receiver of JSON.
    Webhook {
        /// Where to.
        url: Place,
        /// The file of the secret that signs what is sent.
        secret: Option<PathBuf>,
        /// The file of a bearer token.
        token: Option<PathBuf>,
    },
    /// Prometheus' Alertmanager, API v2.
    Alertmanager {
        /// Its address, without the path of its API.
        url: Place,
        /// The file of a bearer token.
        token: Option<PathBuf>,
    },
    /// Mail.
    Email(Mail),
}

impl Way {
    /// Returns its word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::Webhook { .. } => "webhook",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Email(_) => "email",
        }
    }
}

/// Somebody who is told.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name, by which annotations mean it.
    pub name: String,
    /// By which way.
    pub way: Way,
    /// Authorities in PEM that vouch for it; none: those of the machine.
    pub authorities: Option<PathBuf>,
    /// Of what it is told.
    pub events: BTreeSet<Event>,
    /// The least severity of findings that it is told of.
    pub severity: Severity,
    /// Of which namespaces.
    pub reach: Reach,
    /// The least time between two messages of one kind.
    pub pause: Duration,
    /// The headline that it is sent instead of the usual one.
    pub title: Option<Template>,
    /// The text that it is sent instead of the usual one; to a webhook the whole document.
    pub text: Option<Template>,
    /// What was written, to see whether it changed.
    written: TargetText,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// Returns whether a text can be an address of mail; the server says whether it is one.
pub fn is_address(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !"<>,;:\"()[]\\".contains(c);
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && !host.contains('@') && text.chars().all(is_plain)
    })
}

/// Checks that a text is the URL of a web server, without a name or password in it.
pub fn check_url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "is no URL such as https://hooks.example.com/gatepost".to_owned())?;
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match uri.scheme_str() {
        Some("http" | "https") if !has_user && uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err("is no URL such as https://hooks.example.com/gatepost".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing test is what it is for")]
mod tests;
