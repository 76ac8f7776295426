//! What stays of a decision: one structured log line, and counters.

use std::time::Duration;

use super::modes;
use crate::admission::decision::Deferred;
use crate::admission::{Action, Decision, Envelope, Reason, What, speak};
use crate::engine::{Judgement, Outcome};
use crate::telemetry::{Answered, Metrics};

/// A decision that has been answered.
pub struct Record<'a> {
    /// The request.
    pub envelope: &'a Envelope,
    /// What was decided.
    pub decision: &'a Decision,
    /// How many warnings were sent.
    pub warnings: usize,
    /// Whether the client proved that it is the API server: its certificate is one of `--client-ca`.
    pub verified: bool,
    /// Time from the request's arrival to the answer.
    pub took: Duration,
    /// Id of the request's trace, if it was sampled.
    pub trace_id: Option<String>,
}

impl Record<'_> {
    /// Logs and counts it.
    pub fn write(&self, metrics: &Metrics) {
        let Self { envelope, decision, warnings, verified, took, trace_id } = self;
        let answered = if decision.allowed { Answered::Allowed } else { Answered::Denied };
        metrics.admission.record(envelope.operation(), answered, envelope.dry_run, *took);
        metrics.admission.warnings.inc_by(u64::try_from(*warnings).unwrap_or(u64::MAX));
        if !verified {
            metrics.admission.unverified.inc();
        }
        match decision.reason {
            Reason::SubResource => drop(metrics.admission.unregistered_subresources.inc()),
            Reason::Unchanged => drop(metrics.admission.unchanged_updates.inc()),
            Reason::Judged | Reason::NoRule | Reason::NamespaceFault | Reason::NotAuthorized => {}
        }
        for told in &decision.told {
            match &told.what {
                What::Violation(_) => metrics.rules.record_violation(&told.rule, told.severity, told.action),
                What::Error(error) => {
                    metrics.rules.record_error(&told.rule);
                    tracing::warn!(uid = %envelope.uid, rule = %told.rule, %error, "rule could not be evaluated");
                }
            }
        }
        metrics.rules.record_exempted(&decision.exempted);
        let denied = || decision.told.iter().filter(|told| told.action == Action::Deny);
        tracing::info!(
            uid = %envelope.uid,
            operation = envelope.operation().as_str(),
            api_version = %envelope.kind.api_version(),
            kind = %envelope.kind.kind,
            namespace = %envelope.namespace,
            name = %decision.name(),
            user = envelope.user_name(),
            subresource = %envelope.sub_resource,
            dry_run = envelope.dry_run,
            verified = *verified,
            allowed = decision.allowed,
            reason = decision.reason.as_str(),
            rules = %speak::rules(&decision.told).join(","),
            denied = %speak::rules(denied()).join(","),
            exempted = (!decision.exempted.is_empty()).then(|| speak::exempted(&decision.exempted)),
            break_glass = decision.break_glass.as_ref().map(|glass| &*glass.incident),
            break_glass_until = decision.break_glass.as_ref().map(|glass| tracing::field::display(glass.until)),
            warnings = *warnings,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            trace_id,
            "admission decision",
        );
        modes::record(envelope, decision, *verified, metrics);
    }
}

/// What is needed to record checks that are evaluated after the answer.
pub struct Later {
    uid: String,
    object: String,
    namespace: String,
    verified: bool,
}

impl Later {
    /// Keeps what the log line names.
    pub fn of(envelope: &Envelope, decision: &Decision, verified: bool) -> Self {
        let (uid, namespace) = (envelope.uid.clone(), envelope.namespace.clone());
        Self { uid, object: decision.subject.clone(), namespace, verified }
    }

    /// Logs and counts what only records.
    pub fn write(&self, deferred: &Deferred, judgements: &[Judgement], metrics: &Metrics) {
        let mut rules = Vec::new();
        for judgement in judgements {
            let rule = &judgement.check.rule.rule;
            let severity = deferred.severity(&judgement.check);
            match &judgement.outcome {
                Outcome::Failed(_) => metrics.rules.record_error(&rule.id),
                Outcome::Judged { .. } => {
                    let (standing, exempted) = deferred.excuse(judgement);
                    metrics.rules.record_exempted(&exempted);
                    for _ in &standing {
                        metrics.rules.record_violation(&rule.id, severity, Action::Record);
                    }
                    if !standing.is_empty() {
                        rules.push(rule.id.as_str());
                    }
                }
            }
        }
        if !rules.is_empty() {
            let (uid, rules, verified) = (&self.uid, rules.join(","), self.verified);
            tracing::info!(%uid, object = %self.object, namespace = %self.namespace, verified, %rules, "audit record");
        }
    }
}
