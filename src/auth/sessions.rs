//! Who is signed in: random names that browsers show, of which only the hash is kept.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::scan::random::{self, hashed};

/// What every session's name begins with, so that it is not taken for a token.
const PREFIX: &str = "gs_";
/// Sessions at a time; beyond it those that were used longest ago end.
const AT_A_TIME: u64 = 20_000;
/// Groups that are told to somebody who sees nothing.
const TOLD: usize = 10;
/// No session is longer.
const LONGEST: Duration = Duration::from_hours(24);

/// Somebody who has signed in, as the provider told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// Whether the provider said anything of groups.
    pub says_groups: bool,
    /// Who says so.
    pub issuer: String,
    /// To which client.
    pub client: String,
    /// Until when that holds.
    pub ends: Timestamp,
}

impl Person {
    /// Says that none of their groups may see anything, and what would mend it.
    pub fn sees_nothing(&self) -> String {
        let Self { name, groups, .. } = self;
        let ask = "ask whoever runs Gatepost to name one of your groups in auth.groups";
        match groups.as_slice() {
            [] if self.says_groups => format!("you are {name}, and in no group; {ask}"),
            [] => format!(
                "you are {name}, and the provider says nothing of your groups: it must put them into the ID token, as the \
                 claim that auth.oidc.groupsClaim names"
            ),
            groups => {
                let told: Vec<&str> = groups.iter().take(TOLD).map(String::as_str).collect();
                let more = groups.len().saturating_sub(TOLD);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                format!(
                    "you are {name}, and none of your groups ({}{more}) may see anything here; {ask}",
                    told.join(", ")
                )
            }
        }
    }
}

/// Who is signed in.
pub struct Sessions(Cache<[u8; 32], Arc<Person>>);

impl Default for Sessions {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(AT_A_TIME).eviction_policy(EvictionPolicy::lru());
        Self(cache.time_to_live(LONGEST).build())
    }
}

impl Sessions {
    /// Begins a session, and returns what its browser shows; none where the system has no random numbers.
    pub fn begin(&self, person: Person) -> Option<String> {
        let name = format!("{PREFIX}{}", random::base64::<32>()?);
        self.0.insert(hashed(&name), Arc::new(person));
        Some(name)
    }

    /// Returns whose session it is, as long as it lasts.
    pub fn person(&self, name: &str, now: Timestamp) -> Option<Arc<Person>> {
        self.0.get(&hashed(name)).filter(|person| now < person.ends)
    }

    /// Ends a session.
    pub fn end(&self, name: &str) {
        self.0.invalidate(&hashed(name));
    }
}

/// Returns whether what somebody shows is a session's name, and no token.
pub fn is_session(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}
