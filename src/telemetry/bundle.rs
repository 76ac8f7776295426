//! Figures of the rules and policies in force, and of the programs compiled for them.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::{add, count};
use crate::engine::Backend;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabels {
    backend: &'static str,
}

/// What is shown of the bundle in force.
#[derive(Debug)]
pub struct BundleMetrics {
    info: Family<BundleLabels, Gauge>,
    rules: Gauge,
    policies: Gauge,
    by_backend: Family<BackendLabels, Gauge>,
    programs_cached: Gauge,
    program_compilations: Counter,
    program_hits: Counter,
}

impl BundleMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            info: add(registry, "bundle_info", "The digest of the rules and policies in force"),
            rules: add(registry, "bundle_rules", "Rules in force"),
            policies: add(registry, "bundle_policies", "Policies in force"),
            by_backend: add(registry, "bundle_rules_by_backend", "Rules in force by what evaluates them"),
            programs_cached: add(registry, "programs_cached", "Compiled programs in the cache"),
            program_compilations: add(registry, "program_compilations", "Programs compiled since the start"),
            program_hits: add(registry, "program_cache_hits", "Programs found in the cache since the start"),
        }
    }

    /// Shows a bundle instead of the one before.
    pub(super) fn set(&self, digest: &str, rules: usize, policies: usize) {
        self.info.clear();
        self.info.get_or_create(&BundleLabels { digest: digest.into() }).set(1);
        self.rules.set(count(rules));
        self.policies.set(count(policies));
    }

    /// Shows how many rules run on the VM, and how many on the interpreter.
    pub fn set_backends(&self, vm: usize, interpreter: usize) {
        for (backend, rules) in [(Backend::Vm, vm), (Backend::Interpreter, interpreter)] {
            self.by_backend.get_or_create(&BackendLabels { backend: backend.as_str() }).set(count(rules));
        }
    }

    /// Shows the program cache: programs in it, programs ever compiled, and programs ever found instead.
    pub fn set_programs(&self, cached: u64, compilations: u64, hits: u64) {
        self.program_hits.inner().store(hits, Ordering::Relaxed);
        self.programs_cached.set(cached.try_into().unwrap_or(i64::MAX));
        self.program_compilations.inner().store(compilations, Ordering::Relaxed);
    }
}
