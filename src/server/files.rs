//! What a start leaves in the data directory for others: addresses, a registration, a sample to try.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::ServeError;

/// A Deployment that breaks a few rules, as the API server would send it.
const SAMPLE: &str = include_str!("sample-review.json");

/// Where everything listens, once it does.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The webhook.
    pub webhook: SocketAddr,
    /// The API.
    pub http: SocketAddr,
    /// Health and metrics.
    pub metrics: SocketAddr,
}

/// Writes `addresses.json`, `webhook.yaml` and `sample-review.json`.
pub fn write(
    data_dir: &Path,
    addresses: Addresses,
    authority_pem: &str,
    operations: &[&str],
) -> Result<(), ServeError> {
    let Addresses { webhook, http, metrics } = addresses;
    let listing = json!({"webhook": webhook.to_string(), "http": http.to_string(), "metrics": metrics.to_string()});
    put(data_dir.join("webhook.yaml"), &registration(webhook, authority_pem, operations))?;
    put(data_dir.join("sample-review.json"), SAMPLE)?;
    put(data_dir.join("addresses.json"), &format!("{listing}\n"))
}

/// Removes the addresses of an earlier start, which nobody must take for those of this one.
pub fn remove_addresses(data_dir: &Path) {
    let _ = std::fs::remove_file(data_dir.join("addresses.json"));
}

/// Readers must never see half a file, so it is written aside and moved into place.
fn put(path: PathBuf, text: &str) -> Result<(), ServeError> {
    let aside = path.with_extension("new");
    let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, &path));
    written.map_err(|cause| ServeError::File { path, cause })
}

/// Returns a registration by URL: for an API server on this machine. Nothing is blocked when Gatepost is away.
fn registration(webhook: SocketAddr, authority_pem: &str, operations: &[&str]) -> String {
    let operations = operations.join(", ");
    let host = if webhook.ip().is_unspecified() { "127.0.0.1".to_owned() } else { webhook.ip().to_string() };
    let url = format!("https://{}/validate", SocketAddr::new(host.parse().unwrap_or(webhook.ip()), webhook.port()));
    let bundle = STANDARD.encode(authority_pem);
    format!(
        r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: gatepost
webhooks:
- name: validate.gatepost.dev
  admissionReviewVersions: [v1]
  clientConfig:
    url: {url}
    caBundle: {bundle}
  failurePolicy: Ignore
  matchPolicy: Equivalent
  sideEffects: None
  timeoutSeconds: 5
  matchConditions:
  - name: neither-leases-nor-events
    expression: '!(request.resource.resource == "leases" || request.resource.resource == "events")'
  - name: not-token-or-access-reviews
    expression: '!(request.resource.group in ["authentication.k8s.io", "authorization.k8s.io"])'
  rules:
  - apiGroups: ["*"]
    apiVersions: ["*"]
    operations: [{operations}]
    resources: ["*", "pods/ephemeralcontainers"]
    scope: "*"
"#
    )
}

/// Returns what a newcomer does next.
pub fn next_steps(data_dir: &Path, addresses: Addresses, has_cluster: bool, is_ready: bool) -> String {
    let state = if is_ready { "is ready" } else { "listens, and waits for the cluster's namespaces" };
    let dir = data_dir.display();
    let Addresses { webhook, metrics, .. } = addresses;
    let kubeconfig_hint =
        if has_cluster { "" } else { "\n     (start with --kubeconfig FILE, and namespace labels are followed)" };
    format!(
        "Gatepost {state}. It warns and blocks nothing until a namespace says so.\n\
         \n\
         Try it, a Deployment with a few faults:\n\
         \n     curl -s --cacert {dir}/ca.crt -H 'Content-Type: application/json' \\\n       \
         --data @{dir}/sample-review.json https://localhost:{port}/validate\n\
         \n\
         Have the API server of a cluster on this machine ask:\n\
         \n     kubectl apply -f {dir}/webhook.yaml{kubeconfig_hint}\n\
         \n\
         Have a namespace deny what almost any cluster can do without:\n\
         \n     kubectl label namespace NAME gatepost.dev/enforce=baseline\n\
         \n\
         Health and metrics: http://{metrics}/readyz?verbose and http://{metrics}/metrics\n",
        port = webhook.port(),
    )
}
