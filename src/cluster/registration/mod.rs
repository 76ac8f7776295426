//! The registration: which requests the API server sends here, and the CA bundle by which it trusts what it finds.
//!
//! [`wanted`] is the one place that says what a registration looks like; the manifests, the file in the data directory
//! and what is written with `registration: self` all come from it or are compared with it.

pub mod authorities;
pub mod compare;
pub mod deletions;
pub mod entry;
pub mod keeper;
mod kept;
pub mod live;
mod manifest;
mod obstacle;
mod own;
mod patience;
pub mod probe;
mod reach;
pub mod state;
pub mod wanted;
mod whole;

use std::error::Error;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::ListParams;
use kube::{Api, Client};

pub use compare::{Difference, Field};
pub use entry::{Configuration, Entry};
pub use keeper::{Given, Keeper, Note, Notes};
pub use state::resume;
pub use wanted::{Address, Wanted, is_sent};

use crate::cluster::installation::NAME;
pub use crate::config::{FailurePolicy, Registration};

/// Returns when the registration was made that stands; none where there is none. Needs `list` alone, which audits have.
pub async fn made(client: &Client) -> kube::Result<Option<Timestamp>> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let list = api.list(&ListParams::default().fields(&format!("metadata.name={NAME}"))).await?;
    Ok(list.items.into_iter().next().and_then(|found| found.metadata.creation_timestamp).map(|time| time.0))
}

/// Returns what the API server said, without what a program would read.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => causes(other),
    }
}

/// Returns an error with what caused it, each once: some say themselves what theirs says.
fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests;
