//! Delivering traces by OTLP over HTTP, as OpenTelemetry's environment variables say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
//!
//! Spans wait in a bounded queue for a thread of their own; what it does not hold is dropped. A collector that is away
//! costs nothing but the spans.

use std::fmt;
use std::fs;
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use super::metrics::add;
use super::traces::Traces;

/// Of the requests that come without a decision of the API server's, so many are sampled unless a variable says more.
const RATIO: f64 = 0.01;
/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a log line says that deliveries fail.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

/// What is counted of deliveries.
#[derive(Debug, Clone)]
pub struct TraceMetrics(Family<ExportLabels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExportLabels {
    result: &'static str,
}

impl TraceMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self(add(registry, "trace_exports", "Deliveries of traces to the collector"))
    }

    fn count(&self, result: &'static str) {
        self.0.get_or_create(&ExportLabels { result }).inc();
    }
}

/// Starts what the environment asks for. What it asks wrongly is logged, and there are no traces: nobody must be denied
/// or let in because of them. Must be called on a runtime.
pub fn start(metrics: &TraceMetrics) -> Traces {
    match sampler(&variable).and_then(|sampler| sampler.map(|sampler| provider(sampler, metrics)).transpose()) {
        Ok(Some(provider)) => {
            tracing::info!("traces are sent by OTLP");
            Traces::to(provider)
        }
        Ok(None) => Traces::default(),
        Err(cause) => {
            tracing::error!(cause, "no traces are sent");
            Traces::default()
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns what decides which requests are traced, none when none is.
fn sampler(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Sampler>, String> {
    let for_traces = |end: &str| {
        variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{end}")).or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{end}")))
    };
    let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_wanted = match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None => for_traces("ENDPOINT").is_some(),
        Some("otlp") => true,
        Some("none") => false,
        Some(other) => return Err(format!("OTEL_TRACES_EXPORTER: \"{other}\" is neither otlp nor none")),
    };
    if is_disabled || !is_wanted {
        return Ok(None);
    }
    if let Some(other) = for_traces("PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
        let hint = "use http/protobuf, which collectors take on port 4318";
        return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL: \"{other}\" is not supported, {hint}"));
    }
    let ratio = variable("OTEL_TRACES_SAMPLER_ARG").map_or(Ok(None), |text| {
        let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Some).ok_or_else(|| format!("OTEL_TRACES_SAMPLER_ARG: \"{text}\" is no number from 0 to 1"))
    });
    let parent_based = |root: Sampler| Sampler::ParentBased(Box::new(root));
    let chosen = variable("OTEL_TRACES_SAMPLER");
    Ok(Some(match chosen.as_deref() {
        None => parent_based(Sampler::TraceIdRatioBased(ratio?.unwrap_or(RATIO))),
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("traceidratio") => Sampler::TraceIdRatioBased(ratio?.unwrap_or(1.0)),
        Some("parentbased_always_on") => parent_based(Sampler::AlwaysOn),
        Some("parentbased_always_off") => parent_based(Sampler::AlwaysOff),
        Some("parentbased_traceidratio") => parent_based(Sampler::TraceIdRatioBased(ratio?.unwrap_or(1.0))),
        Some(other) => return Err(format!("OTEL_TRACES_SAMPLER: there is no sampler \"{other}\" here")),
    }))
}

fn provider(sampler: Sampler, metrics: &TraceMetrics) -> Result<SdkTracerProvider, String> {
    let client = Client {
        inner: HyperClient::new(connector()?, TIMEOUT, None),
        runtime: Handle::current(),
        metrics: metrics.clone(),
        complained: Arc::default(),
    };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
    let exporter = exporter.map_err(|error| error.to_string())?;
    let builder = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler);
    Ok(builder.with_resource(resource()).build())
}

/// Returns what the spans are of: what variables say of the service wins over what is known here.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let is_given = |key: &'static str| given.get(&Key::new(key)).is_some();
    let mut known = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    known.extend(variable("HOSTNAME").map(|pod| KeyValue::new("service.instance.id", pod)));
    known.retain(|attribute| given.get(&attribute.key).is_none());
    let is_named = is_given("service.name")
        && !given.get(&Key::new("service.name")).is_some_and(|name| name.as_str().starts_with("unknown_service"));
    if !is_named {
        known.push(KeyValue::new("service.name", "gatepost"));
    }
    Resource::builder().with_attributes(known).build()
}

/// Speaks HTTP, and HTTPS with the authorities of a variable's file or else of the machine.
fn connector() -> Result<HttpsConnector<HttpConnector>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        let builder = ClientConfig::builder_with_provider(provider.clone());
        builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())
    };
    let file = variable("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE").or_else(|| variable("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    let config = match file {
        Some(file) => builder()?.with_root_certificates(authorities(&file)?),
        None => match builder()?.with_native_roots() {
            Ok(builder) => builder,
            // A container may have none, and needs none for a collector beside it.
            Err(_) => builder()?.with_root_certificates(RootCertStore::empty()),
        },
    };
    let config = config.with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build())
}

fn authorities(file: &str) -> Result<RootCertStore, String> {
    let fault = |cause: &dyn fmt::Display| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {file}: {cause}");
    let text = fs::read(file).map_err(|error| fault(&error))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&text) {
        roots.add(authority.map_err(|error| fault(&error))?).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() { Err(fault(&"holds no certificate")) } else { Ok(roots) }
}

/// Delivers from the exporter's thread, which is none of the runtime's.
#[derive(Clone)]
struct Client {
    inner: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
    metrics: TraceMetrics,
    complained: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let inner = self.inner.clone();
        let sent = self.runtime.spawn(async move { inner.send_bytes(request).await });
        let answer = sent.await.map_err(HttpError::from).flatten();
        match &answer {
            Ok(answer) if answer.status().is_success() => self.metrics.count("ok"),
            Ok(answer) => self.complain(&answer.status()),
            Err(error) => self.complain(&chain(&**error)),
        }
        answer
    }
}

impl Client {
    fn complain(&self, cause: &dyn fmt::Display) {
        self.metrics.count("error");
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|then| then.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            tracing::warn!(%cause, "traces not delivered");
        }
    }
}

/// Returns an error with what caused it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the sampler's name for some variables; the text of a fault.
    fn chosen(variables: &[(&str, &str)]) -> String {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        match sampler(&variable) {
            Ok(sampler) => sampler.map_or("off".into(), |sampler| format!("{sampler:?}")),
            Err(cause) => cause,
        }
    }

    #[test]
    fn the_standard_variables_decide() {
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let table: [(&[(&str, &str)], &str); 16] = [
            (&[], "off"),
            (&[("OTEL_TRACES_SAMPLER", "always_on")], "off"),
            (&[on], "ParentBased(TraceIdRatioBased(0.01))"),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/t")], "ParentBased(TraceIdRatioBased(0.01))"),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], "ParentBased(TraceIdRatioBased(0.01))"),
            (&[on, ("OTEL_TRACES_EXPORTER", "none")], "off"),
            (&[on, ("OTEL_SDK_DISABLED", "True")], "off"),
            (&[on, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_SAMPLER", "always_on")], "AlwaysOn"),
            (&[on, ("OTEL_TRACES_SAMPLER_ARG", "0.5")], "ParentBased(TraceIdRatioBased(0.5))"),
            (
                &[on, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1")],
                "TraceIdRatioBased(1.0)",
            ),
            (&[on, ("OTEL_TRACES_SAMPLER", "parentbased_always_off")], "ParentBased(AlwaysOff)"),
            (&[on, ("OTEL_TRACES_SAMPLER_ARG", "half")], "OTEL_TRACES_SAMPLER_ARG: \"half\" is no number from 0 to 1"),
            (&[on, ("OTEL_TRACES_SAMPLER", "xray")], "OTEL_TRACES_SAMPLER: there is no sampler \"xray\" here"),
            (
                &[on, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_TRACES_SAMPLER", "always_off")],
                "AlwaysOff",
            ),
            (
                &[on, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")],
                "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not supported, use http/protobuf, which collectors take on port 4318",
            ),
            (&[("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER: \"zipkin\" is neither otlp nor none"),
        ];
        for (variables, expected) in table {
            assert_eq!(chosen(variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        fs::write(&file, "nothing").unwrap();
        let fault = authorities(file.to_str().unwrap()).unwrap_err();
        assert!(
            fault.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: ") && fault.ends_with("holds no certificate"),
            "{fault}"
        );
        assert!(authorities("/does/not/exist").is_err());
    }
}
