//! Where Gatepost is installed in a cluster, and what its own objects there are called.

use std::fmt;

use kube::Client;

/// Name of the Deployment, the Service, the ServiceAccount and both webhook configurations.
pub const NAME: &str = "gatepost";
/// Field manager of everything that Gatepost writes.
pub const FIELD_MANAGER: &str = "gatepost";
/// Secret that holds the certificate authority and the serving certificate.
pub const CERTIFICATES_SECRET: &str = "gatepost-certificates";
/// Port of the Service, which `clientConfig.service` names.
pub const SERVICE_PORT: i32 = 443;

/// File in which a Pod finds the namespace that it runs in.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// A cluster, and the namespace there that holds Gatepost's own objects.
///
/// Only with it are certificates kept in a Secret and the registration written.
#[derive(Clone)]
pub struct Installation {
    /// Speaks for Gatepost's ServiceAccount, or for whoever the kubeconfig names.
    pub client: Client,
    /// Namespace that Gatepost is installed in.
    pub namespace: String,
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Returns the namespace that this Pod runs in; none outside a Pod.
pub fn pod_namespace() -> Option<String> {
    let text = std::fs::read_to_string(POD_NAMESPACE).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty() && super::is_in_pod())
}
