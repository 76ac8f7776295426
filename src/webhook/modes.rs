//! Namespace writes that change modes: asking whether the requester may, and recording who changed what.

use std::time::Duration;

use super::handlers::World;
use super::journal::Admitted;
use crate::admission::{Decision, Envelope, NamespaceWrite, Refusal};
use crate::telemetry::Metrics;
use crate::telemetry::modes::Reviewed;

/// Asks the cluster's roles where the answer hangs on them, and on no other request.
pub async fn authorize(world: &World, decision: &mut Decision, remaining: Duration, metrics: &Metrics) {
    let Some((write, verbs)) = decision.open_question() else { return };
    let answer = match world {
        World::Static => Err(Refusal::NoCluster),
        World::Cluster { access, .. } => {
            let answer = access.may(&write.requester, verbs, &write.namespace, remaining).await;
            metrics.modes.record_review(match &answer {
                Ok(_) => Reviewed::Allowed,
                Err(Refusal::NoAnswer(_)) => Reviewed::Error,
                Err(_) => Reviewed::Denied,
            });
            answer
        }
    };
    decision.settle(answer);
}

/// Logs and counts what a decision makes of modes.
pub fn record(envelope: &Envelope, decision: &Decision, verified: bool, metrics: &Metrics) {
    if let Some(write) = &decision.write {
        record_write(envelope, decision, write, verified, metrics);
    }
    if let Some((glass, rules)) = decision.under_break_glass() {
        if !envelope.dry_run {
            metrics.modes.break_glass_admissions.inc();
        }
        tracing::warn!(
            uid = %envelope.uid,
            incident = %glass.incident,
            until = %glass.until,
            operation = envelope.operation().as_str(),
            api_version = %envelope.kind.api_version(),
            kind = %envelope.kind.kind,
            namespace = %envelope.namespace,
            name = %decision.name(),
            user = envelope.user_name(),
            verified,
            dry_run = envelope.dry_run,
            rules = %rules.join(","),
            "admitted under break-glass",
        );
    }
}

fn record_write(envelope: &Envelope, decision: &Decision, write: &NamespaceWrite, verified: bool, metrics: &Metrics) {
    if !decision.allowed && decision.reason == crate::admission::Reason::NotAuthorized {
        metrics.modes.changes_refused.inc();
    }
    if decision.allowed && !envelope.dry_run && !write.changes.is_empty() {
        metrics.modes.record_change(write.strongest);
    }
    for change in &write.changes {
        tracing::info!(
            uid = %envelope.uid,
            user = envelope.user_name(),
            operation = envelope.operation().as_str(),
            namespace = %write.namespace,
            slot = change.part.as_str(),
            from = %change.from,
            to = %change.to,
            weakens = change.weakens(),
            authority = write.ruling.as_str(),
            verified,
            dry_run = envelope.dry_run,
            allowed = decision.allowed,
            "mode changed",
        );
    }
}

/// Returns what is listed of a request that came in under break-glass; nothing for a dry run.
pub fn admitted(envelope: &Envelope, decision: &Decision, verified: bool) -> Option<Admitted> {
    let (glass, rules) = decision.under_break_glass().filter(|_| !envelope.dry_run)?;
    Some(Admitted {
        time: jiff::Timestamp::now().to_string(),
        incident: glass.incident.to_string(),
        until: glass.until.to_string(),
        operation: envelope.operation().as_str().to_owned(),
        api_version: envelope.kind.api_version(),
        kind: envelope.kind.kind.clone(),
        namespace: envelope.namespace.clone(),
        name: decision.name().to_owned(),
        user: envelope.user_name().to_owned(),
        rules: rules.into_iter().map(str::to_owned).collect(),
        uid: envelope.uid.clone(),
        verified,
    })
}

#[cfg(test)]
mod tests;
