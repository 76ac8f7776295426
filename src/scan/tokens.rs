//! Tokens for the API: made once, shown once, and kept as a hash.
//!
//! A token reads `gp_ID_SECRET`. The id finds it again and is no secret; what is kept is the SHA-256 of the whole, which
//! needs no salt, because the secret is 32 random bytes.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::access::{Caller, Scope};
use super::random;
use crate::store::Token;

const PREFIX: &str = "gp_";

/// What a token is to be good for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is for.
    pub label: String,
    /// What its bearer may.
    pub scopes: Vec<Scope>,
    /// Globs of the namespaces that it may see; none: all.
    pub namespaces: Vec<String>,
    /// When it ends; never if not given.
    pub expires: Option<Timestamp>,
}

/// A token that was made, with what its bearer shows; that is never to be had again.
#[derive(Debug, Clone)]
pub struct Made {
    /// What is kept.
    pub token: Token,
    /// What its bearer shows.
    pub secret: String,
}

/// Makes a token; none where the system has no random numbers.
pub fn make(wanted: Wanted, now: Timestamp) -> Option<Made> {
    let id = HEXLOWER.encode(&random::bytes::<6>()?);
    let secret = format!("{PREFIX}{id}_{}", random::base64::<32>()?);
    let token = Token {
        id,
        label: wanted.label,
        hash: hash(&secret),
        scopes: wanted.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        namespaces: wanted.namespaces,
        created: now,
        expires: wanted.expires,
    };
    Some(Made { token, secret })
}

/// Returns the id of what may be a token of ours; others are asked elsewhere.
pub fn id_of(shown: &str) -> Option<&str> {
    let (id, secret) = shown.strip_prefix(PREFIX)?.split_once('_')?;
    (!id.is_empty() && !secret.is_empty()).then_some(id)
}

/// Why somebody is not the bearer of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is another one, or was revoked.
    #[error("the token is not one of this Gatepost's")]
    Unknown,
    /// Its time is over.
    #[error("the token ended at {0}: make another one with gatepost tokens create")]
    Ended(Timestamp),
}

/// Returns who shows a token, given what is kept under its id.
pub fn bearer(kept: Option<&Token>, shown: &str, now: Timestamp) -> Result<Caller, NotTaken> {
    // What differs in time is a comparison of hashes, from which nobody learns the secret.
    let token = kept.filter(|token| token.hash == hash(shown)).ok_or(NotTaken::Unknown)?;
    if let Some(end) = token.expires.filter(|end| *end <= now) {
        return Err(NotTaken::Ended(end));
    }
    // A scope that this version does not know gives nothing.
    let scopes = token.scopes.iter().filter_map(|scope| scope.parse().ok()).collect();
    Ok(Caller::new(token.id.clone(), scopes, &token.namespaces))
}

fn hash(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn wanted(expires: Option<Timestamp>) -> Wanted {
        Wanted { label: "ci".into(), scopes: vec![Scope::Report], namespaces: vec!["shop".into()], expires }
    }

    #[test]
    fn whoever_shows_a_token_is_its_bearer_until_it_ends() {
        let (made_at, end) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        let Made { token, secret } = make(wanted(Some(end)), made_at).unwrap();
        assert_eq!(id_of(&secret), Some(&*token.id));
        assert!(!format!("{token:?}").contains(&secret), "what is kept holds no secret");
        let caller = bearer(Some(&token), &secret, made_at).unwrap();
        assert_eq!(caller.name, token.id);
        assert!(caller.may(Scope::Report) && !caller.may(Scope::Read));
        assert!(caller.sees("shop") && !caller.sees("other"));
        assert_eq!(bearer(Some(&token), &secret, end).err(), Some(NotTaken::Ended(end)));
    }

    #[test]
    fn nobody_else_is() {
        let now = at("2026-11-01T00:00:00Z");
        let made = make(wanted(None), now).unwrap();
        let other = make(wanted(None), now).unwrap();
        assert_ne!(made.secret, other.secret);
        for shown in [&*other.secret, &format!("{}x", made.secret), &format!("gp_{}_", made.token.id)] {
            assert_eq!(bearer(Some(&made.token), shown, now).err(), Some(NotTaken::Unknown), "{shown}");
        }
        assert_eq!(bearer(None, &made.secret, now).err(), Some(NotTaken::Unknown), "revoked");
    }

    #[test]
    fn other_peoples_tokens_have_no_id() {
        for shown in ["", "gp_", "gp_a", "gp_a_", "gp__b", "eyJhbGciOi.eyJpc3MiOi.c2ln", "a_b"] {
            assert_eq!(id_of(shown), None, "{shown}");
        }
    }
}
