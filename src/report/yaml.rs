//! Objects as YAML that is read back as what they were, also by kubectl.
//!
//! Keys come in the order that people write them in: `apiVersion`, `kind`, `metadata`, `name` first, `status` last.

use serde_json::{Map, Value};

use crate::engine::pointer::escaped;

/// A line, with the place that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The place as a JSON Pointer.
    pub pointer: String,
    /// How far in its keys stand.
    pub indent: usize,
    /// What stands before the key.
    pub lead: String,
    /// The key with its colon.
    pub key: String,
    /// The rest.
    pub rest: String,
}

/// Returns the lines of an object.
pub fn lines(object: &Value) -> Vec<Line> {
    let mut writer = Writer::default();
    match object {
        Value::Object(map) => writer.object(map, "", 0, None),
        other => writer.push("", 0, String::new(), String::new(), scalar(other)),
    }
    writer.lines
}

/// Returns an object as text.
pub fn text(object: &Value) -> String {
    lines(object)
        .into_iter()
        .fold(String::new(), |text, Line { lead, key, rest, .. }| text + &lead + &key + &rest + "\n")
}

/// Returns a key as it is written.
pub fn name(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { Value::from(key).to_string() }
}

/// Returns a scalar as it is written; of what has members only that there is nothing in it.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// Returns whether a text is read back as the same text without quotation marks, by kubectl's rules of YAML 1.1.
pub fn is_plain(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    let is_word = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf", "-.inf", "+.inf"]
        .contains(&word.as_str());
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || "/._".contains(c) || !c.is_ascii());
    let is_number_like = text.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_quantity(text)
        || starts_plain
            && !is_word
            && !is_number_like
            && !text.ends_with([':', ' '])
            && !text.contains(": ")
            && !text.contains(" #")
            && !text.chars().any(char::is_control)
}

/// Returns whether a text is a whole number with a unit, as in `500m` and `256Mi`: no YAML reads a number there.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && ["m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit)
}

#[derive(Default)]
struct Writer {
    lines: Vec<Line>,
}

impl Writer {
    fn push(&mut self, pointer: &str, indent: usize, lead: String, key: String, rest: String) {
        self.lines.push(Line { pointer: pointer.to_owned(), indent, lead, key, rest });
    }

    /// Writes the members of an object; the first one stands behind the dash of a list where it is an item of one.
    fn object(&mut self, map: &Map<String, Value>, pointer: &str, indent: usize, mut dash: Option<String>) {
        for (key, value) in ordered(map) {
            let pointer = format!("{pointer}/{}", escaped(key));
            let lead = dash.take().unwrap_or_else(|| " ".repeat(indent));
            let key = format!("{}:", name(key));
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    self.push(&pointer, indent, lead, key, String::new());
                    self.object(inner, &pointer, indent.saturating_add(2), None);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.push(&pointer, indent, lead, key, String::new());
                    self.items(items, &pointer, indent);
                }
                Value::String(text) if text.contains('\n') => self.block(text, &pointer, indent, lead, key),
                value => self.push(&pointer, indent, lead, key, format!(" {}", scalar(value))),
            }
        }
    }

    fn items(&mut self, items: &[Value], pointer: &str, indent: usize) {
        for (index, item) in items.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            let lead = format!("{}- ", " ".repeat(indent));
            match item {
                Value::Object(map) if !map.is_empty() => {
                    self.object(map, &pointer, indent.saturating_add(2), Some(lead));
                }
                Value::Array(inner) if !inner.is_empty() => {
                    self.push(&pointer, indent, lead.trim_end().to_owned(), String::new(), String::new());
                    self.items(inner, &pointer, indent.saturating_add(2));
                }
                item => self.push(&pointer, indent, lead, String::new(), scalar(item)),
            }
        }
    }

    fn block(&mut self, text: &str, pointer: &str, indent: usize, lead: String, key: String) {
        let header = if text.ends_with('\n') { " |" } else { " |-" };
        self.push(pointer, indent, lead, key, header.to_owned());
        for line in text.trim_end_matches('\n').split('\n') {
            self.push(pointer, indent, " ".repeat(indent.saturating_add(2)), String::new(), line.to_owned());
        }
    }
}

/// Returns members in the order that people write them in.
fn ordered(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let rank = |key: &str| match key {
        "apiVersion" => 0,
        "kind" => 1,
        "metadata" => 2,
        "name" => 3,
        "namespace" => 4,
        "status" => 9,
        _ => 5,
    };
    let mut members: Vec<_> = map.iter().collect();
    members.sort_by_key(|(key, _)| rank(key));
    members
}
