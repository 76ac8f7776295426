//! Which rules of a policy can be enforced: those that nothing breaks, those that little breaks, and the rest; and the
//! policy that follows, as YAML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::engine::{Bundle, ResolvedPolicy};
use crate::policy::set::{API_VERSION, Entry};
use crate::policy::{OnError, Rule, RuleId, Severity};

/// Objects that a comment of the policy names.
const NAMED: usize = 5;

/// How a rule stands where it is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleStanding {
    /// Objects that pass.
    pub passed: u64,
    /// Objects that an exemption excuses.
    pub exempt: u64,
    /// Open findings.
    pub findings: u64,
    /// Since when there are none, as far back as is looked.
    pub clean_since: Option<Timestamp>,
    /// Objects with open findings, where they are few: `shop Deployment/web`.
    pub left: Vec<String>,
    /// In how many namespaces nothing asks for it, so that nobody knows what breaks it there.
    pub unjudged: u64,
}

/// How near a rule is to being enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Nothing breaks it, and nothing has for as long as is asked.
    Ready,
    /// Nothing breaks it, but not for as long as is asked.
    Soon,
    /// Few findings are left.
    Nearly,
    /// Many are.
    Far,
    /// Somewhere nothing asks for it, so that nobody knows how much is left.
    Unjudged,
    /// No object was there that it looks at.
    Untried,
}

impl Reach {
    /// Every reach, the nearest first.
    pub const ALL: [Self; 6] = [Self::Ready, Self::Soon, Self::Nearly, Self::Far, Self::Unjudged, Self::Untried];

    /// Returns the word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Soon => "soon",
            Self::Nearly => "nearly",
            Self::Far => "far",
            Self::Unjudged => "unjudged",
            Self::Untried => "untried",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// For how many days a rule must have had no findings.
    pub days: u32,
    /// Findings up to which a rule is nearly there.
    pub few: u64,
    /// Now.
    pub now: Timestamp,
}

/// A rule, how it stands, and how near it is.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What the policy makes of it.
    pub entry: &'a Entry,
    /// How it stands.
    pub standing: RuleStanding,
    /// How near it is.
    pub reach: Reach,
}

/// Returns the rules of a policy that another one does not have, the gravest first.
pub fn candidates<'a>(
    bundle: &'a Bundle,
    policy: &'a ResolvedPolicy,
    beside: Option<&ResolvedPolicy>,
    standings: &BTreeMap<RuleId, RuleStanding>,
    wanted: Wanted,
) -> Vec<Candidate<'a>> {
    let rule_of = |check: &usize| bundle.checks().get(*check).map(|check| &*check.rule.rule);
    let has = |policy: &ResolvedPolicy, rule: &Rule| {
        policy.entries.keys().filter_map(rule_of).any(|known| known.id == rule.id)
    };
    let of = |(check, entry): (&usize, &'a Entry)| {
        let rule = &*bundle.checks().get(*check)?.rule.rule;
        let standing = standings.get(&rule.id).cloned().unwrap_or_default();
        let reach = reach(&standing, wanted);
        (!beside.is_some_and(|beside| has(beside, rule))).then_some(Candidate { rule, entry, standing, reach })
    };
    let mut found: Vec<Candidate<'a>> = policy.entries.iter().filter_map(of).collect();
    found.sort_by(|a, b| b.entry.severity.cmp(&a.entry.severity).then_with(|| a.rule.id.cmp(&b.rule.id)));
    found
}

/// Returns how near a rule that stands so is.
pub fn reach(standing: &RuleStanding, wanted: Wanted) -> Reach {
    let age = SignedDuration::from_hours(i64::from(wanted.days).saturating_mul(24));
    let is_old_enough = standing.clean_since.is_some_and(|since| wanted.now.duration_since(since) >= age);
    match standing {
        RuleStanding { findings, unjudged: 1.., .. } if *findings <= wanted.few => Reach::Unjudged,
        RuleStanding { findings: 0, passed: 0, exempt: 0, .. } => Reach::Untried,
        RuleStanding { findings: 0, .. } if wanted.days == 0 || is_old_enough => Reach::Ready,
        RuleStanding { findings: 0, .. } => Reach::Soon,
        RuleStanding { findings, .. } if *findings <= wanted.few => Reach::Nearly,
        _ => Reach::Far,
    }
}

/// What the policy's comments say of where its counts come from.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The new policy's name.
    pub name: &'a str,
    /// The policy whose rules were looked at.
    pub policy: &'a str,
    /// The policy that it takes over whole.
    pub beside: Option<&'a str>,
    /// Which audit, in words.
    pub audit: &'a str,
    /// Which namespaces, in words.
    pub namespaces: &'a str,
    /// For how many days a rule must have had no findings.
    pub days: u32,
}

/// Returns the policy of what is ready as YAML, with the counts as comments; what is not ready stands below it.
pub fn policy_yaml(about: About<'_>, candidates: &[Candidate<'_>]) -> String {
    let About { name, policy, beside, audit, namespaces, days } = about;
    let of = |reach: Reach| candidates.iter().filter(move |candidate| candidate.reach == reach);
    let since = if days == 0 { String::new() } else { format!(" for {days} days") };
    let mut text = format!(
        "# What nothing breaks{since}: of the {} rules of {} that were looked at, {} can be enforced.\n# {}; {}.\n",
        candidates.len(),
        comment(policy),
        of(Reach::Ready).count(),
        comment(audit),
        comment(namespaces),
    );
    let _ = writeln!(text, "apiVersion: {API_VERSION}\nkind: Policy\nmetadata:\n  name: {}\nspec:", scalar(name));
    let _ = writeln!(text, "  title: {}", scalar(&format!("Rules of {policy} that nothing breaks")));
    if let Some(beside) = beside {
        let _ = writeln!(text, "  include:\n  - {}", scalar(beside));
    }
    if of(Reach::Ready).next().is_none() {
        text.push_str("  rules: []\n");
    } else {
        text.push_str("  rules:\n");
        of(Reach::Ready).for_each(|candidate| entry(candidate, &mut text));
    }
    for (reach, heading) in [
        (Reach::Soon, "Nothing breaks these, but not for long enough"),
        (Reach::Nearly, "Little is left of these"),
        (Reach::Far, "Much is left of these"),
        (Reach::Unjudged, "Nothing asks for these everywhere (`audit.policies` would), so what is left is not known"),
        (Reach::Untried, "No object was there that these look at"),
    ] {
        let mut rules = of(reach).peekable();
        if rules.peek().is_some() {
            let _ = writeln!(text, "\n# {heading}:");
            rules.for_each(|candidate| {
                let _ = writeln!(text, "# - id: {} # {}", candidate.rule.id, told(candidate));
            });
        }
    }
    text
}

/// Writes an entry with what its policy sets otherwise than the rule does.
fn entry(candidate: &Candidate<'_>, text: &mut String) {
    let Candidate { rule, entry, standing, .. } = candidate;
    let _ = writeln!(text, "  - id: {} # {}", scalar(rule.id.as_str()), told(candidate));
    let mut set = |key: &str, value: String| {
        let _ = writeln!(text, "    {key}: {value}");
    };
    if entry.severity != rule.severity {
        set("severity", entry.severity.to_string());
    }
    if let Some(message) = &entry.message {
        set("message", scalar(message));
    }
    if !entry.parameters.is_empty() {
        set("parameters", serde_json::to_string(&entry.parameters).unwrap_or_default());
    }
    if entry.on_error == OnError::Allow {
        set("onError", "allow".into());
    }
    if entry.at_most.is_some() {
        set("atMost", "warn".into());
    }
    if entry.mutate {
        set("mutate", "true".into());
    }
    if entry.exemptable {
        set("exemptable", "true".into());
    } else if standing.exempt > 0 {
        set("exemptable", "true # so that the Exemptions that excuse objects today go on to".into());
    }
}

/// Returns severity and counts in words.
fn told(candidate: &Candidate<'_>) -> String {
    let Candidate { entry, standing, .. } = candidate;
    let RuleStanding { passed, exempt, findings, clean_since, left, unjudged } = standing;
    let count = |count: u64, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    let mut parts: Vec<String> = vec![entry.severity.to_string()];
    if *findings > 0 {
        parts.push(count(*findings, "finding"));
    }
    parts.push(format!("{} pass{}", count(*passed, "object"), if *passed == 1 { "es" } else { "" }));
    if *exempt > 0 {
        parts.push(format!("{exempt} exempt"));
    }
    if *unjudged > 0 {
        parts.push(format!("not judged in {}", count(*unjudged, "namespace")));
    }
    if let Some(since) = clean_since.filter(|_| *findings == 0 && *unjudged == 0) {
        parts.push(format!("clean since {}", since.to_zoned(TimeZone::UTC).date()));
    }
    let mut text = parts.join(", ");
    if !left.is_empty() {
        let named: Vec<&str> = left.iter().take(NAMED).map(String::as_str).collect();
        let dots = if left.len() > NAMED { ", …" } else { "" };
        let _ = write!(text, ": {}{dots}", named.join(", "));
    }
    comment(&text)
}

/// Returns a text that stays within its comment.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

/// Returns a text as YAML, quoted where plain would mean something else.
pub fn scalar(text: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(is_word)
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    // A JSON string is a double-quoted scalar of YAML.
    if is_plain { text.to_owned() } else { serde_json::to_string(text).unwrap_or_default() }
}

/// Returns the policy that takes another one over and says something else of one of its rules.
pub fn message_yaml(name: &str, base: &str, rule: &str, message: &str) -> String {
    let message = if message.is_empty() {
        "  # message: what people read".to_owned()
    } else {
        format!("    message: {}", serde_json::to_string(message).unwrap_or_default())
    };
    format!(
        "apiVersion: {API_VERSION}\nkind: Policy\nmetadata:\n  name: {}\nspec:\n  title: {}\n  include: [{}]\n  rules:\n  \
         - id: {}\n{message}\n",
        scalar(name),
        serde_json::to_string(&format!("{base}, in our own words")).unwrap_or_default(),
        scalar(base),
        scalar(rule),
    )
}

/// What the API tells of a candidate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateTold<'a> {
    rule: &'a RuleId,
    title: &'a str,
    severity: Severity,
    reach: Reach,
    passed: u64,
    exempt: u64,
    findings: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean_since: Option<Timestamp>,
    unjudged_namespaces: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    objects: &'a [String],
}

impl<'a> From<&'a Candidate<'_>> for CandidateTold<'a> {
    fn from(candidate: &'a Candidate<'_>) -> Self {
        let Candidate { rule, entry, standing, reach } = candidate;
        Self {
            rule: &rule.id,
            title: &rule.title,
            severity: entry.severity,
            reach: *reach,
            passed: standing.passed,
            exempt: standing.exempt,
            findings: standing.findings,
            clean_since: standing.clean_since,
            unjudged_namespaces: standing.unjudged,
            objects: &standing.left,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
