//! What must be remembered of the registration when no replica runs: the ConfigMap `gatepost-state`.
//!
//! Only with it can a configuration that somebody deleted be told from one that was never written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, ResourceExt as _};

use crate::cluster::Installation;
use crate::cluster::installation::FIELD_MANAGER;

/// Name of the ConfigMap.
pub const STATE: &str = "gatepost-state";

const UID: &str = "uid";
const DELETED: &str = "deleted";

/// What is remembered of one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The configuration that was written last.
    pub uid: Option<String>,
    /// When it was found to have been deleted, as `2026-03-01T12:00:00Z`; nothing is written until this is cleared.
    pub deleted: Option<String>,
}

/// The records, by the kind of configuration in lower case: `validatingwebhookconfiguration.uid` and the like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    data: BTreeMap<String, String>,
    resource_version: Option<String>,
}

impl State {
    /// Reads the ConfigMap; none is an empty state.
    pub fn of(object: Option<&ConfigMap>) -> Self {
        Self {
            data: object.and_then(|object| object.data.clone()).unwrap_or_default(),
            resource_version: object.and_then(ConfigMap::resource_version),
        }
    }

    /// Returns what is remembered of a kind of configuration.
    pub fn record(&self, kind: &str) -> Record {
        let get = |field| self.data.get(&key(kind, field)).filter(|value| !value.is_empty()).cloned();
        Record { uid: get(UID), deleted: get(DELETED) }
    }

    /// Returns the state with another record for a kind.
    pub fn with(mut self, kind: &str, record: Record) -> Self {
        for (field, value) in [(UID, record.uid), (DELETED, record.deleted)] {
            match value {
                Some(value) => self.data.insert(key(kind, field), value),
                None => self.data.remove(&key(kind, field)),
            };
        }
        self
    }

    /// Writes the state; an error if somebody wrote it since it was read.
    pub async fn write(&self, installation: &Installation) -> kube::Result<ConfigMap> {
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(STATE.to_owned()),
                resource_version: self.resource_version.clone(),
                ..ObjectMeta::default()
            },
            data: Some(self.data.clone()),
            ..ConfigMap::default()
        };
        // By apply, since the right to create can be given for one name only so.
        api(installation).patch(STATE, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object)).await
    }
}

impl State {
    /// Returns what is remembered once somebody wants what was deleted back, none if nothing was deleted.
    ///
    /// All of it goes: who deletes one configuration has often deleted both, and while the first one stays away the other
    /// is not looked for. What is there is remembered again.
    fn resumed(self) -> Option<Self> {
        let is_deleted = |key: &String| key.strip_suffix(DELETED).is_some_and(|kind| kind.ends_with('.'));
        self.data.keys().any(is_deleted).then(|| Self { data: BTreeMap::new(), ..self })
    }
}

/// Returns the record of a configuration that somebody deleted just now.
pub fn deleted(uid: Option<String>, now: Timestamp) -> Record {
    Record { uid, deleted: Some(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) }
}

/// Has a registration that somebody deleted written again by `registration: self`; returns whether there was one.
pub async fn resume(installation: &Installation) -> kube::Result<bool> {
    let Some(object) = api(installation).get_opt(STATE).await? else { return Ok(false) };
    let Some(state) = State::of(Some(&object)).resumed() else { return Ok(false) };
    state.write(installation).await?;
    Ok(true)
}

/// Reads the ConfigMap as it is now.
///
/// By a list of the one name, since whoever may watch it may do that too.
pub async fn read(installation: &Installation) -> kube::Result<Option<ConfigMap>> {
    let only = ListParams::default().fields(&format!("metadata.name={STATE}"));
    Ok(api(installation).list(&only).await?.items.pop())
}

/// Returns where the ConfigMap is.
pub fn api(installation: &Installation) -> Api<ConfigMap> {
    Api::namespaced(installation.client.clone(), &installation.namespace)
}

fn key(kind: &str, field: &str) -> String {
    format!("{}.{field}", kind.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_one_configuration_back_gets_both_back() {
        let written = |uid: &str| Record { uid: Some(uid.into()), deleted: None };
        let both = State::default().with("ValidatingWebhookConfiguration", written("a"));
        let both = both.with("MutatingWebhookConfiguration", written("b"));
        assert_eq!(both.clone().resumed(), None, "nothing was deleted");
        let gone = both.with("ValidatingWebhookConfiguration", deleted(Some("a".into()), Timestamp::UNIX_EPOCH));
        let resumed = State { resource_version: Some("7".into()), ..gone }.resumed();
        assert_eq!(resumed, Some(State { resource_version: Some("7".into()), ..State::default() }));
    }
}
