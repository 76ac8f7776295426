//! Certificates in a Secret, so that all replicas serve the same.
//!
//! Whoever writes first wins: a Secret is created only where there is none, and replaced only as it was read.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::CertificateError;
use super::state::{ALL, Contents};
use crate::cluster::Installation;
use crate::cluster::installation::{CERTIFICATES_SECRET, FIELD_MANAGER, NAME};

/// How long one request to the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The Secret of an installation.
#[derive(Clone)]
pub struct SecretStore {
    api: Api<Secret>,
    namespace: String,
}

/// The Secret as it was read, to be replaced only if it is still the same.
pub struct Found {
    secret: Option<Secret>,
    /// What is in it; none if there is no Secret.
    pub contents: Option<Contents>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It stands.
    Done,
    /// Somebody else was first; what they wrote counts.
    Overtaken,
}

impl SecretStore {
    /// Returns the Secret of an installation; nothing is asked yet.
    pub fn of(installation: &Installation) -> Self {
        let namespace = installation.namespace.clone();
        Self { api: Api::namespaced(installation.client.clone(), &namespace), namespace }
    }

    /// Returns its namespace and name.
    pub fn place(&self) -> String {
        format!("{}/{CERTIFICATES_SECRET}", self.namespace)
    }

    /// Reads the Secret.
    pub async fn read(&self) -> Result<Found, CertificateError> {
        let secret = self.ask("get", self.api.get_opt(CERTIFICATES_SECRET)).await?;
        let contents = secret.as_ref().map(|secret| {
            let data = secret.data.as_ref();
            let text = |name| Some((name, String::from_utf8_lossy(&data?.get(name)?.0).into_owned()));
            ALL.into_iter().filter_map(text).collect()
        });
        Ok(Found { secret, contents })
    }

    /// Writes contents in place of what was read; what else is in the Secret stays.
    pub async fn write(&self, found: Found, contents: &Contents) -> Result<Written, CertificateError> {
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
        let (verb, written) = if let Some(secret) = found.secret {
            let secret = with(secret, contents);
            ("update", self.ask("update", self.api.replace(CERTIFICATES_SECRET, &parameters, &secret)).await)
        } else {
            let secret = with(new(), contents);
            ("create", self.ask("create", self.api.create(&parameters, &secret)).await)
        };
        match written {
            Ok(_) => Ok(Written::Done),
            Err(CertificateError::Refused { code: 409, .. }) => Ok(Written::Overtaken),
            // It was deleted meanwhile.
            Err(CertificateError::Refused { code: 404, .. }) if verb == "update" => Ok(Written::Overtaken),
            Err(error) => Err(error),
        }
    }

    /// Waits for an answer, and says what was asked for when it is no.
    async fn ask<T>(
        &self,
        verb: &'static str,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CertificateError> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
                Err(CertificateError::Refused {
                    verb,
                    secret: self.place(),
                    code: status.code,
                    message: status.message.clone(),
                })
            }
            Ok(Err(error)) => Err(CertificateError::OutOfReach { secret: self.place(), cause: error.to_string() }),
            Err(_) => {
                let cause = format!("no answer within {} s", PATIENCE.as_secs());
                Err(CertificateError::OutOfReach { secret: self.place(), cause })
            }
        }
    }
}

fn new() -> Secret {
    let labels = BTreeMap::from([("app.kubernetes.io/name".to_owned(), NAME.to_owned())]);
    Secret {
        metadata: ObjectMeta {
            name: Some(CERTIFICATES_SECRET.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    }
}

/// Returns the Secret with these contents.
fn with(mut secret: Secret, contents: &Contents) -> Secret {
    let data = secret.data.get_or_insert_default();
    for name in ALL {
        match contents.get(name) {
            Some(text) => drop(data.insert(name.to_owned(), ByteString(text.clone().into_bytes()))),
            None => drop(data.remove(name)),
        }
    }
    secret
}
