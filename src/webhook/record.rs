//! What stays of a decision: one structured log line, and counters.

use std::time::Duration;

use super::modes;
use super::outbox::Outbox;
use super::outbox::entry::{Entry, Weight};
use crate::admission::decide::Decided;
use crate::admission::{Action, Decision, Envelope, Reason, What, speak};
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
    entry: Option<Entry>,
}

impl Later {
    /// Keeps what the log line names, and what is kept of the decision.
    pub fn of(record: &Record<'_>, entry: Option<Entry>) -> Self {
        let Record { envelope, decision, verified, .. } = record;
        let (uid, namespace) = (envelope.uid.clone(), envelope.namespace.clone());
        Self { uid, object: decision.subject.clone(), namespace, verified: *verified, entry }
    }

    /// Logs and counts what only records, and has it kept.
    pub fn write(self, decided: &Decided, metrics: &Metrics, outbox: Option<&Outbox>) {
        let Decided { told, exempted } = decided;
        metrics.rules.record_exempted(exempted);
        for told in told {
            match &told.what {
                What::Violation(_) => metrics.rules.record_violation(&told.rule, told.severity, Action::Record),
                What::Error(_) => metrics.rules.record_error(&told.rule),
            }
        }
        let rules = speak::rules(told.iter().filter(|told| matches!(told.what, What::Violation(_))));
        if !rules.is_empty() {
            let (uid, rules, verified) = (&self.uid, rules.join(","), self.verified);
            tracing::info!(%uid, object = %self.object, namespace = %self.namespace, verified, %rules, "audit record");
        }
        let Some((entry, outbox)) = self.entry.zip(outbox) else { return };
        match entry.with_found(decided) {
            Some(found) => outbox.keep(found),
            None => keep_clean(entry, outbox),
        }
    }

    /// Has what is known kept, where there is no time to find out more.
    pub fn give_up(self, outbox: Option<&Outbox>) {
        if let Some((entry, outbox)) = self.entry.zip(outbox) {
            keep_clean(entry, outbox);
        }
    }
}

/// What was found before the answer is kept already.
fn keep_clean(entry: Entry, outbox: &Outbox) {
    if entry.weight == Weight::Clean {
        outbox.keep(entry);
    }
}
