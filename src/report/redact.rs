//! Keeps the values of Secrets out of everything that is said of them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::engine::review::{LAST_APPLIED, kind_of};
use crate::engine::value::Fields;
use crate::engine::{Path, Segment, Value, json};

/// What stands where a value was.
const MASK: &str = "***";
/// Shorter values tell nobody anything, and would take ordinary words apart.
const SHORTEST: usize = 3;
/// The same of what is a part of a value: a line, or a text in JSON.
const SHORTEST_PART: usize = 6;

/// The values of one object that must not be told.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first, for one may hold another.
    values: Vec<String>,
}

impl Redactor {
    /// Collects what several states of an object keep secret.
    pub fn of_all<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut found = BTreeSet::new();
        objects.into_iter().filter(|object| kind_of(object).is_secret()).for_each(|object| collect(object, &mut found));
        let mut values: Vec<String> = found.into_iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// Collects what an object keeps secret: nothing, unless it is a Secret.
    pub fn of(object: &Value) -> Self {
        Self::of_all([object])
    }

    /// Returns the path without the values, which a rule may have put into it.
    pub fn redact_path(&self, path: &Path) -> Path {
        let segment = |segment: &Segment| match segment {
            Segment::Key(key) if !self.values.is_empty() => Segment::Key(self.redact(key.to_string()).into()),
            other => other.clone(),
        };
        Path(path.0.iter().map(segment).collect())
    }

    /// Returns the text without the values.
    pub fn redact(&self, text: String) -> String {
        self.values.iter().fold(text, |text, value| if text.contains(value) { text.replace(value, MASK) } else { text })
    }
}

/// Collects what a Secret holds, and what the copy holds that `kubectl apply` leaves in it.
fn collect(secret: &Value, found: &mut BTreeSet<String>) {
    let texts = |key| secret.field(key).into_iter().flat_map(Fields::entries).filter_map(|(_, value)| value.as_text());
    for encoded in texts("data") {
        keep(encoded, SHORTEST, found);
        let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(plain) = decoded {
            collect_plain(&plain, found);
        }
    }
    texts("stringData").for_each(|plain| collect_plain(plain, found));
    let Some(copy) = secret.at(&["metadata", "annotations", LAST_APPLIED]).and_then(Fields::as_text) else { return };
    keep(copy, SHORTEST, found);
    // A copy holds no copy of itself; one that does was not left by kubectl, and goes no deeper.
    let copy = json::parse(copy).ok().filter(|copy| copy.at(&["metadata", "annotations", LAST_APPLIED]).is_none());
    if let Some(copy) = copy {
        collect(&copy, found);
    }
}

/// Collects a value in every form in which a rule may come to say it: as it is, encoded, and its parts.
fn collect_plain(plain: &str, found: &mut BTreeSet<String>) {
    keep(plain, SHORTEST, found);
    if plain.trim().len() >= SHORTEST {
        found.insert(STANDARD.encode(plain));
        found.insert(STANDARD.encode(plain.trim()));
    }
    if let Ok(value) = json::parse(plain) {
        collect_texts(&value, found);
    }
    for line in plain.lines() {
        keep(line, SHORTEST_PART, found);
        // `KEY=VALUE`, `key: value`, `user:password`.
        for value in ['=', ':'].into_iter().filter_map(|sign| Some(line.split_once(sign)?.1)) {
            keep(value.trim().trim_matches(['"', '\'']), SHORTEST_PART, found);
        }
    }
}

/// Collects the texts in a value that is JSON, such as the passwords of registries and what encodes them.
fn collect_texts(value: &Value, found: &mut BTreeSet<String>) {
    if let Some(text) = value.as_text() {
        keep(text, SHORTEST_PART, found);
        let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        for part in decoded.iter().flat_map(|text| text.split(':')) {
            keep(part, SHORTEST_PART, found);
        }
    }
    value.entries().for_each(|(_, value)| collect_texts(value, found));
    value.items().for_each(|value| collect_texts(value, found));
}

/// Keeps a text, without the blanks around it, and as it stands in JSON.
fn keep(text: &str, shortest: usize, found: &mut BTreeSet<String>) {
    let text = text.trim();
    if text.len() < shortest {
        return;
    }
    found.insert(text.to_owned());
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    if inner != text {
        found.insert(inner.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(secret: serde_json::Value, text: &str) -> String {
        Redactor::of(&Value::from(secret)).redact(text.to_owned())
    }

    #[test]
    fn takes_out_what_a_secret_holds() {
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "data": {"a": "aHVudGVyMg=="}, "stringData": {"b": "hunter2-more", "c": "x"},
        });
        for (text, expected) in
            [("hunter2 and hunter2-more", "*** and ***"), ("aHVudGVyMg==!", "***!"), ("x stays", "x stays")]
        {
            assert_eq!(redacted(secret.clone(), text), expected);
        }
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "data": {"a": "hunter2"}});
        assert_eq!(redacted(pod, "hunter2"), "hunter2");
    }

    #[test]
    fn takes_out_a_value_in_every_form_in_which_it_may_be_said() {
        let with = |plain: &str| serde_json::json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": STANDARD.encode(plain)}});
        for (plain, said, expected) in [
            ("hunter2\n", "is hunter2, not \"hunter2\\n\"", "is ***, not \"***\\n\""),
            ("hunter2\n", &*STANDARD.encode("hunter2"), "***"),
            ("say \"hunter2\"", r#"{"a": "say \"hunter2\""}"#, r#"{"a": "***"}"#),
            ("A=1\nPASSWORD='hunter2-x'\n", "line PASSWORD='hunter2-x', value hunter2-x", "line ***, value ***"),
            (r#"{"auths":{"r":{"password":"hunter2-x"}}}"#, "registry password hunter2-x", "registry password ***"),
            (r#"{"auth":"amFuZTpodW50ZXIy"}"#, "amFuZTpodW50ZXIy is hunter2", "*** is ***"),
            ("true\nhunter2", "true stays", "true stays"),
        ] {
            assert_eq!(redacted(with(plain), said), expected, "{plain:?}");
        }
    }

    #[test]
    fn takes_out_what_an_earlier_apply_left() {
        let copy = serde_json::json!({"data": {"a": STANDARD.encode("hunter2")}, "stringData": {"b": "hunter3"}});
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "data": {"a": STANDARD.encode("hunter4")},
            "metadata": {"annotations": {LAST_APPLIED: format!("{copy}\n")}},
        });
        assert_eq!(redacted(secret, "hunter2 hunter3 hunter4 hunter5"), "*** *** *** hunter5");
    }

    #[test]
    fn a_value_that_holds_one_of_another_state_goes_first() {
        let with = |plain: &str| {
            Value::from(serde_json::json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": plain}}))
        };
        let redactor = Redactor::of_all([&with("hunter2"), &with("hunter2-more")]);
        assert_eq!(redactor.redact("hunter2-more".into()), "***");
    }
}
