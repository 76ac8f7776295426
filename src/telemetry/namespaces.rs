//! Figures of the namespaces that are known.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// What is shown of namespaces.
#[derive(Debug)]
pub struct NamespaceMetrics {
    /// Slots of namespaces that name a policy which does not exist.
    pub unknown_policies: Gauge,
}

impl NamespaceMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let help = "Slots of namespaces that name a policy which does not exist";
        Self { unknown_policies: add(registry, "namespace_unknown_policies", help) }
    }
}
