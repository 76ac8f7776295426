//! Sends reports to a Gatepost that takes them in, for the webhook's outbox and for `gatepost scan --report`; and asks one
//! for other things.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::request::Builder;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use crate::config::Receiver;
use crate::webhook::tls;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one report may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 16 << 10;
/// Bytes of a page of a list that are read.
const LIST_BYTES: usize = 16 << 20;
/// Where a webhook says that it is there.
const PRESENCE: &str = "/api/v1/presence";
/// The longest that a receiver may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why a report was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Nobody answers, or for now with a no: the same report may be taken later.
    #[error("{cause}")]
    Later {
        /// What stands in the way.
        cause: String,
        /// How long the receiver asks to wait.
        after: Option<Duration>,
    },
    /// The report itself is wrong: sending it again changes nothing.
    #[error("{status}: {cause}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What the answer says.
        cause: String,
    },
}

/// What connects.
pub(crate) type Https = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends reports to one address.
#[derive(Clone)]
pub struct Client {
    receiver: Receiver,
    token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    /// What connects, and the text of the authorities that it trusts.
    http: Arc<Mutex<(Vec<u8>, Https)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares it; the authorities are those of a file in PEM, or else of the machine.
    ///
    /// A token is sent only where nobody on the way can read it. Must be called on a runtime.
    pub fn new(receiver: Receiver, token_file: Option<PathBuf>, authorities: Option<&Path>) -> Result<Self, String> {
        if token_file.is_some() && !receiver.is_private() {
            return Err(format!("{receiver}: a token goes only to https, or to this machine"));
        }
        let text = authorities.map(read).transpose()?;
        let http = (text.clone().unwrap_or_default(), https(authorities.zip(text.as_deref()))?);
        let authorities = authorities.map(Path::to_owned);
        Ok(Self { receiver, token_file, authorities, http: Arc::new(Mutex::new(http)) })
    }

    /// Returns what connects. Authorities take turns while it is used, so their file is read for each report; one that
    /// cannot be read leaves those that were read before.
    fn http(&self) -> Https {
        let mut http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.authorities.as_deref().and_then(|file| read(file).ok().map(|text| (file, text)));
        if let Some((file, text)) = text.filter(|(_, text)| *text != http.0)
            && let Ok(made) = https(Some((file, &text)))
        {
            *http = (text, made);
        }
        http.1.clone()
    }

    /// Sends one report, a whole JSON document.
    pub async fn report(&self, body: Bytes) -> Result<(), NotTaken> {
        self.post(self.receiver.reports().clone(), body).await
    }

    /// Says that a process answers requests, as a whole JSON document.
    pub async fn present(&self, body: Bytes) -> Result<(), NotTaken> {
        let uri = self.receiver.at(PRESENCE).ok_or_else(|| later(format!("{PRESENCE} is no path")))?;
        self.post(uri, body).await
    }

    async fn post(&self, uri: Uri, body: Bytes) -> Result<(), NotTaken> {
        let request = Request::post(uri).header(CONTENT_TYPE, "application/json");
        let (status, headers, text) = self.send(request, body, ANSWER_BYTES).await?;
        judge(status, &headers, &text)
    }

    /// Asks something of the API, and returns what it answers, whatever that is.
    pub async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), NotTaken> {
        let uri = self.receiver.at(path).ok_or_else(|| later(format!("{path} is no path")))?;
        let (status, _, text) =
            self.send(Request::builder().method(method).uri(uri), Bytes::new(), ANSWER_BYTES).await?;
        Ok((status, text))
    }

    /// Reads something of the API, given by path and query; all of it.
    pub async fn get(&self, path: &str) -> Result<Bytes, NotTaken> {
        let uri = self.receiver.at(path).ok_or_else(|| later(format!("{path} is no path")))?;
        let (status, headers, text) = self.send(Request::get(uri), Bytes::new(), LIST_BYTES).await?;
        // Whoever reads at a terminal mends what is wrong with the token; to come again changes nothing.
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            return Err(NotTaken::Refused { status, cause: detail(&text) });
        }
        judge(status, &headers, &text).map(|()| text)
    }

    /// Sends a request; of an answer that is longer than so many bytes nothing is kept.
    async fn send(
        &self,
        request: Builder,
        body: Bytes,
        bytes: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), NotTaken> {
        let request = match &self.token_file {
            None => request,
            Some(file) => request.header(AUTHORIZATION, bearer(file)?),
        };
        let request = request.body(Full::new(body)).map_err(|error| later(error.to_string()))?;
        let answer = async {
            let answer = self.http().request(request).await.map_err(|error| later(chain(&error)))?;
            let (head, body) = answer.into_parts();
            let read = Limited::new(body, bytes).collect().await;
            Ok((head.status, head.headers, read.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
        };
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        answer.map_err(|_| later(format!("no answer within {TIMEOUT:?}")))?
    }
}

/// Read for each report: the kubelet exchanges a projected token while it is used.
fn bearer(file: &Path) -> Result<HeaderValue, NotTaken> {
    let text = fs::read_to_string(file).map_err(|error| later(format!("{}: {error}", file.display())))?;
    let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| later(format!("{}: holds no token", file.display())))?;
    value.set_sensitive(true);
    Ok(value)
}

fn later(cause: String) -> NotTaken {
    NotTaken::Later { cause, after: None }
}

fn judge(status: StatusCode, headers: &HeaderMap, text: &[u8]) -> Result<(), NotTaken> {
    if status.is_success() {
        return Ok(());
    }
    let cause = detail(text);
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(NotTaken::Refused { status, cause })
        }
        _ => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
            Err(NotTaken::Later { cause: format!("{status}: {cause}"), after })
        }
    }
}

/// Returns what a problem says, or else the beginning of the text.
pub fn detail(text: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    match serde_json::from_slice::<Problem>(text) {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Returns what connects to servers that the authorities of a file in PEM vouch for, or else those of the machine.
pub(crate) fn connector(authorities: Option<&Path>) -> Result<Https, String> {
    let text = authorities.map(read).transpose()?;
    https(authorities.zip(text.as_deref()))
}

/// Returns what connects to servers that authorities vouch for: those in the text of a file, or the machine's.
fn https(authorities: Option<(&Path, &[u8])>) -> Result<Https, String> {
    let builder = || {
        let builder = ClientConfig::builder_with_provider(tls::provider());
        builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())
    };
    let config = match authorities {
        Some((file, text)) => builder()?.with_root_certificates(roots(file, text)?),
        None => match builder()?.with_native_roots() {
            Ok(builder) => builder,
            // A container may have none, and needs none for a receiver that speaks no TLS.
            Err(_) => builder()?.with_root_certificates(RootCertStore::empty()),
        },
    };
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(CONNECT));
    http.enforce_http(false);
    let config = config.with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
    Ok(HttpClient::builder(TokioExecutor::new()).build(connector.wrap_connector(http)))
}

fn roots(file: &Path, text: &[u8]) -> Result<RootCertStore, String> {
    let fault = |cause: &dyn fmt::Display| format!("{}: {cause}", file.display());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(text) {
        roots.add(authority.map_err(|error| fault(&error))?).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() { Err(fault(&"holds no certificate")) } else { Ok(roots) }
}

/// Returns an error with what caused it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_to_come_again() {
        let table: [(u16, Option<&str>, &str, Option<&str>); 6] = [
            (201, None, "", None),
            (422, None, r#"{"detail": "key: is empty"}"#, Some("422 Unprocessable Entity: key: is empty")),
            (413, None, "too large", Some("413 Payload Too Large: too large")),
            (429, Some("7"), "", Some("after 7s")),
            (503, Some("86400"), "", Some("after 60s")),
            (401, None, r#"{"detail": "a token is needed"}"#, Some("401 Unauthorized: a token is needed")),
        ];
        for (status, retry_after, text, expected) in table {
            let mut headers = HeaderMap::new();
            headers.extend(retry_after.map(|value| (RETRY_AFTER, HeaderValue::from_str(value).unwrap())));
            let judged = judge(StatusCode::from_u16(status).unwrap(), &headers, text.as_bytes());
            let said = judged.err().map(|not| match not {
                NotTaken::Later { after: Some(after), .. } => format!("after {after:?}"),
                not => not.to_string(),
            });
            assert_eq!(said.as_deref(), expected, "{status}");
        }
    }

    #[tokio::test]
    async fn a_token_goes_to_nobody_who_could_not_keep_it() {
        let client = |url: &str| Client::new(url.parse().unwrap(), Some("token".into()), None);
        assert!(client("http://gatepost:8080").unwrap_err().contains("https"));
        assert!(client("http://127.0.0.1:1").is_ok() && client("https://gatepost").is_ok());
    }

    #[tokio::test]
    async fn what_cannot_be_reached_or_read_is_for_later() {
        let to = |token: Option<PathBuf>| Client::new("http://127.0.0.1:1".parse().unwrap(), token, None).unwrap();
        let said = to(None).report(Bytes::new()).await.unwrap_err();
        assert!(matches!(&said, NotTaken::Later { cause, .. } if cause.contains("refused")), "{said:?}");
        let said = to(Some("/nowhere/token".into())).report(Bytes::new()).await.unwrap_err();
        assert!(matches!(&said, NotTaken::Later { cause, .. } if cause.contains("/nowhere/token")), "{said:?}");
    }

    #[tokio::test]
    async fn authorities_that_took_their_turn_are_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let authority = || rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        let (first, second) = (authority(), authority());
        fs::write(&file, &first).unwrap();
        let client = Client::new("https://gatepost".parse().unwrap(), None, Some(&file)).unwrap();
        let trusted = || {
            client.http();
            String::from_utf8(client.http.lock().unwrap().0.clone()).unwrap()
        };
        assert_eq!(trusted(), first);
        fs::write(&file, &second).unwrap();
        assert_eq!(trusted(), second);
        fs::write(&file, "half a fi").unwrap();
        assert_eq!(trusted(), second, "what holds no authority leaves those of before");
        fs::remove_file(&file).unwrap();
        assert_eq!(trusted(), second);
    }
}
