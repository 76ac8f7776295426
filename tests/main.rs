//! Tests of the crate as a whole: rules on their fixtures, the command line, the shape of the code.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod api;
mod certs;
mod configuration;
mod decisions;
mod documents;
mod exemptions;
mod fixes;
mod folder;
mod fuzz;
mod lists;
mod manifests;
mod metrics;
mod monitoring;
mod mutation;
mod outbox;
mod reports;
mod rules;
mod scan;
mod shape;
mod support;
mod traces;
mod unopened;
