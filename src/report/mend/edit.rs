//! Edits of values.

use serde_json::{Map, Value};

/// A change of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Keys and indexes from the root.
    pub place: Vec<String>,
    /// What is done there.
    pub change: Change,
}

/// What is done at a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A value is written; what it stands in is made where it is missing.
    Set {
        /// The value.
        value: Value,
        /// What a person has to look at.
        note: String,
    },
    /// What is there is taken out.
    Remove,
}

/// Returns a document with edits made, unless a place leads through something else than objects and lists.
pub fn applied(mut document: Value, edits: &[Edit]) -> Option<Value> {
    for Edit { place, change } in edits {
        let (last, way) = place.split_last()?;
        let parent = way.iter().try_fold(&mut document, |value, name| step(value, name))?;
        match (change, parent) {
            (Change::Set { value, .. }, parent) => *step(parent, last)? = value.clone(),
            (Change::Remove, Value::Object(members)) => drop(members.remove(last)?),
            (Change::Remove, _) => return None,
        }
    }
    Some(document)
}

/// Returns the place of a member, which is made where there is none, or of an item that there is.
fn step<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(members) => Some(members.entry(name).or_insert(Value::Null)),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}
