//! Counters of admission requests and of what they cost.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::add;
use crate::policy::Operation;

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

    /// Returns the word of metrics and traces.
    pub const fn as_str(self) -> &'static str {
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

/// Why a request was answered 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// Too many wait for a thread.
    Queue,
    /// Requests under way take all the memory that they may.
    Memory,
}

impl Overload {
    const ALL: [Self; 2] = [Self::Queue, Self::Memory];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Memory => "memory",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OverloadLabels {
    reason: &'static str,
}

/// What is counted of admission requests.
#[derive(Debug)]
pub struct AdmissionMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram>,
    evaluations: Histogram,
    queue_waits: Histogram,
    in_flight: Gauge,
    overloaded: Family<OverloadLabels, Counter>,
    /// Bytes of the text of requests under way.
    pub text_bytes: Gauge,
    /// Bytes set aside for what large requests under way become when they are parsed.
    pub parsed_bytes: Gauge,
    /// Warnings that were sent to users.
    pub warnings: Counter,
    /// Evaluations that panicked.
    pub panics: Counter,
    /// Requests that wait for evaluation.
    pub queue_depth: Gauge,
    /// Requests for subresources that are not registered; they are allowed.
    pub unregistered_subresources: Counter,
    /// Updates that change nothing which is judged.
    pub unchanged_updates: Counter,
    /// Audit-mode judgements given up because the webhook was busy.
    pub audit_dropped: Counter,
    /// Requests of clients that did not prove to be the API server.
    pub unverified: Counter,
}

/// Counts one request as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl AdmissionMetrics {
    /// Registers them; what has few labels is there from the start, at 0, so that the first request is an increase.
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("admission_requests", "Admission requests by what they were answered", requests.clone());
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        let help = "Time from an admission request's first byte to its answer";
        registry.register_with_unit("admission_request_duration", help, Unit::Seconds, durations.clone());
        let (evaluations, queue_waits) = (Histogram::new(DURATIONS), Histogram::new(DURATIONS));
        let help = "Time that an admission request is evaluated";
        registry.register_with_unit("evaluation_duration", help, Unit::Seconds, evaluations.clone());
        let help = "Time that an admission request waits for evaluation";
        registry.register_with_unit("evaluation_queue_wait", help, Unit::Seconds, queue_waits.clone());
        for operation in [Operation::Create, Operation::Update] {
            for (answered, dry_run) in Answered::ALL.into_iter().flat_map(|each| [(each, false), (each, true)]) {
                drop(requests.get_or_create(&request_labels(operation, answered, dry_run)));
            }
        }
        for operation in OPERATIONS {
            drop(durations.get_or_create(&OperationLabels { operation: operation.as_str() }));
        }
        let overloaded: Family<OverloadLabels, Counter> = Family::default();
        registry.register("admission_overloaded", "Admission requests refused for overload", overloaded.clone());
        for overload in Overload::ALL {
            drop(overloaded.get_or_create(&OverloadLabels { reason: overload.as_str() }));
        }
        let text_bytes = add(registry, "admission_text_bytes", "Text of the requests under way");
        let help = "Memory set aside for large requests under way when they are parsed";
        let parsed_bytes = add(registry, "admission_parsed_bytes", help);
        Self {
            requests,
            durations,
            evaluations,
            queue_waits,
            overloaded,
            text_bytes,
            parsed_bytes,
            in_flight: add(registry, "admission_in_flight", "Admission requests that wait for their answer"),
            warnings: add(registry, "admission_warnings", "Warnings sent to users"),
            panics: add(registry, "admission_panics", "Evaluations that panicked"),
            queue_depth: add(registry, "evaluation_queue_depth", "Requests that wait for evaluation"),
            unregistered_subresources: add(
                registry,
                "unregistered_subresource",
                "Requests for subresources that are not judged",
            ),
            unchanged_updates: add(registry, "unchanged_updates", "Updates that change nothing which is judged"),
            unverified: add(
                registry,
                "admission_unverified_requests",
                "Admission requests of clients without a certificate of --client-ca",
            ),
            audit_dropped: add(registry, "audit_dropped", "Audit-mode judgements left to the next audit"),
        }
    }

    /// Counts a request that begins, until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a request that was answered 503.
    pub fn record_overload(&self, overload: Overload) {
        self.overloaded.get_or_create(&OverloadLabels { reason: overload.as_str() }).inc();
    }

    /// Counts the time that a request waited for a thread, and the time that the thread took.
    pub fn record_evaluation(&self, waited: Duration, took: Duration) {
        self.queue_waits.observe(waited.as_secs_f64());
        self.evaluations.observe(took.as_secs_f64());
    }

    /// Counts a request that was answered, and the time that it took.
    pub fn record(&self, operation: Operation, answered: Answered, dry_run: bool, took: Duration) {
        self.requests.get_or_create(&request_labels(operation, answered, dry_run)).inc();
        let labels = OperationLabels { operation: operation.as_str() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

fn request_labels(operation: Operation, answered: Answered, dry_run: bool) -> RequestLabels {
    RequestLabels { operation: operation.as_str(), decision: answered.as_str(), dry_run }
}
