//! What a target's own templates make of a notice.

use super::notice::Notice;
use super::webhook::Document;
use crate::config::notifications::Target;
use crate::config::notifications::template::Template;

/// Headline and text of a target's own; none where it has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    pub title: Option<String>,
    pub text: Option<String>,
}

impl Words {
    /// Writes them. What a template cannot write is told in the usual words: a fault in it must not keep a message back.
    pub fn of(target: &Target, notice: &Notice, id: &str) -> Self {
        let document = Document::new(&target.name, notice, id);
        let write = |key: &str, template: Option<&Template>| {
            let written = template?.render(&document);
            written
                .inspect_err(|error| {
                    tracing::warn!(target = target.name, key, %error, "a template fails, so the usual text is sent");
                })
                .ok()
        };
        Self { title: write("title", target.title.as_ref()), text: write("text", target.text.as_ref()) }
    }
}
