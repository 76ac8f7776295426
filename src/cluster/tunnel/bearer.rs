//! The token by which Gatepost knows who has a kubeconfig: the kubeconfig's own, or one that is made for an account.

use std::future::ready;
use std::pin::Pin;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::client::middleware::AuthLayer;
use kube::client::{Body, ConfigExt as _};
use kube::{Api, Client, Config};
use tokio::sync::Mutex;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use crate::cluster::identity::AUDIENCE;

/// For how long a token is made; a new one takes its place before.
const VALID: SignedDuration = SignedDuration::from_hours(1);
/// How long before its end a token is not used any more.
const BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum NoBearer {
    /// The kubeconfig proves who somebody is in another way.
    #[error("the kubeconfig's user has no token (a client certificate is none that could be shown to Gatepost)")]
    NoToken,
    /// What makes the kubeconfig's token does not work.
    #[error("the kubeconfig's token cannot be had: {0}")]
    Kubeconfig(String),
    /// The API server makes no token for the account.
    #[error("there is no token for ServiceAccount {name}: {cause}")]
    Account {
        /// The account.
        name: String,
        /// What the API server says.
        cause: Box<kube::Error>,
    },
}

/// Where tokens come from.
pub enum Bearer {
    /// The kubeconfig: a token, a file, or a program that makes one.
    Kubeconfig(Box<AuthLayer>),
    /// The API server, for a ServiceAccount.
    Account {
        /// The account's name.
        name: String,
        /// Where it is.
        accounts: Box<Api<ServiceAccount>>,
        /// The token that was made last, and until when it is used.
        held: Mutex<Option<(HeaderValue, Timestamp)>>,
    },
}

impl Bearer {
    /// Takes the kubeconfig's own.
    pub fn of_kubeconfig(config: &Config) -> Result<Self, NoBearer> {
        let layer = config.auth_layer().map_err(|error| NoBearer::Kubeconfig(error.to_string()))?;
        layer.map(|layer| Self::Kubeconfig(Box::new(layer))).ok_or(NoBearer::NoToken)
    }

    /// Has the API server make tokens for an account, by a name such as `NAMESPACE/NAME`.
    pub fn of_account(client: Client, namespace: &str, account: &str) -> Self {
        let (namespace, name) = account.split_once('/').unwrap_or((namespace, account));
        let accounts = Box::new(Api::namespaced(client, namespace));
        Self::Account { name: name.to_owned(), accounts, held: Mutex::default() }
    }

    /// Returns the header that shows a token which is valid now.
    pub async fn header(&self) -> Result<HeaderValue, NoBearer> {
        match self {
            Self::Kubeconfig(layer) => of_layer(layer).await,
            Self::Account { name, accounts, held } => {
                let mut held = held.lock().await;
                let now = Timestamp::now();
                if let Some((header, _)) = held.as_ref().filter(|(_, until)| now < *until) {
                    return Ok(header.clone());
                }
                let (header, until) = made(accounts, name)
                    .await
                    .map_err(|cause| NoBearer::Account { name: name.clone(), cause: Box::new(cause) })?;
                *held = Some((header.clone(), until));
                Ok(header)
            }
        }
    }
}

/// Has the kubeconfig's own way of authentication sign a request that goes nowhere, and takes its header.
async fn of_layer(layer: &AuthLayer) -> Result<HeaderValue, NoBearer> {
    let shown = layer.layer(service_fn(|request: Request<Body>| {
        let mut answer = Response::new(Body::empty());
        let header = request.headers().get(AUTHORIZATION).cloned();
        answer.headers_mut().extend(header.map(|header| (AUTHORIZATION, header)));
        ready(Ok::<_, BoxError>(answer))
    }));
    // A type that says nothing of the layers: with theirs nobody can tell whether it may go to another thread.
    let shown: Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>> =
        Box::pin(shown.oneshot(Request::new(Body::empty())));
    let mut shown = shown.await.map_err(|error| NoBearer::Kubeconfig(error.to_string()))?;
    let is_bearer =
        |header: &HeaderValue| header.as_bytes().get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer "));
    shown.headers_mut().remove(AUTHORIZATION).filter(is_bearer).ok_or(NoBearer::NoToken)
}

async fn made(accounts: &Api<ServiceAccount>, name: &str) -> kube::Result<(HeaderValue, Timestamp)> {
    let spec = TokenRequestSpec {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        expiration_seconds: Some(VALID.as_secs()),
        ..TokenRequestSpec::default()
    };
    let wanted = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request(name, &PostParams::default(), &wanted).await?;
    let status = made.status.unwrap_or_default();
    // Without an end it is made anew each time.
    let until = status.expiration_timestamp.and_then(|end| end.0.checked_sub(BEFORE).ok()).unwrap_or(Timestamp::MIN);
    let header = HeaderValue::from_str(&format!("Bearer {}", status.token.unwrap_or_default()));
    let mut header = header.map_err(|error| kube::Error::HttpError(error.into()))?;
    header.set_sensitive(true);
    Ok((header, until))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Json, Router};
    use kube::config::{AuthInfo, ExecConfig};
    use serde_json::{Value, json};

    use super::*;

    fn with(auth_info: AuthInfo) -> Config {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info = auth_info;
        config
    }

    #[tokio::test]
    async fn the_kubeconfigs_token_is_shown_wherever_it_comes_from() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of-a-file").unwrap();
        let answer = json!({
            "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "of-a-program"},
        });
        let program: ExecConfig = serde_json::from_value(json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [answer.to_string()],
            "interactiveMode": "Never",
        }))
        .unwrap();
        let path = file.path().display().to_string();
        for (auth_info, expected) in [
            (AuthInfo { token: Some("of-itself".to_owned().into()), ..AuthInfo::default() }, "Bearer of-itself"),
            (AuthInfo { token_file: Some(path), ..AuthInfo::default() }, "Bearer of-a-file"),
            (AuthInfo { exec: Some(program), ..AuthInfo::default() }, "Bearer of-a-program"),
        ] {
            let bearer = Bearer::of_kubeconfig(&with(auth_info)).unwrap();
            assert_eq!(bearer.header().await.unwrap(), expected);
        }
        let password = AuthInfo {
            username: Some("jane".into()),
            password: Some("secret".to_owned().into()),
            ..AuthInfo::default()
        };
        let said = Bearer::of_kubeconfig(&with(password)).unwrap().header().await.unwrap_err();
        assert!(matches!(said, NoBearer::NoToken), "a password is no token: {said}");
        assert!(matches!(Bearer::of_kubeconfig(&with(AuthInfo::default())), Err(NoBearer::NoToken)));
    }

    #[tokio::test]
    async fn tokens_for_an_account_are_for_gatepost_alone_and_made_again_before_they_end() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let router = Router::new().fallback(async move |Json(mut wanted): Json<Value>| {
            assert_eq!(wanted["spec"]["audiences"], json!(["gatepost"]));
            // The first one is about to end.
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            let end = Timestamp::now() + SignedDuration::from_mins(if first { 2 } else { 60 });
            wanted["status"] = json!({"token": "made", "expirationTimestamp": end.to_string()});
            Json(wanted)
        });
        let bearer = Bearer::of_account(Client::new(router, "default"), "gatepost", "people/jane");
        for expected in [1, 2, 2] {
            assert_eq!(bearer.header().await.unwrap(), "Bearer made");
            assert_eq!(asked.load(Ordering::Relaxed), expected);
        }
    }
}
