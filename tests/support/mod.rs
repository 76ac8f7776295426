//! What several tests need.

pub mod generated;
pub mod opa;
pub mod server;
