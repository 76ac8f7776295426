//! What is kept of certificates: authorities that are trusted, the one that issues, and the serving certificate.
//!
//! The same texts, by the same names, are files in the data directory and keys of the Secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::x509::{Certificate, Key, Leaf, union};
use crate::webhook::tls::TlsError;

/// Every authority that clients must trust, the newest first.
pub const CA_CERTIFICATE: &str = "ca.crt";
/// Keys of the authorities that may issue, the newest first.
pub const CA_KEY: &str = "ca.key";
/// The serving certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Its key.
pub const KEY: &str = "tls.key";
/// Since when and until when each authority counts.
pub const TRUSTED: &str = "trusted.json";
/// All of them, in the order in which they are written: whoever finds half of it finds nothing that does not fit.
pub const ALL: [&str; 5] = [TRUSTED, CA_KEY, CA_CERTIFICATE, KEY, CERTIFICATE];

/// Texts by their names.
pub type Contents = BTreeMap<&'static str, String>;

/// What is kept, read and found to fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Every authority that clients must trust, the newest first.
    pub authorities: Vec<Authority>,
    /// The serving certificate.
    pub leaf: Option<Leaf>,
}

/// An authority that clients must trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub certificate: Certificate,
    /// Its key, while it may issue.
    pub key: Option<Key>,
    /// From when it may issue; none of one that was put there by hand and is new, or that never issues.
    pub issues_from: Option<Timestamp>,
    /// Until when it is trusted, once another one has taken over.
    pub trusted_until: Option<Timestamp>,
}

impl Authority {
    /// Returns an authority that is trusted and does not issue.
    pub fn trusted(certificate: Certificate) -> Self {
        Self { certificate, key: None, issues_from: None, trusted_until: None }
    }

    /// Returns whether it counts no more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.certificate.ends <= now || self.trusted_until.is_some_and(|until| until <= now)
    }
}

/// Why what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A text that is no certificate or no key.
    #[error("{name} {cause}")]
    Text {
        /// Which.
        name: &'static str,
        /// What is wrong.
        cause: TlsError,
    },
    /// A certificate that may not issue others.
    #[error("ca.crt holds a certificate that is no authority (basicConstraints CA:TRUE)")]
    NoAuthority,
    /// The key of another certificate.
    #[error("ca.key is not the key of the first certificate in ca.crt")]
    OtherKey,
}

/// One entry of [`TRUSTED`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issues_from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusted_until: Option<String>,
    certificate: String,
}

impl Entry {
    fn of(authority: &Authority) -> Self {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let (issues_from, trusted_until) = (text(authority.issues_from), text(authority.trusted_until));
        Self { issues_from, trusted_until, certificate: authority.certificate.pem() }
    }

    /// Reads an entry; none if its certificate is none.
    fn read(self) -> Option<Authority> {
        let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let certificate = Certificate::parse_all(&self.certificate).ok()?.into_iter().next()?;
        let (issues_from, trusted_until) = (time(self.issues_from), time(self.trusted_until));
        Some(Authority { certificate, key: None, issues_from, trusted_until })
    }
}

impl State {
    /// Reads what is kept.
    ///
    /// A serving certificate that cannot be used is left out, for it is ours to issue; an authority that cannot be used
    /// is an error. What `TRUSTED` remembers is trusted also when it was taken out of `ca.crt`: certificates that it
    /// issued may still be served.
    pub fn read(contents: &Contents) -> Result<Self, Broken> {
        let get = |name: &str| contents.get(name).map(String::as_str).filter(|text| !text.trim().is_empty());
        let remembered = get(TRUSTED).map(remembered).unwrap_or_default();
        let mut state = Self { authorities: Vec::new(), leaf: None };
        if let Some(certificates) = get(CA_CERTIFICATE) {
            state.authorities = authorities(certificates, get(CA_KEY), &remembered)?;
        } else if get(CA_KEY).is_some() {
            return Err(Broken::Text { name: CA_CERTIFICATE, cause: TlsError::NoCertificate });
        }
        for authority in remembered {
            state.add(authority);
        }
        state.leaf = get(CERTIFICATE).zip(get(KEY)).and_then(|(chain, key)| Leaf::parse(chain, key).ok());
        Ok(state)
    }

    /// Returns what to keep.
    pub fn contents(&self) -> Contents {
        let mut contents = Contents::from([(CA_CERTIFICATE, self.authorities_pem()), (TRUSTED, self.remembrance())]);
        let keys: String =
            self.authorities.iter().filter_map(|authority| Some(authority.key.as_ref()?.pem())).collect();
        if !keys.is_empty() {
            contents.insert(CA_KEY, keys);
        }
        if let Some(leaf) = &self.leaf {
            contents.insert(CERTIFICATE, leaf.chain_pem.clone());
            contents.insert(KEY, leaf.key.pem().to_owned());
        }
        contents
    }

    /// Returns what clients must trust, as PEM.
    pub fn authorities_pem(&self) -> String {
        union(self.authorities.iter().map(|authority| &authority.certificate))
    }

    /// Trusts one more authority, as the oldest, unless it is there already.
    pub fn add(&mut self, authority: Authority) {
        if self.find(&authority.certificate).is_none() {
            self.authorities.push(authority);
        }
    }

    /// Returns the entry of a certificate.
    pub fn find(&self, certificate: &Certificate) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.certificate == *certificate)
    }

    /// Returns the authority by which clients accept the serving certificate; the newest, if none can be told.
    pub fn issuer(&self, now: Timestamp) -> Option<&Authority> {
        let leaf = self.leaf.as_ref()?;
        let names = leaf.names();
        let accepts = |authority: &&Authority| leaf.is_accepted_by(&authority.certificate, &names, now).is_ok();
        self.authorities.iter().find(accepts).or(self.authorities.first())
    }

    fn remembrance(&self) -> String {
        let entries: Vec<Entry> = self.authorities.iter().map(Entry::of).collect();
        // Texts can always be written.
        serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n"
    }
}

/// Reads [`TRUSTED`]; one that cannot be read remembers nothing, for it must not stand against what `ca.crt` says.
fn remembered(text: &str) -> Vec<Authority> {
    let entries = serde_json::from_str::<Vec<Entry>>(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "trusted.json cannot be read and is written anew");
        Vec::new()
    });
    entries.into_iter().filter_map(Entry::read).collect()
}

fn authorities(pem: &str, keys: Option<&str>, remembered: &[Authority]) -> Result<Vec<Authority>, Broken> {
    let certificates = Certificate::parse_all(pem).map_err(|cause| Broken::Text { name: CA_CERTIFICATE, cause })?;
    if certificates.iter().any(|certificate| !certificate.is_authority) {
        return Err(Broken::NoAuthority);
    }
    let has_keys = keys.is_some();
    let keys = keys.map(Key::parse_all).unwrap_or_default();
    let mut found = State::default();
    for certificate in certificates {
        let known = remembered.iter().find(|known| known.certificate == certificate).cloned();
        let key = keys.iter().find(|key| key.fits(&certificate)).cloned();
        found.add(Authority { key, ..known.unwrap_or_else(|| Authority::trusted(certificate)) });
    }
    let first_has_key = found.authorities.first().is_some_and(|first| first.key.is_some());
    if has_keys && !first_has_key { Err(Broken::OtherKey) } else { Ok(found.authorities) }
}
