//! Writing what a namespace enforces, as whoever asks for it: with their own bearer token, and no right of ours.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::namespaces::meta;
use super::{ConnectError, config};
use crate::policy::NamespaceMeta;

/// Who wrote it, as the object's managedFields say.
const MANAGER: &str = "gatepost-dashboard";
/// Longest wait for the API server.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The API server does not take the token.
    #[error(
        "the API server does not take the token: make it for both audiences, as `kubectl create token NAME --audience \
         gatepost --audience https://kubernetes.default.svc` does"
    )]
    Token,
    /// Somebody else changed the Namespace meanwhile.
    #[error("somebody else changed it at the same moment: look again")]
    Conflict,
    /// The API server refused it.
    #[error("{message}")]
    Refused {
        /// The status.
        code: u16,
        /// Why, as it says.
        message: String,
    },
    /// There was no answer.
    #[error("the API server cannot be reached: {0}")]
    Away(String),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::Token,
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            kube::Error::Api(status) => Self::Refused { code: status.code, message: status.message.clone() },
            error => Self::Away(error.to_string()),
        }
    }
}

/// Knows where modes are written; by whom, each one who asks shows.
pub struct ModeWriter(Config);

impl ModeWriter {
    /// Learns where the cluster is; none where there is none. Who we are there is forgotten.
    pub async fn new(kubeconfig: Option<&Path>) -> Result<Option<Self>, ConnectError> {
        Ok(config(kubeconfig).await?.map(Self::of))
    }

    fn of(mut config: Config) -> Self {
        config.auth_info = AuthInfo::default();
        config.read_timeout = Some(PATIENCE);
        Self(config)
    }

    /// Returns the cluster's namespaces as the bearer of a token may use them.
    pub fn bearing(&self, token: &str) -> Result<NamespacesOf, WriteError> {
        let mut config = self.0.clone();
        config.auth_info.token = Some(token.to_owned().into());
        Ok(NamespacesOf(Api::all(Client::try_from(config)?)))
    }
}

/// The namespaces of the cluster, for one who asks.
pub struct NamespacesOf(Api<Namespace>);

/// A namespace as it was read, which a write presupposes.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it says.
    pub meta: NamespaceMeta,
    version: Option<String>,
}

impl NamespacesOf {
    /// Reads a namespace from the API server: a watch may be behind it.
    pub async fn read(&self, name: &str) -> Result<Found, WriteError> {
        let found = self.0.get_metadata(name).await?;
        let version = found.metadata.resource_version.clone();
        Ok(Found { meta: meta(found), version })
    }

    /// Writes a JSON merge patch (RFC 7386) to a namespace that is still as it was found.
    pub async fn write(&self, found: &Found, mut patch: Value) -> Result<(), WriteError> {
        if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), json!(found.version));
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.0.patch_metadata(&found.meta.name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }
}
