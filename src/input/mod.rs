//! Manifests and policies from files: finding them, reading them as kubectl would, and knowing which line is which.
//!
//! Files are read one after the other and in pieces, so what is held does not grow with their number.

pub mod document;
pub mod draft;
pub mod lines;
pub mod ordered;
pub mod paths;
pub mod policies;
pub mod split;
pub mod surroundings;
mod value;

pub use document::{Lines, Manifest, Parsed, parse};
pub use lines::LineIndex;
pub use paths::{Inputs, Piece};
pub use policies::read_policies;
pub use split::{Chunk, Splitter};
pub use surroundings::Surroundings;

pub use crate::report::Fault;
