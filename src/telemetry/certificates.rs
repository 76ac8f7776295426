//! Until when certificates are valid, and whether new ones could be taken into force.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// What is told of the webhook's certificates.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics {
    not_after: Family<CertificateLabels, Gauge>,
    reloads: Family<ResultLabels, Counter>,
}

impl CertificateMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            not_after: add(
                registry,
                "tls_certificate_not_after_timestamp_seconds",
                "When the serving certificate and its authority end, in seconds since 1970",
            ),
            reloads: add(registry, "tls_reloads", "Certificates, authorities and client authorities taken into force"),
        };
        for result in ["success", "failure"] {
            drop(metrics.reloads.get_or_create(&ResultLabels { result }));
        }
        metrics
    }

    /// Shows when the serving certificate and its authority end.
    pub fn show(&self, leaf: Timestamp, authority: Timestamp) {
        for (certificate, ends) in [("leaf", leaf), ("ca", authority)] {
            self.not_after.get_or_create(&CertificateLabels { certificate }).set(ends.as_second());
        }
    }

    /// Returns when the serving certificate ends, as far as that was shown.
    pub fn leaf_ends(&self) -> Option<Timestamp> {
        let second = self.not_after.get(&CertificateLabels { certificate: "leaf" })?.get();
        Timestamp::from_second(second).ok()
    }

    /// Counts something new that was taken into force.
    pub fn succeeded(&self) {
        self.reloads.get_or_create(&ResultLabels { result: "success" }).inc();
    }

    /// Counts something new that could not be taken into force.
    pub fn failed(&self) {
        self.reloads.get_or_create(&ResultLabels { result: "failure" }).inc();
    }
}
