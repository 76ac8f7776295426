//! What mends the files of a scan, as one diff.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::Arc;

use crate::engine::review::{kind_of, name_of};
use crate::engine::{Catalogue, Value};
use crate::input::document::on_a_deep_stack;
use crate::input::draft::Draft;
use crate::report::{FileReport, ScanEntry, Verdict};

/// Violations by the file that they stand in.
#[derive(Debug, Default)]
pub struct Patches(BTreeMap<Arc<str>, Vec<ScanEntry>>);

impl Patches {
    /// Adds what was found in a file.
    pub fn add(&mut self, report: &FileReport) {
        let failed = report.entries.iter().filter(|entry| entry.result == Verdict::Fail);
        let failed: Vec<ScanEntry> = failed.cloned().collect();
        if !failed.is_empty() {
            self.0.entry(report.file.clone()).or_default().extend(failed);
        }
    }

    /// Returns the diffs of all files, and how many violations they leave.
    pub fn diffs(&self, catalogue: &Catalogue) -> (String, usize) {
        let all = || {
            let diffs = self.0.iter().map(|(file, entries)| diff(file, entries, catalogue));
            diffs.fold((String::new(), 0), |(text, left): (String, usize), (diff, rest)| {
                (text + &diff, left.saturating_add(rest))
            })
        };
        on_a_deep_stack("patch", all).unwrap_or_default()
    }
}

fn diff(file: &str, entries: &[ScanEntry], catalogue: &Catalogue) -> (String, usize) {
    let nothing = (String::new(), entries.len());
    let Some(mut draft) = Draft::read(Path::new(file)) else { return nothing };
    let mended = entries.iter().filter(|entry| is_mended(&mut draft, entry, catalogue)).count();
    // git takes names as they are seen from where it runs.
    let here = env::current_dir().map(|here| format!("{}/", here.display())).unwrap_or_default();
    match draft.diff(file.strip_prefix(&here).unwrap_or(file)) {
        Some(diff) => (diff, entries.len().saturating_sub(mended)),
        None => nothing,
    }
}

fn is_mended(draft: &mut Draft, entry: &ScanEntry, catalogue: &Catalogue) -> bool {
    let (Some(source), Some(path), Ok(rule)) = (&entry.source, &entry.path, catalogue.rule(entry.rule.as_str())) else {
        return false;
    };
    let is_it = |object: &Value| kind_of(object).kind == entry.resource.kind && name_of(object) == entry.resource.name;
    draft.mend(source.document, is_it, |_| Some(path.to_string()), &rule.mend)
}
