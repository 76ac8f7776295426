//! `POST /mutate`: reads an AdmissionReview, has the patches worked out on a worker, answers, and records what was set.
//!
//! Whatever goes wrong with a whole envelope, the answer allows the request and changes nothing, but for overload.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::handlers::App;
use super::in_force::InForce;
use super::intake::{Deadline, Received, Room, receive};
use super::trace::attributes;
use super::workers::Overloaded;
use crate::admission::mutate::Failure;
use crate::admission::{Envelope, Mutation, speak};
use crate::engine::Machines;
use crate::telemetry::{Metrics, Mutated, Overload, Trace};

#[cfg(test)]
mod tests;

pub(super) async fn mutate(
    State(app): State<Arc<App>>,
    trace: Trace,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let start = Instant::now();
    let _in_flight = app.metrics.admission.enter();
    let in_force = app.in_force.load();
    let received = receive(start, query.as_deref(), body, in_force.max_body, &app.memory).await;
    let Received { envelope, deadline, room, .. } = match received {
        Ok(received) => received,
        Err(refused) => {
            trace.fail(refused.reason());
            refused.count(&app.metrics);
            app.metrics.mutation.record(Mutated::Error, start.elapsed());
            return refused.into_response();
        }
    };
    let Ok(mutation) = work_out(&app, &in_force, &envelope, deadline, room, &trace).await else {
        trace.describe(|| attributes(&envelope, Mutated::Error.as_str()));
        trace.fail("overloaded");
        app.metrics.admission.record_overload(Overload::Queue);
        app.metrics.mutation.record(Mutated::Error, start.elapsed());
        return (StatusCode::SERVICE_UNAVAILABLE, "overloaded: too many requests are being judged").into_response();
    };
    let body = speak::mutation_answer(&envelope.uid, &mutation);
    trace.describe(|| attributes(&envelope, result(&mutation).as_str()));
    record(&envelope, &mutation, start.elapsed(), &app.metrics);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Works the patches out on a worker; when no answer comes in time, or the worker panics, nothing is set.
async fn work_out(
    app: &Arc<App>,
    in_force: &Arc<InForce>,
    envelope: &Arc<Envelope>,
    deadline: Deadline,
    room: Arc<Room>,
    trace: &Trace,
) -> Result<Mutation, Overloaded> {
    if !envelope.may_be_mutated() {
        return Ok(Mutation::none(envelope));
    }
    let namespace = app.namespace(in_force, envelope, deadline.remaining()).await;
    match in_force.reviewer().mutate_policy(&namespace) {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(Mutation::none(envelope)),
        Err(failure) => return Ok(Mutation::failed(envelope, failure)),
    }
    let job = {
        let (app, in_force, envelope) = (app.clone(), in_force.clone(), envelope.clone());
        move |machines: &mut Machines| {
            let _room = room;
            app.review_with(&in_force, &envelope, namespace, deadline, machines, |reviewer, means| {
                reviewer.mutate(&envelope, means)
            })
        }
    };
    let mutation = app.on_a_worker(&envelope.uid, deadline, trace, job).await?;
    Ok(mutation.unwrap_or_else(|| Mutation::failed(envelope, Failure::NotReached)))
}

fn result(mutation: &Mutation) -> Mutated {
    match (mutation.patch.is_empty(), mutation.has_failed()) {
        (false, _) => Mutated::Patched,
        (true, true) => Mutated::Error,
        (true, false) => Mutated::Unchanged,
    }
}

/// Logs and counts what became of an object. One that is as it was, and was to be, is no news.
fn record(envelope: &Envelope, mutation: &Mutation, took: Duration, metrics: &Metrics) {
    let mutated = result(mutation);
    metrics.mutation.record(mutated, took);
    mutation.rules().into_iter().for_each(|rule| metrics.mutation.record_patch(rule));
    for (rule, error) in &mutation.left_out {
        metrics.mutation.record_error(rule);
        tracing::warn!(uid = %envelope.uid, %rule, error, "patches of a rule left out");
    }
    if let Some(failure) = &mutation.failure {
        tracing::warn!(uid = %envelope.uid, error = %failure, "object left as it was");
    }
    if mutated == Mutated::Unchanged {
        return;
    }
    tracing::info!(
        uid = %envelope.uid,
        api_version = %envelope.kind.api_version(),
        kind = %envelope.kind.kind,
        namespace = %envelope.namespace,
        name = %mutation.subject.split_once('/').map_or("", |(_, name)| name),
        user = envelope.user_name(),
        dry_run = envelope.dry_run,
        policy = mutation.policy.as_deref().unwrap_or_default(),
        result = mutated.as_str(),
        set = %mutation.summary(),
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "mutation",
    );
}
