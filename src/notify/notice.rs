//! One message, before it takes the form of the way that it goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::notifications::Event;
use crate::policy::Severity;

/// Items that a message shows one by one.
pub(super) const SHOWN: usize = 10;

/// Characters of one item's text.
const LONGEST: usize = 240;

/// What one message tells to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Of what.
    pub event: Event,
    /// When it was put together.
    pub time: Timestamp,
    /// The cluster's name, empty where it has none.
    pub cluster: String,
    /// Whom the namespaces' annotation names: a channel, an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Whose namespaces it is about, in a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it says, in one line.
    pub title: String,
    /// How many findings, denials, audits, parts or exemptions it is about.
    pub count: u64,
    /// How many findings of each severity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub severities: BTreeMap<Severity, u64>,
    /// The namespaces that it is about, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// What there is to say one by one, the gravest first.
    pub items: Vec<Item>,
    /// How many there are beyond these.
    pub more: u64,
    /// Where to read on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether what was told before is over.
    pub resolved: bool,
}

/// One thing of several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What it says, in one line.
    pub text: String,
    /// Its severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where to read on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Notice {
    /// Begins one that says nothing yet.
    pub(super) fn new(event: Event, time: Timestamp, cluster: &str) -> Self {
        Self {
            event,
            time,
            cluster: cluster.to_owned(),
            recipient: None,
            owner: None,
            title: String::new(),
            count: 0,
            severities: BTreeMap::new(),
            namespaces: Vec::new(),
            items: Vec::new(),
            more: 0,
            url: None,
            resolved: false,
        }
    }

    /// Returns the gravest severity that it is about.
    pub(super) fn gravest(&self) -> Option<Severity> {
        self.severities.iter().rev().find(|(_, count)| **count > 0).map(|(severity, _)| *severity)
    }

    /// Returns its title with the cluster's name.
    pub(super) fn headline(&self) -> String {
        if self.cluster.is_empty() { self.title.clone() } else { format!("{}: {}", self.cluster, self.title) }
    }

    /// Returns it as plain text, without its title.
    pub(super) fn plain(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            // Writing to a String does not fail.
            let _ = writeln!(text, "- {}", item.text);
            if let Some(url) = &item.url {
                let _ = writeln!(text, "  {url}");
            }
        }
        if self.more > 0 {
            let _ = writeln!(text, "{}", beyond(self.more));
        }
        if let Some(url) = &self.url {
            let _ = writeln!(text, "\n{url}");
        }
        text
    }
}

impl Item {
    /// Builds one that says something.
    pub(super) fn new(text: &str) -> Self {
        Self { text: line(text), ..Self::default() }
    }
}

/// Says how many are not shown.
pub(super) fn beyond(more: u64) -> String {
    format!("… and {more} more")
}

/// Returns a text as one line that is not too long.
fn line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", plain.get(..end).unwrap_or_default()),
        None => plain,
    }
}

/// Says how many there are of something: `1 finding`, `2 findings`.
pub(super) fn some(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// Says how many of each severity, the gravest first: `1 critical, 3 high`.
pub(super) fn by_severity(severities: &BTreeMap<Severity, u64>) -> String {
    let each = severities.iter().rev().filter(|(_, count)| **count > 0);
    each.map(|(severity, count)| format!("{count} {severity}")).collect::<Vec<_>>().join(", ")
}
