//! What could not be read.

use std::fmt;

/// Something in a file, or a whole file, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// Column, counted from 1, where it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub cause: String,
}

impl Fault {
    /// Builds a fault of a whole file.
    pub fn of_file(cause: impl fmt::Display) -> Self {
        Self { line: None, column: None, cause: cause.to_string() }
    }

    /// Builds a fault at a line.
    pub fn at_line(line: usize, cause: impl fmt::Display) -> Self {
        Self { line: Some(line), column: None, cause: cause.to_string() }
    }

    /// Returns the fault as compilers write theirs: `file:line:column: cause`.
    pub fn in_file(&self, file: &str) -> String {
        let number = |number: Option<usize>| number.map_or(String::new(), |number| format!(":{number}"));
        format!("{file}{}{}: {}", number(self.line), number(self.column), self.cause)
    }
}
