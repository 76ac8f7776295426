//! What Events say of new findings: one for each object, however many it has, and one for each Application that
//! delivers such objects.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::policy::{RuleId, Severity};
use crate::report::finding::{Finding, ObjectKey};

/// Bytes of a text, at most; Kubernetes takes 1024.
const NOTE: usize = 1000;
/// Objects that are named of an Application.
const NAMED: usize = 5;

/// An object in which something new is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The object.
    pub object: ObjectKey,
    /// Its group and version.
    pub api_version: String,
    /// Its uid.
    pub uid: String,
    /// What is new, the gravest first.
    pub found: Vec<Found>,
}

/// One thing that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The rule.
    pub rule: RuleId,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, redacted.
    pub message: String,
}

/// Puts findings together by object; the objects stand in the order of their first findings.
pub fn by_object(findings: Vec<Finding>) -> Vec<Broken> {
    let mut places: HashMap<ObjectKey, usize> = HashMap::new();
    let mut broken: Vec<Broken> = Vec::new();
    for finding in findings {
        let Finding { object, api_version, uid, rule, severity, message, .. } = finding;
        let found = Found { rule, severity, message };
        let place = *places.entry(object.clone()).or_insert(broken.len());
        match broken.get_mut(place) {
            Some(known) => known.found.push(found),
            None => broken.push(Broken { object, api_version, uid, found: vec![found] }),
        }
    }
    broken
}

impl Broken {
    /// Returns how many findings are new.
    pub fn count(&self) -> u64 {
        u64::try_from(self.found.len()).unwrap_or(u64::MAX)
    }

    /// Returns what is told at the object: every rule once, with what it says first.
    pub fn note(&self) -> String {
        let mut told: Vec<(&RuleId, Severity, &str, u64)> = Vec::new();
        for found in &self.found {
            match told.iter_mut().find(|(rule, ..)| **rule == found.rule) {
                Some((.., times)) => *times = times.saturating_add(1),
                None => told.push((&found.rule, found.severity, &found.message, 1)),
            }
        }
        let rules = told.into_iter().map(|(rule, severity, message, times)| {
            let often = if times > 1 { format!(" ({times} times)") } else { String::new() };
            format!("{rule} ({severity}): {message}{often}")
        });
        joined(format!("{}: ", violations(self.count())), rules.collect(), "; ")
    }

    /// Returns the object with the rules that it breaks anew: `shop Deployment/web: container-privileged (critical)`.
    fn in_short(&self) -> String {
        let mut rules: Vec<String> = Vec::new();
        for found in &self.found {
            let rule = format!("{} ({})", found.rule, found.severity);
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        let ObjectKey { namespace, kind, name, .. } = &self.object;
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace} ") };
        format!("{place}{kind}/{name}: {}", rules.join(", "))
    }
}

/// Returns what is told at an Application of the objects that it delivers.
pub fn of_application(objects: &[&Broken]) -> String {
    let count = objects.iter().fold(0, |sum: u64, broken| sum.saturating_add(broken.count()));
    let mut named: Vec<String> = objects.iter().take(NAMED).map(|broken| broken.in_short()).collect();
    if objects.len() > NAMED {
        named.push(format!("and {} more objects", objects.len().saturating_sub(NAMED)));
    }
    joined(format!("{} in what it delivers: ", violations(count)), named, "; ")
}

/// Returns what is told of findings that get no Event of their own.
pub fn of_rest(findings: u64, most: usize) -> String {
    let has = if findings == 1 { "has" } else { "have" };
    format!(
        "{} {has} no Event of {} own, for an audit writes {most} at most; the dashboard and /api/v1/findings show them",
        violations(findings),
        if findings == 1 { "its" } else { "their" },
    )
}

/// Returns what is told of the first audit, instead of an Event for everything that stands.
pub fn of_first(findings: u64) -> String {
    format!(
        "The first audit found {findings} violations that are denied or warned of; Events are for what comes from now on. \
         The dashboard and /api/v1/findings show them"
    )
}

fn violations(count: u64) -> String {
    if count == 1 { "1 new violation".to_owned() } else { format!("{count} new violations") }
}

/// Joins parts as far as there is room, and says how many are left.
fn joined(mut text: String, parts: Vec<String>, between: &str) -> String {
    const LEFT: usize = 24;
    let all = parts.len();
    for (index, part) in parts.into_iter().enumerate() {
        let between = if index == 0 { "" } else { between };
        let room = NOTE.saturating_sub(LEFT).saturating_sub(text.len()).saturating_sub(between.len());
        if part.len() <= room {
            text.push_str(between);
            text.push_str(&part);
        } else if index == 0 {
            // One that is too long alone is told as far as it goes.
            let end = (0..=room).rev().find(|end| part.is_char_boundary(*end)).unwrap_or_default();
            text.push_str(part.get(..end).unwrap_or_default());
            text.push('…');
        } else {
            let _ = write!(text, "{between}and {} more", all.saturating_sub(index));
            return text;
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn broken(name: &str, found: &[(&str, Severity, &str)]) -> Broken {
        let object = ObjectKey {
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: name.into(),
            ..ObjectKey::default()
        };
        let found = found.iter().map(|(rule, severity, message)| Found {
            rule: RuleId::from(*rule),
            severity: *severity,
            message: (*message).to_owned(),
        });
        Broken { object, api_version: "apps/v1".into(), uid: "u".into(), found: found.collect() }
    }

    #[test]
    fn each_rule_is_named_once() {
        let web = broken(
            "web",
            &[
                ("privileged", Severity::Critical, "app is privileged"),
                ("image-tag", Severity::High, "app has no tag"),
                ("image-tag", Severity::High, "sidecar has no tag"),
            ],
        );
        assert_eq!(
            web.note(),
            "3 new violations: privileged (critical): app is privileged; image-tag (high): app has no tag (2 times)"
        );
        let one = broken("one", &[("image-tag", Severity::High, "no tag")]);
        assert_eq!(
            of_application(&[&web, &one]),
            "4 new violations in what it delivers: shop Deployment/web: privileged (critical), image-tag (high); \
             shop Deployment/one: image-tag (high)"
        );
        let many: Vec<&Broken> = std::iter::repeat_n(&one, 8).collect();
        assert!(of_application(&many).ends_with("; and 3 more objects"));
    }

    #[test]
    fn no_text_is_longer_than_kubernetes_takes() {
        let long = "ä".repeat(3000);
        for (found, ends) in [
            (vec![("r", Severity::High, long.as_str())], "…"),
            (
                vec![("a", Severity::High, "short"), ("b", Severity::High, &long), ("c", Severity::High, "x")],
                "; and 2 more",
            ),
        ] {
            let note = broken("web", &found).note();
            assert!(note.len() <= 1024 && note.ends_with(ends), "{} {note}", note.len());
        }
    }
}
