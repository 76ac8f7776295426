//! Judging one AdmissionRequest from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::decide::{self, Action, Circumstances, Decided};
use super::decision::{Decision, Deferred, Reason};
use super::envelope::Envelope;
use super::owned::Controllers;
use super::unchanged::is_unchanged;
use crate::engine::review::Inventory;
use crate::engine::{
    Budget, Bundle, Check, EvalError, Fields as _, Input, Limits, Machines, Repeat, ResolvedPolicy, Review, Value,
    judge, not_judged,
};
use crate::policy::modes::Grants;
use crate::policy::notices::Notice;
use crate::policy::{
    BreakGlass, Exemptions, Grant, GroupVersionKind, KubernetesVersion, Mode, Modes, NamespaceMeta, Operation, Origin,
};

/// What is known of the namespace that a request is about.
#[derive(Debug, Clone)]
pub enum NamespaceState {
    /// The object is outside any namespace.
    None,
    /// Its metadata.
    Known(Arc<NamespaceMeta>),
    /// It could not be read in time; its name.
    Unread(String),
}

/// What requests are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Reviewer<'a> {
    /// Rules and policies.
    pub bundle: &'a Bundle,
    /// Which policies judge what.
    pub modes: &'a Modes,
    /// Who may break which rule.
    pub exemptions: &'a Arc<Exemptions>,
    /// Whose objects were judged as templates.
    pub controllers: &'a Controllers,
    /// Judge them all the same.
    pub judge_owned: bool,
    /// What one rule may cost.
    pub limits: Limits,
    /// The release of the cluster, where it is known.
    pub kubernetes_version: Option<KubernetesVersion>,
}

/// What a request is judged with: the state of the world, and the means.
pub struct Means<'a> {
    /// The request's namespace.
    pub namespace: NamespaceState,
    /// Objects that rules look up.
    pub inventory: Inventory,
    /// Now.
    pub now: Timestamp,
    /// Time left until the deadline.
    pub remaining: &'a dyn Fn() -> Duration,
    /// This thread's machines.
    pub machines: &'a mut Machines,
}

impl Envelope {
    /// Returns the namespace whose labels judge the request: none for objects outside any, and none for a Namespace,
    /// whose request carries its own name.
    pub fn judging_namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty() && !self.kind.is_namespace()).then_some(self.namespace.as_str())
    }

    /// Returns the review of the request's objects.
    pub fn review(
        &self,
        object: Value,
        old_object: Value,
        namespace: Option<Arc<NamespaceMeta>>,
        inventory: Inventory,
    ) -> Review {
        Review {
            operation: self.operation(),
            kind: self.kind.clone(),
            request_kind: self.request_kind.clone().unwrap_or_else(|| self.kind.clone()),
            object,
            old_object,
            user_info: self.user_info.clone(),
            origin: Origin::Admission,
            namespace,
            inventory,
            kubernetes_version: None,
        }
    }

    fn is_judged_resource(&self) -> bool {
        let is_ephemeral = self.kind.is_pod() && self.sub_resource == "ephemeralcontainers";
        self.operation() != Operation::Connect && (self.sub_resource.is_empty() || is_ephemeral)
    }
}

impl Reviewer<'_> {
    /// Judges a request. Of a Namespace write that weakens modes the answer may be open until the cluster's roles are
    /// asked: [`Decision::open_question`].
    pub fn review(&self, envelope: &Envelope, means: Means<'_>) -> Decision {
        let write = self.namespace_write(envelope, &means.namespace, means.now);
        self.judge_request(envelope, means).with_write(write)
    }

    fn judge_request(&self, envelope: &Envelope, mut means: Means<'_>) -> Decision {
        if !envelope.is_judged_resource() {
            return Decision::allowed(envelope, &Value::Null, Reason::SubResource);
        }
        let (object, old_object) = match objects(envelope) {
            (Ok(object), Ok(old_object)) => (object, Ok(old_object)),
            (Ok(object), Err(error)) => (object, Err(error)),
            (Err(_), _) if envelope.is_unchanged_text() => {
                return Decision::allowed(envelope, &Value::Null, Reason::Unchanged);
            }
            (Err(error), old_object) => {
                return self.judge_unreadable(envelope, &means.namespace, means.now, &error, old_object.err().as_ref());
            }
        };
        let (old_object, old_error) = match old_object {
            Ok(old_object) => (old_object, None),
            Err(error) => (Value::Null, Some(error)),
        };
        let is_update = envelope.operation() == Operation::Update;
        if is_update && old_error.is_none() && is_unchanged(&envelope.kind, &object, &old_object) {
            return Decision::allowed(envelope, &object, Reason::Unchanged);
        }
        let subject_meta = envelope.kind.is_namespace().then(|| namespace_meta(&object));
        if let Some(meta) = subject_meta.as_ref().filter(|_| envelope.operation() != Operation::Delete) {
            let old = is_update.then(|| namespace_meta(&old_object));
            let faults = self.modes.faults_brought_in(meta, old.as_ref(), self.bundle);
            if !faults.is_empty() {
                let refused = Decision::allowed(envelope, &object, Reason::NamespaceFault);
                return Decision { allowed: false, notices: faults, ..refused };
            }
        }
        let grants = self.grants(&means.namespace, subject_meta.as_ref(), means.now);
        let namespace = match (&means.namespace, subject_meta) {
            (_, Some(meta)) => Some(Arc::new(meta)),
            (NamespaceState::Known(meta), None) => Some(meta.clone()),
            (NamespaceState::Unread(name), None) => Some(Arc::new(NamespaceMeta::named(name))),
            (NamespaceState::None, None) => None,
        };
        let inventory = std::mem::take(&mut means.inventory);
        let review = Review {
            kubernetes_version: self.kubernetes_version,
            ..envelope.review(object, old_object, namespace, inventory)
        };
        self.judge(envelope, &review, old_error.as_ref(), grants, means)
    }

    fn judge(
        &self,
        envelope: &Envelope,
        review: &Review,
        old_error: Option<&EvalError>,
        judging: Judging,
        means: Means<'_>,
    ) -> Decision {
        let Judging { grants, notices, break_glass } = judging;
        let input = Input::new(review);
        let (now_checks, later_checks) = self.checks(envelope, review, input.has_template(), &grants);
        let budget = Budget { limits: self.limits, remaining: means.remaining };
        let machines = means.machines;
        let judgements = judge(&input, &now_checks, machines, &budget);
        let mut repeats = Repeat::due(&input, &judgements);
        let is_glass_broken = break_glass.is_some();
        let circumstances = self.circumstances(review, &grants, is_glass_broken, means.now);
        let Decided { told, exempted } = decide::decide(circumstances, &judgements, |checks| {
            if let Some(error) = old_error {
                return not_judged(checks, error);
            }
            let old = Review { object: review.old_object.clone(), old_object: Value::Null, ..review.clone() };
            let input = Input::new(&old);
            let judgements = judge(&input, checks, machines, &budget);
            repeats.extend(Repeat::due(&input, &judgements));
            judgements
        });
        let reason = if now_checks.is_empty() && later_checks.is_empty() { Reason::NoRule } else { Reason::Judged };
        let deferred = (!later_checks.is_empty()).then(|| {
            let grants = grants.into_iter().filter(|grant| grant.mode == Mode::Audit).collect();
            let (review, exemptions) = (review.clone(), self.exemptions.clone());
            Deferred { input, review, checks: later_checks, grants, exemptions, now: means.now }
        });
        Decision {
            allowed: told.iter().all(|told| told.action != Action::Deny),
            told,
            exempted,
            notices,
            break_glass,
            deferred,
            repeats,
            ..Decision::allowed(envelope, &review.object, reason)
        }
    }

    /// Answers when there is no time or no way to judge: every rule that could look at the object is an error.
    pub fn not_reached(&self, envelope: &Envelope, namespace: &NamespaceState, now: Timestamp) -> Decision {
        let write = self.namespace_write(envelope, namespace, now);
        self.answer_unreached(envelope, namespace, now).with_write(write)
    }

    fn answer_unreached(&self, envelope: &Envelope, namespace: &NamespaceState, now: Timestamp) -> Decision {
        if !envelope.is_judged_resource() {
            return Decision::allowed(envelope, &Value::Null, Reason::SubResource);
        }
        if envelope.is_unchanged_text() {
            return Decision::allowed(envelope, &Value::Null, Reason::Unchanged);
        }
        self.judge_unreadable(envelope, namespace, now, &EvalError::NotReached, None)
    }

    /// An object that cannot be read gets a verdict all the same: every rule that could look at it is an error.
    /// `old_error` says that the object before could not be read either.
    fn judge_unreadable(
        &self,
        envelope: &Envelope,
        namespace: &NamespaceState,
        now: Timestamp,
        error: &EvalError,
        old_error: Option<&EvalError>,
    ) -> Decision {
        let named = || NamespaceMeta::named(&envelope.name);
        let meta = envelope.kind.is_namespace().then(|| envelope.metadata().unwrap_or_else(named));
        let Judging { grants, notices, break_glass } = self.grants(namespace, meta.as_ref(), now);
        let review = envelope.review(Value::Null, Value::Null, None, Inventory::new());
        // Nobody can tell whether it holds a pod template; kinds of others may.
        let (checks, _) = self.checks(envelope, &review, !envelope.kind.is_built_in_group(), &grants);
        let is_glass_broken = break_glass.is_some();
        let circumstances = self.circumstances(&review, &grants, is_glass_broken, now);
        let Decided { told, .. } = decide::decide(circumstances, &not_judged(&checks, error), |checks| {
            not_judged(checks, old_error.unwrap_or(&EvalError::NotReached))
        });
        let allowed_all = told.iter().all(|told| told.action != Action::Deny);
        let unread = Decision::allowed(envelope, &Value::Null, Reason::Judged);
        Decision { allowed: allowed_all, told, notices, break_glass, ..unread }
    }

    fn circumstances<'a>(
        &'a self,
        review: &'a Review,
        grants: &'a [Grant],
        is_glass_broken: bool,
        now: Timestamp,
    ) -> Circumstances<'a> {
        Circumstances { bundle: self.bundle, grants, review, exemptions: self.exemptions, is_glass_broken, now }
    }

    pub(super) fn grants(
        &self,
        namespace: &NamespaceState,
        subject: Option<&NamespaceMeta>,
        now: Timestamp,
    ) -> Judging {
        let meta = match (subject, namespace) {
            (Some(meta), _) => meta,
            (None, NamespaceState::Known(meta)) => meta,
            (None, NamespaceState::Unread(name)) => return self.modes.grants_of_unread(name, self.bundle).into(),
            (None, NamespaceState::None) => return self.modes.cluster_scoped_grants().into(),
        };
        let mut judging = Judging::from(self.modes.grants(meta, self.bundle));
        match BreakGlass::active(meta, now) {
            Ok(break_glass) => judging.break_glass = break_glass,
            Err(fault) => judging.notices.push(Notice::BreakGlass(fault)),
        }
        judging
    }

    /// Returns what is evaluated before the answer, and what only after it because it only records.
    fn checks(
        &self,
        envelope: &Envelope,
        review: &Review,
        has_template: bool,
        grants: &[Grant],
    ) -> (Vec<Arc<Check>>, Vec<Arc<Check>>) {
        let policies = |wanted: &dyn Fn(Mode) -> bool| -> Vec<&ResolvedPolicy> {
            let granted = grants.iter().filter(|grant| wanted(grant.mode));
            granted.filter_map(|grant| self.bundle.policy(&grant.policy)).map(Arc::as_ref).collect()
        };
        let telling = policies(&|mode| mode != Mode::Audit);
        let recording = policies(&|mode| mode == Mode::Audit);
        let owner = self.judged_owner(envelope, review);
        let is_excused = |check: &Arc<Check>| owner.as_ref().is_some_and(|owner| check.looks_at(owner));
        let mut now = self.bundle.matching(review, has_template, &telling);
        let mut later = self.bundle.matching(review, has_template, &recording);
        later.retain(|check| !now.iter().any(|told| told.id == check.id) && !is_excused(check));
        now.retain(|check| !is_excused(check));
        (now, later)
    }

    fn judged_owner(&self, envelope: &Envelope, review: &Review) -> Option<GroupVersionKind> {
        if self.judge_owned || !envelope.sub_resource.is_empty() {
            return None;
        }
        self.controllers.owner_of(&envelope.kind, &review.object, envelope.user_name())
    }
}

/// What judges a request.
pub(super) struct Judging {
    pub(super) grants: Vec<Grant>,
    notices: Vec<Notice>,
    pub(super) break_glass: Option<BreakGlass>,
}

impl From<Grants> for Judging {
    fn from(Grants { grants, notices }: Grants) -> Self {
        Self { grants, notices, break_glass: None }
    }
}

/// Returns the object that is judged and the one before; on DELETE the one that goes stands for the object.
fn objects(envelope: &Envelope) -> (Result<Value, EvalError>, Result<Value, EvalError>) {
    match envelope.operation() {
        Operation::Delete => {
            let old_object = envelope.old_object();
            (old_object.clone(), old_object)
        }
        _ => (envelope.object(), envelope.old_object()),
    }
}

/// Reads a Namespace object's name, labels and annotations.
pub fn namespace_meta(namespace: &Value) -> NamespaceMeta {
    let texts = |key| {
        let entries = namespace.at(&["metadata", key]).into_iter().flat_map(crate::engine::Fields::entries);
        entries.filter_map(|(key, value)| Some((key.to_string(), value.as_text()?.to_owned()))).collect()
    };
    let name = namespace.at(&["metadata", "name"]).and_then(crate::engine::Fields::as_text).unwrap_or_default();
    NamespaceMeta { name: name.to_owned(), labels: texts("labels"), annotations: texts("annotations") }
}
