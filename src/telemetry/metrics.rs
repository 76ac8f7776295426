//! Metrics: what is counted, and its OpenMetrics text.
//!
//! A label is never an object's name, a user's or a message; a rule's name labels only counters of rules in force.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::admission::Action;
use crate::policy::{Operation, RuleId, Severity};

/// Upper bounds in seconds: an answer takes parts of a millisecond, the API server waits for 10 s and more.
const DURATIONS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const OPERATIONS: [Operation; 4] = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];

/// What a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It was allowed.
    Allowed,
    /// It was denied.
    Denied,
    /// It got no verdict: a broken envelope, overload, a panic.
    Error,
}

impl Answered {
    const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Error];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    decision: &'static str,
    dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RuleLabels {
    rule: RuleId,
}

impl EncodeLabelSet for RuleLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("rule", self.rule.as_str()).encode(encoder.encode_label())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ViolationLabels {
    rule: RuleId,
    severity: Severity,
    action: Action,
}

impl EncodeLabelSet for ViolationLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("rule", self.rule.as_str()).encode(encoder.encode_label())?;
        ("severity", self.severity.as_str()).encode(encoder.encode_label())?;
        ("action", self.action.as_str()).encode(encoder.encode_label())
    }
}

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

type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Everything that is counted, and the registry that encodes it.
pub struct Metrics {
    registry: Registry,
    refresh: Mutex<Vec<Refresh>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram>,
    violations: Family<ViolationLabels, Counter>,
    rule_errors: Family<RuleLabels, Counter>,
    bundle: Family<BundleLabels, Gauge>,
    bundle_rules: Gauge,
    bundle_policies: Gauge,
    programs_cached: Gauge,
    program_compilations: Counter,
    in_flight: Gauge,
    /// Requests that were refused because too many waited.
    pub overloaded: Counter,
    /// Warnings that were sent to users.
    pub warnings: Counter,
    /// Evaluations that panicked.
    pub panics: Counter,
    /// Requests that wait for evaluation.
    pub queue_depth: Gauge,
    /// Slots of namespaces that name a policy which does not exist.
    pub unknown_policies: Gauge,
    /// Requests for subresources that are not registered; they are allowed.
    pub unregistered_subresources: Counter,
    /// Updates that change nothing which is judged.
    pub unchanged_updates: Counter,
    /// Audit-mode judgements given up because the webhook was busy.
    pub audit_dropped: Counter,
    /// The webhook listener's connections.
    pub connections: ConnectionMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts one request as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers everything; what has few labels is there from the start, at 0.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("gatepost");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", version);
        let requests = Family::default();
        registry.register("admission_requests", "Admission requests by what they were answered", requests.clone());
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        let help = "Time from an admission request's last byte to its answer";
        registry.register_with_unit("admission_request_duration", help, Unit::Seconds, durations.clone());
        let metrics = Self {
            refresh: Mutex::default(),
            requests,
            durations,
            violations: add(&mut registry, "rule_violations", "Violations found at admission"),
            rule_errors: add(&mut registry, "rule_errors", "Rules that could not be evaluated at admission"),
            bundle: add(&mut registry, "bundle_info", "The digest of the rules and policies in force"),
            bundle_rules: add(&mut registry, "bundle_rules", "Rules in force"),
            bundle_policies: add(&mut registry, "bundle_policies", "Policies in force"),
            programs_cached: add(&mut registry, "programs_cached", "Compiled programs in the cache"),
            program_compilations: add(&mut registry, "program_compilations", "Programs compiled since the start"),
            in_flight: add(&mut registry, "admission_in_flight", "Admission requests that wait for their answer"),
            overloaded: add(&mut registry, "admission_overloaded", "Admission requests refused for overload"),
            warnings: add(&mut registry, "admission_warnings", "Warnings sent to users"),
            panics: add(&mut registry, "admission_panics", "Evaluations that panicked"),
            queue_depth: add(&mut registry, "evaluation_queue_depth", "Requests that wait for evaluation"),
            unknown_policies: add(
                &mut registry,
                "namespace_unknown_policies",
                "Slots of namespaces that name a policy which does not exist",
            ),
            unregistered_subresources: add(
                &mut registry,
                "unregistered_subresource",
                "Requests for subresources that are not judged",
            ),
            unchanged_updates: add(&mut registry, "unchanged_updates", "Updates that change nothing which is judged"),
            audit_dropped: add(&mut registry, "audit_dropped", "Audit-mode judgements left to the next audit"),
            connections: ConnectionMetrics {
                open: add(&mut registry, "open_connections", "Open connections of the webhook"),
                refused: add(&mut registry, "connections_refused", "Connections closed because too many were open"),
                handshake_failures: add(&mut registry, "tls_handshake_failures", "TLS handshakes that failed"),
            },
            registry,
        };
        metrics.show_from_the_start();
        metrics
    }

    /// Makes every series of few labels, so that the first request is an increase.
    fn show_from_the_start(&self) {
        for operation in [Operation::Create, Operation::Update] {
            for (answered, dry_run) in Answered::ALL.into_iter().flat_map(|each| [(each, false), (each, true)]) {
                drop(self.requests.get_or_create(&request_labels(operation, answered, dry_run)));
            }
        }
        for operation in OPERATIONS {
            drop(self.durations.get_or_create(&OperationLabels { operation: operation.as_str() }));
        }
    }

    /// Counts a request that begins, until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a request that was answered, and the time that it took.
    pub fn record_request(&self, operation: Operation, answered: Answered, dry_run: bool, took: Duration) {
        self.requests.get_or_create(&request_labels(operation, answered, dry_run)).inc();
        let labels = OperationLabels { operation: operation.as_str() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a violation and what was made of it.
    pub fn record_violation(&self, rule: &RuleId, severity: Severity, action: Action) {
        self.violations.get_or_create(&ViolationLabels { rule: rule.clone(), severity, action }).inc();
    }

    /// Counts a rule that could not be evaluated.
    pub fn record_rule_error(&self, rule: &RuleId) {
        self.rule_errors.get_or_create(&RuleLabels { rule: rule.clone() }).inc();
    }

    /// Shows the bundle in force; counters of the rules before it begin anew.
    pub fn set_bundle(&self, digest: &str, rules: usize, policies: usize) {
        self.bundle.clear();
        self.violations.clear();
        self.rule_errors.clear();
        self.bundle.get_or_create(&BundleLabels { digest: digest.into() }).set(1);
        self.bundle_rules.set(count(rules));
        self.bundle_policies.set(count(policies));
    }

    /// Shows the program cache: programs in it, and programs ever compiled.
    pub fn set_programs(&self, cached: u64, compilations: u64) {
        self.programs_cached.set(cached.try_into().unwrap_or(i64::MAX));
        self.program_compilations.inner().store(compilations, Ordering::Relaxed);
    }

    /// Has a function set what is asked for only when metrics are read, such as the length of a queue.
    pub fn refresh_with(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// Encodes everything as OpenMetrics text.
    pub fn encode(&self) -> String {
        for refresh in self.refresh.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh(self);
        }
        let mut encoded = String::with_capacity(16 * 1024);
        // Writing to a String does not fail, and every value can be written.
        let _ = text::encode(&mut encoded, &self.registry);
        encoded
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn request_labels(operation: Operation, answered: Answered, dry_run: bool) -> RequestLabels {
    RequestLabels { operation: operation.as_str(), decision: answered.as_str(), dry_run }
}

fn count(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_name_and_labels() {
        let metrics = Metrics::new();
        metrics.set_bundle("sha256:ab", 21, 4);
        metrics.set_programs(21, 23);
        let in_flight = metrics.enter();
        metrics.record_request(Operation::Create, Answered::Denied, true, Duration::from_micros(300));
        metrics.record_violation(&"container-image-tag".into(), Severity::High, Action::Warn);
        metrics.record_rule_error(&"container-image-tag".into());
        metrics.connections.open.inc();
        metrics.refresh_with(|metrics| _ = metrics.queue_depth.set(3));
        let text = metrics.encode();
        for line in [
            concat!("gatepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "gatepost_admission_requests_total{operation=\"CREATE\",decision=\"denied\",dry_run=\"true\"} 1",
            "gatepost_admission_requests_total{operation=\"UPDATE\",decision=\"allowed\",dry_run=\"false\"} 0",
            "gatepost_admission_request_duration_seconds_bucket{le=\"0.00025\",operation=\"CREATE\"} 0",
            "gatepost_admission_request_duration_seconds_bucket{le=\"0.0005\",operation=\"CREATE\"} 1",
            "gatepost_admission_request_duration_seconds_count{operation=\"CREATE\"} 1",
            "gatepost_rule_violations_total{rule=\"container-image-tag\",severity=\"high\",action=\"warn\"} 1",
            "gatepost_rule_errors_total{rule=\"container-image-tag\"} 1",
            "gatepost_bundle_info{digest=\"sha256:ab\"} 1",
            "gatepost_bundle_rules 21",
            "gatepost_bundle_policies 4",
            "gatepost_programs_cached 21",
            "gatepost_program_compilations_total 23",
            "gatepost_admission_in_flight 1",
            "gatepost_admission_overloaded_total 0",
            "gatepost_admission_warnings_total 0",
            "gatepost_admission_panics_total 0",
            "gatepost_evaluation_queue_depth 3",
            "gatepost_namespace_unknown_policies 0",
            "gatepost_unregistered_subresource_total 0",
            "gatepost_unchanged_updates_total 0",
            "gatepost_audit_dropped_total 0",
            "gatepost_open_connections 1",
            "gatepost_connections_refused_total 0",
            "gatepost_tls_handshake_failures_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        drop(in_flight);
        assert!(metrics.encode().contains("gatepost_admission_in_flight 0\n"));
    }

    #[test]
    fn a_new_bundle_forgets_the_rules_before_it() {
        let metrics = Metrics::new();
        metrics.set_bundle("sha256:ab", 1, 1);
        metrics.record_violation(&"gone".into(), Severity::Low, Action::Record);
        metrics.set_bundle("sha256:cd", 1, 1);
        let text = metrics.encode();
        assert!(!text.contains("gone") && !text.contains("sha256:ab") && text.contains("sha256:cd"), "{text}");
    }
}
