//! What a start leaves in the data directory for others: addresses, a registration, a sample to try.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::ObjectMeta;
use serde_json::json;

use super::ServeError;
use crate::cluster::installation::NAME;
use crate::cluster::registration::{Address, Configuration, Entry, FailurePolicy, Wanted, deletions};

/// A Deployment that breaks a few rules, as the API server would send it.
const SAMPLE: &str = include_str!("sample-review.json");

/// Where everything listens, once it does.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The webhook; none where a scanner runs alone.
    pub webhook: Option<SocketAddr>,
    /// The API.
    pub http: SocketAddr,
    /// Health and metrics.
    pub metrics: SocketAddr,
}

/// Writes `addresses.json`, `webhook.yaml`, `mutating-webhook.yaml` and `sample-review.json`.
pub fn write(
    data_dir: &Path,
    addresses: Addresses,
    authority_pem: &str,
    asks_about_deletion: bool,
) -> Result<(), ServeError> {
    let Addresses { webhook, http, metrics } = addresses;
    let mut listing = json!({"http": http.to_string(), "metrics": metrics.to_string()});
    if let Some((webhook, listing)) = webhook.zip(listing.as_object_mut()) {
        listing.insert("webhook".into(), webhook.to_string().into());
        let (validating, mutating) = registrations(webhook, authority_pem, asks_about_deletion);
        put(data_dir.join("webhook.yaml"), &validating)?;
        put(data_dir.join("mutating-webhook.yaml"), &mutating)?;
        put(data_dir.join("sample-review.json"), SAMPLE)?;
    }
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

/// Returns the registrations by URL, for an API server on this machine: the validating and the mutating one.
fn registrations(webhook: SocketAddr, authority_pem: &str, asks_about_deletion: bool) -> (String, String) {
    let ip = if webhook.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { webhook.ip() };
    let wanted = Wanted {
        address: Address::Local(SocketAddr::new(ip, webhook.port())),
        failure_policy: FailurePolicy::Ignore,
        ca_bundle: Some(authority_pem.to_owned()),
        // Without a cluster to ask, nobody knows what the kinds are called there.
        deleted: if asks_about_deletion { deletions::everything() } else { Vec::new() },
    };
    let validating: ValidatingWebhookConfiguration = named(wanted.validating());
    let mutating: MutatingWebhookConfiguration = named(wanted.mutating());
    (yaml(&validating), yaml(&mutating))
}

fn named<K: Configuration>(entries: Vec<Entry>) -> K {
    K::new(ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }, entries)
}

fn yaml(configuration: &impl Configuration) -> String {
    // Every configuration can be written as YAML.
    serde_saphyr::to_string(configuration).unwrap_or_default()
}

/// What a process shows to people.
#[derive(Debug)]
pub enum Shown {
    /// Nothing: another process does.
    Nothing,
    /// The dashboard.
    Dashboard {
        /// Where.
        url: String,
        /// Whether there is nothing yet that it could show.
        is_empty: bool,
    },
}

impl Shown {
    fn in_words(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Dashboard { url, is_empty: false } => {
                format!("See what is wrong, where, since when, and what to write instead:\n\n     {url}\n\n")
            }
            Self::Dashboard { url, is_empty: true } => format!(
                "Try manifests and policies in a browser, and read the rules:\n\n     {url}/playground\n     \
                 (start with --manifests DIR or --kubeconfig FILE, and it shows what is wrong there)\n\n"
            ),
        }
    }
}

/// Returns what a newcomer does next.
pub fn next_steps(data_dir: &Path, addresses: Addresses, has_cluster: bool, is_ready: bool, shown: &Shown) -> String {
    let state = if is_ready { "is ready" } else { "listens, and waits for the cluster's namespaces" };
    let dir = data_dir.display();
    let shown = shown.in_words();
    let Addresses { webhook, metrics, .. } = addresses;
    let Some(webhook) = webhook else {
        return format!(
            "Gatepost {state}. It audits and remembers; no admission request is answered here.\n\
             \n\
             {shown}\
             Health and metrics: http://{metrics}/readyz?verbose and http://{metrics}/metrics\n"
        );
    };
    let kubeconfig_hint = if has_cluster {
        ""
    } else {
        "\n     (start with --kubeconfig FILE, and the labels of its namespaces are followed)"
    };
    format!(
        "Gatepost {state}. It warns and blocks nothing until a namespace says so.\n\
         \n\
         {shown}\
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::registrations;

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn registers_by_url_at_an_address_that_can_be_dialled() {
        for (address, url) in [
            ("0.0.0.0:8443", "https://127.0.0.1:8443"),
            ("[::]:8443", "https://127.0.0.1:8443"),
            ("[::1]:1", "https://[::1]:1"),
        ] {
            let (validating, mutating) = registrations(address.parse().unwrap(), "pem", false);
            let (validating, mutating) = (read(&validating), read(&mutating));
            assert_eq!(validating["metadata"], json!({"name": "gatepost"}));
            assert_eq!(validating["webhooks"].as_array().unwrap().len(), 2);
            for webhook in validating["webhooks"].as_array().unwrap() {
                assert_eq!(webhook["clientConfig"], json!({"url": format!("{url}/validate"), "caBundle": "cGVt"}));
                assert_eq!(webhook["rules"].as_array().unwrap().len(), 1, "nobody asks about DELETE");
            }
            assert_eq!(mutating["kind"], "MutatingWebhookConfiguration");
            assert_eq!(mutating["webhooks"][0]["clientConfig"]["url"], format!("{url}/mutate"));
        }
    }

    #[test]
    fn asks_about_every_deletion_where_a_rule_does() {
        let (validating, _) = registrations("127.0.0.1:1".parse().unwrap(), "pem", true);
        for webhook in read(&validating)["webhooks"].as_array().unwrap() {
            assert_eq!(webhook["rules"][1]["operations"], json!(["DELETE"]));
            assert_eq!(webhook["rules"][1]["resources"], json!(["*"]));
        }
    }
}
