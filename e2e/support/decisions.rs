//! Gatepost's structured log, one line a decision: the one place that knows its fields.

use std::collections::BTreeSet;

use serde_json::Value;

/// The message of the log line.
const MESSAGE: &str = "admission decision";

/// What Gatepost says it answered to one AdmissionReview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub operation: String,
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub user: String,
    pub allowed: bool,
    pub dry_run: bool,
    /// Whether the API server showed a certificate that Gatepost asked for.
    pub verified: bool,
    /// Why it was or was not judged: `judged`, `unchanged` and the like.
    pub reason: String,
    /// How many warnings the requester got.
    pub warnings: u64,
    /// Ids of the rules that the object breaks, whatever the modes make of it.
    pub rules: BTreeSet<String>,
}

/// Reads the decisions from a log, skipping every other line.
pub fn decisions(log: &str) -> Vec<Decision> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| decision(&line)).collect()
}

fn decision(line: &Value) -> Option<Decision> {
    // tracing's JSON keeps an event's fields in an object of their own unless it is told to flatten them.
    let fields = line.get("fields").unwrap_or(line);
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| fields.get(key).is_some_and(|value| value == true || value == "true");
    (text("message") == MESSAGE).then(|| Decision {
        operation: text("operation").to_owned(),
        api_version: text("api_version").to_owned(),
        kind: text("kind").to_owned(),
        namespace: text("namespace").to_owned(),
        name: text("name").to_owned(),
        user: text("user").to_owned(),
        allowed: flag("allowed"),
        dry_run: flag("dry_run"),
        verified: flag("verified"),
        reason: text("reason").to_owned(),
        warnings: fields.get("warnings").and_then(Value::as_u64).unwrap_or_default(),
        rules: text("rules").split([',', ' ']).filter(|rule| !rule.is_empty()).map(str::to_owned).collect(),
    })
}
