//! What the process says of itself: logs and metrics.

pub mod admission;
pub mod bundle;
pub mod by_rule;
pub mod connections;
pub mod logging;
pub mod metrics;
pub mod modes;
pub mod mutation;
pub mod namespaces;
pub mod otlp;
pub mod process;
pub mod rules;
pub mod traces;
pub mod vm;

pub use admission::{Answered, InFlight};
pub use connections::ConnectionMetrics;
pub use logging::LogError;
pub use metrics::Metrics;
pub use mutation::Mutated;
pub use traces::{Trace, Traces};
