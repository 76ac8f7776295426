//! What a report must be, beyond its shape.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_path_to_error::{Path, Segment};

use crate::engine::pointer::escaped;
use crate::policy::nearest;
use crate::scan::access::Caller;
use crate::scan::problem::Flaw;
use crate::store::{Batch, Check, Decision, DecisionResult, SlotChange};

/// Decisions and checks that a report may have.
const ENTRIES: usize = 1000;
/// Results that one decision may have.
const RESULTS: usize = 500;
/// Changes of modes that one decision may have.
const CHANGES: usize = 50;
/// Results that one check may have.
const CHECK_RESULTS: usize = 1000;
/// Bytes of a name.
const NAME_BYTES: usize = 253;
/// Bytes of a path or a message.
const TEXT_BYTES: usize = 2048;
/// How far the clock of whoever reports may be ahead.
const CLOCKS: SignedDuration = SignedDuration::from_hours(1);
/// Beyond so many the rest is more of the same.
const TOLD: usize = 20;

const OPERATIONS: &[&str] = &["CREATE", "UPDATE", "DELETE", "CONNECT"];
const SEVERITIES: &[&str] = &["critical", "high", "medium", "low", "info"];
const SUMMARY: &[&str] = &["objects", "pass", "fail", "error", "skip", "exempt"];

/// Returns what is wrong with a report that can be read, at most 20 of it.
pub fn flaws(batch: &Batch, caller: &Caller, now: Timestamp) -> Vec<Flaw> {
    let mut flaws = Flaws { now, found: Vec::new() };
    flaws.must_be("/apiVersion", &batch.api_version, "gatepost.dev/v1");
    flaws.must_be("/kind", &batch.kind, "Report");
    flaws.name("/key", &batch.key);
    flaws.name("/source", &batch.source);
    flaws.at_most("/cluster", &batch.cluster, NAME_BYTES);
    flaws.at_most("/commit", &batch.commit, NAME_BYTES);
    if batch.decisions.is_empty() && batch.checks.is_empty() {
        flaws.found.push(Flaw::at("", "there is neither a decision nor a check in it"));
    }
    if flaws.count("/decisions", batch.decisions.len(), ENTRIES) {
        for (number, decision) in batch.decisions.iter().enumerate() {
            flaws.decision(&format!("/decisions/{number}"), decision, caller);
        }
    }
    if flaws.count("/checks", batch.checks.len(), ENTRIES) {
        for (number, check) in batch.checks.iter().enumerate() {
            flaws.check(&format!("/checks/{number}"), check);
        }
    }
    flaws.found
}

/// Returns what is wrong with what a webhook says of itself.
pub fn flaws_of_presence(source: &str, cluster: &str, since: Timestamp, now: Timestamp) -> Vec<Flaw> {
    let mut flaws = Flaws { now, found: Vec::new() };
    flaws.name("/source", source);
    flaws.at_most("/cluster", cluster, NAME_BYTES);
    flaws.time("/since", since);
    flaws.found
}

struct Flaws {
    now: Timestamp,
    found: Vec<Flaw>,
}

impl Flaws {
    fn push(&mut self, pointer: &str, detail: impl AsRef<str>) {
        if self.found.len() < TOLD {
            self.found.push(Flaw::at(pointer, format!("{}: {}", place(pointer), detail.as_ref())));
        }
    }

    fn decision(&mut self, at: &str, decision: &Decision, caller: &Caller) {
        self.name(&format!("{at}/uid"), &decision.uid);
        self.time(&format!("{at}/time"), decision.time);
        self.one_of(&format!("{at}/operation"), &decision.operation, OPERATIONS);
        self.name(&format!("{at}/kind"), &decision.kind);
        for (field, text) in [
            ("cluster", &decision.cluster),
            ("group", &decision.group),
            ("namespace", &decision.namespace),
            ("name", &decision.name),
            ("reason", &decision.reason),
        ] {
            self.at_most(&format!("{at}/{field}"), text, NAME_BYTES);
        }
        self.at_most(&format!("{at}/user"), &decision.user, TEXT_BYTES);
        self.at_most(&format!("{at}/breakGlass"), decision.break_glass.as_deref().unwrap_or_default(), TEXT_BYTES);
        if !caller.sees(&decision.namespace) {
            self.push(&format!("{at}/namespace"), format!("the token does not reach \"{}\"", decision.namespace));
        }
        if self.count(&format!("{at}/results"), decision.results.len(), RESULTS) {
            for (number, result) in decision.results.iter().enumerate() {
                self.result(&format!("{at}/results/{number}"), result);
            }
        }
        if self.count(&format!("{at}/changes"), decision.changes.len(), CHANGES) {
            for (number, change) in decision.changes.iter().enumerate() {
                self.change(&format!("{at}/changes/{number}"), change);
            }
        }
    }

    fn change(&mut self, at: &str, change: &SlotChange) {
        self.name(&format!("{at}/slot"), &change.slot);
        for (field, text) in [("from", &change.from), ("to", &change.to)] {
            self.at_most(&format!("{at}/{field}"), text, TEXT_BYTES);
        }
    }

    fn result(&mut self, at: &str, result: &DecisionResult) {
        self.name(&format!("{at}/rule"), &result.rule);
        self.at_most(&format!("{at}/policy"), &result.policy, NAME_BYTES);
        self.one_of(&format!("{at}/severity"), &result.severity, SEVERITIES);
        self.one_of(&format!("{at}/result"), &result.result, &["fail", "error", "exempt"]);
        self.one_of(&format!("{at}/action"), &result.action, &["deny", "warn", "record"]);
        for (field, text) in [
            ("path", &result.path),
            ("place", &result.place),
            ("message", &result.message),
            ("exemption", &result.exemption),
        ] {
            self.at_most(&format!("{at}/{field}"), text, TEXT_BYTES);
        }
    }

    fn check(&mut self, at: &str, check: &Check) {
        if check.id != 0 {
            self.push(&format!("{at}/id"), "is given by the store: leave it out");
        }
        self.time(&format!("{at}/time"), check.time);
        self.name(&format!("{at}/source"), &check.source);
        for (field, text) in [("cluster", &check.cluster), ("commit", &check.commit), ("policies", &check.policies)] {
            self.at_most(&format!("{at}/{field}"), text, NAME_BYTES);
        }
        for word in check.summary.keys() {
            self.one_of(&format!("{at}/summary"), word, SUMMARY);
        }
        for word in check.violations.keys() {
            self.one_of(&format!("{at}/violations"), word, SEVERITIES);
        }
        self.count(&format!("{at}/results"), check.results.len(), CHECK_RESULTS);
    }

    fn must_be(&mut self, at: &str, text: &str, expected: &str) {
        if text != expected {
            self.push(at, format!("must be \"{expected}\", not \"{text}\""));
        }
    }

    fn name(&mut self, at: &str, text: &str) {
        if text.is_empty() {
            self.push(at, "is empty");
        } else if let Some(cause) = flaw_of_text(text) {
            self.push(at, cause);
        }
    }

    fn at_most(&mut self, at: &str, text: &str, most: usize) {
        if text.len() > most {
            self.push(at, format!("is longer than {most} bytes"));
        }
    }

    fn count(&mut self, at: &str, count: usize, most: usize) -> bool {
        if count > most {
            self.push(at, format!("has {count} entries, and {most} is the most: send several reports"));
        }
        count <= most
    }

    fn one_of(&mut self, at: &str, word: &str, known: &[&str]) {
        if !known.contains(&word) {
            let near = nearest(word, known.iter().copied());
            let near = near.map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
            self.push(at, format!("\"{word}\" is none of {}{near}", known.join(", ")));
        }
    }

    fn time(&mut self, at: &str, time: Timestamp) {
        let latest = self.now.checked_add(CLOCKS).unwrap_or(self.now);
        if time > latest {
            self.push(at, "lies in the future: is a clock wrong?");
        } else if time.as_second() < 946_684_800 {
            self.push(at, "lies before 2000: is a clock wrong?");
        }
    }
}

/// Returns what is wrong with a text that stands for somebody or something.
pub fn flaw_of_text(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return Some("holds control characters".into());
    }
    (text.len() > NAME_BYTES).then(|| format!("is longer than {NAME_BYTES} bytes"))
}

/// Returns a place that an error names as a JSON Pointer.
pub fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |mut text, segment| {
        let _ = match segment {
            Segment::Seq { index } => write!(text, "/{index}"),
            Segment::Map { key } => write!(text, "/{}", escaped(key)),
            Segment::Enum { .. } | Segment::Unknown => Ok(()),
        };
        text
    })
}

/// Returns a pointer as people read it: `decisions[3].time`.
pub fn place(pointer: &str) -> String {
    let mut text = String::new();
    for part in pointer.split('/').skip(1) {
        let _ = match part.parse::<usize>() {
            Ok(index) => write!(text, "[{index}]"),
            Err(_) if text.is_empty() => write!(text, "{part}"),
            Err(_) => write!(text, ".{part}"),
        };
    }
    if text.is_empty() { "the report".to_owned() } else { text }
}
