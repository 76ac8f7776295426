//! Signing in with a provider of OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0,
//! RFC 6749, RFC 7636, RFC 9207).
//!
//! It owns what is between a browser that leaves for the provider and a [`Person`] whose session a cookie names. What a
//! person's groups may see is the configuration's to say, at every request anew ([`crate::config::auth`]). Sessions and
//! sign-ins under way are in memory alone: whoever loses theirs to a restart is sent to the provider once more.

mod id_token;
mod provider;
mod sessions;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing test is what it is for")]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use serde_json::{Map, Value};

use self::provider::Provider;
use crate::config::auth::Oidc;
use crate::scan::random::{self, hashed};

pub use self::id_token::Doubt;
pub use self::sessions::{Person, Sessions, is_session};

/// How long somebody may take at the provider's.
pub const PATIENCE: Duration = Duration::from_mins(10);
/// Sign-ins that may be under way; beyond it the oldest have to begin again.
const UNDER_WAY: u64 = 20_000;
/// Claims that name somebody, where the configuration names none.
const NAMES: [&str; 3] = ["preferred_username", "email", "sub"];
/// Groups of a person that are kept.
const GROUPS: usize = 1_000;

/// Why somebody is not signed in, in words for them; what only an operator can mend is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody signs in this way here.
    #[error("nobody signs in this way here")]
    NotConfigured,
    /// The provider cannot be used.
    #[error("{name} cannot be used now: try again in a moment; Gatepost's log says why")]
    Unusable {
        /// What people call the provider.
        name: String,
    },
    /// What comes back is not what this browser began.
    #[error("this sign-in was begun in another browser, is over already, or took too long: begin again")]
    NotBegun,
    /// The provider says no, by its code.
    #[error("{name} says no ({code})")]
    Refused {
        /// What people call the provider.
        name: String,
        /// The code of RFC 6749 or OpenID Connect.
        code: String,
    },
    /// What the provider says of somebody cannot be trusted.
    #[error("what {name} says of you is not taken: {doubt}")]
    Doubtful {
        /// What people call the provider.
        name: String,
        /// Why.
        doubt: Doubt,
    },
}

/// What a browser needs to leave for the provider.
#[derive(Debug)]
pub struct Begun {
    /// Where it goes.
    pub url: String,
    /// What its cookie holds, by which it is known when it comes back.
    pub browser: String,
}

/// What a browser brings back.
#[derive(Debug, Clone, Default)]
pub struct Back {
    /// What its cookie holds.
    pub browser: String,
    /// The `state` that it was sent away with.
    pub state: String,
    /// The code that stands for somebody.
    pub code: String,
    /// The provider's error, instead of a code.
    pub error: String,
    /// Who sends it back, where the provider says so (RFC 9207).
    pub issuer: Option<String>,
}

/// A sign-in that is under way.
struct Pending {
    browser: [u8; 32],
    provider: Arc<Provider>,
    redirect: String,
    nonce: String,
    verifier: PkceCodeVerifier,
    next: String,
}

/// Signs people in.
pub struct SignIn {
    /// The provider of the configuration that was last asked for.
    provider: Mutex<Option<Arc<Provider>>>,
    pending: Cache<[u8; 32], Arc<Mutex<Option<Pending>>>>,
    /// Who is signed in.
    pub sessions: Sessions,
}

impl Default for SignIn {
    fn default() -> Self {
        let pending =
            Cache::builder().max_capacity(UNDER_WAY).eviction_policy(EvictionPolicy::lru()).time_to_live(PATIENCE);
        Self { provider: Mutex::default(), pending: pending.build(), sessions: Sessions::default() }
    }
}

impl SignIn {
    /// Begins: `redirect` is where the provider sends the browser back to, `next` where it goes on from there, and
    /// `browser` what its cookie already holds, since another of its tabs may have begun, too.
    pub async fn begin(&self, oidc: &Oidc, redirect: &str, next: &str, browser: Option<&str>) -> Result<Begun, Fault> {
        let provider = self.provider(oidc);
        let unusable = |cause: String| provider.unusable(&cause);
        let no_random = || unusable("the system has no random numbers".into());
        let nonce = random::base64::<32>().ok_or_else(no_random)?;
        let browser = match browser.filter(|browser| browser.len() == 43) {
            Some(browser) => browser.to_owned(),
            None => random::base64::<32>().ok_or_else(no_random)?,
        };
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = CsrfToken::new_random_len(32);
        let url = provider.authorization(redirect, &state, &nonce, challenge).await?;
        let pending = Pending {
            browser: hashed(&browser),
            provider,
            redirect: redirect.to_owned(),
            nonce,
            verifier,
            next: next.to_owned(),
        };
        self.pending.insert(hashed(state.secret()), Arc::new(Mutex::new(Some(pending))));
        Ok(Begun { url, browser })
    }

    /// Ends what was begun: returns who somebody is, and where they go on.
    pub async fn finish(&self, back: &Back) -> Result<(Person, String), Fault> {
        let pending = self.take(back).ok_or(Fault::NotBegun)?;
        let Pending { provider, redirect, nonce, verifier, next, .. } = pending;
        let oidc = provider.oidc();
        if back.issuer.as_ref().is_some_and(|issuer| *issuer != oidc.issuer) {
            return Err(provider.doubtful(Doubt::Issuer));
        }
        if !back.error.is_empty() || back.code.is_empty() {
            return Err(provider.refused(&back.error));
        }
        let token = provider.redeem(&redirect, &back.code, verifier).await?;
        let claims = provider.verify(&token, &nonce).await?;
        let person = person(oidc, &claims, Timestamp::now()).ok_or_else(|| provider.doubtful(Doubt::Nameless))?;
        Ok((person, next))
    }

    /// Takes what was begun by a state, once; only the browser that began it takes it.
    fn take(&self, back: &Back) -> Option<Pending> {
        let key = hashed(&back.state);
        let pending = self.pending.get(&key)?;
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_theirs = pending.as_ref().is_some_and(|pending| pending.browser == hashed(&back.browser));
        let taken = if is_theirs { pending.take() } else { None };
        if taken.is_some() {
            self.pending.invalidate(&key);
        }
        taken
    }

    /// Returns the provider of a configuration, with what is known of it.
    fn provider(&self, oidc: &Oidc) -> Arc<Provider> {
        let mut provider = self.provider.lock().unwrap_or_else(PoisonError::into_inner);
        match provider.as_ref().filter(|provider| provider.oidc() == oidc) {
            Some(known) => known.clone(),
            None => provider.insert(Arc::new(Provider::new(oidc.clone()))).clone(),
        }
    }
}

/// Reads who somebody is from the claims of an ID token; none where they have no name.
fn person(oidc: &Oidc, claims: &Map<String, Value>, now: Timestamp) -> Option<Person> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let name = match &oidc.username_claim {
        Some(claim) => text(claim)?,
        None => NAMES.into_iter().find_map(text)?,
    };
    let groups = match claims.get(&oidc.groups_claim) {
        Some(Value::String(group)) => vec![group.clone()],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).take(GROUPS).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let session = SignedDuration::try_from(oidc.session).unwrap_or_default();
    Some(Person {
        // What stands in a name must not steer a terminal or a log.
        name: name.chars().filter(|c| !c.is_control()).take(200).collect(),
        groups,
        says_groups: claims.contains_key(&oidc.groups_claim),
        issuer: oidc.issuer.clone(),
        client: oidc.client_id.clone(),
        ends: now.checked_add(session).unwrap_or(now),
    })
}
