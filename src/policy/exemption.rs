//! Exemptions: which rules some objects may break, until when, and why.
//!
//! What is written becomes an [`Exemption`] once its rules are known; [`Exemptions`] are those in force. Which claims on
//! a violation one of them lifts is decided here, and nowhere else.

mod criteria;
mod in_force;
mod labels;
mod skips;
mod written;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::modes::{Grant, GrantOrigin, Mode};
use super::rule::RuleId;
use super::set::Entry;

pub use criteria::{Container, Criteria, Subject};
pub use in_force::{ExemptionTerms, Exemptions, Refused};
pub use labels::LabelSelector;
pub use skips::skip;
pub use written::{ExemptionSpec, MatchSpec, Written, documents, is_exemption};

/// One that ends within this time is told as ending.
pub const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Where an exemption counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExemptionKind {
    /// In its namespace, and in others if the configuration trusts its own.
    Exemption,
    /// In the whole cluster.
    ClusterExemption,
    /// For one object, whose own annotation says so; never for what is enforced.
    Annotation,
}

impl ExemptionKind {
    /// Returns the kind as objects have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exemption => "Exemption",
            Self::ClusterExemption => "ClusterExemption",
            Self::Annotation => "Annotation",
        }
    }
}

/// Tells an exemption from every other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemptionName {
    /// Its kind.
    pub kind: ExemptionKind,
    /// The namespace it is in; empty for a ClusterExemption.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

impl fmt::Display for ExemptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Who may break which rules, until when, and why.
#[derive(Debug, Clone)]
pub struct Exemption {
    /// Its name.
    pub name: ExemptionName,
    /// The rules that it excuses, by their ids.
    pub rules: BTreeSet<RuleId>,
    /// The objects that it is about.
    pub criteria: Criteria,
    /// Why.
    pub reason: Arc<str>,
    /// Who answers for it.
    pub owner: Arc<str>,
    /// The instant from which it does not count; none: it never ends.
    pub expires: Option<Timestamp>,
    /// What was written.
    pub written: Arc<Written>,
}

impl Exemption {
    /// Returns whether it counts at an instant.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// Returns how it stands at an instant.
    pub fn state(&self, now: Timestamp) -> ExemptionState {
        match self.expires {
            Some(end) if end <= now => ExemptionState::Expired,
            Some(end) if end.duration_since(now) <= SOON => ExemptionState::Ending,
            _ => ExemptionState::Active,
        }
    }

    /// Returns whether it lifts what a grant says of a rule.
    ///
    /// Whoever may write into a namespace must not take away what others enforce there: one of a namespace never lifts
    /// a floor, and of what is enforced only what the policy marks as exemptable. Whoever writes an object lifts nothing
    /// that is enforced.
    pub fn lifts(&self, grant: &Grant, entry: &Entry) -> bool {
        let is_floor = grant.origin == GrantOrigin::Floor;
        let is_enforced = grant.mode == Mode::Enforce;
        match self.name.kind {
            ExemptionKind::ClusterExemption => true,
            ExemptionKind::Exemption => !is_floor && (!is_enforced || entry.exemptable),
            ExemptionKind::Annotation => !is_floor && !is_enforced,
        }
    }

    /// Returns what is told of it beside a violation that it excuses.
    pub fn note(&self) -> ExemptionNote {
        let (reason, owner) = (self.reason.clone(), self.owner.clone());
        ExemptionNote { name: self.name.clone(), reason, owner, expires: self.expires }
    }

    /// Orders by how long they hold; one that never ends comes last.
    fn end(&self) -> Timestamp {
        self.expires.unwrap_or(Timestamp::MAX)
    }
}

/// How an exemption stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExemptionState {
    /// It excuses.
    Active,
    /// It does, and ends within 14 days.
    Ending,
    /// It has ended.
    Expired,
    /// It is at fault, or the configuration does not allow it.
    Refused,
}

impl ExemptionState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Ending, Self::Expired, Self::Refused];

    /// Returns the word of lists and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ending => "ending",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

/// Why a violation is excused, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemptionNote {
    /// The exemption.
    #[serde(flatten)]
    pub name: ExemptionName,
    /// Why.
    pub reason: Arc<str>,
    /// Who answers for it.
    pub owner: Arc<str>,
    /// The instant from which the violation counts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Returns the exemption by which every claim on a violation is lifted; none if one claim stands.
///
/// Each claim is lifted by one exemption alone, the one that holds longest. Of those that lift the claims the first to
/// end is returned: from then on a claim stands again. A violation on which nobody has a claim is only recorded, and
/// excused by any of the `candidates`, which cover it.
pub fn lifting<'e>(
    candidates: &[&'e Arc<Exemption>],
    claims: impl IntoIterator<Item = (&'e Grant, &'e Entry)>,
) -> Option<&'e Arc<Exemption>> {
    let longest = |of: &dyn Fn(&Exemption) -> bool| {
        candidates.iter().copied().filter(|exemption| of(exemption)).max_by_key(|exemption| exemption.end())
    };
    let by_claim = claims.into_iter().map(|(grant, entry)| longest(&|exemption| exemption.lifts(grant, entry)));
    let by: Vec<&Arc<Exemption>> = by_claim.collect::<Option<_>>()?;
    by.into_iter().min_by_key(|exemption| exemption.end()).or_else(|| longest(&|_| true))
}
