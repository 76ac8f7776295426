//! One document: its objects, and what is wrong with it.

use std::cell::RefCell;
use std::ops::Range;
use std::thread;

use serde_saphyr::{Budget, DuplicateKeyPolicy, Error, Options};

use super::value::Node;
use super::{Chunk, Fault, LineIndex};
use crate::engine::value::{Fields, ObjectBuilder};
use crate::engine::{Path, Value};

/// Stack that a thread needs to read a document: nesting is followed by recursion.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Works on a thread that has such a stack; nothing where there is no thread, or the work panics.
pub fn on_a_deep_stack<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}
/// Deepest nesting; definitions of custom resources, the deepest that is seen, stay below 100.
const MAX_DEPTH: usize = 200;
/// Most nodes that the aliases of one document may stand for.
const MAX_EXPANDED: usize = 250_000;
/// Lists may hold lists; this many levels are opened.
const LIST_DEPTH: usize = 4;

/// Groups whose objects configure programs and are never sent to an API server.
const CONFIGURATION_GROUPS: [&str; 8] = [
    "apiserver.config.k8s.io",
    "kind.x-k8s.io",
    "kubeadm.k8s.io",
    "kubelet.config.k8s.io",
    "kubeproxy.config.k8s.io",
    "kubescheduler.config.k8s.io",
    "kustomize.config.k8s.io",
    "skaffold",
];

/// A Kubernetes object that stands in a file.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The object.
    pub object: Value,
    /// Where it stands in its document: nowhere else, or in the `items` of a list.
    pub place: Path,
    text: Range<usize>,
    first_line: usize,
}

/// What a document holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Its objects.
    pub manifests: Vec<Manifest>,
    /// How many documents are something else than Kubernetes objects.
    pub skipped: usize,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// Which line is which in a document; found out only once something is told of one of its objects.
#[derive(Debug)]
pub struct Lines<'a> {
    chunk: &'a Chunk,
    /// Objects of one list stand in one text, which is looked through once.
    last: RefCell<Option<(usize, LineIndex)>>,
}

impl<'a> Lines<'a> {
    /// Knows nothing yet.
    pub const fn of(chunk: &'a Chunk) -> Self {
        Self { chunk, last: RefCell::new(None) }
    }

    /// Returns the line of a place in an object, counted from 1 in the file.
    pub fn line(&self, manifest: &Manifest, path: &Path) -> usize {
        let place = Path(manifest.place.0.iter().chain(&path.0).cloned().collect());
        let start = manifest.text.start;
        let mut last = self.last.borrow_mut();
        let known = last.take().filter(|(known, _)| *known == start);
        let (_, index) = last.insert(known.unwrap_or_else(|| {
            let text = self.chunk.text.get(manifest.text.clone()).unwrap_or_default();
            (start, LineIndex::of(text, manifest.first_line))
        }));
        index.line(&place)
    }
}

/// Reads a document. What is neither JSON nor YAML is a fault; JSON may be several values in a row.
pub fn parse(chunk: &Chunk) -> Parsed {
    let mut parsed = Parsed::default();
    if let Some(start) = json_start(&chunk.text) {
        if read_json(chunk, start, &mut parsed) {
            return parsed;
        }
        parsed = Parsed::default();
    }
    match read_yaml(&chunk.text) {
        Ok((value, duplicate)) => {
            parsed.faults.extend(duplicate.map(|error| fault(&error, chunk)));
            parsed.add(value, 0..chunk.text.len(), chunk.first_line);
        }
        Err(error) => parsed.faults.push(fault(&error, chunk)),
    }
    parsed
}

impl Parsed {
    fn add(&mut self, value: Value, text: Range<usize>, first_line: usize) {
        let manifest = Manifest { object: value, place: Path::default(), text, first_line };
        self.open(manifest, LIST_DEPTH);
    }

    fn open(&mut self, manifest: Manifest, depth: usize) {
        let object = &manifest.object;
        if !is_kubernetes(object) {
            let is_empty = matches!(object, Value::Null | Value::Undefined);
            self.skipped = self.skipped.saturating_add(usize::from(!is_empty));
            return;
        }
        let kind = object.text("kind").unwrap_or_default();
        let items = kind.strip_suffix("List").and_then(|of| Some((of, object.field("items")?)));
        let (of, items, depth) = match (items, depth.checked_sub(1)) {
            (Some((of, items @ Value::Array(_))), Some(depth)) => (of, items, depth),
            (Some((_, Value::Null)), _) => return,
            _ if kind == "List" => return,
            _ => return self.manifests.push(manifest),
        };
        let place = manifest.place.key("items");
        for (index, item) in items.items().enumerate() {
            let object = typed(item, object.text("apiVersion").unwrap_or_default(), of);
            let place = place.index(index);
            self.open(Manifest { object, place, text: manifest.text.clone(), first_line: manifest.first_line }, depth);
        }
    }
}

/// The API server leaves out what the items of a typed list (a PodList) are: they are what the list says.
fn typed(item: &Value, api_version: &str, kind: &str) -> Value {
    let is_typed = item.field("kind").is_some() || item.field("apiVersion").is_some();
    if is_typed || kind.is_empty() || !matches!(item, Value::Object(_)) {
        return item.clone();
    }
    let object = ObjectBuilder::from_value(item);
    object.set(&Value::from("apiVersion"), api_version).set(&Value::from("kind"), kind).build()
}

fn is_kubernetes(value: &Value) -> bool {
    let text = |key| value.text(key).filter(|text| !text.is_empty());
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else { return false };
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let is_kubeconfig = api_version == "v1" && kind == "Config";
    !is_kubeconfig && !CONFIGURATION_GROUPS.contains(&group)
}

/// Returns where JSON begins, if the document looks like it.
fn json_start(text: &str) -> Option<usize> {
    let body = text.trim_start();
    let body = body.strip_prefix("---").unwrap_or(body).trim_start();
    body.starts_with(['{', '[']).then(|| text.len().saturating_sub(body.len()))
}

/// Reads JSON values; says whether the first one is JSON.
fn read_json(chunk: &Chunk, start: usize, parsed: &mut Parsed) -> bool {
    let body = chunk.text.get(start..).unwrap_or_default();
    // Values come one after the other: each newline is counted once, however many values there are.
    let mut reached = (0, chunk.first_line);
    let mut line_at = |offset: usize| {
        let newlines = newlines(chunk.text.get(reached.0..offset).unwrap_or_default());
        reached = (offset, reached.1.saturating_add(newlines));
        reached.1
    };
    let start_line = line_at(start);
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<Node>();
    let mut is_json = false;
    loop {
        let from = start.saturating_add(values.byte_offset());
        let Some(next) = values.next() else { return true };
        let to = start.saturating_add(values.byte_offset());
        match next {
            Ok(node) => {
                is_json = true;
                let line = line_at(from);
                if node.has_duplicates {
                    let text = chunk.text.get(from..to).unwrap_or_default();
                    let part = Chunk { text: text.to_owned(), first_line: line, index: chunk.index };
                    parsed.faults.extend(read_strictly(text).err().map(|error| fault(&error, &part)));
                }
                parsed.add(node.value, from..to, line);
            }
            Err(_) if !is_json => return false,
            Err(error) => {
                let cause = error.to_string();
                let cause = cause.rsplit_once(" at line ").map_or(&*cause, |(cause, _)| cause).to_owned();
                let line = start_line.saturating_add(error.line()).saturating_sub(1);
                parsed.faults.push(Fault { line: Some(line), column: Some(error.column()), cause });
                return true;
            }
        }
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Reads YAML; a key that stands twice comes back beside the value.
fn read_yaml(text: &str) -> Result<(Value, Option<Error>), Error> {
    match read_strictly(text) {
        Ok(value) => Ok((value, None)),
        Err(error) if matches!(error.without_snippet(), Error::DuplicateMappingKey { .. }) => {
            let node: Node = serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::LastWins))?;
            Ok((node.value, Some(error)))
        }
        Err(error) => Err(error),
    }
}

fn read_strictly(text: &str) -> Result<Value, Error> {
    let node: Node = serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error))?;
    Ok(node.value)
}

/// The options under which YAML means what it means to kubectl.
fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    let mut options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        emit_comments: false,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_EXPANDED },
    };
    options.budget = budget();
    options
}

/// Large files are real; what a few lines expand to is bounded instead, and how deep anything nests.
fn budget() -> Option<Budget> {
    serde_saphyr::budget! {
        max_reader_input_bytes: None,
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        max_events: usize::MAX,
        max_nodes: usize::MAX,
        max_documents: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
        max_anchors: usize::MAX,
        max_aliases: usize::MAX,
        max_merge_keys: usize::MAX,
        max_recorded_anchor_events: usize::MAX,
        max_recorded_anchor_bytes: usize::MAX,
        enforce_alias_anchor_ratio: false,
    }
}

/// Says what is wrong to whoever wrote the file: neither the place, nor what a programmer might do about it.
fn cause_of(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key} stands twice, and the last one counts")
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key stands twice, and the last one counts".into(),
        Error::NonFiniteFloat { .. } => "a number is too large, or is no number that Kubernetes knows".into(),
        other => {
            let mut cause = other.to_string();
            let asides = [" at line ", " so cannot be stored into string", ", set ", ". If "];
            if let Some(end) = asides.iter().filter_map(|aside| cause.find(aside)).min() {
                cause.truncate(end);
            }
            cause
        }
    }
}

fn fault(error: &Error, chunk: &Chunk) -> Fault {
    let location = error.location();
    let number = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
    let line = location.and_then(|at| number(at.line())).unwrap_or(1);
    let mut cause = cause_of(error.without_snippet());
    if chunk.text.contains("{{") {
        cause.push_str("; this looks like a template: render it first, for example helm template . | gatepost scan -");
    }
    Fault {
        line: Some(chunk.first_line.saturating_add(line).saturating_sub(1)),
        column: location.and_then(|at| number(at.column())),
        cause,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
