//! Figures of the exemptions that are known.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::{add, count};
use crate::policy::exemption::ExemptionState;

/// What is shown of exemptions.
#[derive(Debug)]
pub struct ExemptionMetrics {
    states: Family<StateLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl ExemptionMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let states = "Exemptions by how they stand; those that end within 14 days are ending and not active";
        Self { states: add(registry, "exemptions", states) }
    }

    /// Shows how many stand how, in the order of [`ExemptionState::ALL`].
    pub fn set_states(&self, exemptions: [usize; ExemptionState::ALL.len()]) {
        for (state, exemptions) in ExemptionState::ALL.into_iter().zip(exemptions) {
            self.states.get_or_create(&StateLabels { state: state.as_str() }).set(count(exemptions));
        }
    }
}
