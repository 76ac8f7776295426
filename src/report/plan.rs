//! A remediation plan: what each owner or application has to mend, as Markdown for an issue and as CSV.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::csv::cell_text;
use super::finding::Finding;
use crate::policy::{Effort, Rule, RuleId};

/// By what a plan is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The object's top owner.
    Owner,
    /// What delivers it.
    Application,
}

impl By {
    const fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Application => "application",
        }
    }

    fn of(self, finding: &Finding) -> String {
        let object = &finding.object;
        let own = || format!("{}/{}", object.kind, object.name);
        match self {
            Self::Owner => {
                let owner = if finding.owner.is_empty() { own() } else { finding.owner.clone() };
                if object.namespace.is_empty() { owner } else { format!("{owner} in {}", object.namespace) }
            }
            Self::Application => finding
                .application
                .as_ref()
                .map_or_else(|| "no application".to_owned(), |by| format!("{} {}", by.kind, by.name)),
        }
    }
}

type Rules = BTreeMap<RuleId, std::sync::Arc<Rule>>;

/// Returns the findings by whom they are to be mended, those with the gravest first.
fn grouped(findings: &[Finding], by: By) -> Vec<(String, Vec<&Finding>)> {
    let mut groups: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        groups.entry(by.of(finding)).or_default().push(finding);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, findings) in &mut groups {
        findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| a.rule.cmp(&b.rule)).then_with(|| a.object.cmp(&b.object))
        });
    }
    let gravest = |findings: &[&Finding]| findings.first().map(|finding| finding.severity);
    groups.sort_by(|(a, x), (b, y)| {
        gravest(y).cmp(&gravest(x)).then_with(|| y.len().cmp(&x.len())).then_with(|| a.cmp(b))
    });
    groups
}

/// Returns a plan as Markdown: a heading for each, a box to tick for each rule, and the objects below it.
pub fn markdown(findings: &[Finding], by: By, rules: &Rules) -> String {
    let groups = grouped(findings, by);
    let mut text = format!("# What is to be mended, by {}\n\n", by.word());
    if groups.is_empty() {
        text.push_str("Nothing.\n");
    }
    for (name, findings) in groups {
        let _ = writeln!(text, "## {} ({})\n", plain(&name), findings.len());
        let mut of_rule: Vec<(&RuleId, Vec<&Finding>)> = Vec::new();
        for finding in findings {
            match of_rule.last_mut().filter(|(rule, _)| **rule == finding.rule) {
                Some((_, known)) => known.push(finding),
                None => of_rule.push((&finding.rule, vec![finding])),
            }
        }
        for (id, findings) in of_rule {
            let severity = findings.first().map(|finding| finding.severity.as_str()).unwrap_or_default();
            let rule = rules.get(id);
            let title = rule.map_or(id.as_str(), |rule| &rule.title);
            let effort = rule.map_or(String::new(), |rule| format!(", {}", words(rule.effort)));
            let _ = writeln!(text, "- [ ] **{}** `{id}` ({severity}{effort})", plain(title));
            if let Some(rule) = rule {
                let _ = writeln!(text, "  {}", plain(&rule.fix));
            }
            for finding in findings {
                let object = &finding.object;
                let place = if finding.place.is_empty() { String::new() } else { format!(" at {}", finding.place) };
                let name = format!("{} {}/{}{place}", object.namespace, object.kind, object.name);
                let _ = writeln!(text, "  - {}: {}", plain(name.trim()), plain(&finding.message));
            }
        }
        text.push('\n');
    }
    text
}

/// Returns a plan as CSV, a line for each finding.
pub fn csv(findings: &[Finding], by: By, rules: &Rules) -> String {
    let columns =
        [by.word(), "severity", "rule", "effort", "namespace", "kind", "name", "place", "message", "fix", "firstSeen"];
    let mut text = columns.join(",") + "\r\n";
    for (name, findings) in grouped(findings, by) {
        for finding in findings {
            let (object, rule) = (&finding.object, rules.get(&finding.rule));
            let cells = [
                name.clone(),
                finding.severity.to_string(),
                finding.rule.to_string(),
                rule.map(|rule| rule.effort.as_str().to_owned()).unwrap_or_default(),
                object.namespace.clone(),
                object.kind.clone(),
                object.name.clone(),
                finding.place.clone(),
                finding.message.clone(),
                rule.map(|rule| rule.fix.trim().to_owned()).unwrap_or_default(),
                finding.first_seen.to_string(),
            ];
            text.push_str(&cells.map(|cell| cell_text(&cell)).join(","));
            text.push_str("\r\n");
        }
    }
    text
}

const fn words(effort: Effort) -> &'static str {
    match effort {
        Effort::Easy => "easy",
        Effort::Medium => "some work",
        Effort::Hard => "hard",
    }
}

/// Returns a text as one line of Markdown that means nothing but itself.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if "\\`*_[]<>|#&~@!".contains(c) {
            plain.push('\\');
        }
        plain.push(if c.is_control() { ' ' } else { c });
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;
    use crate::engine::Catalogue;
    use crate::report::accept::tests::finding;

    #[test]
    fn a_plan_has_a_box_for_each_rule_of_each_owner_and_no_markup_of_others() {
        let mut owned = finding("Pod", "web-1", "container-image-tag");
        owned.owner = "Deployment/web".into();
        let findings = [owned, finding("Deployment", "web", "container-image-tag"), finding("Pod", "x", "gone|rule")];
        let catalogue = Catalogue::read(&[]).unwrap();
        let text = markdown(&findings, By::Owner, catalogue.rules());
        assert!(text.contains("## Deployment/web in shop (2)\n"), "{text}");
        assert_eq!(text.matches("- [ ] ").count(), 2, "{text}");
        assert!(text.contains("write a \\`fixed\\` tag \\# now") && text.contains("/spec/\\<b\\>"), "{text}");
        let lines = csv(&findings, By::Application, catalogue.rules());
        assert_eq!(lines.lines().filter(|line| line.starts_with("no application,high,")).count(), 3, "{lines}");
        let mut sums = finding("Pod", "web-1", "container-image-tag");
        sums.message = "=HYPERLINK(\"https://evil.example\")".into();
        let lines = csv(&[sums], By::Owner, catalogue.rules());
        assert!(lines.contains(",\"'=HYPERLINK(\"\"https://evil.example\"\")\","), "{lines}");
        assert!(markdown(&[], By::Owner, catalogue.rules()).ends_with("Nothing.\n"));
    }
}
