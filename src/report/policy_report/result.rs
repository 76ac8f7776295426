//! One finding as a result of a report.

use serde_json::{Map, Value as Json, json};

use super::{Dialect, SOURCE, Severities};
use crate::admission::Action;
use crate::admission::speak::clip;
use crate::policy::Severity;
use crate::report::Verdict;
use crate::report::finding::Finding;

/// Characters of a message.
const MESSAGE_LENGTH: usize = 512;
/// Characters of any other text that its author may make as long as they like.
const TEXT_LENGTH: usize = 256;

/// Returns a finding as a result.
pub(super) fn of(finding: &Finding, dialect: Dialect, severities: Severities) -> Json {
    let (object, first) = (&finding.object, finding.first_seen);
    let mut resource = Map::new();
    for (key, value) in [
        ("apiVersion", &finding.api_version),
        ("kind", &object.kind),
        ("namespace", &object.namespace),
        ("name", &object.name),
        ("uid", &finding.uid),
    ] {
        insert(&mut resource, key, value);
    }
    let result = match (finding.result, finding.action) {
        (Verdict::Error, _) => "error",
        (_, Action::Deny) => "fail",
        (_, Action::Warn | Action::Record) => "warn",
    };
    let mut told = json!({
        // One that asks for it, since there is room for one.
        "policy": finding.policies.first().map_or(SOURCE, String::as_str),
        "rule": finding.rule.as_str(),
        "category": finding.category,
        "severity": severity(finding.severity, severities),
        "result": result,
        "scored": result == "fail",
        "message": clip(&finding.message, MESSAGE_LENGTH),
        "resources": [resource],
        // Not RFC 3339, in both APIs.
        "timestamp": {"seconds": first.as_second(), "nanos": first.subsec_nanosecond()},
        "properties": properties(finding, severities),
    });
    if let Some(fields) = told.as_object_mut().filter(|_| dialect == Dialect::WgPolicy) {
        fields.insert("source".into(), SOURCE.into());
    }
    told
}

fn severity(severity: Severity, severities: Severities) -> &'static str {
    match (severities, severity) {
        (Severities::Three, Severity::Critical) => Severity::High.as_str(),
        (Severities::Three, Severity::Info) => Severity::Low.as_str(),
        _ => severity.as_str(),
    }
}

fn properties(finding: &Finding, severities: Severities) -> Map<String, Json> {
    let mut properties = Map::new();
    let mode = match finding.action {
        Action::Deny => "enforce",
        Action::Warn => "warn",
        Action::Record => "audit",
    };
    let application = finding.application.as_ref().map(|application| {
        let names = [&*application.kind, &*application.namespace, &*application.name];
        names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
    });
    let policies = if finding.policies.len() > 1 { finding.policies.join(",") } else { String::new() };
    for (key, value) in [
        ("mode", mode),
        ("path", &finding.path),
        ("policies", &policies),
        ("owner", &finding.owner),
        ("application", application.as_deref().unwrap_or_default()),
        // Policy Reporter tells results apart by it.
        ("resultID", &finding.id.0),
    ] {
        insert(&mut properties, key, &clip(value, TEXT_LENGTH));
    }
    if severities == Severities::Three {
        insert(&mut properties, "severity", finding.severity.as_str());
    }
    properties
}

/// Inserts a text; an empty one says nothing.
fn insert(fields: &mut Map<String, Json>, key: &str, value: &str) {
    if !value.is_empty() {
        fields.insert(key.to_owned(), value.into());
    }
}
