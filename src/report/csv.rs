//! Findings as comma-separated values (RFC 4180), for spreadsheets.

use super::finding::Finding;

/// The columns, in their order.
const COLUMNS: [&str; 24] = [
    "id",
    "state",
    "severity",
    "rule",
    "category",
    "result",
    "action",
    "policies",
    "cluster",
    "namespace",
    "apiVersion",
    "kind",
    "name",
    "owner",
    "application",
    "path",
    "message",
    "firstSeen",
    "lastSeen",
    "closedAt",
    "closedBecause",
    "reopened",
    "broughtInBy",
    "exemption",
];

/// What a spreadsheet takes for the beginning of a formula; the last four are the first ones at full width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Returns the line of the columns' names.
pub fn header() -> String {
    COLUMNS.join(",") + "\r\n"
}

/// Returns the line of a finding.
pub fn line(finding: &Finding) -> String {
    let (object, application) = (&finding.object, finding.application.as_ref());
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let cells: [String; COLUMNS.len()] = [
        finding.id.to_string(),
        word(&finding.state),
        finding.severity.to_string(),
        finding.rule.to_string(),
        finding.category.clone(),
        finding.result.as_str().to_owned(),
        finding.action.as_str().to_owned(),
        finding.policies.join(" "),
        object.cluster.clone(),
        object.namespace.clone(),
        finding.api_version.clone(),
        object.kind.clone(),
        object.name.clone(),
        finding.owner.clone(),
        application.map(|application| application.name.clone()).unwrap_or_default(),
        finding.path.clone(),
        finding.message.clone(),
        time(Some(finding.first_seen)),
        time(Some(finding.last_seen)),
        time(finding.closed_at),
        finding.closed_because.as_ref().map(word).unwrap_or_default(),
        finding.reopened.to_string(),
        finding.brought_in.as_ref().map(|by| by.user.clone()).unwrap_or_default(),
        finding.exemption.as_ref().map(|by| by.name.to_string()).unwrap_or_default(),
    ];
    cells.map(|cell| cell_text(&cell)).join(",") + "\r\n"
}

fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Returns a cell that a spreadsheet shows and never computes: what looks like a formula begins with an apostrophe.
pub(super) fn cell_text(text: &str) -> String {
    let is_odd = text.starts_with(['\t', '\r', '\n']) || text.trim_start().starts_with(FORMULA);
    let text = if is_odd { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', ';', '"', '\r', '\n', '\t']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_ends_before_its_end() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("  =1", "'  =1"),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("=HYPERLINK(\"http://evil.example\",\"x\")", "\"'=HYPERLINK(\"\"http://evil.example\"\",\"\"x\"\")\""),
            ("a=1", "a=1"),
        ] {
            assert_eq!(cell_text(text), expected, "{text:?}");
        }
    }
}
