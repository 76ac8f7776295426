//! The trace of an admission request: where it begins, and what it says. Never who asked, nor what an object holds.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use opentelemetry::Value;

use super::handlers::App;
use crate::admission::Envelope;
use crate::telemetry::Trace;

impl FromRequestParts<Arc<App>> for Trace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let name = if parts.uri.path() == "/mutate" { "admission.mutation" } else { "admission.review" };
        Ok(app.traces.begin(name, &parts.headers))
    }
}

/// Returns the attributes of a request and of its answer.
pub(super) fn attributes(envelope: &Envelope, decision: &'static str) -> Vec<(&'static str, Value)> {
    let mut attributes = vec![
        ("admission.uid", envelope.uid.clone().into()),
        ("admission.operation", envelope.operation().as_str().into()),
        ("admission.dry_run", envelope.dry_run.into()),
        ("admission.decision", decision.into()),
        ("k8s.object.api_version", envelope.kind.api_version().into()),
        ("k8s.object.kind", envelope.kind.kind.clone().into()),
    ];
    if !envelope.namespace.is_empty() {
        attributes.push(("k8s.namespace.name", envelope.namespace.clone().into()));
    }
    attributes
}
