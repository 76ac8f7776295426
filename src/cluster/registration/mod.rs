//! The registration: which requests the API server sends here, and the CA bundle by which it trusts what it finds.
//!
//! [`wanted`] is the one place that says what a registration looks like; the manifests, the file in the data directory
//! and what is written with `registration: self` all come from it or are compared with it.

pub mod authorities;
pub mod compare;
pub mod entry;
pub mod state;
pub mod wanted;

use clap::ValueEnum;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

pub use compare::{Difference, Field};
pub use entry::{Configuration, Entry};
pub use state::resume;
pub use wanted::{Address, FailurePolicy, Wanted};

/// Who writes the webhook configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Registration {
    /// Somebody else, from Git; Gatepost writes nothing but `caBundle`.
    #[default]
    Manifest,
    /// Gatepost, whole; they are never in Git.
    #[value(name = "self")]
    Own,
    /// Somebody else, with `caBundle`.
    None,
}

/// Tells in words how a live configuration differs from what is shipped, for an installation in this namespace.
///
/// `caBundle` is not compared: who knows the authorities asks [`authorities::Authorities::missing_in`].
pub fn differences(live: &ValidatingWebhookConfiguration, namespace: &str) -> Vec<Difference> {
    compare::differences(&live.entries(), &Wanted::shipped(namespace).validating())
}

#[cfg(test)]
mod tests;
