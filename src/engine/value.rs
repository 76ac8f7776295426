//! Reading and building values: small words over the evaluator's own type.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::pointer::escaped;
use super::rego::Value;

/// Field access that gives nothing instead of failing.
pub trait Fields {
    /// Returns the value of a key of an object.
    fn field(&self, key: &str) -> Option<&Value>;

    /// Returns the text at a key of an object.
    fn text(&self, key: &str) -> Option<&str>;

    /// Returns the value at a path of keys.
    fn at(&self, keys: &[&str]) -> Option<&Value>;

    /// Returns the items of a list, none for anything else.
    fn items(&self) -> Box<dyn Iterator<Item = &Value> + '_>;

    /// Returns the entries of an object whose keys are text, none for anything else.
    fn entries(&self) -> Box<dyn Iterator<Item = (&Arc<str>, &Value)> + '_>;

    /// Returns the text itself.
    fn as_text(&self) -> Option<&str>;
}

impl Fields for Value {
    fn field(&self, key: &str) -> Option<&Value> {
        let Value::Object(object) = self else { return None };
        object.iter().find(|(name, _)| matches!(name, Value::String(name) if **name == *key)).map(|(_, value)| value)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.field(key)?.as_text()
    }

    fn at(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().try_fold(self, |value, key| value.field(key))
    }

    fn items(&self) -> Box<dyn Iterator<Item = &Value> + '_> {
        match self {
            Value::Array(items) => Box::new(items.iter()),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn entries(&self) -> Box<dyn Iterator<Item = (&Arc<str>, &Value)> + '_> {
        match self {
            Value::Object(object) => Box::new(object.iter().filter_map(|(key, value)| match key {
                Value::String(key) => Some((key, value)),
                _ => None,
            })),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Builds an object value, key by key.
#[derive(Debug, Default)]
pub struct ObjectBuilder(BTreeMap<Value, Value>);

impl ObjectBuilder {
    /// Starts from an object's entries, or from nothing for any other value.
    pub fn from_value(value: &Value) -> Self {
        match value {
            Value::Object(object) => Self(object.iter().map(|(key, value)| (key.clone(), value.clone())).collect()),
            _ => Self::default(),
        }
    }

    /// Sets a key.
    pub fn set(mut self, key: &Value, value: impl Into<Value>) -> Self {
        self.0.insert(key.clone(), value.into());
        self
    }

    /// Sets a key if there is a value.
    pub fn set_some(self, key: &Value, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// Takes a key out.
    pub fn without(mut self, key: &str) -> Self {
        self.0.remove(&Value::from(key));
        self
    }

    /// Returns the object.
    pub fn build(self) -> Value {
        Value::from(self.0)
    }
}

/// One step into an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of an object.
    Key(Arc<str>),
    /// An index of a list.
    Index(u64),
}

/// A place in an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(pub Vec<Segment>);

impl Path {
    /// Builds a path of keys.
    pub fn of_keys(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Segment::Key((*key).into())).collect())
    }

    /// Returns this path and one key more.
    pub fn key(&self, key: &str) -> Self {
        self.push(Segment::Key(key.into()))
    }

    /// Returns this path and one index more.
    pub fn index(&self, index: usize) -> Self {
        self.push(Segment::Index(u64::try_from(index).unwrap_or(u64::MAX)))
    }

    fn push(&self, segment: Segment) -> Self {
        let mut path = self.0.clone();
        path.push(segment);
        Self(path)
    }

    /// Reads a path as rules give it: a list of keys and indexes.
    pub fn from_value(value: &Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let segment = |item: &Value| match item {
            Value::String(key) => Some(Segment::Key(key.clone())),
            number => number.as_u64().ok().map(Segment::Index),
        };
        items.iter().map(segment).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Returns the path as rules see it.
    pub fn to_value(&self) -> Value {
        let segment = |segment: &Segment| match segment {
            Segment::Key(key) => Value::String(key.clone()),
            Segment::Index(index) => Value::from(*index),
        };
        Value::from(self.0.iter().map(segment).collect::<Vec<_>>())
    }

    /// Returns the value at this path.
    pub fn find<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(object, |value, segment| match (segment, value) {
            (Segment::Key(key), value) => value.field(key),
            (Segment::Index(index), Value::Array(items)) => items.get(usize::try_from(*index).ok()?),
            _ => None,
        })
    }
}

/// As a JSON Pointer (RFC 6901), for example `/spec/containers/0/image`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            f.write_char('/')?;
            match segment {
                Segment::Key(key) => f.write_str(&escaped(key))?,
                Segment::Index(index) => write!(f, "{index}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
