//! Counters of the watch over users' rules on the VM.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::metrics::add;

/// What is counted of evaluations that were repeated on the interpreter.
#[derive(Debug)]
pub struct VmMetrics {
    /// Evaluations that were repeated.
    pub repeats: Counter,
    /// Those that gave another answer; the rule runs on the interpreter since.
    pub differences: Counter,
}

impl VmMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            repeats: add(registry, "vm_repeats", "Evaluations on the VM that were repeated on the interpreter"),
            differences: add(registry, "vm_differences", "Repeated evaluations that gave another answer"),
        }
    }
}
