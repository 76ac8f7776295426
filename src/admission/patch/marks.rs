//! Labels and annotations that the API server would refuse, and with them the object.
//!
//! Nothing is known here of other fields' types; these two are the same for every kind.

use crate::engine::{Fields as _, Path, Segment, Value};

const NOT_TEXTS: &str = "labels or annotations that are no object of texts";
const KEY: &str = "a label or annotation under a key that the API server does not take";
const LABEL: &str = "a label whose value is longer than 63 characters, or has others than letters, digits, -, _ and .";

/// Longest name of a key, and longest value of a label, in bytes.
const LONGEST_NAME: usize = 63;
/// Longest prefix of a key, in bytes.
const LONGEST_PREFIX: usize = 253;

/// Checks what a patch sets, if it is about labels or annotations; says what is wrong.
pub(super) fn check(path: &Path, value: &Value) -> Result<(), &'static str> {
    let mut keys = path.0.iter().map(|segment| match segment {
        Segment::Key(key) => Some(&**key),
        Segment::Index(_) => None,
    });
    let is_label = match (keys.next().flatten(), keys.next().flatten()) {
        (Some("metadata"), Some("labels")) => true,
        (Some("metadata"), Some("annotations")) => false,
        _ => return Ok(()),
    };
    match (keys.next(), keys.next()) {
        (None, _) if value.as_object().is_ok() => {
            value.entries().try_for_each(|(key, value)| check_one(is_label, key, value))
        }
        (Some(Some(key)), None) => check_one(is_label, key, value),
        _ => Err(NOT_TEXTS),
    }
}

fn check_one(is_label: bool, key: &str, value: &Value) -> Result<(), &'static str> {
    let text = value.as_text().ok_or(NOT_TEXTS)?;
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !is_name(name) || prefix.is_some_and(|prefix| !is_prefix(prefix)) {
        return Err(KEY);
    }
    if is_label && !text.is_empty() && !is_name(text) { Err(LABEL) } else { Ok(()) }
}

/// Returns whether a text is a name as in keys and values of labels: letters, digits, and in between `-`, `_` and `.`.
fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= LONGEST_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_inner)
}

/// Returns whether a text is a DNS subdomain.
fn is_prefix(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_part =
        |part: &str| part.starts_with(is_end) && part.ends_with(is_end) && part.chars().all(|c| is_end(c) || c == '-');
    text.len() <= LONGEST_PREFIX && text.split('.').all(is_part)
}
