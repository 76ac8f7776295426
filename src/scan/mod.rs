//! The scan endpoint and the HTTP API.

pub mod documents;
