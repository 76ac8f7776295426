//! Incoming webhooks as Slack has them (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>);
//! Mattermost, Rocket.Chat and others take the same.

use std::fmt::Write as _;

use serde_json::json;

use super::notice::{Notice, beyond};
use super::words::Words;
use crate::config::notifications::template::escaped;

/// Characters that a section holds, with room for the rest of the message.
const SECTION: usize = 2800;

/// Returns the message; a channel that an annotation names is for those receivers that let a message choose.
pub(super) fn body(notice: &Notice, words: &Words) -> Vec<u8> {
    let headline = escaped(words.title.as_deref().unwrap_or(&notice.headline()));
    let text = match &words.text {
        Some(text) => text.chars().take(SECTION).collect(),
        None => listed(notice, &headline),
    };
    let mut blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})];
    if let Some(url) = &notice.url {
        let link = format!("<{url}|Read on in Gatepost>");
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": link}]}));
    }
    let mut message = json!({"text": headline, "blocks": blocks});
    if let (Some(channel), Some(message)) = (&notice.recipient, message.as_object_mut()) {
        message.insert("channel".into(), json!(channel));
    }
    message.to_string().into_bytes()
}

/// Returns the usual text: the headline, and a line for each item while there is room.
fn listed(notice: &Notice, headline: &str) -> String {
    let mut text = format!("*{headline}*");
    let (mut shown, mut left_out) = (0_u64, notice.more);
    for item in &notice.items {
        let line = match &item.url {
            Some(url) => format!("\n• <{url}|{}>", escaped(&item.text).replace('|', "¦")),
            None => format!("\n• {}", escaped(&item.text)),
        };
        if text.chars().count().saturating_add(line.chars().count()) > SECTION {
            left_out = left_out.saturating_add(1);
        } else {
            text.push_str(&line);
            shown = shown.saturating_add(1);
        }
    }
    if left_out > 0 && shown > 0 {
        let _ = write!(text, "\n{}", beyond(left_out));
    }
    text
}
