//! Setting values where an object has none, and what was set as a JSON Patch.
//!
//! Nothing is ever replaced or removed, and no list grows: a value is set under a key that the object has not got, and
//! the objects on the way to it are made where they are missing. What is there counts as there, null included.

use std::sync::Arc;

use serde::Serialize;

use crate::engine::{Fields as _, Path, Segment, Value};

mod marks;
#[cfg(test)]
mod tests;

/// Largest sum of the places and values of one rule's patches, in bytes of JSON.
pub const LARGEST: usize = 64 << 10;
/// Objects are read to 128 levels, so what is deeper could not be judged any more.
const DEEPEST: usize = 100;

/// A patch that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is about what the API server, or another object's name, decides.
    #[error("a patch may not set {0}: it may set labels, annotations, and fields beside metadata and status")]
    Place(String),
    /// The way to it leads through something that is no object and no list.
    #[error("a patch of {path} leads through {through}, which is {found}")]
    Way {
        /// Where it leads.
        path: String,
        /// What stands in the way.
        through: String,
        /// What that is.
        found: &'static str,
    },
    /// It sets what JSON, or the API server, does not keep.
    #[error("a patch of {path} sets {what}")]
    Value {
        /// Where it leads.
        path: String,
        /// What it sets.
        what: &'static str,
    },
    /// It is too large.
    #[error("the patches of the rule are larger than {LARGEST} bytes")]
    TooLarge,
}

/// An object while rules add to it.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    original: &'a Value,
    object: Value,
}

impl<'a> Draft<'a> {
    /// Begins with the object as it came.
    pub fn of(original: &'a Value) -> Self {
        Self { original, object: original.clone() }
    }

    /// Returns the object as it stands now.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Applies the patches of one rule, all or, on an error, none; returns the places that were set.
    ///
    /// A value is set only where the object has none. Where an earlier patch set an object, another is merged into it.
    pub fn add<'p>(&mut self, patches: impl Iterator<Item = &'p (Path, Value)>) -> Result<Vec<Path>, PatchError> {
        let mut next = self.clone();
        let mut set = Vec::new();
        let mut size = 0_usize;
        for (path, value) in patches {
            check_place(path)?;
            let room = DEEPEST.saturating_sub(path.0.len());
            let unfit = |what| PatchError::Value { path: path.to_string(), what };
            check_value(value, room).and_then(|()| marks::check(path, value)).map_err(unfit)?;
            size = size.saturating_add(size_of(path, value).ok_or_else(|| unfit("a number that JSON has not"))?);
            if size > LARGEST {
                return Err(PatchError::TooLarge);
            }
            next.add_one(path, value, &mut set)?;
        }
        *self = next;
        Ok(set)
    }

    /// Returns what was set, as the fewest additions that make the object of the original, in the order of their places.
    pub fn additions(&self) -> Vec<Addition> {
        let mut additions = Vec::new();
        difference(self.original, &self.object, &Path::default(), &mut additions);
        additions
    }

    fn add_one(&mut self, path: &Path, value: &Value, set: &mut Vec<Path>) -> Result<(), PatchError> {
        if path.find(self.original).is_some() {
            return Ok(());
        }
        let place = place(&mut self.object, path)?;
        if *place == Value::Undefined {
            *place = value.clone();
            set.push(path.clone());
        } else {
            // The original has nothing here, so a patch before this one made it.
            merge(place, value, path, set);
        }
        Ok(())
    }
}

/// One step of a JSON Patch (RFC 6902). There are no others than additions of a member that was not there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Addition {
    op: Add,
    /// Where, written as a JSON Pointer (RFC 6901).
    pub path: Path,
    /// What.
    pub value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Add {
    Add,
}

/// Returns the place of a path, making the objects on the way; where nothing stands yet it holds `Undefined`.
fn place<'a>(object: &'a mut Value, path: &Path) -> Result<&'a mut Value, PatchError> {
    path.0.iter().enumerate().try_fold(object, |place, (depth, segment)| {
        if *place == Value::Undefined && matches!(segment, Segment::Key(_)) {
            *place = Value::new_object();
        }
        let found = kind_of(place);
        let next = match segment {
            Segment::Key(key) => member(place, key),
            Segment::Index(index) => item(place, *index),
        };
        next.ok_or_else(|| PatchError::Way {
            path: path.to_string(),
            through: Path(path.0.iter().take(depth).cloned().collect()).to_string(),
            found,
        })
    })
}

fn member<'a>(object: &'a mut Value, key: &Arc<str>) -> Option<&'a mut Value> {
    let object = object.as_object_mut().ok()?;
    Some(object.get_or_insert_with(Value::String(key.clone()), || Value::Undefined))
}

fn item(list: &mut Value, index: u64) -> Option<&mut Value> {
    list.as_array_mut().ok()?.get_mut(usize::try_from(index).ok()?)
}

/// Adds the members that an object has not got; what has another type stays as it is.
fn merge(target: &mut Value, value: &Value, path: &Path, set: &mut Vec<Path>) {
    let Ok(target) = target.as_object_mut() else { return };
    for (key, value) in value.entries() {
        let path = path.key(key);
        let key = Value::String(key.clone());
        if let Some(inner) = target.get_mut(&key) {
            merge(inner, value, &path, set);
        } else {
            target.insert(key, value.clone());
            set.push(path);
        }
    }
}

fn difference(original: &Value, object: &Value, path: &Path, additions: &mut Vec<Addition>) {
    match (original, object) {
        (Value::Object(before), Value::Object(after)) if !Arc::ptr_eq(before, after) => {
            for (key, value) in object.entries() {
                let path = path.key(key);
                match before.get(&Value::String(key.clone())) {
                    Some(before) => difference(before, value, &path, additions),
                    None => additions.push(Addition { op: Add::Add, path, value: value.clone() }),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if !Arc::ptr_eq(before, after) => {
            for (index, (before, after)) in before.iter().zip(after.iter()).enumerate() {
                difference(before, after, &path.index(index), additions);
            }
        }
        _ => {}
    }
}

fn check_place(path: &Path) -> Result<(), PatchError> {
    let key = |depth: usize| match path.0.get(depth) {
        Some(Segment::Key(key)) => Some(&**key),
        _ => None,
    };
    let is_free = match (path.0.is_empty(), key(0)) {
        (true, _) | (_, Some("apiVersion" | "kind" | "status")) => false,
        (_, Some("metadata")) => matches!(key(1), Some("labels" | "annotations")),
        _ => true,
    };
    let named = || if path.0.is_empty() { "the whole object".to_owned() } else { path.to_string() };
    if is_free { Ok(()) } else { Err(PatchError::Place(named())) }
}

/// Checks that a value is JSON that the API server keeps, nested at most `room` deep.
fn check_value(value: &Value, room: usize) -> Result<(), &'static str> {
    let Some(room) = room.checked_sub(1) else { return Err("something that is nested too deeply") };
    match value {
        Value::Null => Err("null, which sets nothing"),
        Value::Undefined => Err("nothing"),
        Value::Set(_) => Err("a set, which JSON has not: write a list"),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, room)),
        Value::Object(members) if members.len() != value.entries().count() => {
            Err("an object with keys that are no text")
        }
        Value::Object(members) => members.values().try_for_each(|member| check_value(member, room)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Returns the size of place and value in JSON, if they can be written.
fn size_of(path: &Path, value: &Value) -> Option<usize> {
    let value = serde_json::to_string(value).ok()?;
    Some(path.to_string().len().saturating_add(value.len()))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list without that item",
        Value::Object(_) => "an object, which has no items",
        Value::Set(_) | Value::Undefined => "not there, and no list is made",
    }
}
