//! Figures of the registration: whether the API server asks, and trusts whom it asks.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::{add, count};

/// How far the API server asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Not known yet, or not Gatepost's business.
    #[default]
    Unknown,
    /// About everything.
    Registered,
    /// Only about probes, since it has not reached Gatepost.
    ProbeOnly,
    /// About nothing: there is no configuration.
    Absent,
    /// About nothing: somebody deleted the configuration, and it stays so.
    Paused,
}

impl Standing {
    const ALL: [Self; 5] = [Self::Unknown, Self::Registered, Self::ProbeOnly, Self::Absent, Self::Paused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Registered => "registered",
            Self::ProbeOnly => "probe_only",
            Self::Absent => "absent",
            Self::Paused => "paused",
        }
    }
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// It came here.
    Arrived,
    /// The API server did not reach Gatepost.
    Unreachable,
    /// Nothing follows from it.
    Unclear,
}

impl Probed {
    const ALL: [Self; 3] = [Self::Arrived, Self::Unreachable, Self::Unclear];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Unreachable => "unreachable",
            Self::Unclear => "unclear",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    result: &'static str,
}

/// What is shown of the registration.
#[derive(Debug)]
pub struct RegistrationMetrics {
    is_self: Gauge,
    state: Family<StateLabels, Gauge>,
    paused: Gauge,
    ca_matches: Gauge,
    missing_delete_kinds: Gauge,
    probes: Family<ProbeLabels, Counter>,
    /// Times that a webhook configuration was written.
    pub writes: Counter,
}

impl RegistrationMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            is_self: add(registry, "registration_self", "1 if Gatepost writes the whole registration itself"),
            state: add(registry, "registration_state", "1 for how far the API server asks, 0 for the others"),
            paused: add(registry, "registration_paused", "1 if somebody deleted the registration and it stays so"),
            ca_matches: add(registry, "registration_ca_matches", "1 if the API server trusts every authority in use"),
            missing_delete_kinds: add(
                registry,
                "registration_missing_delete_kinds",
                "Kinds whose deletion rules want to judge, and the registration does not ask about",
            ),
            probes: add(registry, "registration_probes", "Probes of whether the API server reaches Gatepost"),
            writes: add(registry, "registration_writes", "Times that a webhook configuration was written"),
        };
        metrics.show(Standing::Unknown);
        for result in Probed::ALL {
            drop(metrics.probes.get_or_create(&ProbeLabels { result: result.as_str() }));
        }
        metrics
    }

    /// Shows whether Gatepost writes the whole registration itself.
    pub fn show_self(&self, is_self: bool) {
        self.is_self.set(i64::from(is_self));
    }

    /// Shows how far the API server asks.
    pub fn show(&self, standing: Standing) {
        for each in Standing::ALL {
            let labels = StateLabels { state: each.as_str() };
            self.state.get_or_create(&labels).set(i64::from(each == standing));
        }
        self.paused.set(i64::from(standing == Standing::Paused));
    }

    /// Returns how far the API server was last shown to ask.
    pub fn standing(&self) -> Standing {
        let is_shown =
            |standing: &Standing| self.state.get_or_create(&StateLabels { state: standing.as_str() }).get() == 1;
        Standing::ALL.into_iter().find(is_shown).unwrap_or_default()
    }

    /// Shows whether the live configuration holds every authority in use, and how many kinds it lacks on DELETE.
    pub fn show_live(&self, ca_matches: bool, missing_delete_kinds: usize) {
        self.ca_matches.set(i64::from(ca_matches));
        self.missing_delete_kinds.set(count(missing_delete_kinds));
    }

    /// Counts a probe.
    pub fn record_probe(&self, probed: Probed) {
        self.probes.get_or_create(&ProbeLabels { result: probed.as_str() }).inc();
    }
}
