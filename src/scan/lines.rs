//! One JSON document a line.

use std::io::BufRead;

use crate::input::{Chunk, Fault};

/// Yields each line that holds something as a document of its own.
pub struct Lines<R> {
    reader: R,
    line: usize,
    index: usize,
    is_done: bool,
}

impl<R: BufRead> Lines<R> {
    /// Splits what a reader yields.
    pub const fn new(reader: R) -> Self {
        Self { reader, line: 0, index: 0, is_done: false }
    }

    fn chunk(&mut self, bytes: Vec<u8>) -> Result<Chunk, Fault> {
        let index = self.index;
        self.index = self.index.saturating_add(1);
        let text = String::from_utf8(bytes).map_err(|_| Fault::at_line(self.line, "is not UTF-8 text"))?;
        Ok(Chunk { text, first_line: self.line, index })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Chunk, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let mut bytes = Vec::new();
            match self.reader.read_until(b'\n', &mut bytes) {
                Ok(0) => self.is_done = true,
                Ok(_) => {
                    self.line = self.line.saturating_add(1);
                    if !bytes.trim_ascii().is_empty() {
                        return Some(self.chunk(bytes));
                    }
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(Fault::of_file(format_args!("cannot be read: {error}"))));
                }
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_document() {
        let chunks: Vec<_> = Lines::new(&b"{\"a\":1}\n\n \r\n{\"b\":2}"[..]).map(Result::unwrap).collect();
        let told: Vec<_> = chunks.iter().map(|chunk| (chunk.text.trim(), chunk.first_line, chunk.index)).collect();
        assert_eq!(told, [("{\"a\":1}", 1, 0), ("{\"b\":2}", 4, 1)]);
        assert_eq!(Lines::new(&b"\xff\n"[..]).next().unwrap().unwrap_err().line, Some(1));
    }
}
