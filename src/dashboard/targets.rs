//! Targets of notifications on the page of settings: how each fares, and a button that tries it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use super::links::encoded;
use super::shell::Visit;
use super::words::{When, count, number};
use crate::config::notifications::Reach;
use crate::notify::Status;
use crate::scan::ApiState;
use crate::scan::access::Scope;
use crate::scan::endpoint::{Endpoint, Method, Routes};
use crate::scan::notifications::try_target;
use crate::scan::problem::Problem;

const TEST: Endpoint = Endpoint {
    method: Method::Post,
    path: "/settings/notifications/{target}/test",
    scope: Some(Scope::Admin),
    about: "Sends a message to a target of notifications, and shows how it fares",
    statuses: &[303, 404, 502],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&TEST, test)
}

/// A target in words.
pub struct Row {
    /// Its name.
    pub name: String,
    /// By which way it is told.
    pub kind: &'static str,
    /// Of what, and from which severity on.
    pub told: String,
    /// When a message was last delivered, and how many were since the start.
    pub delivered: (Option<When>, String),
    /// When one was last not, and why.
    pub failed: Option<(When, String)>,
    /// What waits and what was let go of; empty where nothing.
    pub left: String,
    /// How it fares: class and word.
    pub state: (&'static str, &'static str),
    /// What the button asks.
    pub test: String,
}

impl Row {
    /// Words how a target fares.
    pub fn of(status: &Status, visit: &Visit) -> Self {
        let events: Vec<&str> = status.events.iter().map(|event| event.as_str()).collect();
        let of = if status.namespaces == Reach::Annotated { ", of namespaces that ask for it" } else { "" };
        let waiting = u64::try_from(status.waiting).unwrap_or(u64::MAX);
        let left = [(waiting, "to be sent again"), (status.dropped, "let go of")];
        let left = left.into_iter().filter(|(messages, _)| *messages > 0);
        let left: Vec<String> =
            left.map(|(messages, what)| format!("{} {what}", count(messages, "message", "messages"))).collect();
        let has_failed = status
            .last_error
            .as_ref()
            .is_some_and(|error| status.last_delivery.is_none_or(|delivery| delivery < error.time));
        Self {
            name: status.name.clone(),
            kind: status.kind,
            told: format!("{}; findings from {} up{of}", events.join(", "), status.severity),
            delivered: (
                status.last_delivery.map(|moment| visit.when(moment)),
                format!("{} since the start", number(status.delivered)),
            ),
            failed: status.last_error.as_ref().map(|error| (visit.when(error.time), error.cause.clone())),
            left: left.join(", "),
            state: match (has_failed, status.last_delivery) {
                (true, _) => ("bad", "fails"),
                (false, Some(_)) => ("good", "arrives"),
                (false, None) => ("", "not tried yet"),
            },
            test: format!("/settings/notifications/{}/test", encoded(&status.name)),
        }
    }
}

async fn test(State(state): State<Arc<ApiState>>, Path(target): Path<String>) -> Result<Response, Problem> {
    try_target(&state, &target).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/settings#notifications")]).into_response())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use axum::http::HeaderMap;
    use jiff::Timestamp;

    use super::*;
    use crate::config::notifications::Event;
    use crate::notify::LastError;
    use crate::policy::Severity;

    #[test]
    fn a_target_fails_until_something_arrives_again() {
        let visit = Visit::of(&HeaderMap::new(), &"/settings".parse().unwrap());
        let [early, late]: [Timestamp; 2] =
            ["2026-05-01T08:00:00Z", "2026-05-01T09:00:00Z"].map(|at| at.parse().unwrap());
        for (delivered, failed, word) in [
            (None, None, "not tried yet"),
            (Some(early), None, "arrives"),
            (Some(early), Some(late), "fails"),
            (Some(late), Some(early), "arrives"),
        ] {
            let status = Status {
                name: "chat room".into(),
                kind: "slack",
                events: vec![Event::Findings, Event::Denials],
                severity: Severity::High,
                namespaces: Reach::Annotated,
                delivered: 3,
                waiting: 1,
                dropped: 0,
                dropped_findings: 0,
                last_delivery: delivered,
                last_error: failed.map(|time| LastError { time, cause: "refused".into() }),
                next_attempt: None,
            };
            let row = Row::of(&status, &visit);
            assert_eq!((row.state.1, &*row.left), (word, "1 message to be sent again"));
            assert_eq!(row.told, "findings, denials; findings from high up, of namespaces that ask for it");
            assert_eq!(row.test, "/settings/notifications/chat%20room/test");
        }
    }
}
