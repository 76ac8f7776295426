//! What is counted of log lines.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::log_queue;
use super::metrics::add;

/// What is counted of log lines.
#[derive(Debug)]
pub struct LogMetrics {
    lost: Counter,
}

impl LogMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self { lost: add(registry, "log_lines_lost", "Log lines that could not be written, or not in time") }
    }

    /// Brings the figures up to date.
    pub fn refresh(&self) {
        self.lost.inner().store(log_queue::lost(), Ordering::Relaxed);
    }
}
