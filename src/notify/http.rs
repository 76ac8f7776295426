//! Posts JSON to receivers on the web.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};

use super::send::{NotSent, secret};
use crate::config::notifications::check_url;
use crate::scan::client;

/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 4 << 10;
/// The longest that a receiver may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Posts a JSON document; an address that cannot be read is not shown, since it may be the secret.
pub(super) async fn post(
    url: &str,
    authorities: Option<&Path>,
    token: Option<&Path>,
    headers: &[(HeaderName, HeaderValue)],
    body: Vec<u8>,
) -> Result<(), NotSent> {
    let url = check_url(url).map_err(|cause| NotSent::later(format!("the address {cause}")))?;
    let mut request = Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("gatepost/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(file) = token {
        let value = HeaderValue::from_str(&format!("Bearer {}", secret(file)?));
        let mut value = value.map_err(|_| NotSent::later(format!("{}: holds no token", file.display())))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| NotSent::later(error.to_string()))?;
    let http = client::connector(authorities).map_err(NotSent::later)?;
    let answer = async {
        let answer = http.request(request).await.map_err(|error| NotSent::later(client::chain(&error)))?;
        let (head, body) = answer.into_parts();
        let read = Limited::new(body, ANSWER_BYTES).collect().await;
        Ok((head.status, head.headers, read.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    let (status, headers, text) =
        answer.map_err(|_| NotSent::later(format!("no answer within {} s", TIMEOUT.as_secs())))??;
    judge(status, &headers, &text)
}

fn judge(status: StatusCode, headers: &HeaderMap, text: &[u8]) -> Result<(), NotSent> {
    if status.is_success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect();
    let cause = format!("{status}: {said}").trim_end_matches([':', ' ']).to_owned();
    let may_pass = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY].contains(&status);
    if !may_pass {
        return Err(NotSent::Refused { cause });
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    Err(NotSent::Later { cause, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_to_come_again() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
        for (status, expected) in [
            (200, Ok(())),
            (404, Err(NotSent::Refused { cause: "404 Not Found: no_service".into() })),
            (
                429,
                Err(NotSent::Later {
                    cause: "429 Too Many Requests: no_service".into(),
                    after: Some(Duration::from_secs(30)),
                }),
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(judge(status, &headers, b"no_service"), expected);
        }
    }
}
