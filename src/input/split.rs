//! Splitting a stream into its documents, at the lines where YAML (and kubectl) end one.

use std::io::{self, BufRead, Cursor, Read};

use super::Fault;

/// The text of one document, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its text, with its `---` line and what stands before that.
    pub text: String,
    /// Line of the file on which the text begins, counted from 1.
    pub first_line: usize,
    /// Position among the file's documents, counted from 0.
    pub index: usize,
}

/// Yields the documents of a stream one by one.
pub struct Splitter<R> {
    reader: R,
    line: usize,
    index: usize,
    pending: Pending,
    is_done: bool,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    first_line: usize,
    has_content: bool,
    is_explicit: bool,
}

impl Splitter<Box<dyn BufRead + Send>> {
    /// Opens a stream; text in UTF-16, which starts with a byte order mark, is read as such.
    pub fn open(mut reader: impl BufRead + Send + 'static) -> io::Result<Self> {
        let start = reader.fill_buf()?;
        let big_endian = match start {
            [0xFE, 0xFF, ..] => Some(true),
            [0xFF, 0xFE, ..] => Some(false),
            _ => None,
        };
        let Some(big_endian) = big_endian else { return Ok(Self::new(Box::new(reader))) };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let units = bytes.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
        let units = units.map(|pair| if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) });
        let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        Ok(Self::new(Box::new(Cursor::new(text.into_bytes()))))
    }
}

impl<R: BufRead> Splitter<R> {
    /// Splits what a reader yields.
    pub fn new(reader: R) -> Self {
        let pending = Pending { first_line: 1, ..Pending::default() };
        Self { reader, line: 0, index: 0, pending, is_done: false }
    }

    fn take(&mut self) -> Result<Chunk, Fault> {
        let next = Pending { first_line: self.line.saturating_add(1), ..Pending::default() };
        let pending = std::mem::replace(&mut self.pending, next);
        let index = self.index;
        self.index = self.index.saturating_add(1);
        let text = String::from_utf8(pending.bytes).map_err(|error| {
            let read = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let lines = read.split(|byte| *byte == b'\n').count().saturating_sub(1);
            Fault::at_line(pending.first_line.saturating_add(lines), "is not UTF-8 text")
        })?;
        let text = text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text);
        Ok(Chunk { text, first_line: pending.first_line, index })
    }
}

impl<R: BufRead> Iterator for Splitter<R> {
    type Item = Result<Chunk, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) => {
                    self.is_done = true;
                    return (self.pending.has_content || self.pending.is_explicit).then(|| self.take());
                }
                Ok(_) => {}
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(Fault::of_file(format_args!("cannot be read: {error}"))));
                }
            }
            let is_whole = self.pending.has_content || self.pending.is_explicit;
            let ended = match Line::of(&line) {
                Line::Start if is_whole => Some(self.take()),
                Line::End => {
                    self.line = self.line.saturating_add(1);
                    if is_whole {
                        return Some(self.take());
                    }
                    continue;
                }
                _ => None,
            };
            self.line = self.line.saturating_add(1);
            self.pending.add(&line);
            if ended.is_some() {
                return ended;
            }
        }
    }
}

impl Pending {
    fn add(&mut self, line: &[u8]) {
        match Line::of(line) {
            Line::Start => self.is_explicit = true,
            Line::Content => self.has_content = true,
            Line::End | Line::Blank => {}
        }
        self.bytes.extend_from_slice(line);
    }
}

/// What a line is to the stream.
enum Line {
    /// `---`, alone or before something.
    Start,
    /// `...`
    End,
    /// Nothing, a comment or a directive.
    Blank,
    /// Anything else.
    Content,
}

impl Line {
    fn of(line: &[u8]) -> Self {
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        let is_marker = |marker: &[u8]| {
            line.strip_prefix(marker).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
        };
        match line.trim_ascii_start().first() {
            _ if is_marker(b"---") => Self::Start,
            _ if is_marker(b"...") => Self::End,
            None | Some(b'#') => Self::Blank,
            Some(_) if line.starts_with(b"%") => Self::Blank,
            Some(_) => Self::Content,
        }
    }
}

/// Reads everything and splits it.
pub fn split_all(mut reader: impl Read) -> Result<Vec<Result<Chunk, Fault>>, Fault> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|error| Fault::of_file(format_args!("cannot be read: {error}")))?;
    let splitter = Splitter::open(Cursor::new(bytes));
    splitter.map(Iterator::collect).map_err(|error| Fault::of_file(format_args!("cannot be read: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn split(text: &[u8]) -> Vec<(String, usize, usize)> {
        let chunks = split_all(text).unwrap();
        chunks
            .into_iter()
            .map(|chunk| chunk.unwrap())
            .map(|chunk| (chunk.text, chunk.first_line, chunk.index))
            .collect()
    }

    #[test]
    fn splits_where_a_document_ends() {
        type Chunks<'a> = &'a [(&'a str, usize, usize)];
        let table: &[(&str, Chunks<'_>)] = &[
            ("", &[]),
            ("# only a comment\n\n", &[]),
            ("a: 1", &[("a: 1", 1, 0)]),
            ("---\na: 1\n---\nb: 2\n", &[("---\na: 1\n", 1, 0), ("---\nb: 2\n", 3, 1)]),
            ("# head\n%YAML 1.1\n---\na: 1\n", &[("# head\n%YAML 1.1\n---\na: 1\n", 1, 0)]),
            ("a: 1\r\n---\r\nb: 2\r\n", &[("a: 1\r\n", 1, 0), ("---\r\nb: 2\r\n", 2, 1)]),
            ("a: 1\n...\nb: 2\n", &[("a: 1\n", 1, 0), ("b: 2\n", 3, 1)]),
            ("a: 1\n---\n---\nb: 2\n", &[("a: 1\n", 1, 0), ("---\n", 2, 1), ("---\nb: 2\n", 3, 2)]),
            ("a: |\n  ---\n  x\n", &[("a: |\n  ---\n  x\n", 1, 0)]),
            ("a: ----\n-----\n", &[("a: ----\n-----\n", 1, 0)]),
            ("--- # why\na: 1\n--- {b: 2}\n", &[("--- # why\na: 1\n", 1, 0), ("--- {b: 2}\n", 3, 1)]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> =
                expected.iter().map(|(text, line, index)| ((*text).to_owned(), *line, *index)).collect();
            assert_eq!(split(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn reads_what_editors_on_windows_write() {
        assert_eq!(split(b"\xEF\xBB\xBFa: 1\n"), [("a: 1\n".to_owned(), 1, 0)]);
        let utf16: Vec<u8> = "\u{FEFF}a: é\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(split(&utf16), [("a: é\n".to_owned(), 1, 0)]);
    }

    #[test]
    fn names_the_line_that_is_no_text() {
        let chunks = split_all(&b"---\na: 1\n---\nb: 2\nc: \xFF\n---\nd: 1\n"[..]).unwrap();
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[1], Err(Fault::at_line(5, "is not UTF-8 text")));
        assert!(chunks[2].is_ok());
    }
}
