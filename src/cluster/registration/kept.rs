//! One webhook configuration in the cluster: what was seen of it last, and writing to it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::authorities::Authorities;
use super::entry::{Configuration, Entry};
use super::patience::Patience;
use super::said;
use super::wanted::{CLUSTER, MUTATE, NAMESPACED, PROBE};
use crate::cluster::installation::{FIELD_MANAGER, NAME};

/// How long an authority that is no longer trusted here may stay in `caBundle`: another replica may still serve by it,
/// or trust it already when this one does not.
const SURPLUS_STAYS: SignedDuration = SignedDuration::from_mins(10);

/// What a watch of one object has delivered.
#[derive(Debug, Default)]
pub enum Seen<K> {
    /// Nothing yet.
    #[default]
    Unknown,
    /// That there is none.
    Absent,
    /// The object.
    Present(Box<K>),
}

impl<K> Seen<K> {
    /// Takes in what the watch delivered; an error leaves what is known.
    pub fn take(&mut self, what: &'static str, event: watcher::Result<Option<K>>) {
        match event {
            Ok(Some(object)) => *self = Self::Present(Box::new(object)),
            Ok(None) => *self = Self::Absent,
            Err(error) => tracing::warn!(what, %error, "watch for the registration failed, trying again"),
        }
    }

    /// Returns the object, if there is one.
    pub fn present(&self) -> Option<&K> {
        if let Self::Present(object) = self { Some(object) } else { None }
    }
}

impl<K> From<Option<K>> for Seen<K> {
    /// Takes in what the API server answered just now.
    fn from(found: Option<K>) -> Self {
        found.map_or(Self::Absent, |object| Self::Present(Box::new(object)))
    }
}

/// A configuration named `gatepost`.
#[derive(Debug)]
pub struct Kept<K> {
    /// Where it is.
    pub api: Api<K>,
    /// What was seen last.
    pub seen: Seen<K>,
    patience: Patience,
    /// How often in a row somebody else was faster.
    overtaken: u32,
    surplus_since: Option<Timestamp>,
}

/// So often in a row somebody else may be faster before it is told.
const MOST_OVERTAKEN: u32 = 3;

/// Why nothing was written although something is wrong.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The API server said no.
    #[error("{what} {NAME} cannot be {done}: {}", said(cause))]
    Refused {
        /// Its kind.
        what: String,
        /// What was tried.
        done: &'static str,
        /// What the API server says.
        #[source]
        cause: Box<kube::Error>,
    },
    /// Somebody else was faster; the watch tells what they did.
    #[error("somebody else has just written {what} {NAME}: {}", said(cause))]
    Overtaken {
        /// Its kind.
        what: String,
        /// What the API server says.
        #[source]
        cause: Box<kube::Error>,
    },
    /// Somebody else writes it again and again.
    #[error("{what} {NAME} is changed again and again by {by}; it is written again in {} s", left.as_secs())]
    Contested {
        /// Its kind.
        what: String,
        /// Field managers that wrote it, the latest first.
        by: String,
        /// Until it is written again.
        left: Duration,
    },
}

impl<K: Configuration> Kept<K> {
    /// Starts with nothing seen.
    pub fn new(client: &Client) -> Self
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
    {
        Self {
            api: Api::all(client.clone()),
            seen: Seen::Unknown,
            patience: Patience::default(),
            overtaken: 0,
            surplus_since: None,
        }
    }

    /// Returns its kind.
    pub fn kind() -> String {
        K::kind(&()).into_owned()
    }

    /// Returns the entries that are ours and ask the Service of this namespace: all others are left alone.
    pub fn entries(&self, namespace: &str) -> Vec<Entry> {
        let is_ours = |entry: &Entry| {
            [NAMESPACED, CLUSTER, PROBE, MUTATE].contains(&entry.name.as_str()) && entry.asks_service(NAME, namespace)
        };
        self.seen.present().map(Configuration::entries).unwrap_or_default().into_iter().filter(is_ours).collect()
    }

    /// Returns what `caBundle` should hold instead of what it does; none if it will do.
    ///
    /// What is missing is added at once, and beside it stays what has not expired. What is too much goes only when it
    /// has been too much for a while, so that replicas that learn of a change at different times do not undo each other.
    pub fn due(&mut self, entries: &[Entry], ours: &Authorities, now: Timestamp) -> Option<Authorities> {
        let bundles = || entries.iter().map(|entry| Authorities::parse(entry.ca_bundle()));
        let has_surplus = bundles().any(|bundle| bundle.missing_in(ours) > 0);
        self.surplus_since = has_surplus.then(|| self.surplus_since.unwrap_or(now));
        if ours.is_empty() || entries.is_empty() {
            return None;
        }
        if self.surplus_since.is_some_and(|since| now.duration_since(since) > SURPLUS_STAYS) {
            return Some(ours.clone());
        }
        let is_due = bundles().any(|bundle| ours.missing_in(&bundle) > 0);
        is_due.then(|| bundles().fold(ours.clone(), |all, bundle| all.with_unexpired_of(&bundle, now)))
    }

    /// Writes `caBundle` of these entries and nothing else.
    pub async fn write_bundles(&mut self, bundles: &[(String, String)]) -> Result<(), KeepError> {
        let Some(live) = self.seen.present() else { return Ok(()) };
        self.check_patience()?;
        let entry = |(name, pem): &(String, String)| json!({"name": name, "clientConfig": {"caBundle": k8s_openapi::ByteString(pem.clone().into_bytes())}});
        // With uid and resourceVersion it neither makes a configuration nor brings back an entry that has just gone.
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": NAME, "uid": live.uid(), "resourceVersion": live.resource_version()},
            "webhooks": bundles.iter().map(entry).collect::<Vec<_>>(),
        });
        // By force: the patch holds no field but those that are Gatepost's to write.
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let written = self.api.patch(NAME, &apply, &Patch::Apply(patch)).await;
        self.wrote(written, "given its caBundle")
    }

    /// Makes the configuration, once the API server has said that there is none.
    pub async fn create(&mut self, owner: OwnerReference, entries: Vec<Entry>) -> Result<(), KeepError> {
        let object = K::new(metadata(ObjectMeta::default(), owner), entries);
        // By apply, since the right to create can be given for one name only so. Not by force: what somebody else has
        // made meanwhile is not written over.
        let apply = PatchParams::apply(FIELD_MANAGER);
        let written = self.api.patch(NAME, &apply, &Patch::Apply(&object)).await;
        self.wrote(written, "made")
    }

    /// Writes the whole configuration over what is there.
    pub async fn replace(&mut self, owner: OwnerReference, entries: Vec<Entry>) -> Result<(), KeepError> {
        let Some(live) = self.seen.present() else { return Ok(()) };
        self.check_patience()?;
        let object = K::new(metadata(live.meta().clone(), owner), entries);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = self.api.replace(NAME, &parameters, &object).await;
        self.wrote(written, "written")
    }

    /// Returns whether the configuration goes with this owner.
    pub fn is_owned_by(&self, owner: &OwnerReference) -> bool {
        let meta = self.seen.present().map(ResourceExt::owner_references);
        meta.is_some_and(|owners| owners == std::slice::from_ref(owner))
    }

    fn check_patience(&self) -> Result<(), KeepError> {
        let Some(left) = self.patience.pause(Instant::now()) else { return Ok(()) };
        Err(KeepError::Contested { what: Self::kind(), by: self.writers(), left })
    }

    /// Returns who else wrote the configuration, the latest first.
    fn writers(&self) -> String {
        let mut fields = self.seen.present().map(|live| live.managed_fields().to_vec()).unwrap_or_default();
        fields.retain(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
        fields.sort_by_key(|entry| std::cmp::Reverse(entry.time.clone()));
        let names: Vec<String> = fields.into_iter().filter_map(|entry| entry.manager).collect();
        if names.is_empty() { "somebody".to_owned() } else { names.join(", ") }
    }

    fn wrote(&mut self, written: kube::Result<K>, done: &'static str) -> Result<(), KeepError> {
        match written {
            Ok(object) => {
                self.patience.wrote(Instant::now());
                self.overtaken = 0;
                self.seen = Seen::Present(Box::new(object));
                Ok(())
            }
            Err(cause) => {
                let (what, cause) = (Self::kind(), Box::new(cause));
                let is_conflict = matches!(&*cause, kube::Error::Api(status) if status.code == 409);
                self.overtaken = if is_conflict { self.overtaken.saturating_add(1) } else { 0 };
                Err(if is_conflict && self.overtaken <= MOST_OVERTAKEN {
                    KeepError::Overtaken { what, cause }
                } else {
                    KeepError::Refused { what, done, cause }
                })
            }
        }
    }
}

/// Returns metadata with the name, a label by which it is found, and the owner; what others wrote on it stays.
fn metadata(live: ObjectMeta, owner: OwnerReference) -> ObjectMeta {
    let mut labels = live.labels.unwrap_or_default();
    labels.insert("app.kubernetes.io/name".to_owned(), NAME.to_owned());
    ObjectMeta {
        name: Some(NAME.to_owned()),
        labels: Some(labels),
        owner_references: Some(vec![owner]),
        managed_fields: None,
        ..live
    }
}
