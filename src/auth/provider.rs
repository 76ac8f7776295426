//! The provider: what it says of itself (OpenID Connect Discovery 1.0), its keys (RFC 7517), and codes that it redeems.

use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use jsonwebtoken::jwk::Jwk;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Fault;
use super::id_token::{self, Doubt, Expected};
use crate::config::auth::{Oidc, is_private};
use crate::scan::client;

/// The path of the document by which a provider describes itself.
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 1 << 20;
/// For how long holds what a provider says of itself, and its keys.
const HOLDS: Duration = Duration::from_hours(1);
/// How long nothing is asked again after it failed, and keys are not read again because one is not among them.
const PAUSE: Duration = Duration::from_secs(10);

/// What a provider says of itself, as far as it is needed.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

/// The member of a token response that OpenID Connect adds.
#[derive(Debug, Serialize, Deserialize)]
struct IdToken {
    #[serde(default)]
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type OAuth = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Something that was read, and when; or when it could not be read.
enum Known<T> {
    Never,
    Since(Instant, Arc<T>),
    FailedAt(Instant),
}

impl<T> Known<T> {
    fn fresh(&self, holds: Duration) -> Option<Arc<T>> {
        match self {
            Self::Since(since, known) if since.elapsed() < holds => Some(known.clone()),
            _ => None,
        }
    }

    fn is_paused(&self) -> bool {
        matches!(self, Self::FailedAt(at) if at.elapsed() < PAUSE)
    }
}

/// One provider, with what is known of it.
pub(super) struct Provider {
    oidc: Oidc,
    /// Whoever asks waits for whoever asked first.
    metadata: Mutex<Known<Metadata>>,
    keys: Mutex<Known<Vec<Jwk>>>,
}

impl Provider {
    pub(super) fn new(oidc: Oidc) -> Self {
        Self { oidc, metadata: Mutex::new(Known::Never), keys: Mutex::new(Known::Never) }
    }

    pub(super) const fn oidc(&self) -> &Oidc {
        &self.oidc
    }

    /// Says in the log why the provider cannot be used, and to people that it cannot.
    pub(super) fn unusable(&self, cause: &str) -> Fault {
        tracing::warn!(issuer = self.oidc.issuer, cause, "the OIDC provider cannot be used");
        Fault::Unusable { name: self.oidc.name.clone() }
    }

    /// Says why somebody's token is not taken.
    pub(super) fn doubtful(&self, doubt: Doubt) -> Fault {
        tracing::warn!(issuer = self.oidc.issuer, %doubt, "an ID token is not taken");
        Fault::Doubtful { name: self.oidc.name.clone(), doubt }
    }

    /// Says the provider's own no; a code is told where it can be one, and nothing else that came by an address.
    pub(super) fn refused(&self, code: &str) -> Fault {
        let is_code = !code.is_empty() && code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let code = if is_code { code } else { "without a reason" };
        tracing::warn!(issuer = self.oidc.issuer, code, "the OIDC provider refused a sign-in");
        Fault::Refused { name: self.oidc.name.clone(), code: code.to_owned() }
    }

    /// Returns the address where somebody says who they are.
    pub(super) async fn authorization(
        &self,
        redirect: &str,
        state: &CsrfToken,
        nonce: &str,
        challenge: PkceCodeChallenge,
    ) -> Result<String, Fault> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata, redirect)?;
        let request = client.authorize_url(|| CsrfToken::new(state.secret().clone()));
        let request = request.add_scopes(self.oidc.scopes.iter().cloned().map(Scope::new));
        let (url, _) = request.add_extra_param("nonce", nonce).set_pkce_challenge(challenge).url();
        Ok(url.to_string())
    }

    /// Returns the ID token that a code stands for.
    pub(super) async fn redeem(&self, redirect: &str, code: &str, verifier: PkceCodeVerifier) -> Result<String, Fault> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata, redirect)?;
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned())).set_pkce_verifier(verifier);
        let answer = request.request_async(self).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(said) => {
                let code = said.error().as_ref().to_owned();
                tracing::warn!(code, described = said.error_description(), "the OIDC provider redeems no code");
                self.refused(&code)
            }
            RequestTokenError::Request(cause) => self.unusable(&cause.0),
            // The rest holds the answer, which may hold tokens.
            RequestTokenError::Parse(..) => self.unusable("its token endpoint's answer cannot be read"),
            RequestTokenError::Other(cause) => self.unusable(&cause),
        })?;
        let token = answer.extra_fields().id_token.clone();
        token.ok_or_else(|| self.unusable("its token endpoint gives no id_token"))
    }

    /// Returns the claims of an ID token that was made for a sign-in.
    pub(super) async fn verify(&self, token: &str, nonce: &str) -> Result<Map<String, Value>, Fault> {
        let expected = Expected { issuer: &self.oidc.issuer, client_id: &self.oidc.client_id, nonce };
        let mut verified = id_token::verify(token, &self.keys(HOLDS).await?, expected);
        // Keys take turns, and a new one signs before an hour is over.
        if matches!(verified, Err(Doubt::UnknownKey | Doubt::Signature)) {
            verified = id_token::verify(token, &self.keys(PAUSE).await?, expected);
        }
        verified.map_err(|doubt| self.doubtful(doubt))
    }

    fn client(&self, metadata: &Metadata, redirect: &str) -> Result<OAuth, Fault> {
        let url = |cause: oauth2::url::ParseError| self.unusable(&format!("an address of it is none: {cause}"));
        let client = Client::new(ClientId::new(self.oidc.client_id.clone()))
            .set_auth_uri(AuthUrl::new(metadata.authorization_endpoint.clone()).map_err(url)?)
            .set_token_uri(TokenUrl::new(metadata.token_endpoint.clone()).map_err(url)?)
            .set_redirect_uri(RedirectUrl::new(redirect.to_owned()).map_err(url)?);
        let Some(file) = &self.oidc.client_secret_file else { return Ok(client) };
        let secret = secret(file).map_err(|cause| self.unusable(&cause))?;
        // Nothing said means client_secret_basic (OpenID Connect Discovery 1.0, 3).
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let takes_basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let way = if takes_basic { AuthType::BasicAuth } else { AuthType::RequestBody };
        Ok(client.set_client_secret(ClientSecret::new(secret)).set_auth_type(way))
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, Fault> {
        let mut known = self.metadata.lock().await;
        if let Some(metadata) = known.fresh(HOLDS) {
            return Ok(metadata);
        }
        if known.is_paused() {
            return Err(Fault::Unusable { name: self.oidc.name.clone() });
        }
        let url = format!("{}{DISCOVERY}", self.oidc.issuer.trim_end_matches('/'));
        let read = self.read::<Metadata>(&url).await.and_then(|metadata| self.check(metadata));
        match read {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Known::Since(Instant::now(), metadata.clone());
                Ok(metadata)
            }
            Err(cause) => {
                *known = Known::FailedAt(Instant::now());
                Err(self.unusable(&cause))
            }
        }
    }

    /// Checks that the document is the issuer's own, and that what it names can be trusted as much.
    fn check(&self, metadata: Metadata) -> Result<Metadata, String> {
        if metadata.issuer != self.oidc.issuer {
            let (said, wanted) = (&metadata.issuer, &self.oidc.issuer);
            return Err(format!("it calls itself \"{said}\", and auth.oidc.issuer is \"{wanted}\""));
        }
        for url in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            if !url.parse::<Uri>().is_ok_and(|uri| is_private(&uri)) {
                return Err(format!("\"{url}\" is no https address"));
            }
        }
        Ok(metadata)
    }

    /// Returns the keys; read again when they are older.
    async fn keys(&self, holds: Duration) -> Result<Arc<Vec<Jwk>>, Fault> {
        let url = self.metadata().await?.jwks_uri.clone();
        let mut known = self.keys.lock().await;
        if let Some(keys) = known.fresh(holds) {
            return Ok(keys);
        }
        if known.is_paused() {
            return Err(Fault::Unusable { name: self.oidc.name.clone() });
        }
        match self.read::<Keys>(&url).await {
            Ok(Keys { keys }) => {
                // One key that nobody here understands must not hide the others.
                let keys: Vec<Jwk> = keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
                let keys = Arc::new(keys);
                *known = Known::Since(Instant::now(), keys.clone());
                Ok(keys)
            }
            Err(cause) => {
                *known = Known::FailedAt(Instant::now());
                Err(self.unusable(&cause))
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let request = Request::get(url).header(ACCEPT, HeaderValue::from_static("application/json"));
        let request = request.body(Vec::new()).map_err(|error| error.to_string())?;
        let answer = self.exchange(request).await.map_err(|NotExchanged(cause)| cause)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{url}: {}", answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|error| format!("{url}: {error}"))
    }

    /// Sends one request; redirects are not followed, for they could lead a code or a secret elsewhere.
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, NotExchanged> {
        let url = request.uri().to_string();
        let fail = |cause: String| NotExchanged(format!("{url}: {cause}"));
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        let agent = HeaderValue::from_static(concat!("gatepost/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        // Authorities take turns, too, and people sign in rarely.
        let http = client::connector(self.oidc.authorities.as_deref()).map_err(fail)?;
        let answer = async {
            let answer = http.request(request).await.map_err(|error| fail(client::chain(&error)))?;
            let (parts, body) = answer.into_parts();
            let read = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| fail(error.to_string()))?;
            Ok(HttpResponse::from_parts(parts, read.to_bytes().into()))
        };
        tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| fail(format!("no answer within {TIMEOUT:?}")))?
    }
}

impl<'c> AsyncHttpClient<'c> for Provider {
    type Error = NotExchanged;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NotExchanged>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.exchange(request))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotExchanged(String);

/// Reads a file that holds one secret; it is exchanged while it is used, so it is read each time.
fn secret(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = text.trim();
    if text.is_empty() { Err(format!("{}: is empty", file.display())) } else { Ok(text.to_owned()) }
}
