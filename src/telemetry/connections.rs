//! Counters of a listener's connections.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// What a listener counts of its connections.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Connections that are open now.
    pub open: Gauge,
    /// Connections that were closed at once, because too many were open.
    pub refused: Counter,
    /// TLS handshakes that failed, or took too long.
    pub handshake_failures: Counter,
}

impl ConnectionMetrics {
    /// Registers those of the webhook.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            open: add(registry, "open_connections", "Open connections of the webhook"),
            refused: add(registry, "connections_refused", "Connections closed because too many were open"),
            handshake_failures: add(registry, "tls_handshake_failures", "TLS handshakes that failed"),
        }
    }
}
