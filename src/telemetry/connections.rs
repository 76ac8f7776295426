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
    /// Idle connections that were closed to make room for new ones.
    pub evicted: Counter,
    /// Connections that the system could not hand over: no files left, for example.
    pub accept_errors: Counter,
    /// TLS handshakes that failed, or took too long.
    pub handshake_failures: Counter,
}

impl ConnectionMetrics {
    /// Registers those of the webhook.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            open: add(registry, "open_connections", "Open connections of the webhook"),
            refused: add(registry, "connections_refused", "Connections closed because too many were open"),
            evicted: add(registry, "connections_evicted", "Idle connections closed to make room for new ones"),
            accept_errors: add(registry, "accept_errors", "Connections that the system could not hand over"),
            handshake_failures: add(registry, "tls_handshake_failures", "TLS handshakes that failed"),
        }
    }
}
