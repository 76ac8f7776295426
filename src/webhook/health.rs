//! Health and metrics, on a listener of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::telemetry::Metrics;

/// What must hold before requests may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// There is a certificate to serve.
    Certificates,
    /// Rules and policies are compiled.
    Bundle,
    /// The watch of Namespaces has seen them all once, or there is no cluster.
    Namespaces,
    /// The listener accepts; no longer once the process is to end.
    Accepting,
}

impl Condition {
    const ALL: [Self; 4] = [Self::Certificates, Self::Bundle, Self::Namespaces, Self::Accepting];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Bundle => "bundle",
            Self::Namespaces => "namespaces",
            Self::Accepting => "accepting",
        }
    }
}

/// Whether each condition holds, none at first; and what else whoever looks should know.
#[derive(Debug, Default)]
pub struct Readiness {
    notes: Mutex<BTreeMap<&'static str, Vec<String>>>,
    certificates: AtomicBool,
    bundle: AtomicBool,
    namespaces: AtomicBool,
    accepting: AtomicBool,
}

impl Readiness {
    /// Says whether a condition holds from now on.
    pub fn set(&self, condition: Condition, holds: bool) {
        self.flag(condition).store(holds, Ordering::Release);
    }

    /// Returns whether a condition holds.
    pub fn holds(&self, condition: Condition) -> bool {
        self.flag(condition).load(Ordering::Acquire)
    }

    /// Returns whether all of them hold.
    pub fn is_ready(&self) -> bool {
        Condition::ALL.into_iter().all(|condition| self.holds(condition))
    }

    /// Says what is wrong with a part (`reload`, `registration`) that does not keep requests from being answered; a line
    /// each, and none once all is well. Readiness stays as it is.
    pub fn note(&self, part: &'static str, lines: Vec<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            notes.remove(part)
        } else {
            notes.insert(part, lines)
        };
    }

    /// Returns what is wrong, by the part that it is wrong with; not that the process is about to end.
    pub fn faults(&self) -> BTreeMap<String, String> {
        let conditions = Condition::ALL.into_iter().filter(|condition| *condition != Condition::Accepting);
        let failing = conditions.filter(|condition| !self.holds(*condition));
        let mut faults: BTreeMap<String, String> =
            failing.map(|condition| (condition.as_str().to_owned(), "is not ready".to_owned())).collect();
        for (part, lines) in &*self.notes.lock().unwrap_or_else(PoisonError::into_inner) {
            faults.insert((*part).to_owned(), lines.join("; "));
        }
        faults
    }

    fn flag(&self, condition: Condition) -> &AtomicBool {
        match condition {
            Condition::Certificates => &self.certificates,
            Condition::Bundle => &self.bundle,
            Condition::Namespaces => &self.namespaces,
            Condition::Accepting => &self.accepting,
        }
    }

    /// Lists every condition in the form of Kubernetes' own `/readyz?verbose`, then the notes.
    fn report(&self) -> String {
        let mut report = String::new();
        for condition in Condition::ALL {
            let (sign, word) = if self.holds(condition) { ('+', "ok") } else { ('-', "failed: not yet, or no longer") };
            // Writing to a String does not fail.
            let _ = writeln!(report, "[{sign}]{} {word}", condition.as_str());
        }
        for (part, lines) in &*self.notes.lock().unwrap_or_else(PoisonError::into_inner) {
            for line in lines.iter().flat_map(|line| line.lines()) {
                let _ = writeln!(report, "[!]{part} {line}");
            }
        }
        report + if self.is_ready() { "readyz check passed\n" } else { "readyz check failed\n" }
    }
}

/// Builds `GET /healthz`, `/readyz` and `/metrics`.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(show).with_state(metrics))
}

async fn readyz(State(readiness): State<Arc<Readiness>>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let is_verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    match readiness.is_ready() {
        true if is_verbose => (StatusCode::OK, readiness.report()),
        true => (StatusCode::OK, "ok".into()),
        false => (StatusCode::SERVICE_UNAVAILABLE, readiness.report()),
    }
}

async fn show(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(readiness: &Arc<Readiness>, path: &str) -> (StatusCode, String, String) {
        let router = router(readiness.clone(), Arc::new(Metrics::new()));
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn is_healthy_before_it_is_ready() {
        let (status, _, body) = ask(&Arc::default(), "/healthz").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
    }

    #[tokio::test]
    async fn is_ready_when_every_condition_holds() {
        let readiness = Arc::<Readiness>::default();
        for condition in Condition::ALL {
            let (status, _, body) = ask(&readiness, "/readyz").await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(body.contains(&format!("[-]{} failed", condition.as_str())), "{body}");
            readiness.set(condition, true);
        }
        let (status, _, body) = ask(&readiness, "/readyz").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
        let (_, _, body) = ask(&readiness, "/readyz?verbose").await;
        assert!(body.starts_with("[+]certificates ok\n") && body.ends_with("readyz check passed\n"), "{body}");
        readiness.set(Condition::Accepting, false);
        assert_eq!(ask(&readiness, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn notes_are_shown_and_change_nothing_else() {
        let readiness = Arc::<Readiness>::default();
        for condition in Condition::ALL {
            readiness.set(condition, true);
        }
        readiness.note("reload", vec!["refused: a.rego:3: no".into(), "b.yaml: neither".into()]);
        assert_eq!(ask(&readiness, "/readyz").await.2, "ok");
        let (status, _, body) = ask(&readiness, "/readyz?verbose").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("\n[!]reload refused: a.rego:3: no\n[!]reload b.yaml: neither\nreadyz check"), "{body}");
        readiness.note("reload", Vec::new());
        assert!(!ask(&readiness, "/readyz?verbose").await.2.contains("[!]"));
    }

    #[tokio::test]
    async fn shows_metrics_as_openmetrics() {
        let (status, content_type, body) = ask(&Arc::default(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(content_type.starts_with("application/openmetrics-text"));
        assert!(body.ends_with("# EOF\n"));
    }
}
