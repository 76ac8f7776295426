//! What several tests need.

pub mod generated;
pub mod opa;
pub mod seed;
pub mod server;
