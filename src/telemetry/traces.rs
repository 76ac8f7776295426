//! Traces of admission requests. Off, which is how it starts, costs one branch a request.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::Span as _;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// How long the end of the process waits for what is still to be delivered.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where traces begin, if they do.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Has traces go to a provider, whose sampler says which.
    pub fn to(provider: SdkTracerProvider) -> Self {
        let tracer = provider.tracer("gatepost");
        Self(Some(Arc::new(On { provider, tracer })))
    }

    /// Begins the trace of a request, or goes on with the one that its `traceparent` names
    /// (<https://www.w3.org/TR/trace-context/>).
    pub fn begin(&self, name: &'static str, headers: &HeaderMap) -> Trace {
        Trace(self.0.as_ref().and_then(|on| Sampled::begin(on, name, headers)).map(Box::new))
    }

    /// Delivers what is still to be delivered, for a moment.
    pub async fn end(self) {
        if let Some(on) = self.0 {
            let shutdown = tokio::task::spawn_blocking(move || on.provider.shutdown_with_timeout(FAREWELL));
            if let Ok(Err(error)) = shutdown.await {
                tracing::warn!(%error, "last traces not delivered");
            }
        }
    }
}

/// The trace of one request; its span ends when it is dropped.
pub struct Trace(Option<Box<Sampled>>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.id()).finish()
    }
}

struct Sampled {
    on: Arc<On>,
    context: Context,
    /// The same moment by both clocks.
    began: (Instant, SystemTime),
}

impl Sampled {
    fn begin(on: &Arc<On>, name: &'static str, headers: &HeaderMap) -> Option<Self> {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let began = (Instant::now(), SystemTime::now());
        let span = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_start_time(began.1);
        let span = on.tracer.build_with_context(span, &parent);
        let is_sampled = span.span_context().is_sampled();
        is_sampled.then(|| Self { on: on.clone(), context: Context::new().with_span(span), began })
    }

    fn time(&self, instant: Instant) -> SystemTime {
        self.began.1 + instant.saturating_duration_since(self.began.0)
    }
}

impl Trace {
    /// Returns the trace's id as 32 hex digits, if the request was sampled.
    pub fn id(&self) -> Option<String> {
        self.0.as_ref().map(|sampled| sampled.context.span().span_context().trace_id().to_string())
    }

    /// Describes the request; the attributes are worked out only for one that was sampled.
    pub fn describe(&self, attributes: impl FnOnce() -> Vec<(&'static str, Value)>) {
        if let Some(sampled) = &self.0 {
            let attributes = attributes().into_iter().map(|(key, value)| KeyValue::new(key, value));
            sampled.context.span().set_attributes(attributes);
        }
    }

    /// Says that the request got no verdict.
    pub fn fail(&self, cause: &'static str) {
        if let Some(sampled) = &self.0 {
            sampled.context.span().set_status(Status::error(cause));
        }
    }

    /// Adds a part of the request that began and ended then.
    pub fn part(&self, name: &'static str, began: Instant, ended: Instant) {
        if let Some(sampled) = &self.0 {
            let span = SpanBuilder::from_name(name).with_start_time(sampled.time(began));
            let mut span = sampled.on.tracer.build_with_context(span, &sampled.context);
            span.end_with_timestamp(sampled.time(ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::Sampler;

    use super::*;

    const PARENT: &str = "0af7651916cd43dd8448eb211c80319c";

    fn sampled_by(sampler: Sampler) -> Traces {
        Traces::to(SdkTracerProvider::builder().with_sampler(sampler).build())
    }

    fn with_parent(flags: &str) -> HeaderMap {
        let parent = format!("00-{PARENT}-b7ad6b7169203331-{flags}");
        HeaderMap::from_iter([("traceparent".parse().unwrap(), parent.parse().unwrap())])
    }

    #[test]
    fn a_parent_decides_and_is_gone_on_with() {
        let traces = sampled_by(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
        let id = |headers: &HeaderMap| traces.begin("admission.review", headers).id();
        assert_eq!(id(&with_parent("01")).as_deref(), Some(PARENT));
        assert_eq!(id(&with_parent("00")), None);
        assert_eq!(id(&HeaderMap::new()), None);
        let traces = sampled_by(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let begun = traces.begin("admission.review", &HeaderMap::new());
        assert_eq!(begun.id().map(|id| id.len()), Some(32));
        let broken = HeaderMap::from_iter([("traceparent".parse().unwrap(), "00-x-y-01".parse().unwrap())]);
        assert!(traces.begin("admission.review", &broken).id().is_some_and(|id| id != PARENT));
    }

    #[test]
    fn without_a_provider_nothing_is_worked_out() {
        let trace = Traces::default().begin("admission.review", &with_parent("01"));
        trace.describe(|| unreachable!("nobody asked"));
        trace.part("evaluation", Instant::now(), Instant::now());
        trace.fail("overload");
        assert_eq!(trace.id(), None);
    }
}
