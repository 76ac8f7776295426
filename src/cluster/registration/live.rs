//! What whoever shows pages can see of the registration: whether it is there, what it asks about, and whom it trusts.
//!
//! It is read when somebody asks, and remembered for some seconds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::authorities::Authorities;
use super::entry::{Configuration as _, Entry};
use super::wanted::{CLUSTER, NAMESPACED, PROBE};
use crate::cluster::installation::NAME;

/// How long what was read is good enough.
const FRESH: Duration = Duration::from_secs(10);

/// What the API server asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: there is no configuration, or none of its entries is ours.
    Nothing,
    /// Only whether Gatepost can be reached.
    Probes,
    /// Objects.
    Objects,
}

/// The registration as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// What the API server asks about.
    pub asks: Asks,
    /// When it was made.
    pub made: Option<Timestamp>,
    /// Entries about objects that trust nobody, so that nothing they ask arrives.
    pub distrusting: Vec<String>,
    /// When the first of the entries trusts nobody any more.
    pub trusts_until: Option<Timestamp>,
}

impl Live {
    /// Returns what a configuration says; none is nothing.
    pub fn of(found: Option<&ValidatingWebhookConfiguration>) -> Self {
        let entries = found.map(ValidatingWebhookConfiguration::entries).unwrap_or_default();
        let about_objects = |entry: &&Entry| [NAMESPACED, CLUSTER].contains(&entry.name.as_str());
        let of_objects: Vec<&Entry> = entries.iter().filter(about_objects).collect();
        let asks = match of_objects.as_slice() {
            [] if entries.iter().any(|entry| entry.name == PROBE) => Asks::Probes,
            [] => Asks::Nothing,
            _ => Asks::Objects,
        };
        let bundle = |entry: &&Entry| Authorities::parse(entry.ca_bundle());
        Self {
            asks,
            made: found.and_then(|found| found.metadata.creation_timestamp.as_ref()).map(|time| time.0),
            distrusting: {
                let distrusting = of_objects.iter().filter(|entry| bundle(entry).is_empty());
                distrusting.map(|entry| entry.name.clone()).collect()
            },
            trusts_until: of_objects.iter().filter_map(|entry| bundle(entry).end()).min(),
        }
    }
}

/// Reads the registration; needs `list` on `validatingwebhookconfigurations`, which audits have.
pub struct Registered {
    client: Client,
    known: Mutex<Option<(Instant, Arc<Live>)>>,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").finish_non_exhaustive()
    }
}

impl Registered {
    /// Builds it; nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Returns the registration as it was seconds ago at most. Whoever asks at the same time shares one look.
    pub async fn look(&self) -> kube::Result<Arc<Live>> {
        let mut known = self.known.lock().await;
        if let Some((_, live)) = known.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
            return Ok(live.clone());
        }
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let list = api.list(&ListParams::default().fields(&format!("metadata.name={NAME}"))).await?;
        let live = Arc::new(Live::of(list.items.first()));
        *known = Some((Instant::now(), live.clone()));
        Ok(live)
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;
    use crate::cluster::registration::Wanted;

    #[test]
    fn what_asks_about_nothing_and_what_nobody_would_trust_is_seen() {
        let shipped = Wanted::shipped("gatepost");
        let live = |entries| Live::of(Some(&ValidatingWebhookConfiguration::new(ObjectMeta::default(), entries)));
        assert_eq!(Live::of(None).asks, Asks::Nothing);
        assert_eq!(live(Vec::new()).asks, Asks::Nothing);
        assert_eq!(live(vec![shipped.probe()]).asks, Asks::Probes);
        let without = live(shipped.validating());
        assert_eq!((without.asks, without.distrusting.len(), without.trusts_until), (Asks::Objects, 2, None));
        let certificate = rcgen::generate_simple_self_signed(vec!["gatepost".to_owned()]).expect("a certificate");
        let pem = certificate.cert.pem();
        let trusting = live(Wanted { ca_bundle: Some(pem), ..shipped }.validating());
        assert!(trusting.distrusting.is_empty() && trusting.trusts_until.is_some(), "{trusting:?}");
    }
}
