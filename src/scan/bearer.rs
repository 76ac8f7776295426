//! Who shows a token: one of our own, or one that the cluster vouches for.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use moka::sync::Cache;

use super::access::{Caller, Scope};
use super::problem::Problem;
use super::rate::Rates;
use super::{random, tokens};
use crate::cluster::identity::Identities;
use crate::policy::Requester;
use crate::store::Store;

/// For how long what the cluster said of a token holds.
const HOLDS: Duration = Duration::from_mins(1);
/// Tokens that are remembered.
const REMEMBERED: u64 = 1_000;
/// Tokens a second that the cluster is asked about, and twice as many at once: whoever makes tokens up would have us
/// load the API server otherwise.
const ASKED: u32 = 50;
/// Questions about namespaces that are on their way at a time.
const AT_A_TIME: usize = 16;

/// The right to read, the one that is asked about for each namespace too: verb and resource in the group `gatepost.dev`.
const READ: (&str, &str) = ("get", "findings");
/// Rights of the cluster's roles that stand for scopes.
const RIGHTS: [(Scope, &str, &str); 4] = [
    (Scope::Read, READ.0, READ.1),
    (Scope::Report, "create", "reports"),
    (Scope::Write, "create", "audits"),
    (Scope::Admin, "*", "*"),
];

/// Tells who shows a token.
pub struct Bearers {
    store: Option<Arc<dyn Store>>,
    cluster: Option<Identities>,
    remembered: Cache<[u8; 32], Option<Caller>>,
    asked: Rates,
}

impl Bearers {
    /// Builds it: our own tokens are in the store, the cluster is asked about all others.
    pub fn new(store: Option<Arc<dyn Store>>, cluster: Option<Identities>) -> Self {
        let remembered = Cache::builder().max_capacity(REMEMBERED).time_to_live(HOLDS).build();
        Self { store, cluster, remembered, asked: Rates::new(ASKED) }
    }

    /// Returns who shows a token; `audiences` are those for which a token of the cluster is taken beside our own,
    /// `namespaces` those whose readers the cluster is asked about one by one.
    pub async fn caller(
        &self,
        token: &str,
        audiences: &[String],
        namespaces: impl FnOnce() -> BTreeSet<String>,
    ) -> Result<Caller, Problem> {
        let unknown = || Problem::unauthorized(tokens::NotTaken::Unknown.to_string());
        if let Some(id) = tokens::id_of(token) {
            let store = self.store.as_ref().ok_or_else(unknown)?;
            let kept = store.token(id).await?;
            let bearer = tokens::bearer(kept.as_ref(), token, Timestamp::now());
            return bearer.map_err(|error| Problem::unauthorized(error.to_string()));
        }
        let cluster = self.cluster.as_ref().ok_or_else(unknown)?;
        let key = random::hashed(token);
        if let Some(known) = self.remembered.get(&key) {
            return known.ok_or_else(unknown);
        }
        self.asked.take("", Instant::now()).map_err(Problem::too_many_unknown)?;
        let asked = match cluster.of_token(token, audiences).await.map_err(unanswered)? {
            Some(requester) => Some(caller_of(cluster, &requester, namespaces()).await.map_err(unanswered)?),
            None => None,
        };
        self.remembered.insert(key, asked.clone());
        asked.ok_or_else(unknown)
    }
}

/// Returns what the cluster's roles let somebody.
async fn caller_of(cluster: &Identities, requester: &Requester, namespaces: BTreeSet<String>) -> kube::Result<Caller> {
    let mut scopes = Vec::new();
    for (scope, verb, resource) in RIGHTS {
        if cluster.may(requester, verb, resource, None).await? {
            scopes.push(scope);
        }
    }
    let name = requester.user.clone();
    if scopes.iter().any(|scope| scope.includes(Scope::Read)) {
        return Ok(Caller::new(name, scopes, &[]));
    }
    let ask = |namespace: String| async move {
        let may = cluster.may(requester, READ.0, READ.1, Some(&namespace)).await?;
        Ok::<_, kube::Error>(may.then_some(namespace))
    };
    let asked: Vec<_> = stream::iter(namespaces).map(ask).buffer_unordered(AT_A_TIME).collect().await;
    let readable: Vec<String> = asked.into_iter().filter_map(Result::transpose).collect::<kube::Result<_>>()?;
    if readable.is_empty() {
        return Ok(Caller::new(name, scopes, &[]));
    }
    scopes.push(Scope::Read);
    Ok(Caller::new(name, scopes, &readable))
}

fn unanswered(error: impl Display) -> Problem {
    tracing::warn!(%error, "the API server could not be asked about a token");
    Problem::unavailable("the API server could not be asked about the token; Gatepost's log says why")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response, StatusCode};
    use axum::response::IntoResponse as _;
    use http_body_util::Full;
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn the_api_server_is_not_asked_about_any_number_of_tokens() {
        let reviews = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reviews);
        let answer = move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {},
                "status": {"authenticated": false}});
            async move { Ok::<_, Infallible>(Response::new(Full::from(review.to_string().into_bytes()))) }
        };
        let client = kube::Client::new(service_fn(answer), "default");
        let bearers = Bearers::new(None, Some(Identities::new(client)));
        let ask = async |token: &str| {
            let problem = bearers.caller(token, &[], BTreeSet::new).await.unwrap_err();
            problem.into_response().status()
        };
        let mut refused = 0;
        for number in 0..1000 {
            refused += usize::from(ask(&format!("made-up-{number}")).await == StatusCode::TOO_MANY_REQUESTS);
        }
        assert!(refused > 800, "{refused}");
        assert_eq!(reviews.load(Ordering::Relaxed), 1000 - refused);
        assert_eq!(ask("made-up-0").await, StatusCode::UNAUTHORIZED, "what is known needs no question");
    }
}
