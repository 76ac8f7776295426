//! Findings as SARIF 2.1.0 (OASIS), written as they come: the rules that they name stand at the end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::finding::{Finding, State};
use super::result::Verdict;
use crate::policy::{Rule, RuleId, Severity};

/// Writes one log with one run.
#[derive(Debug, Default)]
pub struct Sarif {
    rules: BTreeSet<RuleId>,
}

impl Sarif {
    /// Returns what comes before the results.
    pub const fn start() -> &'static str {
        "{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\"runs\":[{\"results\":["
    }

    /// Returns the result of a finding.
    pub fn result(&mut self, finding: &Finding) -> String {
        let separator = if self.rules.is_empty() { "\n" } else { ",\n" };
        self.rules.insert(finding.rule.clone());
        format!("{separator}{}", result(finding))
    }

    /// Returns what comes after the results; of a rule that is not there any more only its id is told.
    pub fn end<'a>(&self, find: impl Fn(&RuleId) -> Option<&'a Rule>) -> String {
        let rules: Vec<Value> = self.rules.iter().map(|id| find(id).map_or_else(|| json!({"id": id}), rule)).collect();
        let driver = json!({"name": "gatepost", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules});
        format!("\n],\"tool\":{}}}]}}\n", json!({"driver": driver}))
    }
}

fn result(finding: &Finding) -> Value {
    let object = &finding.object;
    let names = [object.cluster.as_str(), &object.namespace, &object.kind, &object.name];
    let full: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let message = if finding.message.is_empty() { finding.rule.as_str() } else { &finding.message };
    // Only what fails has a level.
    let (kind, level) = match finding.result {
        Verdict::Fail => ("fail", level(finding.severity)),
        _ => ("open", "none"),
    };
    json!({
        "ruleId": finding.rule,
        "kind": kind,
        "level": level,
        "message": {"text": message},
        "locations": [{"logicalLocations": [{
            "name": object.name,
            "fullyQualifiedName": full.join("/"),
            "kind": "resource",
        }]}],
        "partialFingerprints": {"gatepost/v1": finding.id},
        "properties": {
            "severity": finding.severity,
            "state": if finding.state == State::Open { "open" } else { "closed" },
            "closedBecause": finding.closed_because,
            "exemption": finding.exemption,
            "action": finding.action,
            "policies": finding.policies,
            "apiVersion": finding.api_version,
            "resourceKind": object.kind,
            "namespace": object.namespace,
            "path": finding.path,
            "firstSeen": finding.first_seen,
            "lastSeen": finding.last_seen,
        },
    })
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.description},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {"severity": rule.severity, "tags": [rule.category]},
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}
