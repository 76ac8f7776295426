//! Answers that say what they are, so that whoever has one already need not be sent it again (RFC 9110, 13.1.2).

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Gives an answer its tag; one that the client has already loses its body. What is streamed is left as it is.
pub async fn answer(has: Option<&HeaderValue>, response: Response) -> Response {
    if response.status() != StatusCode::OK || response.body().size_hint().exact().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // It lies in memory as a whole, so reading it neither waits nor fails.
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let digest = Sha256::digest(&bytes);
    let tag = format!("\"{}\"", HEXLOWER.encode(digest.get(..16).unwrap_or_default()));
    let is_known = has.and_then(|has| has.to_str().ok()).is_some_and(|has| names(has, &tag));
    let mut body = Body::from(bytes);
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_DISPOSITION] {
            parts.headers.remove(name);
        }
        body = Body::empty();
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(ETAG, tag);
    }
    // It may be kept, by nobody but who asked, and is asked for again each time.
    parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    parts.headers.insert(VARY, HeaderValue::from_static("authorization, cookie"));
    Response::from_parts(parts, body)
}

/// Returns whether `If-None-Match` names a tag.
fn names(header: &str, tag: &str) -> bool {
    let mut tags = header.split(',').map(str::trim);
    tags.any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_sent_again_only_when_it_has_changed() {
        let tagged = async |has: Option<&str>, text: &'static str| {
            let has = has.map(|has| HeaderValue::from_str(has).unwrap());
            let response = answer(has.as_ref(), text.into_response()).await;
            let tag = response.headers()[ETAG].to_str().unwrap().to_owned();
            let status = response.status().as_u16();
            let length = to_bytes(response.into_body(), 99).await.unwrap().len();
            (status, tag, length)
        };
        let (status, tag, length) = tagged(None, "one").await;
        assert_eq!((status, length), (200, 3));
        for has in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            assert_eq!(tagged(Some(&has), "one").await, (304, tag.clone(), 0), "{has}");
        }
        for has in ["\"x\"", "", "x"] {
            assert_eq!(tagged(Some(has), "one").await.0, 200, "{has}");
        }
        assert_eq!(tagged(Some(&tag), "two").await.0, 200);
        let failed = answer(None, (StatusCode::NOT_FOUND, "no").into_response()).await;
        assert!(failed.headers().get(ETAG).is_none());
    }
}
