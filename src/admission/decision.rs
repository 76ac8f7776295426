//! The answer to one request, and all that is worth recording of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::authority::NamespaceWrite;
use super::decide::{Circumstances, Decided, Told, decide};
use super::envelope::Envelope;
use super::exempt::Exempted;
use crate::engine::{Budget, Bundle, Check, Fields as _, Input, Judgement, Machines, Repeat, Review, Value, judge};
use crate::policy::notices::Notice;
use crate::policy::{BreakGlass, Exemptions, Grant};

/// Why a request was answered as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was judged.
    Judged,
    /// An UPDATE that changes nothing that is judged.
    Unchanged,
    /// A subresource for which we do not ask.
    SubResource,
    /// No rule in force looks at it.
    NoRule,
    /// A Namespace write that brings in a label or annotation which names nothing.
    NamespaceFault,
    /// A Namespace write that weakens modes or breaks glass, of one who may not.
    NotAuthorized,
}

impl Reason {
    /// Returns a short name for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Unchanged => "unchanged",
            Self::SubResource => "subresource",
            Self::NoRule => "no-rule",
            Self::NamespaceFault => "namespace-fault",
            Self::NotAuthorized => "not-authorized",
        }
    }
}

/// The answer to one AdmissionRequest, and all that is worth recording of it.
#[derive(Debug)]
pub struct Decision {
    /// Whether the request goes on.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// Kind and name, for example `Deployment/web`.
    pub subject: String,
    /// Everything found, the gravest first.
    pub told: Vec<Told>,
    /// What exemptions excuse.
    pub exempted: Vec<Exempted>,
    /// What the namespace's owner should know; under [`Reason::NamespaceFault`] what the write is refused for.
    pub notices: Vec<Notice>,
    /// What a Namespace write makes of the modes, if it changes any.
    pub write: Option<Box<NamespaceWrite>>,
    /// Glass that is broken in the namespace now.
    pub break_glass: Option<BreakGlass>,
    /// What only records, and is judged when the answer has gone out.
    pub deferred: Option<Deferred>,
    /// Evaluations on the VM that are due to be repeated on the interpreter when the answer has gone out.
    pub repeats: Vec<Repeat>,
}

impl Decision {
    /// Returns the answer to a request in which there is nothing to find.
    pub(super) fn allowed(envelope: &Envelope, object: &Value, reason: Reason) -> Self {
        Self {
            allowed: true,
            reason,
            subject: subject(envelope, object),
            told: Vec::new(),
            exempted: Vec::new(),
            notices: Vec::new(),
            write: None,
            break_glass: None,
            deferred: None,
            repeats: Vec::new(),
        }
    }

    /// Returns the object's name, or what its name is to be made of.
    pub fn name(&self) -> &str {
        self.subject.split_once('/').map_or("", |(_, name)| name)
    }

    /// Returns the glass under which a request was admitted that would have been denied, and the rules that would have
    /// denied it.
    pub fn under_break_glass(&self) -> Option<(&BreakGlass, Vec<&str>)> {
        let glass = self.break_glass.as_ref().filter(|_| self.allowed)?;
        let rules = super::speak::rules(self.told.iter().filter(|told| told.under_break_glass));
        (!rules.is_empty()).then_some((glass, rules))
    }
}

/// Checks that only record.
#[derive(Debug)]
pub struct Deferred {
    pub(super) input: Input,
    pub(super) review: Review,
    pub(super) checks: Vec<Arc<Check>>,
    /// What asks for them.
    pub(super) grants: Vec<Grant>,
    /// Who may break which rule.
    pub(super) exemptions: Arc<Exemptions>,
    /// When the request was judged.
    pub(super) now: Timestamp,
}

impl Deferred {
    /// Evaluates the checks.
    pub fn judge(&self, machines: &mut Machines, budget: &Budget<'_>) -> Vec<Judgement> {
        judge(&self.input, &self.checks, machines, budget)
    }

    /// Returns what the judgements come to, as a decision tells it; the bundle is the one that the checks are of.
    pub fn tell(&self, bundle: &Bundle, judgements: &[Judgement]) -> Decided {
        let Self { review, grants, exemptions, now, .. } = self;
        // Nothing of it denies, so there is nothing that the past could excuse, nor broken glass.
        let circumstances = Circumstances { bundle, grants, review, exemptions, is_glass_broken: false, now: *now };
        decide(circumstances, judgements, |_| Vec::new())
    }

    /// Returns those of the judgements that are due to be repeated on the interpreter.
    pub fn repeats(&self, judgements: &[Judgement]) -> Vec<Repeat> {
        Repeat::due(&self.input, judgements)
    }
}

/// Returns an object's kind and name, for example `Deployment/web`.
pub(super) fn subject(envelope: &Envelope, object: &Value) -> String {
    let text = |key| object.at(&["metadata", key]).and_then(Value::as_text);
    let name = text("name").filter(|name| !name.is_empty()).or_else(|| text("generateName"));
    let name = name.filter(|name| !name.is_empty()).unwrap_or(&envelope.name);
    format!("{}/{name}", envelope.kind.kind)
}
