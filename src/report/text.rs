//! The report for people: by file and object, then how to fix each rule once, then one line that says it all.

use std::fmt::Write as _;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};

use super::result::{Resource, ScanEntry, Verdict};
use super::tally::{FileReport, Tally};
use crate::admission::decide::Action;
use crate::engine::Catalogue;
use crate::policy::{ExemptionNote, Severity};

/// Writes the report, with colours only where asked.
#[derive(Debug)]
pub struct TextReport {
    has_colours: bool,
    fail_on: Option<Severity>,
    part: &'static str,
    last_file: Option<Arc<str>>,
    last_object: Option<Arc<Resource>>,
}

impl TextReport {
    /// Starts a report; violations below `fail_on` do not fail the run, none of them do where it is none.
    pub const fn new(has_colours: bool, fail_on: Option<Severity>) -> Self {
        Self { has_colours, fail_on, part: "file", last_file: None, last_object: None }
    }

    /// Has the summary count parts of another name than files.
    pub const fn of_parts(mut self, name: &'static str) -> Self {
        self.part = name;
        self
    }

    /// Returns what is said of a file, nothing if all is well.
    pub fn file(&mut self, report: &FileReport) -> String {
        let mut text = String::new();
        if report.entries.is_empty() && report.faults.is_empty() {
            return text;
        }
        if self.last_file.as_ref() != Some(&report.file) {
            let blank = if self.last_file.is_some() { "\n" } else { "" };
            let name = if &*report.file == "-" { "standard input" } else { &report.file };
            let _ = writeln!(text, "{blank}{}", self.paint(Style::new().bold().underline(), name));
            self.last_file = Some(report.file.clone());
        }
        let width = report.entries.iter().map(|entry| entry.rule.as_str().len()).max().unwrap_or_default();
        for entry in &report.entries {
            self.entry(entry, width, &mut text);
        }
        for fault in &report.faults {
            self.last_object = None;
            let place = fault.line.map_or(String::new(), |line| line.to_string());
            let column = fault.column.map_or(String::new(), |column| format!(" (column {column})"));
            let word = self.paint(colour(AnsiColor::Red).bold(), "broken");
            let _ = writeln!(text, "  {place:>6}  {word}    {}{column}", printable(&fault.cause));
        }
        text
    }

    fn entry(&mut self, entry: &ScanEntry, width: usize, text: &mut String) {
        if !self.last_object.as_ref().is_some_and(|last| Arc::ptr_eq(last, &entry.resource)) {
            let Resource { kind, name, namespace, .. } = &*entry.resource;
            let place = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
            let name = if name.is_empty() { " without a name".to_owned() } else { format!("/{name}") };
            let object = format!("{kind}{name}{place}");
            let _ = writeln!(text, "  {}", self.paint(Style::new().bold(), &printable(&object)));
            self.last_object = Some(entry.resource.clone());
        }
        let line = entry.source.as_ref().map_or(String::new(), |source| source.line.to_string());
        let (word, style) = match entry.result {
            Verdict::Fail => (entry.severity.as_str(), severity_style(entry.severity)),
            Verdict::Pass => ("pass", colour(AnsiColor::Green)),
            Verdict::Exempt => ("exempt", colour(AnsiColor::Blue)),
            Verdict::Skip => ("skipped", Style::new().dimmed()),
            Verdict::Error => ("error", colour(AnsiColor::Red).bold()),
        };
        let word = self.paint(style, &format!("{word:<8}"));
        let rule = self.paint(Style::new().bold(), &format!("{:<width$}", entry.rule));
        let container = entry.container.as_ref().map_or(String::new(), |name| format!("{name}: "));
        let message = printable(&format!("{container}{}", entry.message.as_deref().unwrap_or_default()));
        let denied = entry.action == Some(Action::Deny) && entry.result == Verdict::Fail;
        let denied = if denied { self.paint(colour(AnsiColor::Red), " (would be denied)") } else { String::new() };
        let exempt = entry.exemption.as_ref().map_or(String::new(), |note| printable(&excused(note)));
        let _ = writeln!(text, "{}", format!("  {line:>6}  {word}  {rule}  {message}{denied}{exempt}").trim_end());
    }

    /// Returns how to fix what was found, and the summary.
    pub fn end(&self, tally: &Tally, catalogue: &Catalogue) -> String {
        let mut text = String::new();
        let fixes = tally.rules.iter().filter_map(|id| catalogue.rules().get(id));
        for (position, rule) in fixes.enumerate() {
            if position == 0 {
                let _ = writeln!(text, "\n{}", self.paint(Style::new().bold(), "How to fix"));
            }
            let _ = writeln!(text, "  {}: {}", self.paint(Style::new().bold(), rule.id.as_str()), rule.fix);
        }
        if self.last_file.is_some() {
            text.push('\n');
        }
        text.push_str(&self.summary(tally));
        text
    }

    fn summary(&self, tally: &Tally) -> String {
        let counted = tally
            .violations
            .iter()
            .rev()
            .map(|(severity, count)| self.paint(severity_style(*severity), &format!("{count} {severity}")));
        let mut parts = Vec::new();
        let below = tally.below(self.fail_on);
        if tally.total() == 0 {
            parts.push(self.paint(colour(AnsiColor::Green), "no violations"));
        } else {
            let counted: Vec<String> = counted.collect();
            let total = counted_as(tally.total(), "violation");
            parts.push(format!("{total} ({}) in {} of", counted.join(", "), tally.violators));
        }
        let head = parts.pop().unwrap_or_default();
        let joint = if tally.total() == 0 { " in" } else { "" };
        parts.push(format!(
            "{head}{joint} {}, {}",
            counted_as(tally.summary.objects, "object"),
            counted_as(tally.files, self.part)
        ));
        let mut add = |count: usize, text: String| {
            if count > 0 {
                parts.push(text);
            }
        };
        let threshold = self.fail_on.map_or("none", Severity::as_str);
        add(below, format!("{below} below --fail-on {threshold}"));
        add(tally.denied, format!("{} would be denied", tally.denied));
        add(tally.summary.pass, format!("{} passed", counted_as(tally.summary.pass, "check")));
        add(tally.summary.exempt, format!("{} exempt", counted_as(tally.summary.exempt, "check")));
        add(tally.summary.skip, format!("{} skipped", counted_as(tally.summary.skip, "check")));
        add(tally.summary.error, format!("{} could not be evaluated", counted_as(tally.summary.error, "check")));
        add(tally.not_kubernetes, format!("{} not of Kubernetes", counted_as(tally.not_kubernetes, "document")));
        add(tally.faults, format!("{} in the input", counted_as(tally.faults, "fault")));
        format!("{}\n", parts.join("; "))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.has_colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Returns why a violation does not count, and until when.
fn excused(note: &ExemptionNote) -> String {
    let end = note.expires.map_or_else(|| "without an end".into(), |end| format!("until {end}"));
    format!(" ({} of {} {end}: {})", note.name, note.owner, note.reason)
}

const fn colour(colour: AnsiColor) -> Style {
    colour.on_default()
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical => colour(AnsiColor::Magenta).bold(),
        Severity::High => colour(AnsiColor::Red).bold(),
        Severity::Medium => colour(AnsiColor::Yellow),
        Severity::Low => colour(AnsiColor::Cyan),
        Severity::Info => Style::new().dimmed(),
    }
}

fn counted_as(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Names and messages come from files: nothing in them may steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
