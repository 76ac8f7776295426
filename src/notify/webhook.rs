//! JSON for any receiver, signed as Standard Webhooks have it
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use sha2::Sha256;

use super::notice::Notice;
use super::send::{NotSent, secret};

/// What a secret may begin with; the rest is then base64.
const PREFIX: &str = "whsec_";

/// What is told, as a document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    id: &'a str,
    target: &'a str,
    #[serde(flatten)]
    notice: &'a Notice,
}

impl<'a> Document<'a> {
    pub fn new(target: &'a str, notice: &'a Notice, id: &'a str) -> Self {
        Self { api_version: "gatepost.dev/v1", kind: "Notification", id, target, notice }
    }
}

/// Returns the document.
pub(super) fn body(target: &str, notice: &Notice, id: &str) -> Vec<u8> {
    serde_json::to_vec(&Document::new(target, notice, id)).unwrap_or_default()
}

/// Returns the headers that tell what a document is, and with a secret its signature.
pub(super) fn headers(file: Option<&Path>, id: &str, body: &[u8]) -> Result<Vec<(HeaderName, HeaderValue)>, NotSent> {
    // Of this delivery and not of the notice: receivers refuse what is older than some minutes.
    let second = Timestamp::now().as_second();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| NotSent::later(error.to_string()));
    let mut headers = vec![
        (HeaderName::from_static("webhook-id"), value(id)?),
        (HeaderName::from_static("webhook-timestamp"), value(&second.to_string())?),
    ];
    if let Some(file) = file {
        let key = key(&secret(file)?).map_err(|cause| NotSent::later(format!("{}: {cause}", file.display())))?;
        headers.push((HeaderName::from_static("webhook-signature"), value(&signature(&key, id, second, body)?)?));
    }
    Ok(headers)
}

fn key(text: &str) -> Result<Vec<u8>, &'static str> {
    match text.strip_prefix(PREFIX) {
        Some(rest) => STANDARD.decode(rest).map_err(|_| "what follows whsec_ is no base64"),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// Returns the signature over id, time and body.
fn signature(key: &[u8], id: &str, second: i64, body: &[u8]) -> Result<String, NotSent> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| NotSent::later(error.to_string()))?;
    mac.update(format!("{id}.{second}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification's own libraries: `TestWebhookSign` of standard-webhooks.
    #[test]
    fn signs_as_others_do() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap_or_default();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert!(super::key("whsec_?").is_err());
    }
}
