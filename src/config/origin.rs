//! Where a value of the configuration comes from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value comes from, the strongest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line; the flag with its dashes.
    Flag(String),
    /// The environment; the variable's name.
    Variable(String),
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Line, counted from 1, where it is known.
        line: Option<u64>,
    },
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// Returns the file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Returns the line in the file, if it is known.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::File { line, .. } => *line,
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A configuration that cannot be used, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}", place(.origin))]
pub struct ConfigError {
    /// Who said it.
    pub origin: Origin,
    /// The key, what is wrong with it, and how to mend it.
    pub cause: String,
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        Origin::Flag(name) | Origin::Variable(name) => format!("{name}: "),
        file @ Origin::File { .. } => format!("{file}: "),
    }
}

impl ConfigError {
    /// Builds an error about a file.
    pub fn new(path: &Path, line: Option<u64>, cause: String) -> Self {
        Self { origin: Origin::File { path: path.to_owned(), line }, cause }
    }
}
