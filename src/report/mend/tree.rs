//! Where in a text each part of a YAML document stands.

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, options};

/// A document, taken apart.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// A part of it.
#[derive(Debug)]
pub struct Node {
    /// Where its text is; of what is written in lines, from its first key or dash to the end of what is last in it.
    pub range: Range<usize>,
    /// What it is.
    pub shape: Shape,
}

/// What a part is.
#[derive(Debug)]
pub enum Shape {
    /// A scalar; plain ones have no quotes.
    Scalar {
        /// Whether it is one.
        is_plain: bool,
    },
    /// Keys and values.
    Mapping {
        /// Whether it stands in braces.
        is_flow: bool,
        /// Them.
        entries: Vec<Entry>,
    },
    /// Items.
    List {
        /// Whether it stands in brackets.
        is_flow: bool,
        /// Them.
        items: Vec<usize>,
    },
    /// What stands elsewhere.
    Alias,
}

/// A key with its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// Where its text is.
    pub key: Range<usize>,
    /// The node of its value.
    pub value: usize,
}

struct Open {
    node: usize,
    key: Option<(String, Range<usize>)>,
}

impl Tree {
    /// Takes a text apart; nothing where it is no YAML, or has keys that are no text.
    pub fn of(text: &str) -> Option<Self> {
        let options = options! { emit_comments: false };
        let (mut tree, mut open) = (Self::default(), Vec::<Open>::new());
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.ok()?;
            let range = bytes(text, &span)?;
            let awaits_key = open.last().is_some_and(|open| open.key.is_none() && tree.is_mapping(open.node));
            match event {
                Event::Scalar(name, ..) if awaits_key => {
                    open.last_mut()?.key = Some((name.into_owned(), range));
                }
                Event::Scalar(_, style, ..) => {
                    let shape = Shape::Scalar { is_plain: style == ScalarStyle::Plain };
                    tree.add(&mut open, Node { range, shape })?;
                }
                Event::Alias(_) if !awaits_key => {
                    tree.add(&mut open, Node { range, shape: Shape::Alias })?;
                }
                Event::MappingStart(..) if !awaits_key => {
                    let is_flow = text.get(range.start..)?.starts_with('{');
                    let node = Node { range, shape: Shape::Mapping { is_flow, entries: Vec::new() } };
                    let node = tree.add(&mut open, node)?;
                    open.push(Open { node, key: None });
                }
                Event::SequenceStart(..) if !awaits_key => {
                    let is_flow = text.get(range.start..)?.starts_with('[');
                    let node = Node { range, shape: Shape::List { is_flow, items: Vec::new() } };
                    let node = tree.add(&mut open, node)?;
                    open.push(Open { node, key: None });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    let ended = open.pop()?.node;
                    tree.close(ended, range.end)?;
                }
                Event::Alias(_) | Event::MappingStart(..) | Event::SequenceStart(..) => return None,
                _ => {}
            }
        }
        (!tree.nodes.is_empty()).then_some(tree)
    }

    /// Returns a part.
    pub fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// Returns the number of what stands under a name in a part; nothing is looked for in what stands elsewhere.
    pub fn child(&self, of: usize, name: &str) -> Option<usize> {
        match &self.node(of)?.shape {
            Shape::Mapping { entries, .. } => entries.iter().find(|entry| entry.name == name).map(|entry| entry.value),
            Shape::List { items, .. } => items.get(name.parse::<usize>().ok()?).copied(),
            Shape::Scalar { .. } | Shape::Alias => None,
        }
    }

    /// Returns the text of a plain scalar at a place.
    pub fn scalar<'a>(&self, text: &'a str, place: &[String]) -> Option<&'a str> {
        let node = self.node(place.iter().try_fold(0, |at, name| self.child(at, name))?)?;
        let is_one = matches!(node.shape, Shape::Scalar { is_plain: true });
        text.get(node.range.clone()).filter(|_| is_one)
    }

    fn is_mapping(&self, node: usize) -> bool {
        self.node(node).is_some_and(|node| matches!(node.shape, Shape::Mapping { .. }))
    }

    fn add(&mut self, open: &mut [Open], node: Node) -> Option<usize> {
        let value = self.nodes.len();
        self.nodes.push(node);
        if let Some(open) = open.last_mut() {
            match (&mut self.nodes.get_mut(open.node)?.shape, open.key.take()) {
                (Shape::Mapping { entries, .. }, Some((name, key))) => entries.push(Entry { name, key, value }),
                (Shape::List { items, .. }, None) => items.push(value),
                _ => return None,
            }
        }
        Some(value)
    }

    /// Says where a part ends: what stands in braces behind them, anything else where the last in it does.
    fn close(&mut self, index: usize, end: usize) -> Option<()> {
        let node = self.nodes.get(index)?;
        let (is_flow, last, start) = match &node.shape {
            Shape::Mapping { is_flow, entries } => {
                (*is_flow, entries.last().map(|entry| entry.value), entries.first().map(|entry| entry.key.start))
            }
            Shape::List { is_flow, items } => (*is_flow, items.last().copied(), None),
            Shape::Scalar { .. } | Shape::Alias => return None,
        };
        let last = last.and_then(|last| self.nodes.get(last)).map(|last| last.range.end);
        let node = self.nodes.get_mut(index)?;
        if is_flow {
            node.range.end = end;
        } else {
            node.range.start = start.unwrap_or(node.range.start);
            node.range.end = last.unwrap_or(end);
        }
        Some(())
    }
}

/// Returns where a part's text is, without the blanks and ends of lines behind it.
fn bytes(text: &str, span: &Span) -> Option<Range<usize>> {
    let (start, end) = (span.start.byte_offset()?, span.end.byte_offset()?);
    let length = text.get(start..end)?.trim_end().len();
    Some(start..start.saturating_add(length))
}
