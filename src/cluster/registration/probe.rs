//! Whether the API server reaches Gatepost: an object is made as a dry run, and Gatepost denies it with the number that
//! stands in it. Only Gatepost can know the number, so the denial proves that the request came there.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Error;
use kube::api::{ObjectMeta, Patch, PatchParams};

use super::obstacle::Obstacle;
use super::said;
use super::state;
use super::wanted::{PROBE, PROBE_LABEL};
use crate::cluster::Installation;
use crate::cluster::installation::FIELD_MANAGER;

/// Name of the ConfigMap that is never stored.
pub const OBJECT: &str = "gatepost-probe";

/// Longest wait for the API server, which itself waits for the webhook.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What follows from a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The API server reaches Gatepost.
    Arrived,
    /// It does not; with its own words.
    Unreachable(Obstacle, String),
    /// Nothing, and why.
    Unclear(String),
}

/// Returns the words with which Gatepost denies a probe.
pub fn denial(number: &str) -> String {
    format!("gatepost probe {number} arrived")
}

/// Sends a probe.
pub async fn send(installation: &Installation) -> Probe {
    let Some(number) = number() else { return Probe::Unclear("there are no random numbers".to_owned()) };
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(OBJECT.to_owned()),
            labels: Some([(PROBE_LABEL.to_owned(), number.clone())].into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    // By apply, since the right to create can be given for one name only so.
    let apply = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
    let api = state::api(installation);
    let patch = Patch::Apply(&object);
    match tokio::time::timeout(TIMEOUT, api.patch(OBJECT, &apply, &patch)).await {
        Ok(Ok(_)) => Probe::Unclear("the API server does not ask about it yet".to_owned()),
        Ok(Err(error)) => read(&number, &error),
        Err(_) => Probe::Unclear("the API server did not answer".to_owned()),
    }
}

/// Reads what the API server answered to the probe with this number.
pub(super) fn read(number: &str, error: &Error) -> Probe {
    let Error::Api(status) = error else { return Probe::Unclear(said(error)) };
    if status.message.contains(&denial(number)) {
        return Probe::Arrived;
    }
    if status.message.contains(&format!("failed calling webhook \"{PROBE}\"")) {
        return Probe::Unreachable(Obstacle::read(&status.message), status.message.clone());
    }
    Probe::Unclear(status.message.clone())
}

/// Returns a number that nobody guesses.
fn number() -> Option<String> {
    let mut bytes = [0; 16];
    rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}
