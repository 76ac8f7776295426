//! Figures of the namespaces that are known.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::{add, count};
use crate::policy::Mode;

/// What is shown of namespaces.
#[derive(Debug)]
pub struct NamespaceMetrics {
    modes: Family<ModeLabels, Gauge>,
    /// Slots of namespaces that name a policy which does not exist.
    pub unknown_policies: Gauge,
    /// Requests judged without their namespace, because it could not be read in time.
    pub unread: Counter,
    /// The newest resource version of a Namespace that the watch has delivered; 0 without a cluster.
    pub watch_resource_version: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

impl NamespaceMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let modes = "Known namespaces that a policy judges in this mode";
        let unknown = "Slots of namespaces that name a policy which does not exist";
        let unread = "Requests judged without their namespace, which could not be read in time";
        let version = "The newest resource version of a Namespace that the watch has delivered";
        Self {
            watch_resource_version: add(registry, "namespace_watch_resource_version", version),
            modes: add(registry, "namespaces", modes),
            unknown_policies: add(registry, "namespace_unknown_policies", unknown),
            unread: add(registry, "namespace_unread", unread),
        }
    }

    /// Shows how many namespaces have a policy in each mode, in the order of [`Mode::ALL`].
    pub fn set_modes(&self, namespaces: [usize; Mode::ALL.len()]) {
        for (mode, namespaces) in Mode::ALL.into_iter().zip(namespaces) {
            self.modes.get_or_create(&ModeLabels { mode: mode.as_str() }).set(count(namespaces));
        }
    }
}
