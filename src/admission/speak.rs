//! What a user of the cluster reads: warnings, denials, and the AdmissionReview that carries them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use super::authority::refusal;
use super::decide::{Action, Told, What};
use super::decision::{Decision, Reason};
use super::exempt::Exempted;
use super::mutate::Mutation;
use crate::engine::judge::container_depth;
use crate::engine::{Path, Segment};
use crate::policy::BreakGlass;

/// kubectl shows more, but nobody reads more.
const WARNINGS: usize = 5;
/// Kubernetes asks for about 120 characters and cuts at 256.
const WARNING_LENGTH: usize = 256;
/// A message of a rule longer than this is cut, so that the line keeps what comes after it.
const MESSAGE_LENGTH: usize = 120;
/// Names of at most so many containers stand in a line.
const CONTAINERS: usize = 3;
/// Longest name of a container in a line, so that the fix behind it is still read.
const CONTAINER_LENGTH: usize = 24;
/// Longest place in a denial.
const PLACE_LENGTH: usize = 60;
/// Other rules that a denial names.
const OTHERS: usize = 10;
/// Longest value of an audit annotation.
const ANNOTATION_LENGTH: usize = 1024;
/// Longest name of an object in a denial, whose first 200 characters say everything.
const NAME_LENGTH: usize = 48;
/// Longest name of an incident in a line.
const INCIDENT_LENGTH: usize = 40;

/// Everything that is told of one rule, its containers joined.
struct Line<'a> {
    told: &'a Told,
    containers: Vec<&'a str>,
}

/// Returns the warnings of a decision: at most five lines, then one with the number of the rest, or with the page that
/// says what to change, where there is one.
pub fn warnings(decision: &Decision, page: Option<&str>) -> Vec<String> {
    let subject = clip(&decision.subject, NAME_LENGTH);
    let mut lines = Vec::new();
    if decision.reason != Reason::NamespaceFault {
        lines.extend(decision.notices.iter().map(|notice| format!("gatepost: {subject}: {notice}")));
    }
    let rules = by_rule(&decision.told, Action::Warn);
    lines.extend(rules.iter().map(|line| {
        let Told { rule, severity, .. } = line.told;
        let why = reason_to_warn(line.told, decision.break_glass.as_ref());
        let text =
            format!("gatepost: {subject}: {rule} ({severity}): {}{}", containers(&line.containers), message(line.told));
        clip(&text, WARNING_LENGTH.saturating_sub(why.chars().count())) + &why
    }));
    let rest = lines.len().saturating_sub(WARNINGS);
    lines.truncate(WARNINGS);
    // Half an address leads nowhere.
    let page = page.map(|page| format!("what to change: {page}"));
    let fits = |page: &String| page.len().saturating_add(subject.len()) < WARNING_LENGTH.saturating_sub(40);
    let page = page.filter(|page| !lines.is_empty() && fits(page));
    match page {
        Some(page) if rest > 0 => lines.push(format!("gatepost: {subject}: {rest} more; {page}")),
        Some(page) => lines.push(format!("gatepost: {subject}: {page}")),
        None if rest > 0 => {
            lines.push(format!("gatepost: {subject}: {rest} more; `gatepost scan` on its manifest shows all"));
        }
        None => {}
    }
    lines.into_iter().map(|line| clip(&line, WARNING_LENGTH)).collect()
}

/// Returns how long it is until an instant, for announcements: `in 5 days`; none when it has come.
pub fn countdown(from: Timestamp, now: Timestamp) -> Option<String> {
    let minutes = from.duration_since(now).as_mins();
    match minutes {
        ..0 => None,
        0..60 => Some("within the hour".to_owned()),
        60..120 => Some("in 1 hour".to_owned()),
        120..2880 => Some(format!("in {} hours", minutes / 60)),
        _ => Some(format!("in {} days", minutes / 1440)),
    }
    .filter(|_| from > now)
}

/// Returns why something is only warned of that would be denied otherwise; it is never cut off.
fn reason_to_warn(told: &Told, break_glass: Option<&BreakGlass>) -> String {
    let from = told.denied_from.map_or(String::new(), |(from, now)| {
        let left = countdown(from, now).map_or(String::new(), |left| format!(", {left}"));
        format!(" (denied from {}{left})", from.strftime("%Y-%m-%d"))
    });
    match break_glass.filter(|_| told.under_break_glass) {
        Some(BreakGlass { incident, until }) => {
            format!("{from} (break-glass {} until {until})", clip(incident, INCIDENT_LENGTH))
        }
        None => from,
    }
}

/// Returns what a denial says: object, rule, place and fix of the gravest in its first 200 characters, then the rest, and
/// the page that says what to change, where there is one.
pub fn denial(decision: &Decision, page: Option<&str>) -> String {
    let text = refused(decision);
    if let Some(page) = page { format!("{text}; what to change: {page}") } else { text }
}

fn refused(decision: &Decision) -> String {
    let subject = clip(&decision.subject, NAME_LENGTH);
    if decision.reason == Reason::NamespaceFault {
        let faults: Vec<String> = decision.notices.iter().map(ToString::to_string).collect();
        return format!("{subject}: {}", faults.join("; "));
    }
    let refused = decision.write.as_deref().map(refusal).unwrap_or_default();
    match (refused.is_empty(), denied_rules(decision)) {
        (true, None) => format!("{subject}: denied"),
        (true, Some(rules)) => format!("{subject}: {rules}"),
        (false, None) => format!("{subject}: {refused}"),
        (false, Some(rules)) => format!("{subject}: {refused}; and {rules}"),
    }
}

/// Returns what a denial says of rules.
fn denied_rules(decision: &Decision) -> Option<String> {
    let rules = by_rule(&decision.told, Action::Deny);
    let (first, others) = rules.split_first()?;
    let Told { rule, severity, .. } = first.told;
    let mut text = format!("{rule} ({severity}){}: {}", place(first.told), message(first.told));
    if first.containers.len() > 1 {
        text = format!(
            "{text} (also in {})",
            containers(first.containers.get(1..).unwrap_or_default()).trim_end_matches(": ")
        );
    }
    if !others.is_empty() {
        let named = others.iter().take(OTHERS).map(|line| {
            let inside = containers(&line.containers);
            let inside = inside.trim_end_matches(": ");
            if inside.is_empty() { line.told.rule.to_string() } else { format!("{} ({inside})", line.told.rule) }
        });
        let named: Vec<String> = named.collect();
        let dots = if others.len() > OTHERS { ", …" } else { "" };
        text = format!("{text}; {} more: {}{dots}", others.len(), named.join(", "));
    }
    if let Some(BreakGlass { incident, .. }) = &decision.break_glass {
        text = format!("{text}; a floor denies this, and holds under break-glass {}", clip(incident, INCIDENT_LENGTH));
    }
    Some(printable(&text).into_owned())
}

/// Groups what leads to one action by rule, in the order of the decision.
fn by_rule(told: &[Told], action: Action) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for one in told.iter().filter(|told| told.action == action) {
        let container = match &one.what {
            What::Violation(violation) => violation.container.as_deref(),
            What::Error(_) => None,
        };
        let at = lines.iter().position(|line| line.told.rule == one.rule).unwrap_or_else(|| {
            lines.push(Line { told: one, containers: Vec::new() });
            lines.len().saturating_sub(1)
        });
        let Some(line) = lines.get_mut(at) else { continue };
        if let Some(container) = container.filter(|name| !line.containers.contains(name)) {
            line.containers.push(container);
        }
    }
    lines
}

fn containers(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(CONTAINERS).map(|name| clip(name, CONTAINER_LENGTH)).collect();
    match names.len().saturating_sub(CONTAINERS) {
        _ if names.is_empty() => String::new(),
        0 => format!("{}: ", shown.join(", ")),
        more => format!("{} and {more} more: ", shown.join(", ")),
    }
}

fn message(told: &Told) -> String {
    match &told.what {
        What::Violation(violation) => clip(&violation.message, MESSAGE_LENGTH),
        What::Error(error) => clip(&format!("could not be evaluated: {error}"), MESSAGE_LENGTH),
    }
}

/// Returns ` at …`: inside a container its name and the field in it, elsewhere the whole path. A field that the message
/// names is not said twice: whoever shows a denial puts words before it, and cuts it off.
fn place(told: &Told) -> String {
    let What::Violation(violation) = &told.what else { return String::new() };
    let inner = container_depth(&violation.path).and_then(|depth| violation.path.0.get(depth.saturating_add(1)..));
    let field = dotted(inner.unwrap_or(&violation.path.0));
    let is_said = field.is_empty() || violation.message.contains(&field);
    match (violation.container.as_deref().filter(|_| inner.is_some()), clip(&field, PLACE_LENGTH)) {
        (Some(name), _) if is_said => format!(" in container {}", clip(name, CONTAINER_LENGTH)),
        (Some(name), field) => format!(" at {field} of container {}", clip(name, CONTAINER_LENGTH)),
        (None, _) if is_said => String::new(),
        (None, field) => format!(" at {field}"),
    }
}

fn dotted(segments: &[Segment]) -> String {
    let plain = |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let text = segments.iter().fold(String::new(), |text, segment| match segment {
        Segment::Index(index) => format!("{text}[{index}]"),
        Segment::Key(key) if !plain(key) => format!("{text}[{key}]"),
        Segment::Key(key) => format!("{text}.{key}"),
    });
    text.trim_start_matches('.').to_owned()
}

/// Cuts a text at so many characters, saying that it did, and takes out what a header line cannot carry.
pub fn clip(text: &str, length: usize) -> String {
    let text = printable(text);
    // Most are short and plain; characters are counted only where bytes do not settle it.
    if text.len() <= length || text.chars().count() <= length {
        return text.into_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

fn printable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

impl<'a> Response<'a> {
    fn allowed(uid: &'a str) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
            patch_type: None,
            patch: None,
        }
    }

    /// Returns the AdmissionReview that carries the response, as JSON.
    fn into_body(self) -> Vec<u8> {
        let review = Review { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response: self };
        serde_json::to_vec(&review).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Status {
    #[serde(rename = "status")]
    outcome: &'static str,
    code: u16,
    reason: &'static str,
    message: String,
}

/// An answer as it goes out.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The AdmissionReview, as JSON.
    pub body: Vec<u8>,
    /// How many warnings it carries.
    pub warnings: usize,
}

/// Returns the AdmissionReview that answers a request; `page` is where people read what was decided.
pub fn answer(uid: &str, decision: &Decision, page: Option<&str>) -> Answer {
    let warnings = warnings(decision, page);
    let count = warnings.len();
    let status = (!decision.allowed).then(|| Status {
        outcome: "Failure",
        code: 403,
        reason: "Forbidden",
        message: denial(decision, page),
    });
    let mut audit_annotations = BTreeMap::new();
    if !decision.told.is_empty() {
        audit_annotations.insert("violations", clip(&rules(&decision.told).join(","), ANNOTATION_LENGTH));
    }
    if !decision.exempted.is_empty() {
        audit_annotations.insert("exempted", clip(&exempted(&decision.exempted), ANNOTATION_LENGTH));
    }
    if let Some(write) = decision.write.as_deref().filter(|write| !write.changes.is_empty()) {
        let text = format!("{} (authority: {})", write.in_words(), write.ruling.as_str());
        audit_annotations.insert("mode-change", clip(&text, ANNOTATION_LENGTH));
    }
    if let Some((glass, rules)) = decision.under_break_glass() {
        audit_annotations.insert("break-glass", clip(&format!("{glass}: {}", rules.join(",")), ANNOTATION_LENGTH));
    }
    let response =
        Response { allowed: decision.allowed, status, warnings, audit_annotations, ..Response::allowed(uid) };
    Answer { body: response.into_body(), warnings: count }
}

/// Returns the AdmissionReview that allows a request, with what was set in its object, and by which rule, in an audit
/// annotation.
pub fn mutation_answer(uid: &str, mutation: &Mutation) -> Vec<u8> {
    let mut response = Response::allowed(uid);
    let patch = Some(&mutation.patch).filter(|patch| !patch.is_empty());
    if let Some(patch) = patch.and_then(|patch| serde_json::to_vec(patch).ok()) {
        response.patch_type = Some("JSONPatch");
        response.patch = Some(STANDARD.encode(patch));
        response.audit_annotations.insert("mutated", clip(&mutation.summary(), ANNOTATION_LENGTH));
    }
    let failures = mutation.failure.iter().map(ToString::to_string);
    let faults = mutation.left_out.iter().map(|(rule, fault)| format!("{rule}: {fault}"));
    let failed: Vec<String> = failures.chain(faults).collect();
    if !failed.is_empty() {
        response.audit_annotations.insert("not-mutated", clip(&failed.join("; "), ANNOTATION_LENGTH));
    }
    response.into_body()
}

/// Returns the ids of the rules that are told of, each once, in order.
pub fn rules<'a>(told: impl IntoIterator<Item = &'a Told>) -> Vec<&'a str> {
    let mut rules: Vec<&str> = told.into_iter().map(|told| told.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Returns the rules that are excused, each with what excuses it: `container-cpu-limit (Exemption shop/batch)`.
pub fn exempted(exempted: &[Exempted]) -> String {
    let each: BTreeSet<String> =
        exempted.iter().map(|exempt| format!("{} ({})", exempt.rule, exempt.by.name)).collect();
    each.into_iter().collect::<Vec<_>>().join(", ")
}

/// Returns the answer to a request that could not be judged for a reason of ours.
pub fn failure(uid: &str, message: &str) -> Vec<u8> {
    let status = Some(Status { outcome: "Failure", code: 500, reason: "InternalError", message: message.to_owned() });
    Response { allowed: false, status, ..Response::allowed(uid) }.into_body()
}

/// Returns the answer to a request that is refused without being judged.
pub fn turned_away(uid: &str, message: &str) -> Vec<u8> {
    let status = Some(Status { outcome: "Failure", code: 403, reason: "Forbidden", message: message.to_owned() });
    Response { allowed: false, status, ..Response::allowed(uid) }.into_body()
}

/// Returns the path as people write it, for logs.
pub fn readable(path: &Path) -> String {
    dotted(&path.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_counts_down_until_its_day() {
        let from: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        for (now, expected) in [
            ("2026-11-26T00:00:00Z", Some("in 5 days")),
            ("2026-11-29T00:00:01Z", Some("in 47 hours")),
            ("2026-11-30T22:30:00Z", Some("in 1 hour")),
            ("2026-11-30T23:30:00Z", Some("within the hour")),
            ("2026-11-30T23:59:59Z", Some("within the hour")),
            ("2026-12-01T00:00:00Z", None),
            ("2026-12-02T00:00:00Z", None),
        ] {
            assert_eq!(countdown(from, now.parse().unwrap()).as_deref(), expected, "{now}");
        }
    }
}
