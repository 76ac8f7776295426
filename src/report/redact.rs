//! Keeps the values of Secrets out of everything that is said of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::engine::review::kind_of;
use crate::engine::value::Fields;
use crate::engine::{Path, Segment, Value};

/// What stands where a value was.
const MASK: &str = "***";
/// Shorter values tell nobody anything, and would take ordinary words apart.
const SHORTEST: usize = 3;

/// The values of one object that must not be told.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    values: Vec<String>,
}

impl Redactor {
    /// Collects what several states of an object keep secret.
    pub fn of_all<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let values = objects.into_iter().flat_map(|object| Self::of(object).values).collect();
        Self { values }
    }

    /// Collects what an object keeps secret: nothing, unless it is a Secret.
    pub fn of(object: &Value) -> Self {
        if !kind_of(object).is_secret() {
            return Self::default();
        }
        let texts =
            |key| object.field(key).into_iter().flat_map(Fields::entries).filter_map(|(_, value)| value.as_text());
        let encoded = texts("data").map(str::to_owned);
        let decoded = texts("data").filter_map(|text| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok());
        let plain = texts("stringData").map(str::to_owned);
        let mut values: Vec<String> = encoded.chain(decoded).chain(plain).collect();
        values.retain(|value| value.trim().len() >= SHORTEST);
        // A value that holds another must go first.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_what_a_secret_holds() {
        let secret = Value::from(serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "data": {"a": "aHVudGVyMg=="}, "stringData": {"b": "hunter2-more", "c": "x"},
        }));
        let redactor = Redactor::of(&secret);
        for (text, expected) in
            [("hunter2 and hunter2-more", "*** and ***"), ("aHVudGVyMg==!", "***!"), ("x stays", "x stays")]
        {
            assert_eq!(redactor.redact(text.to_owned()), expected);
        }
        let pod = Value::from(serde_json::json!({"apiVersion": "v1", "kind": "Pod", "data": {"a": "hunter2"}}));
        assert_eq!(Redactor::of(&pod).redact("hunter2".into()), "hunter2");
    }
}
