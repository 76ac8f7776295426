//! The audit: one pass over everything that stands in a cluster, with the engine, modes and rules of admission.
//!
//! It reads page by page and lets go of each object once it is judged; what it finds goes to a [`sink::Sink`]. What
//! closes a finding is decided in [`crate::report::lifecycle`], but for objects that are gone. It must not name the
//! command line or the server.

pub mod ahead;
pub mod auditor;
pub mod delivered;
mod follow;
pub mod judge;
pub mod judges;
pub mod kinds;
pub mod likeness;
pub mod list;
mod look_up;
pub mod memory;
pub mod owner;
pub mod pass;
mod reading;
mod resume;
pub mod said;
pub mod scope;
pub mod sink;
mod sweep;
mod syncs;
mod unjudged;

pub use auditor::{Auditor, Desk};
pub use memory::Memory;
pub use pass::{Pass, Progress};
pub use scope::{Rules, World, patient};
pub use sink::{Sink, StoreSink};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests;
