//! What is wrong with an installation, in words: gathered from the cluster without changing it, then judged.

mod diagnose;
mod facts;
mod process;
mod rights;

pub use diagnose::{Finding, State, diagnose};
pub use facts::Facts;
