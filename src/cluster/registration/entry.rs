//! One webhook of a configuration: validating and mutating ones have the same fields, but for one.

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A webhook of either kind; the fields are those of the API.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "Kubernetes documents them")]
pub struct Entry {
    pub name: String,
    pub admission_review_versions: Vec<String>,
    pub client_config: WebhookClientConfig,
    pub failure_policy: Option<String>,
    pub match_conditions: Option<Vec<MatchCondition>>,
    pub match_policy: Option<String>,
    pub namespace_selector: Option<LabelSelector>,
    pub object_selector: Option<LabelSelector>,
    /// Only of a mutating webhook.
    pub reinvocation_policy: Option<String>,
    pub rules: Option<Vec<RuleWithOperations>>,
    pub side_effects: String,
    pub timeout_seconds: Option<i32>,
}

impl Entry {
    /// Returns the PEM text of its CA bundle; empty if there is none.
    pub fn ca_bundle(&self) -> &[u8] {
        self.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default()
    }

    /// Returns whether it asks the Service of this name in this namespace.
    pub fn asks_service(&self, name: &str, namespace: &str) -> bool {
        self.client_config
            .service
            .as_ref()
            .is_some_and(|service| service.name == name && service.namespace == namespace)
    }
}

/// A webhook configuration of either kind, seen as its entries.
pub trait Configuration:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static
{
    /// Builds a configuration.
    fn new(metadata: ObjectMeta, entries: Vec<Entry>) -> Self;

    /// Returns its entries.
    fn entries(&self) -> Vec<Entry>;
}

impl Configuration for ValidatingWebhookConfiguration {
    fn new(metadata: ObjectMeta, entries: Vec<Entry>) -> Self {
        Self { metadata, webhooks: Some(entries.into_iter().map(ValidatingWebhook::from).collect()) }
    }

    fn entries(&self) -> Vec<Entry> {
        self.webhooks.iter().flatten().cloned().map(Entry::from).collect()
    }
}

impl Configuration for MutatingWebhookConfiguration {
    fn new(metadata: ObjectMeta, entries: Vec<Entry>) -> Self {
        Self { metadata, webhooks: Some(entries.into_iter().map(MutatingWebhook::from).collect()) }
    }

    fn entries(&self) -> Vec<Entry> {
        self.webhooks.iter().flatten().cloned().map(Entry::from).collect()
    }
}

impl From<MutatingWebhook> for Entry {
    fn from(webhook: MutatingWebhook) -> Self {
        Self {
            name: webhook.name,
            admission_review_versions: webhook.admission_review_versions,
            client_config: webhook.client_config,
            failure_policy: webhook.failure_policy,
            match_conditions: webhook.match_conditions,
            match_policy: webhook.match_policy,
            namespace_selector: webhook.namespace_selector,
            object_selector: webhook.object_selector,
            reinvocation_policy: webhook.reinvocation_policy,
            rules: webhook.rules,
            side_effects: webhook.side_effects,
            timeout_seconds: webhook.timeout_seconds,
        }
    }
}

impl From<Entry> for MutatingWebhook {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            admission_review_versions: entry.admission_review_versions,
            client_config: entry.client_config,
            failure_policy: entry.failure_policy,
            match_conditions: entry.match_conditions,
            match_policy: entry.match_policy,
            namespace_selector: entry.namespace_selector,
            object_selector: entry.object_selector,
            reinvocation_policy: entry.reinvocation_policy,
            rules: entry.rules,
            side_effects: entry.side_effects,
            timeout_seconds: entry.timeout_seconds,
        }
    }
}

impl From<ValidatingWebhook> for Entry {
    fn from(webhook: ValidatingWebhook) -> Self {
        Self {
            name: webhook.name,
            admission_review_versions: webhook.admission_review_versions,
            client_config: webhook.client_config,
            failure_policy: webhook.failure_policy,
            match_conditions: webhook.match_conditions,
            match_policy: webhook.match_policy,
            namespace_selector: webhook.namespace_selector,
            object_selector: webhook.object_selector,
            reinvocation_policy: None,
            rules: webhook.rules,
            side_effects: webhook.side_effects,
            timeout_seconds: webhook.timeout_seconds,
        }
    }
}

impl From<Entry> for ValidatingWebhook {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            admission_review_versions: entry.admission_review_versions,
            client_config: entry.client_config,
            failure_policy: entry.failure_policy,
            match_conditions: entry.match_conditions,
            match_policy: entry.match_policy,
            namespace_selector: entry.namespace_selector,
            object_selector: entry.object_selector,
            rules: entry.rules,
            side_effects: entry.side_effects,
            timeout_seconds: entry.timeout_seconds,
        }
    }
}
