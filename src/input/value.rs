//! Reading YAML and JSON into the engine's own values, as kubectl reads them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::engine::Value;

/// Whole numbers up to here are exact in a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value as kubectl would send it: keys are text, and whole numbers are integers.
#[derive(Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Whether a mapping in it has a key twice; the last one counts.
    pub has_duplicates: bool,
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self { value, has_duplicates: false }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Value::from(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Value::from(value).into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        if !value.is_finite() {
            return Err(E::custom(format_args!("{value} is no number that Kubernetes knows")));
        }
        if value.fract() != 0.0 || value.abs() >= EXACT {
            return Ok(Value::from(value).into());
        }
        #[allow(clippy::cast_possible_truncation, reason = "it is whole and in range")]
        let whole = value as i64;
        Ok(Value::from(whole).into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Value::from(text).into())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Node, E> {
        self.visit_str(&String::from_utf8_lossy(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0).min(1024));
        let mut has_duplicates = false;
        while let Some(item) = access.next_element::<Node>()? {
            has_duplicates |= item.has_duplicates;
            items.push(item.value);
        }
        Ok(Node { value: Value::from(items), has_duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = BTreeMap::new();
        let mut has_duplicates = false;
        while let Some(key) = access.next_key::<Key>()? {
            let node: Node = access.next_value()?;
            has_duplicates |= node.has_duplicates;
            has_duplicates |= entries.insert(key.0, node.value).is_some();
        }
        Ok(Node { value: Value::from(entries), has_duplicates })
    }
}

/// A key; numbers and booleans become text, as in sigs.k8s.io/yaml.
struct Key(Value);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Key, E> {
        Err(E::custom("a key is empty or null, and must be text"))
    }

    fn visit_none<E: de::Error>(self) -> Result<Key, E> {
        self.visit_unit()
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Key, A::Error> {
        Err(de::Error::custom("a mapping stands where a key must be text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Key, A::Error> {
        Err(de::Error::custom("a list stands where a key must be text"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
        Ok(Key(Value::from(text)))
    }

    fn visit_bool<E: de::Error>(self, key: bool) -> Result<Key, E> {
        self.visit_str(if key { "true" } else { "false" })
    }

    fn visit_i64<E: de::Error>(self, key: i64) -> Result<Key, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u64<E: de::Error>(self, key: u64) -> Result<Key, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_f64<E: de::Error>(self, key: f64) -> Result<Key, E> {
        self.visit_str(&key.to_string())
    }
}
