//! The HTTPS side of admission: listener, certificates, evaluation threads, health.
//!
//! Handlers translate; what is decided stands in [`crate::admission`].

pub mod certificates;
pub mod handlers;
pub mod health;
pub mod in_force;
pub mod intake;
pub mod journal;
mod later;
pub mod listener;
pub mod memory;
pub mod modes;
mod mutate;
pub mod outbox;
pub mod probe;
pub mod record;
pub mod tls;
mod trace;
pub mod workers;
