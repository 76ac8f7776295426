//! JSON straight into the evaluator's values: half the allocations of the general way, and keys that recur are shared.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::rego::Value;

/// A thread remembers at most so many keys, so that hostile ones cannot fill the memory.
const KEYS: usize = 2048;
/// Longer keys are not remembered.
const KEY_LENGTH: usize = 64;

thread_local! {
    static KNOWN: RefCell<HashSet<Arc<str>, RandomState>> = RefCell::default();
}

/// Reads a JSON text; nesting deeper than 128 levels is an error.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    read(text, Node { left_out: &[] })
}

/// Reads a Kubernetes object as [`parse`] does, but for who wrote which of its fields: often a third of it.
pub fn parse_without_managed_fields(text: &str) -> Result<Value, serde_json::Error> {
    read(text, Node { left_out: &["metadata", "managedFields"] })
}

fn read(text: &str, node: Node) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = node.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

fn key(text: &str) -> Arc<str> {
    if text.len() > KEY_LENGTH {
        return text.into();
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some(key) = known.get(text) {
            return key.clone();
        }
        let key: Arc<str> = text.into();
        if known.len() < KEYS {
            known.insert(key.clone());
        }
        key
    })
}

/// A value, and the way from it to a field that is left out; no way where nothing is.
struct Node {
    left_out: &'static [&'static str],
}

struct Key;

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self { left_out: &[] })? {
            list.push(item);
        }
        Ok(Value::from(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let left_out = match self.left_out.split_first() {
                Some((field, [])) if **field == *key => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
                Some((field, way)) if **field == *key => way,
                _ => &[],
            };
            object.insert(Value::String(key), entries.next_value_seed(Self { left_out })?);
        }
        Ok(Value::from(object))
    }
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arc<str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(key(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse, parse_without_managed_fields};
    use crate::engine::Value;

    #[test]
    fn reads_what_the_general_way_reads() {
        let texts = [
            r#"{"a": [1, -2, 3.5, 1e3, true, null, "x\n\u00fc"], "b": {"": {}}}"#,
            "18446744073709551615",
            "123456789012345678901234567890",
            r#"{"k": 1, "k": 2}"#,
            "0.1",
        ];
        for text in texts {
            let general: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text).unwrap(), general, "{text}");
        }
        // The general way takes this for a number: an object's keys must never change what it is.
        let odd = r#"{"$serde_json::private::Number": "7"}"#;
        assert_eq!(serde_json::to_string(&parse(odd).unwrap()).unwrap(), odd.replace(": ", ":"));
        for text in ["", "{", "[1,]", "1 2", "1e999", "{\"a\": \u{1}}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(parse(&deep).unwrap_err().to_string().starts_with("recursion limit"));
    }

    #[test]
    fn leaves_out_who_wrote_which_field_and_nothing_else() {
        let object = serde_json::json!({
            "metadata": {"managedFields": [{"fieldsV1": {"f:spec": {}}}], "name": "n", "of": {"managedFields": 1}},
            "managedFields": 2,
            "spec": [{"metadata": {"managedFields": 3}}],
        });
        let read = parse_without_managed_fields(&object.to_string()).unwrap();
        let mut without = object;
        without["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert_eq!(read, Value::from(without));
        for odd in ["null", r#"{"metadata":3}"#, r#"[{"metadata":{"managedFields":1}}]"#] {
            assert_eq!(parse_without_managed_fields(odd).unwrap(), parse(odd).unwrap(), "{odd}");
        }
        assert!(parse_without_managed_fields(r#"{"metadata": {"managedFields": [}}"#).is_err());
    }

    proptest! {
        #[test]
        fn gives_back_any_text(text in ".*", key in ".*") {
            let json = serde_json::json!({ key: text });
            prop_assert_eq!(parse(&json.to_string()).unwrap(), Value::from(json));
        }
    }
}
