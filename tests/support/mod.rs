//! What several tests need.

pub mod opa;
