//! Sends a notice by a target's way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::config::notifications::{Place, Target, Way};

use super::notice::Notice;
use super::words::Words;
use super::{alertmanager, email, http, slack, webhook};

/// Why a notice did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Nobody answers, or for now with a no.
    #[error("{cause}")]
    Later {
        /// What stands in the way.
        cause: String,
        /// How long the receiver asks to wait.
        after: Option<Duration>,
    },
    /// The receiver does not take it as it is.
    #[error("{cause}")]
    Refused {
        /// What the receiver says.
        cause: String,
    },
}

impl NotSent {
    /// Something that may pass by itself, or be mended.
    pub(super) fn later(cause: impl Into<String>) -> Self {
        Self::Later { cause: cause.into(), after: None }
    }
}

/// Sends a notice; the id is the same however often it is sent.
pub(super) async fn send(target: &Target, notice: &Notice, id: &str) -> Result<(), NotSent> {
    let (authorities, words) = (target.authorities.as_deref(), Words::of(target, notice, id));
    match &target.way {
        Way::Slack { url } => http::post(&address(url)?, authorities, None, &[], slack::body(notice, &words)).await,
        Way::Webhook { url, secret, token } => {
            let usual = || webhook::body(&target.name, notice, id);
            let body = words.text.map_or_else(usual, String::into_bytes);
            let headers = webhook::headers(secret.as_deref(), id, &body)?;
            http::post(&address(url)?, authorities, token.as_deref(), &headers, body).await
        }
        Way::Alertmanager { url, token } => {
            let url = format!("{}{}", address(url)?.trim_end_matches('/'), alertmanager::PATH);
            http::post(&url, authorities, token.as_deref(), &[], alertmanager::body(notice)).await
        }
        Way::Email(mail) => email::send(mail, authorities, notice, &words, id).await,
    }
}

fn address(place: &Place) -> Result<String, NotSent> {
    match place {
        Place::Here(url) => Ok(url.clone()),
        Place::File(file) => secret(file),
    }
}

/// Reads a file that holds one secret; it is exchanged while it is used, so it is read for each delivery.
pub(super) fn secret(file: &Path) -> Result<String, NotSent> {
    let text = fs::read_to_string(file).map_err(|error| NotSent::later(format!("{}: {error}", file.display())))?;
    let text = text.trim();
    if text.is_empty() { Err(NotSent::later(format!("{}: is empty", file.display()))) } else { Ok(text.to_owned()) }
}
