//! What of an object is kept for those who read it: a tree of fields.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rego::Value;
use super::value::ObjectBuilder;

/// One step from a value to one in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To the field of this name.
    Field(Arc<str>),
    /// To any item of a list, or any value of an object, whose keys are then read, too.
    Each,
}

/// What is read of a value: nothing at first, not even what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    is_whole: bool,
    each: Option<Box<Kept>>,
    fields: BTreeMap<Arc<str>, Kept>,
}

impl Kept {
    /// Returns what keeps everything.
    pub fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// Returns whether everything is kept.
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Keeps a place, so that it can be told whether it is there, and on the way to it what is needed to come there.
    pub fn keep(&mut self, path: &[Step], is_whole: bool) {
        match path.split_first() {
            None => self.is_whole |= is_whole,
            Some((Step::Each, rest)) => self.each.get_or_insert_default().keep(rest, is_whole),
            Some((Step::Field(name), rest)) => self.fields.entry(name.clone()).or_default().keep(rest, is_whole),
        }
    }

    /// Keeps what another keeps, too.
    pub fn join(&mut self, other: &Self) {
        self.is_whole |= other.is_whole;
        if let Some(each) = &other.each {
            self.each.get_or_insert_default().join(each);
        }
        for (name, kept) in &other.fields {
            self.fields.entry(name.clone()).or_default().join(kept);
        }
    }

    /// Returns whether everything that another keeps is kept here, too.
    pub fn covers(&self, other: &Self) -> bool {
        let mut both = self.clone();
        both.join(other);
        self.is_whole || both == *self
    }

    /// Returns what is kept of a field; none where even the field itself is not.
    pub fn of_field(&self, name: &str) -> Option<Self> {
        if self.is_whole {
            return Some(Self::whole());
        }
        match (self.fields.get(name), self.each.as_deref()) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (Some(field), Some(each)) => {
                let mut both = field.clone();
                both.join(each);
                Some(both)
            }
        }
    }

    /// Returns what is kept of the items of a list.
    pub fn of_items(&self) -> Option<Self> {
        if self.is_whole { Some(Self::whole()) } else { self.each.as_deref().cloned() }
    }

    /// Returns a value with what is kept of it. A list stays one and an object one, and what is neither stays as it is.
    pub fn trim(&self, value: &Value) -> Value {
        if self.is_whole {
            return value.clone();
        }
        match value {
            Value::Object(entries) => {
                let kept = entries.iter().filter_map(|(key, value)| {
                    let Value::String(name) = key else { return Some((key, value.clone())) };
                    Some((key, self.of_field(name)?.trim(value)))
                });
                kept.fold(ObjectBuilder::default(), |object, (key, value)| object.set(key, value)).build()
            }
            Value::Array(items) => {
                let each = self.each.as_deref();
                Value::from(each.map_or_else(Vec::new, |each| items.iter().map(|item| each.trim(item)).collect()))
            }
            other => other.clone(),
        }
    }

    /// Returns the paths that are kept, as people write them, up to where all that is below is kept or nothing is.
    pub fn paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        self.collect(String::new(), &mut paths);
        paths
    }

    fn collect(&self, at: String, paths: &mut BTreeSet<String>) {
        if self.is_whole {
            paths.insert(at);
            return;
        }
        for (name, kept) in &self.fields {
            kept.collect(if at.is_empty() { name.to_string() } else { format!("{at}.{name}") }, paths);
        }
        if let Some(each) = &self.each {
            each.collect(format!("{at}[]"), paths);
        }
        if self.each.is_none() && self.fields.is_empty() {
            paths.insert(at);
        }
    }
}

/// Returns an object that rules look up as it is remembered: what they read of it, and never who wrote which field.
pub fn looked_up(kept: &Kept, object: &Value) -> Value {
    let trimmed = kept.trim(object);
    let Value::Object(fields) = &trimmed else { return trimmed };
    let Some(metadata @ Value::Object(_)) = fields.get(&Value::from("metadata")) else { return trimmed };
    let metadata = ObjectBuilder::from_value(metadata).without("managedFields").build();
    ObjectBuilder::from_value(&trimmed).set(&"metadata".into(), metadata).build()
}
