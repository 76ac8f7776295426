//! Metrics: what is counted, and its OpenMetrics text.
//!
//! Each area has a struct of its own in a file of its own, which registers it. A label is never an object's name, a
//! user's or a message; a rule's name labels only counters of rules in force.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::admission::AdmissionMetrics;
use super::api::ApiMetrics;
use super::audit::Cost as AuditCost;
use super::bundle::BundleMetrics;
use super::by_rule::RuleSeries;
use super::certificates::CertificateMetrics;
use super::connections::ConnectionMetrics;
use super::events::EventMetrics;
use super::exemptions::ExemptionMetrics;
use super::findings::FindingMetrics;
use super::logs::LogMetrics;
use super::modes::ModeMetrics;
use super::mutation::MutationMetrics;
use super::namespaces::NamespaceMetrics;
use super::notifications::NotificationMetrics;
use super::otlp::TraceMetrics;
use super::outbox::OutboxMetrics;
use super::process::Process;
use super::registration::RegistrationMetrics;
use super::reloads::ReloadMetrics;
use super::reports::ReportMetrics;
use super::rules::RuleMetrics;
use super::store::StoreMetrics;
use super::vm::VmMetrics;
use crate::policy::RuleId;

type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Everything that is counted, and the registry that encodes it.
pub struct Metrics {
    registry: Registry,
    refresh: Mutex<Vec<Refresh>>,
    series: RuleSeries,
    /// Admission requests.
    pub admission: AdmissionMetrics,
    /// Requests to the API.
    pub api: ApiMetrics,
    /// The bundle in force.
    pub bundle: BundleMetrics,
    /// The webhook's certificates.
    pub certificates: CertificateMetrics,
    /// The webhook listener's connections.
    pub connections: ConnectionMetrics,
    /// Log lines.
    pub logs: LogMetrics,
    /// Changes of modes, and break-glass.
    pub modes: ModeMetrics,
    /// Mutation requests.
    pub mutation: MutationMetrics,
    /// Known exemptions.
    pub exemptions: ExemptionMetrics,
    /// What audits found.
    pub findings: FindingMetrics,
    /// Known namespaces.
    pub namespaces: NamespaceMetrics,
    /// Notifications.
    pub notifications: NotificationMetrics,
    /// Decisions on their way to where they are kept.
    pub outbox: OutboxMetrics,
    /// The registration.
    pub registration: RegistrationMetrics,
    /// Changes of policies and configuration.
    pub reloads: ReloadMetrics,
    /// Reports in the cluster.
    pub reports: ReportMetrics,
    /// Events about new findings.
    pub events: EventMetrics,
    /// What rules found.
    pub rules: RuleMetrics,
    /// What is kept.
    pub store: StoreMetrics,
    /// What audits cost.
    pub audit: AuditCost,
    /// Deliveries of traces.
    pub traces: TraceMetrics,
    /// Users' rules on the VM.
    pub vm: VmMetrics,
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

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let ours = registry.sub_registry_with_prefix("gatepost");
        let series = RuleSeries::default();
        // The revision is given by whoever builds a release; a working copy has none.
        let revision = option_env!("GATEPOST_REVISION").unwrap_or("unknown");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION")), ("revision", revision)]);
        ours.register("build", "The version that runs", version);
        Self {
            refresh: Mutex::default(),
            admission: AdmissionMetrics::register(ours),
            api: ApiMetrics::register(ours),
            bundle: BundleMetrics::register(ours),
            certificates: CertificateMetrics::register(ours),
            connections: ConnectionMetrics::register(ours),
            logs: LogMetrics::register(ours),
            modes: ModeMetrics::register(ours),
            mutation: MutationMetrics::register(ours, &series),
            exemptions: ExemptionMetrics::register(ours),
            findings: FindingMetrics::register(ours),
            namespaces: NamespaceMetrics::register(ours),
            notifications: NotificationMetrics::register(ours),
            outbox: OutboxMetrics::register(ours),
            registration: RegistrationMetrics::register(ours),
            reloads: ReloadMetrics::register(ours),
            reports: ReportMetrics::register(ours),
            events: EventMetrics::register(ours),
            rules: RuleMetrics::register(ours, &series),
            store: StoreMetrics::register(ours),
            audit: AuditCost::register(ours),
            traces: TraceMetrics::register(ours),
            vm: VmMetrics::register(ours),
            series,
            registry,
        }
    }

    /// Shows the bundle in force; series of rules that are not in it go.
    pub fn set_bundle<'a>(&self, digest: &str, rules: impl Iterator<Item = &'a RuleId>, policies: usize) {
        let rules: HashSet<RuleId> = rules.cloned().collect();
        self.bundle.set(digest, rules.len(), policies);
        self.series.set_in_force(rules);
        self.mutation.retain();
        self.rules.retain();
    }

    /// Has a function set what is asked for only when metrics are read, such as the length of a queue.
    pub fn refresh_with(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// Encodes everything as OpenMetrics text.
    pub fn encode(&self) -> String {
        self.logs.refresh();
        for refresh in self.refresh.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh(self);
        }
        let mut encoded = String::with_capacity(16 * 1024);
        // Writing to a String does not fail, and every value can be written.
        let _ = text::encode(&mut encoded, &self.registry);
        encoded
    }
}

/// Registers a metric that starts empty or at 0; a counter's name goes without `_total`.
pub(super) fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Returns a number as gauges hold it.
pub(super) fn count(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::admission::Action;
    use crate::policy::{Operation, Severity};
    use crate::telemetry::Answered;

    #[test]
    fn every_metric_has_its_name_and_labels() {
        let metrics = Metrics::new();
        let rules = ["container-image-tag", "other"].map(RuleId::from);
        metrics.set_bundle("sha256:ab", rules.iter(), 4);
        metrics.bundle.set_backends(1, 1);
        metrics.bundle.set_programs(21, 23, 5);
        metrics.namespaces.set_modes([2, 1, 0]);
        metrics.exemptions.set_states([3, 1, 0, 0]);
        let in_flight = metrics.admission.enter();
        metrics.admission.record(Operation::Create, Answered::Denied, true, Duration::from_micros(300));
        metrics.rules.record_violation(&"container-image-tag".into(), Severity::High, Action::Warn);
        metrics.rules.record_error(&"container-image-tag".into());
        metrics.connections.open.inc();
        let second = |second| Timestamp::from_second(second).unwrap();
        metrics.certificates.show(second(1_800_000_000), second(1_900_000_000));
        metrics.refresh_with(|metrics| _ = metrics.admission.queue_depth.set(3));
        let text = metrics.encode();
        for line in [
            concat!("gatepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",revision=\"unknown\"} 1"),
            "gatepost_admission_requests_total{operation=\"CREATE\",decision=\"denied\",dry_run=\"true\"} 1",
            "gatepost_admission_requests_total{operation=\"UPDATE\",decision=\"allowed\",dry_run=\"false\"} 0",
            "gatepost_admission_request_duration_seconds_bucket{le=\"0.00025\",operation=\"CREATE\"} 0",
            "gatepost_admission_request_duration_seconds_bucket{le=\"0.0005\",operation=\"CREATE\"} 1",
            "gatepost_admission_request_duration_seconds_count{operation=\"CREATE\"} 1",
            "gatepost_rule_violations_total{rule=\"container-image-tag\",severity=\"high\",action=\"warn\"} 1",
            "gatepost_rule_errors_total{rule=\"container-image-tag\"} 1",
            "gatepost_bundle_info{digest=\"sha256:ab\"} 1",
            "gatepost_bundle_rules 2",
            "gatepost_bundle_rules_by_backend{backend=\"interpreter\"} 1",
            "gatepost_bundle_policies 4",
            "gatepost_programs_cached 21",
            "gatepost_program_compilations_total 23",
            "gatepost_program_cache_hits_total 5",
            "gatepost_vm_repeats_total 0",
            "gatepost_vm_differences_total 0",
            "gatepost_evaluation_duration_seconds_count 0",
            "gatepost_evaluation_queue_wait_seconds_count 0",
            "gatepost_namespaces{mode=\"enforce\"} 2",
            "gatepost_exemptions{state=\"active\"} 3",
            "gatepost_exemptions{state=\"refused\"} 0",
            "gatepost_namespace_unread_total 0",
            "gatepost_admission_in_flight 1",
            "gatepost_admission_overloaded_total{reason=\"queue\"} 0",
            "gatepost_admission_overloaded_total{reason=\"memory\"} 0",
            "gatepost_accept_errors_total 0",
            "gatepost_connections_evicted_total 0",
            "gatepost_admission_text_bytes 0",
            "gatepost_admission_parsed_bytes 0",
            "gatepost_admission_warnings_total 0",
            "gatepost_admission_panics_total 0",
            "gatepost_evaluation_queue_depth 3",
            "gatepost_namespace_unknown_policies 0",
            "gatepost_namespace_watch_resource_version 0",
            "gatepost_unregistered_subresource_total 0",
            "gatepost_unchanged_updates_total 0",
            "gatepost_audit_dropped_total 0",
            "gatepost_admission_unverified_requests_total 0",
            "gatepost_open_connections 1",
            "gatepost_connections_refused_total 0",
            "gatepost_tls_handshake_failures_total 0",
            "gatepost_registration_state{state=\"unknown\"} 1",
            "gatepost_registration_state{state=\"probe_only\"} 0",
            "gatepost_registration_self 0",
            "gatepost_registration_paused 0",
            "gatepost_registration_ca_matches 0",
            "gatepost_registration_missing_delete_kinds 0",
            "gatepost_registration_writes_total 0",
            "gatepost_registration_probes_total{result=\"unreachable\"} 0",
            "gatepost_tls_certificate_not_after_timestamp_seconds{certificate=\"leaf\"} 1800000000",
            "gatepost_tls_certificate_not_after_timestamp_seconds{certificate=\"ca\"} 1900000000",
            "gatepost_tls_reloads_total{result=\"success\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        drop(in_flight);
        assert!(metrics.encode().contains("gatepost_admission_in_flight 0\n"));
    }

    #[test]
    fn a_new_bundle_takes_the_place_of_the_one_before() {
        let metrics = Metrics::new();
        metrics.set_bundle("sha256:ab", ["gone".into()].iter(), 1);
        metrics.rules.record_violation(&"gone".into(), Severity::Low, Action::Record);
        metrics.set_bundle("sha256:cd", ["other".into()].iter(), 1);
        let text = metrics.encode();
        assert!(!text.contains("gone") && !text.contains("sha256:ab") && text.contains("sha256:cd"), "{text}");
    }
}
