//! What the process says of itself: logs and metrics.

pub mod logging;
pub mod metrics;

pub use logging::{LogError, LogFormat};
pub use metrics::{Answered, ConnectionMetrics, InFlight, Metrics};
