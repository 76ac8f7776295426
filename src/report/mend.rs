//! What a rule finds, mended in the text that it stands in: by the rule's own steps, with comments and order kept.
//!
//! The steps become edits of places, and these are made twice: in the values, which says what has to come out, and in the
//! text. A text that is not read back as just that is not given out, so no way of writing YAML can lead to a wrong one.

use serde_json::Value;
use similar::TextDiff;

use self::edit::{Change, Edit, applied};
use crate::engine::pointer::{escaped, unescaped};
use crate::engine::{Fields as _, Value as Object};
use crate::policy::metadata::{Mend, Step};

mod edit;
#[cfg(test)]
mod tests;
mod text;
mod tree;

/// Nesting is followed by recursion.
const DEEPEST: usize = 200;
/// Lines around a change in a diff, as git has them.
const AROUND: usize = 3;

/// Returns the text of a document with a violation mended, or nothing where the steps do not say how.
///
/// `object` is the JSON Pointer of the object in the document, empty unless it is an item of a list; `place` is that of
/// the violation in the object.
pub fn mended(text: &str, object: &str, place: &str, steps: &[Mend]) -> Option<String> {
    if place.is_empty() {
        return None;
    }
    let document = read(text)?;
    let base: Vec<String> = segments(object).chain(segments(place)).collect();
    let depth = segments(object).count();
    let edits = edits(text, &document, (&base, depth), steps)?;
    let expected = applied(document.clone(), &edits)?;
    let mut text = text.to_owned();
    for edit in &edits {
        text = text::written(&text, edit)?;
    }
    (expected != document && read(&text)? == expected).then_some(text)
}

/// Returns where in an object a place is that is told by the names of items, as [`super::finding::place`] tells it.
pub fn located(object: &Object, place: &str) -> Option<String> {
    let mut at = Some(object.clone());
    let mut pointer = String::new();
    for segment in segments(place) {
        let name = segment.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let items = at.as_ref().map(|value| value.items().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let found = name.and_then(|name| items.iter().position(|item| item.text("name") == Some(name)));
        let step = match (name, found) {
            (Some(_), None) if !items.is_empty() => return None,
            (_, Some(index)) => index.to_string(),
            _ => escaped(&segment).into_owned(),
        };
        at = match items.get(step.parse().unwrap_or(usize::MAX)) {
            Some(item) => Some(item.clone()),
            None => at.and_then(|value| value.field(&segment).cloned()),
        };
        pointer.push('/');
        pointer.push_str(&step);
    }
    Some(pointer)
}

/// Returns what makes one text of another as a diff that `git apply` takes; nothing for the name of a file that it would
/// not take.
pub fn diff(file: &str, old: &str, new: &str) -> Option<String> {
    let is_odd = |c: char| c.is_control() || "\"\\".contains(c);
    if file.starts_with('/') || file.split('/').any(|part| part.is_empty() || part == "..") || file.contains(is_odd) {
        return None;
    }
    // What is behind a tab is no name any more; without one a name would end at its first blank.
    let end = if file.contains(' ') { "\t" } else { "" };
    let (from, to) = (format!("a/{file}{end}"), format!("b/{file}{end}"));
    let diff = TextDiff::from_lines(old, new);
    let text = diff.unified_diff().context_radius(AROUND).header(&from, &to).to_string();
    (!text.is_empty()).then_some(text)
}

/// Returns what a step does, in words, with the place as METADATA has it.
pub fn in_words(mend: &Mend) -> String {
    let (_, names) = relative(&mend.at).unwrap_or_default();
    let dotted = |names: Vec<String>| format!("`{}`", names.join(".").replace(".*.", "[]."));
    let place = if names.is_empty() { "the field".to_owned() } else { dotted(names) };
    match &mend.step {
        Step::Set { value, like: None } => format!("set {place} to `{}`", shown(value)),
        Step::Set { value, like: Some(like) } => {
            let like = dotted(relative(like).unwrap_or_default().1);
            format!("set {place} to what stands in {like}, or else to `{}`", shown(value))
        }
        Step::Remove => format!("take {place} out"),
        Step::Quote => format!("put {place} into quotes"),
        Step::Version(version) => format!("use version `{version}` of the same group"),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(text: &str) -> Option<Value> {
    let mut options = serde_saphyr::options! { emit_comments: false, with_snippet: false };
    options.budget = serde_saphyr::budget! { max_depth: DEEPEST };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// Returns the unescaped segments of a JSON Pointer.
fn segments(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|segment| unescaped(segment).into_owned())
}

/// Takes a Relative JSON Pointer apart: how many levels up, and what follows.
fn relative(pointer: &str) -> Option<(usize, Vec<String>)> {
    let end = pointer.find('/').unwrap_or(pointer.len());
    let (up, rest) = pointer.split_at_checked(end)?;
    Some((up.parse().ok()?, segments(rest).collect()))
}

/// Returns the places that a Relative JSON Pointer means from a place: more than one where it has a star. It leads out of
/// no object.
fn places(document: &Value, (base, depth): (&[String], usize), pointer: &str) -> Option<Vec<Vec<String>>> {
    let (up, names) = relative(pointer)?;
    let start = base.len().checked_sub(up).filter(|length| *length >= depth)?;
    let mut found = vec![base.get(..start)?.to_vec()];
    for name in names {
        found = found
            .into_iter()
            .flat_map(|place| {
                let items = at(document, &place).and_then(Value::as_array).map_or(0, Vec::len);
                let next: Vec<String> =
                    if name == "*" { (0..items).map(|index| index.to_string()).collect() } else { vec![name.clone()] };
                next.into_iter().map(move |name| place.iter().cloned().chain([name]).collect())
            })
            .collect();
    }
    Some(found)
}

/// Returns what stands at a place.
fn at<'a>(document: &'a Value, place: &[String]) -> Option<&'a Value> {
    place.iter().try_fold(document, |value, name| match value {
        Value::Object(members) => members.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn edits(text: &str, document: &Value, base: (&[String], usize), steps: &[Mend]) -> Option<Vec<Edit>> {
    let mut edits = Vec::new();
    for Mend { at: pointer, step, choose } in steps {
        for place in places(document, base, pointer)? {
            let change = match step {
                Step::Set { value, like } => {
                    let stands = like.as_ref().and_then(|like| places(document, base, like)?.pop());
                    let stands = stands.and_then(|place| at(document, &place)).filter(|value| !value.is_null());
                    Change::Set { value: stands.unwrap_or(value).clone(), note: choose.clone() }
                }
                Step::Remove if at(document, &place).is_none() => continue,
                Step::Remove => Change::Remove,
                Step::Quote => {
                    at(document, &place).filter(|value| value.is_number() || value.is_boolean())?;
                    Change::Set { value: tree::Tree::of(text)?.scalar(text, &place)?.into(), note: String::new() }
                }
                Step::Version(version) => {
                    let (group, _) = at(document, &place)?.as_str()?.rsplit_once('/')?;
                    Change::Set { value: format!("{group}/{version}").into(), note: String::new() }
                }
            };
            edits.push(Edit { place, change });
        }
    }
    (!edits.is_empty()).then_some(edits)
}
