//! What whoever reads a page should know before they read its numbers: that nobody knows them now, or not all of them.

use axum::http::StatusCode;

use super::words::count;
use crate::scan::problem::Problem;
use crate::store::{Audit, AuditState};

/// The routes whose pages count what audits found.
pub const COUNTED: [&str; 9] =
    ["/", "/findings", "/applications", "/resources", "/namespaces", "/enforce", "/modes", "/rules", "/policies"];

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caveat {
    /// `warn` or `bad`.
    pub tone: &'static str,
    /// In a few words.
    pub title: String,
    /// What that means.
    pub text: String,
    /// Where more is told, and what that is called; empty where nowhere.
    pub link: (String, &'static str),
}

impl Caveat {
    /// Says that nobody knows how many there are.
    pub fn away() -> Self {
        Self {
            tone: "bad",
            title: "Counts are not known now".to_owned(),
            text:
                "The store does not answer. Requests are judged all the same; what is counted here comes back with it."
                    .to_owned(),
            link: ("/status".to_owned(), "Status"),
        }
    }

    /// Says that counts are at least what is shown, where the last audit could not read everything.
    pub fn of(audit: &Audit) -> Option<Self> {
        let unread = u64::try_from(audit.unread.len()).unwrap_or(u64::MAX);
        (audit.state == AuditState::Partial).then(|| Self {
            tone: "warn",
            title: format!("{} could not be read in the last audit", count(unread, "kind", "kinds")),
            text: "Counts are at least what is shown.".to_owned(),
            link: (format!("/audits/{}", audit.id), "Which, and why"),
        })
    }
}

/// Returns an answer of the store; nothing where it does not answer for now, so that the rest of a page is still shown.
pub fn unless_away<T>(answer: Result<T, Problem>) -> Result<Option<T>, Problem> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => Ok(None),
        Err(problem) => Err(problem),
    }
}
