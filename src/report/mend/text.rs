//! Edits of YAML as text: what is not about them stays as it is, comments included.

use std::ops::Range;

use serde_json::{Value, json};

use super::edit::{Change, Edit};
use super::tree::{Entry, Node, Shape, Tree};
use crate::report::yaml::{name, scalar};

/// Returns a text with one edit made; nothing where the place is written in a way that is better left to people.
pub fn written(text: &str, edit: &Edit) -> Option<String> {
    let tree = Tree::of(text)?;
    let page = Page { text, tree: &tree, newline: if text.contains("\r\n") { "\r\n" } else { "\n" } };
    let place = page.place(&edit.place)?;
    match &edit.change {
        Change::Remove => page.without(&place, edit.place.last()?),
        Change::Set { value, note } => page.with(&place, value, note),
    }
}

/// A text, and where what is in it.
struct Page<'a> {
    text: &'a str,
    tree: &'a Tree,
    newline: &'static str,
}

/// How far a place leads.
struct Place<'a> {
    /// What it leads to.
    node: &'a Node,
    /// The entry of that, where it is the value of a key.
    entry: Option<&'a Entry>,
    /// What that is in, where it leads into something.
    parent: Option<&'a Node>,
    /// Whether it is inside braces or brackets.
    is_in_flow: bool,
    /// What is not there.
    missing: &'a [String],
}

impl<'a> Page<'a> {
    fn place(&self, names: &'a [String]) -> Option<Place<'a>> {
        let mut place =
            Place { node: self.tree.node(0)?, entry: None, parent: None, is_in_flow: false, missing: names };
        let mut at = 0;
        while let Some((name, rest)) = place.missing.split_first() {
            let Some(child) = self.tree.child(at, name) else { break };
            place.entry = match &place.node.shape {
                Shape::Mapping { entries, .. } => entries.iter().find(|entry| entry.value == child),
                _ => None,
            };
            place.is_in_flow = place.is_in_flow || is_flow(place.node);
            place.parent = Some(place.node);
            place.node = self.tree.node(child)?;
            (at, place.missing) = (child, rest);
        }
        (!matches!(place.node.shape, Shape::Alias)).then_some(place)
    }

    fn with(&self, place: &Place<'_>, value: &Value, note: &str) -> Option<String> {
        let Some((first, rest)) = place.missing.split_first() else {
            return self.replaced(place, value, note);
        };
        let nested = rest.iter().rev().fold(value.clone(), |value, name| json!({ name: value }));
        let depth = rest.len();
        match &place.node.shape {
            Shape::Mapping { is_flow: false, entries } => {
                let indent = self.column(entries.first()?.key.start);
                Some(self.inserted(place.node.range.end, indent, (first, &nested), (depth, note)))
            }
            Shape::Mapping { entries, .. } if !entries.is_empty() => self.inserted_in_flow(place.node, first, &nested),
            // Braces with nothing in them, or nothing at all: it can be written in lines unless there are braces around.
            Shape::Mapping { .. } | Shape::Scalar { is_plain: true } => {
                let is_braces = matches!(place.node.shape, Shape::Mapping { .. });
                if place.is_in_flow || place.entry.is_none() {
                    let member = format!("{{{}: {nested}}}", Value::from(first.as_str()));
                    return is_braces.then(|| self.spliced(place.node.range.clone(), &member));
                }
                let entry = place.entry?;
                let indent = self.column(entry.key.start).saturating_add(2);
                let colon = self.colon(entry)?;
                let emptied = self.spliced(colon..place.node.range.end.max(colon), "");
                let page = Page { text: &emptied, ..*self };
                Some(page.inserted(colon, indent, (first, &nested), (depth, note)))
            }
            Shape::Scalar { .. } | Shape::List { .. } | Shape::Alias => None,
        }
    }

    /// Writes a value over one that is there.
    fn replaced(&self, place: &Place<'_>, value: &Value, note: &str) -> Option<String> {
        let range = place.node.range.clone();
        let is_scalar = !value.is_object() && !value.is_array();
        if place.is_in_flow {
            return (!range.is_empty()).then(|| self.spliced(range, &value.to_string()));
        }
        let written = if is_scalar { scalar_of(value, self.text.get(range.clone())?) } else { value.to_string() };
        if range.is_empty() {
            let colon = self.colon(place.entry?)?;
            return Some(self.spliced(colon..colon, &format!(" {written}")));
        }
        let is_last_on_line = self.rest_of_line(range.end).trim().is_empty();
        let note = if note.is_empty() || !is_last_on_line { String::new() } else { format!(" # choose: {note}") };
        Some(self.spliced(range, &format!("{written}{note}")))
    }

    fn without(&self, place: &Place<'_>, name: &str) -> Option<String> {
        let Some(Node { shape: Shape::Mapping { is_flow, entries }, .. }) = place.parent else { return None };
        let at = entries.iter().position(|entry| entry.name == name)?;
        let start = entries.get(at)?.key.start;
        let end = place.node.range.end.max(self.colon(entries.get(at)?)?);
        let before = at.checked_sub(1).and_then(|before| entries.get(before));
        let line = self.line_start(start);
        let is_first_on_line = self.text.get(line..start)?.trim().is_empty();
        if !is_flow && is_first_on_line && entries.len() > 1 {
            let end = end.saturating_add(self.rest_of_line(end).len());
            let end = end.saturating_add(usize::from(end < self.text.len()));
            return Some(self.spliced(line..end, ""));
        }
        match (entries.get(at.saturating_add(1)), before) {
            (Some(next), _) => Some(self.spliced(start..next.key.start, "")),
            (None, Some(before)) if *is_flow => {
                let before = self.tree.node(before.value)?.range.end;
                Some(self.spliced(before..end, ""))
            }
            (None, _) => None,
        }
    }

    /// Puts lines in below the line in which something ends. The note stands on the line `depth` below the first.
    fn inserted(
        &self,
        end: usize,
        indent: usize,
        (key, value): (&str, &Value),
        (depth, note): (usize, &str),
    ) -> String {
        let mut lines = Vec::new();
        member(key, value, indent, &mut lines);
        if let Some(line) = lines.get_mut(depth).filter(|_| !note.is_empty()) {
            line.push_str(" # choose: ");
            line.push_str(note);
        }
        let at = end.saturating_add(self.rest_of_line(end).len());
        let lines = lines.join(self.newline);
        if self.text.get(at..).is_some_and(|rest| rest.starts_with('\n')) {
            let below = at.saturating_add(1);
            return self.spliced(below..below, &format!("{lines}{}", self.newline));
        }
        self.spliced(at..at, &format!("{}{lines}", self.newline))
    }

    /// Puts a member in before the first one in braces, as that is written.
    fn inserted_in_flow(&self, node: &Node, key: &str, value: &Value) -> Option<String> {
        let Shape::Mapping { entries, .. } = &node.shape else { return None };
        let first = entries.first()?.key.start;
        let between = self.text.get(node.range.start.saturating_add(1)..first)?;
        let separator = if between.contains('\n') { format!(",{between}") } else { ", ".to_owned() };
        let quoted = self.text.get(first..)?.starts_with('"');
        let key = if quoted { Value::from(key).to_string() } else { name(key) };
        Some(self.spliced(first..first, &format!("{key}: {value}{separator}")))
    }

    /// Returns the place behind the colon of a key.
    fn colon(&self, entry: &Entry) -> Option<usize> {
        let behind = self.text.get(entry.key.end..)?;
        let colon = behind.find(':')?;
        behind.get(..colon)?.trim().is_empty().then(|| entry.key.end.saturating_add(colon).saturating_add(1))
    }

    fn spliced(&self, range: Range<usize>, written: &str) -> String {
        let mut text = self.text.to_owned();
        text.replace_range(range, written);
        text
    }

    fn line_start(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end.saturating_add(1))
    }

    /// Returns what is behind a place, up to the end of its line.
    fn rest_of_line(&self, at: usize) -> &'a str {
        self.text.get(at..).and_then(|rest| rest.split('\n').next()).unwrap_or_default()
    }

    /// Returns how many characters are before a place in its line.
    fn column(&self, at: usize) -> usize {
        self.text.get(self.line_start(at)..at).map_or(0, |before| before.chars().count())
    }
}

const fn is_flow(node: &Node) -> bool {
    matches!(node.shape, Shape::Mapping { is_flow: true, .. } | Shape::List { is_flow: true, .. })
}

/// Returns a scalar as it is written where another stood: in quotes where the same text stood without them.
fn scalar_of(value: &Value, before: &str) -> String {
    match value {
        Value::String(text) if text == before => value.to_string(),
        other => scalar(other),
    }
}

/// Writes a member in lines.
fn member(key: &str, value: &Value, indent: usize, lines: &mut Vec<String>) {
    let lead = " ".repeat(indent);
    match value {
        Value::Object(members) if !members.is_empty() => {
            lines.push(format!("{lead}{}:", name(key)));
            for (key, value) in members {
                member(key, value, indent.saturating_add(2), lines);
            }
        }
        Value::Array(_) => lines.push(format!("{lead}{}: {value}", name(key))),
        value => lines.push(format!("{lead}{}: {}", name(key), scalar(value))),
    }
}
