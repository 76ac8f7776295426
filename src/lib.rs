//! Gatepost judges Kubernetes objects with one engine: at admission, at the scan endpoint, in the audit, and on files.
//!
//! [`policy`], [`engine`], [`admission`] and [`report`] are the pure core: they take values and return values.
//! Everything else fetches and sends.

pub mod admission;
mod any_server;
pub mod audit;
pub mod auth;
pub mod background;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod engine;
pub mod input;
pub mod notify;
pub mod policy;
pub mod report;
pub mod scan;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod webhook;
