//! What is kept of a scan, whoever judged: one check, with as many of its results as there is room for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::endpoint::{Parameter, Query, Values};
use super::problem::{Flaw, Problem};
use super::{random, reports};
use crate::policy::Severity;
use crate::report::{FileReport, Tally, Verdict};
use crate::store::{Batch, Check};

/// Results that go with a check, and their bytes; the verdict counts all.
const RESULTS: usize = 1000;
const RESULT_BYTES: usize = 6 << 20;

/// What a query of the scan endpoint says about it.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::new("record", Values::Flag, "Whether the verdict is kept as a check in the history; needs a source"),
    Parameter::new("source", Values::Text, "With record: who judges, for the history, such as ci/shop"),
    Parameter::new("commit", Values::Text, "With record: the commit that is judged"),
    Parameter::new(
        "failOn",
        Values::OneOf(&["critical", "high", "medium", "low", "info", "none"]),
        "With record: the least severity that fails; high if nobody says",
    ),
];

/// Gathers the results that go with a check.
#[derive(Debug, Default)]
pub struct Gathered {
    results: Vec<Json>,
    bytes: usize,
}

impl Gathered {
    /// Takes in what was found in a file, as far as there is room.
    pub fn add(&mut self, report: &FileReport) {
        let found = report.entries.iter().filter(|entry| matches!(entry.result, Verdict::Fail | Verdict::Error));
        for entry in found {
            if self.results.len() >= RESULTS {
                return;
            }
            let Ok(text) = serde_json::to_string(entry) else { continue };
            self.bytes = self.bytes.saturating_add(text.len());
            if self.bytes > RESULT_BYTES {
                return;
            }
            self.results.extend(serde_json::from_str::<Json>(&text));
        }
    }
}

/// Who judged, and what.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Who, for the history: `ci/NAME`, `cli/NAME`.
    pub source: String,
    /// The commit that was judged; empty if nobody says.
    pub commit: String,
    /// The digest of the policies.
    pub policies: String,
    /// The least severity that fails; none: no violation does.
    pub fail_on: Option<Severity>,
}

/// Returns the report of one scan.
pub fn batch(judged: Judged, gathered: Gathered, tally: &Tally) -> Batch {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let summary = serde_json::to_value(tally.summary).and_then(serde_json::from_value).unwrap_or_default();
    let violations: BTreeMap<String, u64> =
        tally.violations.iter().map(|(severity, number)| (severity.as_str().to_owned(), count(*number))).collect();
    let check = Check {
        id: 0,
        time: Timestamp::now(),
        cluster: String::new(),
        source: judged.source.clone(),
        commit: judged.commit.clone(),
        policies: judged.policies,
        passed: tally.passes(judged.fail_on),
        summary,
        violations,
        results: gathered.results,
    };
    Batch {
        api_version: "gatepost.dev/v1".into(),
        kind: "Report".into(),
        // Another scan is another check; only the attempts to report one are the same.
        key: random::hex::<16>(),
        cluster: String::new(),
        source: judged.source,
        commit: judged.commit,
        decisions: Vec::new(),
        checks: vec![check],
    }
}

/// That somebody wants a scan to be kept.
#[derive(Debug, Clone)]
pub struct Wish {
    source: String,
    commit: String,
    fail_on: Option<Severity>,
}

impl Wish {
    /// Reads it from a query; everything that does not go together comes back.
    pub(super) fn of(query: &Query, is_stream: bool) -> Result<Option<Self>, Problem> {
        let mut flaws = Vec::new();
        if !query.flag("record") {
            let needs = ["source", "commit", "failOn"].into_iter().filter(|name| query.text(name).is_some());
            flaws.extend(
                needs.map(|name| Flaw::of_parameter(name, format!("{name} means nothing without record=true"))),
            );
            return if flaws.is_empty() { Ok(None) } else { Err(Problem::query(flaws)) };
        }
        let [source, commit] = ["source", "commit"].map(|name| query.text(name).unwrap_or_default().to_owned());
        if source.is_empty() {
            let detail = "record=true needs a source: who judges, for the history, such as source=ci/shop";
            flaws.push(Flaw::of_parameter("source", detail));
        }
        flaws.extend(reports::flaws_of_names(&[("source", &source), ("commit", &commit)]));
        if is_stream {
            let detail = "a stream of lines is not kept: with record=true accept application/json";
            flaws.push(Flaw::of_parameter("record", detail));
        }
        if !flaws.is_empty() {
            return Err(Problem::query(flaws));
        }
        let fail_on = match query.text("failOn") {
            Some(word) => word.parse().ok(),
            None => Some(Severity::High),
        };
        Ok(Some(Self { source, commit, fail_on }))
    }

    /// Returns the report of what was judged.
    pub(super) fn batch(self, policies: &str, report: &FileReport, tally: &Tally) -> Batch {
        let Self { source, commit, fail_on } = self;
        let mut gathered = Gathered::default();
        gathered.add(report);
        batch(Judged { source, commit, policies: policies.to_owned(), fail_on }, gathered, tally)
    }
}
