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

    /// Returns whether everything could be read and judged, and all violations lie below a severity.
    pub fn passes(&self, fail_on: Option<Severity>) -> bool {
        self.summary.error == 0 && self.faults == 0 && self.total() == self.below(fail_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Resource;

    fn entry(resource: &Arc<Resource>, severity: Severity, action: Action, result: Verdict) -> ScanEntry {
        ScanEntry {
            policies: Vec::new(),
            rule: RuleId::from("r"),
            severity,
            category: String::new(),
            result,
            action: Some(action),
            resource: resource.clone(),
            source: None,
            path: None,
            message: None,
            exemption: None,
            container: None,
        }
    }

    #[test]
    fn counts_violations_and_who_has_them() {
        let objects = [Arc::new(Resource::default()), Arc::new(Resource::default())];
        let [first, second] = &objects;
        let entries = vec![
            entry(first, Severity::High, Action::Deny, Verdict::Fail),
            entry(first, Severity::Low, Action::Warn, Verdict::Fail),
            entry(second, Severity::Low, Action::Record, Verdict::Fail),
            entry(second, Severity::High, Action::Deny, Verdict::Error),
        ];
        let mut tally = Tally::default();
        tally.add(&FileReport { file: "a".into(), entries, ..FileReport::default() });
        tally.add(&FileReport { file: "a".into(), faults: vec![Fault::of_file("x")], ..FileReport::default() });
        tally.add(&FileReport { file: "b".into(), not_kubernetes: 2, ..FileReport::default() });
        assert_eq!((tally.files, tally.faults, tally.not_kubernetes), (2, 1, 2));
        assert_eq!((tally.total(), tally.denied, tally.violators), (3, 1, 2));
        let below = [None, Some(Severity::High), Some(Severity::Low), Some(Severity::Critical)];
        assert_eq!(below.map(|least| tally.below(least)), [3, 2, 0, 3]);
        assert_eq!(below.map(|least| tally.passes(least)), [false; 4], "a file could not be read");
        tally.faults = 0;
        assert_eq!(below.map(|least| tally.passes(least)), [true, false, false, true]);
        tally.summary.error = 1;
        assert!(!tally.passes(None), "what was not judged did not pass");
    }
}
