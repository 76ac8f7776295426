//! A serving certificate in files that somebody else keeps, such as a Secret of cert-manager's that is mounted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::CertificateError;
use super::advance::Plan;
use super::state::{Authority, CA_CERTIFICATE, State};
use super::x509::{Certificate, Leaf};

/// How long to wait for registrations that do not come to hold a new authority.
const PUBLICATION_LIMIT: SignedDuration = SignedDuration::from_mins(1);

/// The two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, the serving certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What stands in the files.
pub struct Given {
    leaf: Leaf,
    authorities: Vec<Certificate>,
}

impl Files {
    /// Reads certificate, key and authority, and checks that they belong together.
    ///
    /// The authority is `ca.crt` beside the certificate if the certificate can be verified by it, else the last
    /// certificate of the chain. In the data directory, `ca.crt` is what was written here and says nothing.
    pub fn read(&self, data_dir: &Path) -> Result<Given, CertificateError> {
        let (chain, key) = (read(&self.certificate)?, read(&self.key)?);
        let invalid = |path: &Path| {
            let path = path.to_owned();
            move |cause| CertificateError::Invalid { path, cause }
        };
        let certificates = Certificate::parse_all(&chain).map_err(invalid(&self.certificate))?;
        let leaf = Leaf::parse(&chain, &key).map_err(invalid(&self.key))?;
        let authorities = authorities(&self.certificate, &leaf, certificates, data_dir)?;
        Ok(Given { leaf, authorities })
    }
}

impl Given {
    /// Returns what should be, given what is in force: a new authority is trusted before what it issued is served.
    pub fn advance(self, in_force: Option<&State>, plan: &Plan<'_>, now: Timestamp) -> State {
        let Self { leaf, authorities } = self;
        let Some(in_force) = in_force else {
            let authorities = authorities.into_iter().map(Authority::trusted).collect();
            return State { authorities, leaf: Some(leaf) };
        };
        let after = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        let issues_from = Some(after(plan.lifetimes.settle()));
        let mut next = State::default();
        for certificate in &authorities {
            let known = in_force.find(certificate).cloned();
            let new = || Authority { issues_from, ..Authority::trusted(certificate.clone()) };
            next.add(Authority { trusted_until: None, ..known.unwrap_or_else(new) });
        }
        let is_known = |authority: &Authority| {
            let from = authority.issues_from.unwrap_or(now);
            let limit = from.saturating_add(PUBLICATION_LIMIT).unwrap_or(from);
            from <= now && ((plan.is_published)(&authority.certificate) || limit <= now)
        };
        let is_served = in_force.leaf.as_ref() == Some(&leaf);
        let is_over = in_force.leaf.as_ref().is_none_or(|served| served.certificate.ends <= now);
        let takes_over = is_served || is_over || next.authorities.iter().all(is_known);
        next.leaf = if takes_over { Some(leaf) } else { in_force.leaf.clone() };
        let until = takes_over.then(|| after(plan.lifetimes.linger()));
        for former in in_force.authorities.iter().filter(|former| !former.is_over(now)) {
            next.add(Authority { trusted_until: former.trusted_until.or(until), ..former.clone() });
        }
        next
    }
}

/// Returns by whom a chain in a file is to be verified.
fn authorities(
    path: &Path,
    leaf: &Leaf,
    chain: Vec<Certificate>,
    data_dir: &Path,
) -> Result<Vec<Certificate>, CertificateError> {
    let beside = path.with_file_name(CA_CERTIFICATE);
    if !is_same(&beside, &data_dir.join(CA_CERTIFICATE)) && beside != path {
        let names = leaf.names();
        let accepts = |authority: &Certificate| leaf.is_accepted_by(authority, &names, leaf.certificate.begins).is_ok();
        let authorities = authorities_beside(&beside)?;
        if authorities.iter().any(accepts) {
            return Ok(authorities);
        }
    }
    Ok(chain.into_iter().next_back().into_iter().collect())
}

/// Reads a chain, without its key, and by whom it is to be verified: to look at it.
pub fn inspect(path: &Path) -> Result<State, CertificateError> {
    let invalid = |cause| CertificateError::Invalid { path: path.to_owned(), cause };
    let chain = read(path)?;
    let leaf = Leaf::without_key(&chain).map_err(invalid)?;
    let certificates = Certificate::parse_all(&chain).map_err(invalid)?;
    let authorities = authorities(path, &leaf, certificates, Path::new(""))?;
    Ok(State { authorities: authorities.into_iter().map(Authority::trusted).collect(), leaf: Some(leaf) })
}

fn authorities_beside(path: &Path) -> Result<Vec<Certificate>, CertificateError> {
    match fs::read_to_string(path) {
        // cert-manager writes an empty one when it does not know the authority.
        Ok(text) if text.trim().is_empty() => Ok(Vec::new()),
        Ok(text) => {
            Certificate::parse_all(&text).map_err(|cause| CertificateError::Invalid { path: path.to_owned(), cause })
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(CertificateError::Read { path: path.to_owned(), cause }),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).ok().zip(fs::canonicalize(other).ok()).is_some_and(|(one, other)| one == other)
}

fn read(path: &Path) -> Result<String, CertificateError> {
    fs::read_to_string(path).map_err(|cause| CertificateError::Read { path: path.to_owned(), cause })
}
