//! The results of judging objects, in the shape of a `ScanResult`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::message::{namespace_of, render_message};
use super::redact::Redactor;
use crate::admission::decide::{Action, Claim, claims};
use crate::admission::{Excused, Excuses};
use crate::engine::{Bundle, Check, Judgement, Outcome, Path, ResolvedPolicy, Review, Violation};
use crate::policy::set::Entry;
use crate::policy::{ExemptionNote, Exemptions, Grant, RuleId, Severity};

/// What a rule said of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is wrong.
    Pass,
    /// Something is wrong that an exemption excuses.
    Exempt,
    /// It could not be judged, for a reason that lies in the object.
    Skip,
    /// The rule could not be evaluated.
    Error,
    /// Something is wrong.
    Fail,
}

impl Verdict {
    /// Returns the word of reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Exempt => "exempt",
            Self::Skip => "skip",
            Self::Error => "error",
            Self::Fail => "fail",
        }
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The namespace that it says it is in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Resource {
    /// Returns what a review is about.
    pub fn of(review: &Review) -> Self {
        let is_in_itself = review.kind.is_namespace();
        Self {
            api_version: review.kind.api_version(),
            kind: review.kind.kind.clone(),
            namespace: if is_in_itself { String::new() } else { namespace_of(review).to_owned() },
            name: review.name().to_owned(),
        }
    }
}

/// Where something stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file.
    pub file: Arc<str>,
    /// Position among the file's documents, counted from 0.
    pub document: usize,
    /// Line, counted from 1.
    pub line: usize,
}

/// One result: a violation, what was not judged, or, where asked for, a pass.
#[derive(Debug, Clone, Serialize)]
pub struct ScanEntry {
    /// The policies that were asked for and have the rule.
    pub policies: Vec<Arc<str>>,
    /// The rule.
    pub rule: RuleId,
    /// The strongest severity that these policies give it.
    pub severity: Severity,
    /// The rule's topic.
    pub category: String,
    /// What it said.
    pub result: Verdict,
    /// What the namespace's modes make of it; nothing of a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The object.
    pub resource: Arc<Resource>,
    /// Where it stands, if in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Location>,
    /// The place in the object; none where the result is about the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// What is wrong, or why it was not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What excuses it, why, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exemption: Option<ExemptionNote>,
    /// Name of the container that it is in.
    #[serde(skip)]
    pub container: Option<String>,
}

/// How many (rule, object) pairs ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Objects judged.
    pub objects: usize,
    /// Pairs without a violation.
    pub pass: usize,
    /// Pairs with one or more.
    pub fail: usize,
    /// Pairs that could not be evaluated.
    pub error: usize,
    /// Pairs that could not be judged.
    pub skip: usize,
    /// Pairs that an exemption excuses.
    pub exempt: usize,
}

impl Summary {
    fn count(&mut self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Pass => &mut self.pass,
            Verdict::Exempt => &mut self.exempt,
            Verdict::Skip => &mut self.skip,
            Verdict::Error => &mut self.error,
            Verdict::Fail => &mut self.fail,
        };
        *counter = counter.saturating_add(1);
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.objects = self.objects.saturating_add(other.objects);
        self.pass = self.pass.saturating_add(other.pass);
        self.fail = self.fail.saturating_add(other.fail);
        self.error = self.error.saturating_add(other.error);
        self.skip = self.skip.saturating_add(other.skip);
        self.exempt = self.exempt.saturating_add(other.exempt);
    }
}

/// What judged, as it stands in a `ScanResult`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineVersion {
    /// Gatepost's version.
    pub version: &'static str,
    /// Hash over all rules and policies.
    pub policies: String,
}

impl EngineVersion {
    /// Returns what a bundle judges with.
    pub fn of(bundle: &Bundle) -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), policies: bundle.digest().to_owned() }
    }
}

/// An object with what was said of it.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The object and its circumstances.
    pub review: &'a Review,
    /// What each check said.
    pub judgements: &'a [Judgement],
    /// Rules and policies.
    pub bundle: &'a Bundle,
    /// The policies that were asked for; one without a name is not told.
    pub policies: &'a [Arc<ResolvedPolicy>],
    /// What judges the object's namespace.
    pub grants: &'a [Grant],
    /// Who may break which rule.
    pub exemptions: &'a Exemptions,
    /// Now.
    pub now: Timestamp,
    /// Whether passes are results too.
    pub shows_passed: bool,
}

/// Returns an object's results, the worst first, each place of a rule once, and the count of its rules.
///
/// `locate` says where a place stands; it is asked only where there is a result.
pub fn results(judged: Judged<'_>, locate: impl Fn(&Path) -> Option<Location>) -> (Vec<ScanEntry>, Summary) {
    let mut rules: BTreeMap<&RuleId, Vec<&Judgement>> = BTreeMap::new();
    for judgement in judged.judgements {
        rules.entry(judgement.check.rule_id()).or_default().push(judgement);
    }
    let mut summary = Summary { objects: 1, ..Summary::default() };
    let mut entries = Vec::new();
    let resource = Arc::new(Resource::of(judged.review));
    let redactor = Redactor::of(&judged.review.object);
    let excuses = Excuses::new(judged.review, judged.exemptions, judged.now);
    for judgements in rules.values() {
        let mut places = BTreeMap::new();
        for judgement in judgements {
            judged.collect(judgement, &excuses, &resource, &redactor, &mut places);
        }
        told_once(&mut places);
        let verdict = places.values().map(|entry| entry.result).max().unwrap_or(Verdict::Pass);
        summary.count(verdict);
        if places.is_empty() && judged.shows_passed {
            let passed =
                judgements.first().map(|judgement| judged.entry(&judgement.check, &resource, Verdict::Pass, &[]));
            places.extend(passed.map(|entry| ((None, Verdict::Pass), entry)));
        }
        entries.extend(places.into_values());
    }
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.result, entry.severity)));
    for entry in &mut entries {
        entry.source = locate(entry.path.as_ref().unwrap_or(&Path::default()));
    }
    (entries, summary)
}

type Places = BTreeMap<(Option<Path>, Verdict), ScanEntry>;

/// Takes out what is excused at places where another check of the rule finds something that is not.
fn told_once(places: &mut Places) {
    let failing: BTreeSet<Option<Path>> =
        places.keys().filter(|(_, verdict)| *verdict == Verdict::Fail).map(|(path, _)| path.clone()).collect();
    places.retain(|(path, verdict), _| *verdict != Verdict::Exempt || !failing.contains(path));
}

impl Judged<'_> {
    fn collect(
        &self,
        judgement: &Judgement,
        excuses: &Excuses<'_>,
        resource: &Arc<Resource>,
        redactor: &Redactor,
        places: &mut Places,
    ) {
        let check = &judgement.check;
        let mut tell = |mut entry: ScanEntry, path: Option<&Path>, message: String, container: Option<&String>| {
            entry.path = path.map(|path| redactor.redact_path(path));
            entry.message = Some(redactor.redact(message));
            entry.container = container.map(|name| redactor.redact(name.clone()));
            let place = (path.cloned(), entry.result);
            places.entry(place).and_modify(|known| known.absorb(&entry)).or_insert(entry);
        };
        let claims = |failed| claims(self.bundle, self.grants, check, failed, self.review.origin, self.now);
        match &judgement.outcome {
            Outcome::Failed(error) => {
                let entry = self.excused(check, None, &claims(true), excuses, resource);
                tell(entry, None, error.to_string(), None);
            }
            Outcome::Judged { violations, skips } => {
                let claims = claims(false);
                for violation in violations {
                    let asked = self.asked(check).max_by_key(|(_, entry)| entry.severity);
                    let message = asked.map(|(_, entry)| render_message(entry, violation, self.review));
                    let message = message.unwrap_or_else(|| violation.message.clone());
                    let entry = self.excused(check, Some(violation), &claims, excuses, resource);
                    tell(entry, Some(&violation.path), message, violation.container.as_ref());
                }
                for skip in skips {
                    let entry = self.entry(check, resource, Verdict::Skip, &[]);
                    tell(entry, Some(&skip.path), skip.reason.clone(), None);
                }
            }
        }
    }

    /// Returns the entry for a violation, or for a rule that could not be evaluated, by the claims that stand.
    fn excused(
        &self,
        check: &Check,
        violation: Option<&Violation>,
        claims: &[Claim<'_>],
        excuses: &Excuses<'_>,
        resource: &Arc<Resource>,
    ) -> ScanEntry {
        let Excused { standing, by } = excuses.apply(check, violation, claims);
        if let Some(by) = by {
            let entry = self.entry(check, resource, Verdict::Exempt, &[]);
            return ScanEntry { exemption: Some(by.note()), ..entry };
        }
        let verdict = if violation.is_some() { Verdict::Fail } else { Verdict::Error };
        self.entry(check, resource, verdict, &standing)
    }

    fn asked(&self, check: &Check) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.policies.iter().filter_map(|policy| Some((&policy.name, policy.entries.get(&check.id)?)))
    }

    fn entry(&self, check: &Check, resource: &Arc<Resource>, result: Verdict, claims: &[Claim<'_>]) -> ScanEntry {
        let rule = &check.rule.rule;
        let severity = self.asked(check).map(|(_, entry)| entry.severity).max();
        let action = match result {
            Verdict::Pass => None,
            Verdict::Skip | Verdict::Exempt => Some(Action::Record),
            Verdict::Error | Verdict::Fail => Some(claims.first().map_or(Action::Record, |claim| claim.action)),
        };
        ScanEntry {
            policies: self.asked(check).map(|(name, _)| name.clone()).filter(|name| !name.is_empty()).collect(),
            rule: rule.id.clone(),
            severity: severity.unwrap_or(rule.severity),
            category: rule.category.clone(),
            result,
            action,
            resource: resource.clone(),
            source: None,
            path: None,
            message: None,
            exemption: None,
            container: None,
        }
    }
}

impl ScanEntry {
    /// Takes in what another check of the same rule says of the same place: the stronger one speaks.
    fn absorb(&mut self, other: &Self) {
        let added = other.policies.iter().filter(|name| !self.policies.contains(name));
        let policies: Vec<Arc<str>> = self.policies.iter().chain(added).cloned().collect();
        let action = self.action.max(other.action);
        if other.severity > self.severity {
            *self = other.clone();
        }
        self.policies = policies;
        self.action = action;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
