//! Writing to the terminal, or to whatever stands in its place.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anstream::AutoStream;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` says otherwise
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Colour {
    /// Returns whether the standard output gets colours.
    pub fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        }
    }
}

/// Format of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Writes to the standard output.
pub fn write(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Writes to the standard output, and nothing more.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    write(text)?;
    io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a line to the standard error; where nobody listens it is lost.
pub fn tell(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Breaks a text into lines of at most so many characters, each behind some blanks.
pub fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let size = word.chars().count();
        if length == 0 || length + 1 + size > width {
            if length > 0 {
                lines.push('\n');
            }
            lines.push_str(&" ".repeat(indent));
            length = indent;
        } else {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(word);
        length += size;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn breaks_lines() {
        assert_eq!(wrapped("one two three", 2, 9), "  one two\n  three\n");
        assert_eq!(wrapped("overlongword x", 0, 4), "overlongword\nx\n");
        assert_eq!(wrapped("", 2, 9), "\n");
    }
}
