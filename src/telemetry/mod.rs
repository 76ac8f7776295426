//! What the process says of itself: logs and metrics.

pub mod admission;
pub mod api;
pub mod bundle;
pub mod by_rule;
pub mod certificates;
pub mod connections;
pub mod exemptions;
pub mod findings;
pub mod log_queue;
pub mod logging;
pub mod logs;
pub mod metrics;
pub mod modes;
pub mod mutation;
pub mod namespaces;
pub mod otlp;
pub mod outbox;
pub mod process;
pub mod registration;
pub mod reloads;
pub mod reports;
pub mod rules;
pub mod store;
pub mod throttle;
pub mod traces;
pub mod vm;

pub use admission::{Answered, InFlight, Overload};
pub use certificates::CertificateMetrics;
pub use connections::ConnectionMetrics;
pub use log_queue::LogGuard;
pub use logging::LogError;
pub use metrics::Metrics;
pub use mutation::Mutated;
pub use outbox::{Lost, OutboxMetrics};
pub use throttle::Throttle;
pub use traces::{Trace, Traces};
