//! What the process says of itself: logs and metrics.

pub mod admission;
pub mod bundle;
pub mod connections;
pub mod logging;
pub mod metrics;
pub mod mutation;
pub mod namespaces;
pub mod rules;

pub use admission::{Answered, InFlight};
pub use connections::ConnectionMetrics;
pub use logging::LogError;
pub use metrics::Metrics;
pub use mutation::Mutated;
