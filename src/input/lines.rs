//! Which line of a document holds which place of its object.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, options};

use crate::engine::{Path, Segment};

/// Aliases that are followed from one place, so that one that holds itself ends.
const MAX_HOPS: usize = 64;

/// The lines of one document, as a tree of its nodes.
#[derive(Debug)]
pub struct LineIndex {
    nodes: Vec<Node>,
    first_line: usize,
}

#[derive(Debug, Default)]
struct Node {
    line: usize,
    entries: Vec<(String, usize)>,
    items: Vec<usize>,
    alias_of: Option<usize>,
}

/// A mapping or a list whose end has not come yet.
struct Open {
    node: usize,
    is_mapping: bool,
    /// The key whose value comes next, and its line.
    key: Option<(String, usize)>,
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, usize>,
}

impl LineIndex {
    /// Reads a document whose text begins on this line of its file. What stands behind a syntax error stays unknown.
    pub fn of(text: &str, first_line: usize) -> Self {
        let options = options! { emit_comments: false, flow_nesting_limit: 1024, block_nesting_limit: 1024 };
        let mut builder = Builder::default();
        for next in Parser::new_from_str_with_options(text, options) {
            let Ok((event, span)) = next else { break };
            builder.add(event, span.start.line());
        }
        Self { nodes: builder.nodes, first_line }
    }

    /// Returns the line of a place, counted from 1 in the file: that of its key, or of the deepest place above it that
    /// there is.
    pub fn line(&self, path: &Path) -> usize {
        let mut line = self.nodes.first().map_or(1, |root| root.line);
        let mut at = 0;
        for segment in &path.0 {
            let Some(child) = self.child(at, segment, MAX_HOPS) else { break };
            line = self.nodes.get(child).map_or(line, |node| node.line);
            at = child;
        }
        line.saturating_add(self.first_line).saturating_sub(1)
    }

    fn child(&self, of: usize, segment: &Segment, hops: usize) -> Option<usize> {
        let hops = hops.checked_sub(1)?;
        let node = self.nodes.get(of)?;
        if let Some(target) = node.alias_of {
            return self.child(target, segment, hops);
        }
        match segment {
            Segment::Index(index) => node.items.get(usize::try_from(*index).ok()?).copied(),
            Segment::Key(key) => {
                let own = node.entries.iter().rev().find(|(name, _)| **name == **key).map(|(_, child)| *child);
                own.or_else(|| self.merged(node, segment, hops))
            }
        }
    }

    fn merged(&self, node: &Node, segment: &Segment, hops: usize) -> Option<usize> {
        let merges = node.entries.iter().filter(|(name, _)| name == "<<").map(|(_, child)| *child);
        merges
            .flat_map(|merge| {
                let items = self.nodes.get(merge).map(|node| node.items.clone()).unwrap_or_default();
                if items.is_empty() { vec![merge] } else { items }
            })
            .find_map(|merge| self.child(merge, segment, hops))
    }
}

impl Builder {
    fn add(&mut self, event: Event<'_>, line: usize) {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                if self.expects_key() {
                    self.key(text.into_owned(), line);
                } else {
                    self.node(line, anchor);
                }
            }
            Event::Alias(anchor) => {
                if self.expects_key() {
                    self.key(String::new(), line);
                } else {
                    let node = self.node(line, 0);
                    let target = self.anchors.get(&anchor).copied();
                    if let Some(node) = self.nodes.get_mut(node) {
                        node.alias_of = target;
                    }
                }
            }
            Event::MappingStart(_, anchor, _) => self.start(line, anchor, true),
            Event::SequenceStart(_, anchor, _) => self.start(line, anchor, false),
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
            }
            _ => {}
        }
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_mapping && open.key.is_none())
    }

    fn key(&mut self, text: String, line: usize) {
        if let Some(open) = self.open.last_mut() {
            open.key = Some((text, line));
        }
    }

    fn start(&mut self, line: usize, anchor: usize, is_mapping: bool) {
        // A mapping or list as a key: nothing leads into it, so it hangs on nothing.
        let node = if self.expects_key() {
            self.key(String::new(), line);
            self.push(line)
        } else {
            self.node(line, anchor)
        };
        self.open.push(Open { node, is_mapping, key: None });
    }

    fn push(&mut self, line: usize) -> usize {
        self.nodes.push(Node { line, ..Node::default() });
        self.nodes.len().saturating_sub(1)
    }

    /// Adds a node under what is open.
    fn node(&mut self, line: usize, anchor: usize) -> usize {
        let key = self.open.last_mut().and_then(|open| open.key.take());
        let node = self.push(key.as_ref().map_or(line, |(_, line)| *line));
        if anchor != 0 {
            self.anchors.insert(anchor, node);
        }
        if let Some(parent) = self.open.last().map(|open| open.node).and_then(|parent| self.nodes.get_mut(parent)) {
            match key {
                Some((key, _)) => parent.entries.push((key, node)),
                None => parent.items.push(node),
            }
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(pointer: &str) -> Path {
        let segment = |part: &str| {
            let text = part.replace("~1", "/").replace("~0", "~");
            text.parse().map_or_else(|_| Segment::Key(text.as_str().into()), Segment::Index)
        };
        Path(pointer.split('/').skip(1).map(segment).collect())
    }

    fn check(text: &str, table: &[(&str, usize)]) {
        let index = LineIndex::of(text, 1);
        for (pointer, line) in table {
            assert_eq!(index.line(&path(pointer)), *line, "{pointer} in\n{text}");
        }
    }

    #[test]
    fn finds_keys_items_and_what_is_missing() {
        let text = "# head\n\
                    ---\n\
                    apiVersion: v1\n\
                    kind: Pod\n\
                    metadata:\n  labels:\n    app.kubernetes.io/name: x\n\
                    spec:\n  containers:\n  - name: a\n    image: nginx\n  -\n    # why\n    name: b\n    command: [sh, -c,\n      sleep]\n    args: |\n      one\n      two\n    image: redis\n";
        check(
            text,
            &[
                ("", 3),
                ("/kind", 4),
                ("/metadata/labels/app.kubernetes.io~1name", 7),
                ("/spec/containers", 9),
                ("/spec/containers/0", 10),
                ("/spec/containers/0/image", 11),
                ("/spec/containers/0/resources/limits/cpu", 10),
                ("/spec/containers/1", 14),
                ("/spec/containers/1/command/2", 16),
                ("/spec/containers/1/args", 17),
                ("/spec/containers/1/image", 20),
                ("/spec/containers/7/image", 9),
                ("/status", 3),
            ],
        );
    }

    #[test]
    fn follows_aliases_and_merges() {
        let text = "base: &base\n  image: nginx\n  env: &env\n  - {name: A}\n\
                    one: *base\n\
                    two:\n  <<: *base\n  name: x\n\
                    three:\n  <<: [{tag: 1}, *base]\n  env: *env\n\
                    four: &four\n  self: *four\n";
        check(
            text,
            &[
                ("/one", 5),
                ("/one/image", 2),
                ("/two/image", 2),
                ("/two/name", 8),
                ("/two/env/0", 4),
                ("/three/tag", 10),
                ("/three/image", 2),
                ("/three/env", 11),
                ("/three/env/0/name", 4),
                ("/two/missing", 6),
                ("/four/self/self/self/nothing", 13),
            ],
        );
    }

    #[test]
    fn reads_json_and_the_last_of_equal_keys() {
        check(
            "{\n\t\"kind\": \"Pod\",\n\t\"spec\": {\"containers\": [\n\t\t{\"image\": \"a\\/b\"},\n\t\t{\"image\": \"b\"}\n\t]}\n}\n",
            &[("/kind", 2), ("/spec/containers/1/image", 5)],
        );
        check("a: 1\nb: 2\na: 3\n", &[("/a", 3)]);
        check("? {complex: key}\n: value\nb:\n  c: 1\n", &[("/b/c", 4)]);
    }

    #[test]
    fn counts_from_where_the_document_begins() {
        assert_eq!(LineIndex::of("---\nkind: Pod\n", 41).line(&path("/kind")), 42);
        assert_eq!(LineIndex::of("kind: [\n", 7).line(&path("/kind/x")), 7);
        assert_eq!(LineIndex::of("", 7).line(&path("/kind")), 7);
    }
}
