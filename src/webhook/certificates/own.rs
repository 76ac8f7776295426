//! From what is kept to what should be, also when what is kept cannot be used.

use jiff::Timestamp;

use super::CertificateError;
use super::advance::{Plan, advance, is_urgent};
use super::directory::Directory;
use super::secret::{SecretStore, Written};
use super::state::{CA_CERTIFICATE, CA_KEY, Contents, State};

/// Brings the data directory up to date, and returns what it holds then.
pub fn in_directory(
    directory: &Directory,
    in_force: Option<&State>,
    plan: &Plan<'_>,
    now: Timestamp,
) -> Result<State, CertificateError> {
    let place = || directory.path().display().to_string();
    let (kept, next) = next(&directory.read()?, in_force, plan, place, now)?;
    if kept.as_ref() != Some(&next) {
        directory.write(&next.contents())?;
    }
    Ok(next)
}

/// Brings the Secret up to date, and returns what it holds then.
pub async fn in_secret(secret: &SecretStore, plan: &Plan<'_>, now: Timestamp) -> Result<State, CertificateError> {
    loop {
        let found = secret.read().await?;
        let contents = found.contents.clone().unwrap_or_default();
        let (kept, next) = next(&contents, None, plan, || secret.place(), now)?;
        if kept.as_ref() == Some(&next) || secret.write(found, &next.contents()).await? == Written::Done {
            return Ok(next);
        }
    }
}

/// Returns what is kept, if it can be used, and what should be.
///
/// An authority that cannot be used is an error as long as there is another one in force that lasts: somebody may be
/// about to replace it by hand. After that, and at a start, it is made anew.
pub fn next(
    contents: &Contents,
    in_force: Option<&State>,
    plan: &Plan<'_>,
    place: impl Fn() -> String,
    now: Timestamp,
) -> Result<(Option<State>, State), CertificateError> {
    let broken = match State::read(contents) {
        Ok(kept) => {
            let next = advance(&kept, in_force, plan, now)?;
            return Ok((Some(kept), next));
        }
        Err(cause) => CertificateError::Broken { place: place(), cause },
    };
    let lasts = in_force.and_then(|state| state.leaf.as_ref()).is_some_and(|leaf| !is_urgent(leaf, now));
    if lasts {
        return Err(broken);
    }
    tracing::error!(error = %broken, "what is kept cannot be used and is made anew");
    let mut remembered = contents.clone();
    remembered.retain(|name, _| ![CA_CERTIFICATE, CA_KEY].contains(name));
    let kept = State::read(&remembered).unwrap_or_default();
    Ok((None, advance(&kept, in_force, plan, now)?))
}
