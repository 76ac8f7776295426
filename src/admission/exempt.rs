//! What exemptions leave of the claims on what a rule found: the one place where it is decided, for every place that
//! judges.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::decide::Claim;
use crate::engine::judge::container_depth;
use crate::engine::template::templates;
use crate::engine::{Check, Fields as _, Path, Review, Value, Violation};
use crate::policy::exemption::{Container, Subject, lifting, skip};
use crate::policy::{Exemption, Exemptions, RuleId, Severity};

/// What excuses what is found in one object.
pub struct Excuses<'a> {
    review: &'a Review,
    exemptions: &'a Exemptions,
    now: Timestamp,
    /// Worked out when the first rule needs it: few have exemptions.
    subject: OnceCell<Subject<'a>>,
}

/// What is left of the claims on one thing that was found.
pub struct Excused<'a, 'c> {
    /// Those that no exemption lifts.
    pub standing: Cow<'a, [Claim<'c>]>,
    /// Set when none is left.
    pub by: Option<Arc<Exemption>>,
}

/// Something that exemptions excuse.
#[derive(Debug, Clone)]
pub struct Exempted {
    /// The rule.
    pub rule: RuleId,
    /// The policy whose grant would be the strongest.
    pub policy: Arc<str>,
    /// Severity in that policy.
    pub severity: Severity,
    /// The place; none where the rule could not be evaluated.
    pub path: Option<Path>,
    /// The place by names, as a finding has it; empty for what is about the whole.
    pub place: String,
    /// What is wrong, redacted.
    pub message: String,
    /// What excuses it.
    pub by: Arc<Exemption>,
}

impl<'a> Excuses<'a> {
    /// Excuses what is found in a review's object.
    pub fn new(review: &'a Review, exemptions: &'a Exemptions, now: Timestamp) -> Self {
        Self { review, exemptions, now, subject: OnceCell::new() }
    }

    /// Returns which claims stand on a violation; without one, on the failure of the rule.
    ///
    /// A failure is in no container, so what is limited to containers or images does not excuse it. An object that could not be read
    /// is not known to be what an exemption means.
    pub fn apply<'b, 'c>(
        &self,
        check: &Check,
        violation: Option<&Violation>,
        claims: &'b [Claim<'c>],
    ) -> Excused<'b, 'c> {
        let rule = check.rule_id();
        let unexcused = || Excused { standing: Cow::Borrowed(claims), by: None };
        let heeds_annotations = self.exemptions.heed_annotations();
        if !(heeds_annotations || self.exemptions.name_rule(rule)) || self.review.object == Value::Null {
            return unexcused();
        }
        let subject = self.subject.get_or_init(|| subject(self.review));
        let container = violation.map(|violation| container(&violation.path, &self.review.object)).unwrap_or_default();
        let skip = if heeds_annotations { self.skip(check, subject) } else { None };
        let mut candidates = self.exemptions.covering(rule, subject, container, self.now);
        candidates.extend(&skip);
        if candidates.is_empty() {
            return unexcused();
        }
        if let Some(by) = lifting(&candidates, claims.iter().map(|claim| (claim.grant, claim.entry))) {
            return Excused { standing: Cow::Borrowed(&[]), by: Some(by.clone()) };
        }
        let stands = |claim: &&Claim<'_>| !candidates.iter().any(|by| by.lifts(claim.grant, claim.entry));
        Excused { standing: claims.iter().filter(stands).copied().collect(), by: None }
    }
}

impl Excuses<'_> {
    /// Returns what the object's own annotations are for a rule.
    fn skip(&self, check: &Check, subject: &Subject<'_>) -> Option<Arc<Exemption>> {
        let annotation = |key: &str| self.review.object.at(&["metadata", "annotations", key]).and_then(Value::as_text);
        skip(&check.rule.rule, subject, annotation)
    }
}

/// Returns what exemptions are matched with.
pub fn subject(review: &Review) -> Subject<'_> {
    let metadata = |key| review.object.at(&["metadata", key]);
    let said = || metadata("namespace").and_then(Value::as_text).filter(|name| !name.is_empty());
    let labels = metadata("labels").into_iter().flat_map(Value::entries);
    let labels: BTreeMap<&str, &str> = labels.filter_map(|(key, value)| Some((&**key, value.as_text()?))).collect();
    Subject {
        kind: review.kind.clone(),
        has_template: !templates(&review.kind, &review.object).is_empty(),
        namespace: review.namespace.as_deref().map(|namespace| namespace.name.as_str()).or_else(said),
        name: review.name(),
        labels,
        user: review.user_info.text("username"),
    }
}

/// Returns the container that a path leads into.
fn container<'o>(path: &Path, object: &'o Value) -> Container<'o> {
    let found = container_depth(path).and_then(|at| Path(path.0.get(..=at)?.to_vec()).find(object));
    Container {
        name: found.and_then(|container| container.text("name")),
        image: found.and_then(|container| container.text("image")),
    }
}
