//! Counting over all files: what the last line and the exit code say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fault::Fault;
use super::result::{ScanEntry, Summary, Verdict};
use crate::admission::decide::Action;
use crate::policy::{RuleId, Severity};

/// What was found in a file, or in a part of a large one.
#[derive(Debug, Default)]
pub struct FileReport {
    /// Name of the file.
    pub file: Arc<str>,
    /// Results, object by object.
    pub entries: Vec<ScanEntry>,
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// The count of (rule, object) pairs.
    pub summary: Summary,
    /// Documents that are no Kubernetes objects.
    pub not_kubernetes: usize,
}

/// The count over all files.
#[derive(Debug, Default)]
pub struct Tally {
    /// The count of (rule, object) pairs.
    pub summary: Summary,
    /// Files read.
    pub files: usize,
    /// Violations by severity.
    pub violations: BTreeMap<Severity, usize>,
    /// Violations that would be denied.
    pub denied: usize,
    /// Objects with violations.
    pub violators: usize,
    /// Rules that something was found by.
    pub rules: BTreeSet<RuleId>,
    /// Faults of files.
    pub faults: usize,
    /// Documents that are no Kubernetes objects.
    pub not_kubernetes: usize,
    last_file: Option<Arc<str>>,
}

impl Tally {
    /// Adds what was found in a file.
    pub fn add(&mut self, report: &FileReport) {
        if self.last_file.as_ref() != Some(&report.file) {
            self.files = self.files.saturating_add(1);
            self.last_file = Some(report.file.clone());
        }
        self.summary += report.summary;
        self.faults = self.faults.saturating_add(report.faults.len());
        self.not_kubernetes = self.not_kubernetes.saturating_add(report.not_kubernetes);
        let mut last_object = None;
        for entry in report.entries.iter().filter(|entry| entry.result == Verdict::Fail) {
            let count = self.violations.entry(entry.severity).or_default();
            *count = count.saturating_add(1);
            self.denied = self.denied.saturating_add(usize::from(entry.action == Some(Action::Deny)));
            if !self.rules.contains(&entry.rule) {
                self.rules.insert(entry.rule.clone());
            }
            let object = Arc::as_ptr(&entry.resource);
            if last_object.replace(object) != Some(object) {
                self.violators = self.violators.saturating_add(1);
            }
        }
    }

    /// Returns how many violations there are.
    pub fn total(&self) -> usize {
        self.violations.values().sum()
    }

    /// Returns how many violations lie below a severity; all of them where none counts.
    pub fn below(&self, fail_on: Option<Severity>) -> usize {
        let is_below = |severity: &Severity| fail_on.is_none_or(|least| *severity < least);
        self.violations.iter().filter(|(severity, _)| is_below(severity)).map(|(_, count)| count).sum()
    }
}
