//! What audits cost the API server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// Requests and bytes; the clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Requests that were sent.
    pub requests: Counter,
    /// Bytes of objects and metadata that came, those of watches included.
    pub bytes: Counter,
}

impl Cost {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            requests: add(registry, "audit_requests", "Requests that audits sent to the API server"),
            bytes: add(
                registry,
                "audit_read_bytes",
                "Bytes that audits read from the API server, those of the watches between them included",
            ),
        }
    }

    /// Returns both.
    pub fn spent(&self) -> (u64, u64) {
        (self.requests.get(), self.bytes.get())
    }
}
