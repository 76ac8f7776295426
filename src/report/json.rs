//! A `ScanResult` as JSON, written as it comes in: the summary stands at its end.

use serde::Serialize;

use super::result::{EngineVersion, Summary};
use super::tally::{FileReport, Tally};

/// Writes one document, one result a line.
#[derive(Debug, Default)]
pub struct JsonReport {
    has_results: bool,
    faults: Vec<FaultEntry>,
}

/// Something that could not be read; the key `faults` is there only if there are any.
#[derive(Debug, Serialize)]
struct FaultEntry {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
}

impl JsonReport {
    /// Returns what comes before the results.
    pub fn start(engine: &EngineVersion) -> String {
        format!(r#"{{"apiVersion":"gatepost.dev/v1","kind":"ScanResult","engine":{},"results":["#, to_json(engine))
    }

    /// Returns the results of a file.
    pub fn file(&mut self, report: &FileReport) -> String {
        let mut text = String::new();
        for entry in &report.entries {
            text.push_str(if self.has_results { ",\n" } else { "\n" });
            text.push_str(&to_json(entry));
            self.has_results = true;
        }
        self.faults.extend(faults(report));
        text
    }

    /// Returns what comes after the results.
    pub fn end(&self, tally: &Tally) -> String {
        let faults =
            if self.faults.is_empty() { String::new() } else { format!(r#""faults":{},"#, to_json(&self.faults)) };
        let summary: &Summary = &tally.summary;
        format!("\n],{faults}\"summary\":{}}}\n", to_json(summary))
    }
}

fn faults(report: &FileReport) -> impl Iterator<Item = FaultEntry> {
    report.faults.iter().map(|fault| FaultEntry {
        file: report.file.to_string(),
        line: fault.line,
        column: fault.column,
        message: fault.cause.clone(),
    })
}

/// Writes one JSON document a line: results as they are made, `{"fault": …}` for what could not be read, and in the end
/// the head and summary of the `ScanResult`.
#[derive(Debug, Clone, Copy)]
pub struct LineReport;

#[derive(Serialize)]
struct FaultLine {
    fault: FaultEntry,
}

impl LineReport {
    /// Returns the lines of a file.
    pub fn file(report: &FileReport) -> String {
        let results = report.entries.iter().map(to_json);
        let faults = faults(report).map(|fault| to_json(&FaultLine { fault }));
        results.chain(faults).map(|line| line + "\n").collect()
    }

    /// Returns the last line; `is_complete` says whether everything was read.
    pub fn end(engine: &EngineVersion, tally: &Tally, is_complete: bool) -> String {
        let (engine, summary, faults) = (to_json(engine), to_json(&tally.summary), tally.faults);
        format!(
            "{{\"apiVersion\":\"gatepost.dev/v1\",\"kind\":\"ScanResult\",\"engine\":{engine},\"complete\":{is_complete},\
             \"faults\":{faults},\"summary\":{summary}}}\n"
        )
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
