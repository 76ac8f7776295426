//! A file while what is wrong in it is mended.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Chunk;
use super::document::parse;
use super::split::split_all;
use crate::engine::Value;
use crate::policy::metadata::Mend;
use crate::report::mend;

/// Larger files are left to people.
const LARGEST: u64 = 8 << 20;

/// A file's text, and that of the documents in it that were changed.
#[derive(Debug)]
pub struct Draft {
    text: String,
    chunks: Vec<Chunk>,
    changed: BTreeMap<usize, String>,
}

impl Draft {
    /// Reads a file; nothing where it is too large, or is no text in UTF-8.
    pub fn read(file: &Path) -> Option<Self> {
        if fs::metadata(file).ok()?.len() > LARGEST {
            return None;
        }
        Self::of(fs::read_to_string(file).ok()?)
    }

    /// Begins with a text.
    pub fn of(text: String) -> Option<Self> {
        let chunks = split_all(text.as_bytes()).ok()?.into_iter().collect::<Result<_, _>>().ok()?;
        Some(Self { text, chunks, changed: BTreeMap::new() })
    }

    /// Mends a violation in the first object of a document that it can be in; returns whether it could.
    ///
    /// `pointer` says where it is in the object.
    pub fn mend(
        &mut self,
        document: usize,
        is_it: impl Fn(&Value) -> bool,
        pointer: impl Fn(&Value) -> Option<String>,
        steps: &[Mend],
    ) -> bool {
        let Some(chunk) = self.chunks.iter().find(|chunk| chunk.index == document) else { return false };
        let text = self.changed.get(&document).unwrap_or(&chunk.text).clone();
        let chunk = Chunk { text, ..chunk.clone() };
        let parsed = parse(&chunk);
        let mended = parsed.manifests.iter().filter(|manifest| is_it(&manifest.object)).find_map(|manifest| {
            mend::mended(&chunk.text, &manifest.place.to_string(), &pointer(&manifest.object)?, steps)
        });
        mended.is_some_and(|text| {
            self.changed.insert(document, text);
            true
        })
    }

    /// Returns the diff of what was mended; nothing where that is nothing, or the file's name is none for a diff.
    pub fn diff(&self, name: &str) -> Option<String> {
        let mut text = self.text.clone();
        for chunk in self.chunks.iter().rev() {
            let Some(changed) = self.changed.get(&chunk.index) else { continue };
            let start = self.start(chunk)?;
            let end = start.saturating_add(chunk.text.len());
            (text.get(start..end)? == chunk.text).then(|| text.replace_range(start..end, changed))?;
        }
        mend::diff(name, &self.text, &text)
    }

    /// Returns where a document begins.
    fn start(&self, chunk: &Chunk) -> Option<usize> {
        let above = chunk.first_line.checked_sub(1)?;
        let start = self.text.split_inclusive('\n').take(above).map(str::len).sum();
        let mark = self.text.get(start..)?.starts_with('\u{FEFF}');
        Some(if mark { start.saturating_add('\u{FEFF}'.len_utf8()) } else { start })
    }
}
