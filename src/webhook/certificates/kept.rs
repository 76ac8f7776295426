//! The data directory as the keeper uses it: what cannot be written there is remembered, and holds nothing else up.

use std::path::Path;

use jiff::Timestamp;

use super::CertificateError;
use super::advance::{Plan, advance};
use super::directory::Directory;
use super::own;
use super::state::{CA_CERTIFICATE, CA_KEY, Contents, State};
use super::trust::Published;
use super::x509::Certificate;

/// How much is written into the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Everything: it is kept nowhere else.
    All,
    /// All but the keys of authorities, which are in the Secret.
    WithoutAuthorityKeys,
    /// What clients must trust: nothing else is kept here, or the rest stands there already.
    Authorities,
}

/// The data directory, what it should hold and does not, and since when `ca.crt` has told clients of each authority.
pub struct Kept {
    directory: Directory,
    unwritten: Option<Unwritten>,
    published: Published,
}

/// What could not be written.
struct Unwritten {
    /// What stood there after the last attempt: while that stays, nobody has put anything else there.
    found: Contents,
    /// What should stand there.
    wanted: State,
}

impl Kept {
    /// Makes the directory if it is not there.
    ///
    /// Clients have heard of whoever is in `ca.crt` already, for how long nobody knows.
    pub fn open(path: &Path) -> Result<Self, CertificateError> {
        let directory = Directory::open(path)?;
        let told = directory.read().ok().and_then(|mut there| there.remove(CA_CERTIFICATE)).unwrap_or_default();
        let published = Published::default().holding(&told, Timestamp::UNIX_EPOCH);
        Ok(Self { directory, unwritten: None, published })
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns what should be, given what stands there, and how much of it is to be written.
    pub fn next(
        &self,
        in_force: Option<&State>,
        plan: &Plan<'_>,
        now: Timestamp,
    ) -> Result<(State, Share), CertificateError> {
        let found = self.directory.read()?;
        if let Some(unwritten) = self.unwritten.as_ref().filter(|unwritten| unwritten.found == found) {
            return Ok((advance(&unwritten.wanted, in_force, plan, now)?, Share::All));
        }
        let place = || self.directory.path().display().to_string();
        let (kept, next) = own::next(&found, in_force, plan, place, now)?;
        let share = if kept.as_ref() == Some(&next) { Share::Authorities } else { Share::All };
        Ok((next, share))
    }

    /// Writes what should be; what cannot be written is remembered, and tried again at the next call.
    pub fn write(&mut self, state: &State, share: Share, now: Timestamp) -> Result<(), CertificateError> {
        let authorities = state.authorities_pem();
        let mut contents = state.contents();
        let written = match share {
            Share::All => self.directory.write(&contents),
            Share::WithoutAuthorityKeys => {
                contents.remove(CA_KEY);
                self.directory.write(&contents)
            }
            Share::Authorities => self.directory.write_one(CA_CERTIFICATE, &authorities),
        };
        if written.is_ok() {
            self.unwritten = None;
            self.published = self.published.holding(&authorities, now);
        } else if let Ok(found) = self.directory.read() {
            let told = found.get(CA_CERTIFICATE).map(String::as_str).unwrap_or_default();
            self.published = self.published.holding(told, now);
            self.unwritten = Some(Unwritten { found, wanted: state.clone() });
        }
        written
    }

    /// Returns since when `ca.crt` has held an authority.
    pub fn published_since(&self, authority: &Certificate) -> Option<Timestamp> {
        self.published.since(authority.der())
    }
}
