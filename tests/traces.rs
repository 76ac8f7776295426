//! Traces, as a collector of OpenTelemetry's gets them.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message as _;
use serde_json::{Value as Json, json};

use crate::support::server::{Server, creation};

const LIMIT: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that keeps what it is sent.
struct Collector {
    endpoint: String,
    requests: Receiver<(HeaderMap, ExportTraceServiceRequest)>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (sender, requests) = mpsc::channel();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a listener");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let routes = Router::new().route("/v1/traces", post(take)).with_state(sender);
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { endpoint, requests, _runtime: runtime }
    }
}

async fn take(
    State(sender): State<Sender<(HeaderMap, ExportTraceServiceRequest)>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
    let _ = sender.send((headers, request));
    StatusCode::OK
}

/// Returns attributes as JSON.
fn read(attributes: &[KeyValue]) -> BTreeMap<&str, Json> {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(truth)) => json!(truth),
        other => panic!("neither text nor truth: {other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.as_str(), value(&attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn pod(name: &str) -> Json {
    let container = json!({"name": "app", "image": "nginx", "env": [{"name": "PASSWORD", "value": "hunter2"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [container]}})
}

#[test]
fn a_request_that_the_api_server_traces_is_gone_on_with_down_to_its_parts() {
    let collector = Collector::start();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        // Nothing is sampled but what the API server has sampled.
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    let server = Server::start(&[], &[], &variables);
    let review = |name: &str| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": creation("shop", &pod(name))});
    let sampled = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    assert_eq!(server.post("/validate", "", &review("alone").to_string()).0, 200);
    assert_eq!(server.post("/validate", &sampled, &review("traced").to_string()).0, 200);
    // The end delivers what is still waiting.
    let log = server.stop();

    let (headers, request) = collector.requests.recv_timeout(LIMIT).expect("a delivery");
    assert_eq!(headers.get("x-tenant").expect("the header"), "shop");
    let [resource]: [_; 1] = request.resource_spans.try_into().expect("one resource");
    let of = resource.resource.expect("a resource");
    let of = read(&of.attributes);
    assert_eq!((&of["service.name"], &of["deployment.environment.name"]), (&json!("gatepost"), &json!("test")));
    assert_eq!(of["service.version"], env!("CARGO_PKG_VERSION"));

    let spans: Vec<_> = resource.scope_spans.into_iter().flat_map(|scope| scope.spans).collect();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let root = spans.iter().find(|span| span.name == "admission.review").expect("the request's span");
    assert_eq!(hex(&root.parent_span_id), PARENT);
    assert_eq!(
        json!(read(&root.attributes)),
        json!({
            "admission.uid": "c0ffee00-0000-4000-8000-000000000000", "admission.operation": "CREATE",
            "admission.decision": "allowed", "admission.dry_run": false,
            "k8s.namespace.name": "shop", "k8s.object.api_version": "v1", "k8s.object.kind": "Pod",
        })
    );
    let mut parts: Vec<&str> = Vec::new();
    for span in spans.iter().filter(|span| span.name != "admission.review") {
        assert_eq!(span.parent_span_id, root.span_id, "{span:?}");
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{span:?}");
        parts.push(&span.name);
    }
    parts.sort_unstable();
    assert_eq!(parts, ["body", "evaluation", "namespace", "queue"]);

    let decisions = log.iter().filter(|line| line["message"] == "admission decision");
    let ids: Vec<(&Json, &Json)> = decisions.map(|line| (&line["name"], &line["trace_id"])).collect();
    assert_eq!(ids, [(&json!("alone"), &Json::Null), (&json!("traced"), &json!(TRACE))]);
    let everything = format!("{spans:?}");
    assert!(!everything.contains("hunter2") && !everything.contains("jane"), "{everything}");
}

#[test]
fn without_a_variable_nothing_is_sent_and_a_collector_that_is_away_stops_nothing() {
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": creation("shop", &pod("a"))});
    let header = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    let off = Server::start(&[], &[], &[]);
    assert_eq!(off.post("/validate", &header, &review.to_string()).0, 200);
    assert!(!off.metrics().contains("gatepost_trace_exports_total{"));
    let log = off.stop();
    let decision = log.iter().find(|line| line["message"] == "admission decision").expect("a decision");
    assert_eq!(decision.get("trace_id"), None);

    // A port that nobody listens on, a queue for 8 spans, and far more of them.
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    let away = Server::start(&[], &[], &variables);
    for _ in 0..50 {
        assert_eq!(away.post("/validate", "", &review.to_string()).0, 200);
    }
    crate::support::server::eventually("a failed delivery", || {
        (away.metric("gatepost_trace_exports_total{result=\"error\"}") > 0).then_some(())
    });
    let log = away.stop();
    let complaints = log.iter().filter(|line| line["message"] == "traces not delivered").count();
    assert_eq!(complaints, 1);
}

#[test]
fn variables_that_mean_nothing_are_told_and_stop_nothing() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let server = Server::start(&[], &[], &variables);
    assert_eq!(server.review(&creation("shop", &pod("a")))["allowed"], true);
    let log = server.stop();
    let told = log.iter().find(|line| line["message"] == "no traces are sent").expect("a line");
    assert!(told["cause"].as_str().is_some_and(|cause| cause.contains("\"grpc\" is not supported")), "{told}");
}
