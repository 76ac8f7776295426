//! An object as YAML in which the place of a violation is marked, and what is missing there stands as a ghost.
//!
//! The writer knows which place each line belongs to, so nothing is parsed again.

use serde_json::Value;

use super::code::{Line, Mark};
use crate::engine::pointer::unescaped;
use crate::report::yaml;

/// Ghosts are not indented for ever.
const DEEPEST_GHOST: usize = 12;

/// A line, with the place that it belongs to.
struct Placed {
    pointer: String,
    indent: usize,
    line: Line,
}

impl From<yaml::Line> for Placed {
    fn from(yaml::Line { pointer, indent, lead, key, rest }: yaml::Line) -> Self {
        Self { pointer, indent, line: Line { number: None, lead, key, rest, mark: Mark::Plain } }
    }
}

/// Returns the lines of an object. `pointer` is a JSON Pointer; the empty one marks nothing.
pub fn lines(object: &Value, pointer: &str) -> Vec<Line> {
    let mut placed: Vec<Placed> = yaml::lines(object).into_iter().map(Placed::from).collect();
    if !pointer.is_empty() {
        mark(&mut placed, pointer);
    }
    let mut lines: Vec<Line> = placed.into_iter().map(|placed| placed.line).collect();
    let numbered = lines.iter_mut().filter(|line| line.mark != Mark::Ghost);
    numbered.enumerate().for_each(|(index, line)| line.number = Some(index.saturating_add(1)));
    lines
}

/// Marks what stands at a place; where nothing does, its nearest parent, and the rest as ghosts.
fn mark(placed: &mut Vec<Placed>, pointer: &str) {
    let mut at = pointer;
    loop {
        if let Some(first) = placed.iter().position(|placed| is_within(&placed.pointer, at)) {
            mark_lines(placed, at, first);
            let missing: Vec<&str> = pointer.strip_prefix(at).unwrap_or_default().split('/').skip(1).collect();
            if !missing.is_empty() {
                add_ghosts(placed, at, first, &missing);
            }
            return;
        }
        let Some((parent, _)) = at.rsplit_once('/') else { return };
        at = parent;
        if at.is_empty() {
            let missing: Vec<&str> = pointer.split('/').skip(1).collect();
            add_ghosts(placed, "", placed.len().saturating_sub(1), &missing);
            return;
        }
    }
}

fn is_within(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn mark_lines(placed: &mut [Placed], place: &str, first: usize) {
    for (index, placed) in placed.iter_mut().enumerate() {
        if is_within(&placed.pointer, place) {
            placed.line.mark = if index == first { Mark::Hit } else { Mark::Within };
        }
    }
}

/// Adds what is missing below the first line of its nearest parent.
fn add_ghosts(placed: &mut Vec<Placed>, parent: &str, first: usize, missing: &[&str]) {
    let Some(line) = placed.get_mut(first) else { return };
    // Only the line that names the parent matters then: what else is in it is not at fault.
    let is_item = parent.rsplit('/').next().is_some_and(|name| name.parse::<usize>().is_ok());
    let mut indent = if parent.is_empty() { 0 } else { line.indent.saturating_add(2) };
    if is_item {
        indent = line.indent;
    }
    if ["{}", "[]"].contains(&line.line.rest.trim()) {
        line.line.rest = String::new();
    }
    placed
        .iter_mut()
        .filter(|placed| placed.line.mark == Mark::Within)
        .for_each(|placed| placed.line.mark = Mark::Plain);
    let mut at = first.saturating_add(1);
    let mut dash = "";
    for (depth, name) in missing.iter().take(DEEPEST_GHOST).enumerate() {
        let is_last = depth.saturating_add(1) == missing.len();
        if name.parse::<usize>().is_ok() {
            dash = "- ";
            continue;
        }
        let ghost = Line {
            number: None,
            lead: format!("{}{dash}", " ".repeat(indent)),
            key: format!("{}:", unescaped(name)),
            rest: if is_last { " …".to_owned() } else { String::new() },
            mark: Mark::Ghost,
        };
        placed.insert(at.min(placed.len()), Placed { pointer: String::new(), indent, line: ghost });
        indent = indent.saturating_add(2).saturating_add(dash.len());
        (at, dash) = (at.saturating_add(1), "");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"labels": {"app": "web", "on": "true"}, "name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "template": {"spec": {
                "containers": [
                    {"image": "nginx", "name": "app", "args": ["-c", "a\nb\n"], "resources": {}},
                    {"image": "x:1", "name": "sidecar"},
                ],
            }}},
        })
    }

    fn shown(pointer: &str) -> Vec<String> {
        let marked = lines(&object(), pointer).into_iter().filter(|line| line.mark != Mark::Plain);
        marked.map(|line| format!("{} {}", line.mark.class(), line.text())).collect()
    }

    #[test]
    fn an_object_is_written_so_that_it_is_read_back_as_it_was() {
        let text: Vec<String> = lines(&object(), "").iter().map(Line::text).collect();
        assert_eq!(text.first().map(String::as_str), Some("apiVersion: apps/v1"));
        assert!(text.contains(&"      - name: app".to_owned()), "{text:#?}");
        let back: Value = serde_saphyr::from_str(&text.join("\n")).unwrap_or_default();
        let mut expected = object();
        // Items of lists are not written as blocks.
        expected["spec"]["template"]["spec"]["containers"][0]["args"][1] = "a\nb\n".into();
        assert_eq!(back, expected, "{}", text.join("\n"));
    }

    #[test]
    fn the_place_is_marked_and_what_is_missing_is_a_ghost() {
        let image = "/spec/template/spec/containers/0/image";
        assert_eq!(shown(image), ["hit         image: nginx"]);
        assert_eq!(
            shown("/spec/template/spec/containers/1/securityContext/runAsNonRoot"),
            ["hit       - name: sidecar", "ghost         securityContext:", "ghost           runAsNonRoot: …"]
        );
        assert_eq!(
            shown("/spec/template/spec/containers/0/resources/limits"),
            ["hit         resources:", "ghost           limits: …"]
        );
        assert_eq!(shown("/spec/replicas"), ["hit   replicas: 2"]);
        assert_eq!(shown("/data/a~1b"), ["ghost data:", "ghost   a/b: …"]);
        assert_eq!(shown(""), Vec::<String>::new());
        assert_eq!(shown("/spec/template/spec/containers/1").len(), 2);
    }

    #[test]
    fn lines_are_counted_without_ghosts() {
        let lines = lines(&object(), "/spec/template/spec/containers/1/securityContext");
        let numbers: Vec<usize> = lines.iter().filter_map(|line| line.number).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
        assert_eq!(lines.len(), numbers.len() + 1);
    }
}
