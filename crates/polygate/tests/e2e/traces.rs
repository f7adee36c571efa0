//! Traces: contexts in and out, spans of exchanges, layers and calls, exported to collectors that the tests are.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::harness::{Gateway, PATIENCE, Project};

/// A server that answers each request with 200 and tells of it: its head, and its body.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Receiver<(String, Vec<u8>)>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || answer(stream, &sender));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn next(&self) -> (String, Vec<u8>) {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

fn answer(mut stream: TcpStream, sender: &Sender<(String, Vec<u8>)>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").and_then(|length| length.trim().parse().ok())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let _ = sender.send((head, body));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    }
}

/// The spans of a trace that a collector was given.
struct Spans(Vec<Span>);

impl Spans {
    /// Takes batches until there are `count` spans.
    fn of(mut next: impl FnMut() -> ExportTraceServiceRequest, count: usize) -> Self {
        let mut spans = Vec::new();
        while spans.len() < count {
            for resource in next().resource_spans {
                let told = resource.resource.unwrap();
                let service = attributes(&told.attributes);
                assert_eq!(service["service.name"], "shop");
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        Self(spans)
    }

    fn named(&self, name: &str) -> &Span {
        let found: Vec<_> = self.0.iter().filter(|span| span.name == name).collect();
        let names: Vec<_> = self.0.iter().map(|span| &span.name).collect();
        assert_eq!(found.len(), 1, "{name} in {names:?}");
        found[0]
    }
}

pub(crate) fn attributes(pairs: &[KeyValue]) -> HashMap<&str, String> {
    let text = |value: &KeyValue| match value.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.as_str(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The context in a request's head.
fn context(head: &str) -> String {
    let lower = head.to_ascii_lowercase();
    let mut values = lower.lines().filter_map(|line| line.strip_prefix("traceparent: "));
    let value = values.next().unwrap_or_else(|| panic!("no context in {head}")).to_owned();
    assert_eq!(values.next(), None, "two contexts in {head}");
    value
}

fn project(upstream: u16, telemetry: &str) -> Project {
    let module = format!(
        r#"
export async function look(request, context) {{ await fetch("http://127.0.0.1:{upstream}/side?secret=1"); return request; }}
export async function fail() {{ throw new Error("boom"); }}
"#
    );
    let none = serde_json::json!({});
    Project::new()
        .file("modules/main.ts", &module)
        .file("polygate.toml", &format!("[telemetry]\nservice-name = \"shop\"\n{telemetry}"))
        .policy("look", "look", none)
        .function("get", "/fail", "fail")
        .forward("/orders/{id}", &format!("http://127.0.0.1:{upstream}"), &["look"], &[])
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn spans_of_an_exchange_its_layers_and_its_calls() {
    let (collector, upstream) = (Server::start(), Server::start());
    let telemetry = format!("endpoint = \"http://127.0.0.1:{}\"\nsample = 0.0\n", collector.port);
    let project = project(upstream.port, &telemetry);
    let token = [("OTEL_EXPORTER_OTLP_HEADERS", "x-token=t1")];
    let mut gateway = Gateway::start_with("run", project.root(), &[], &token);
    let headers = [("traceparent", PARENT), ("tracestate", "other=1")];
    assert_eq!(gateway.send("GET", "/orders/7?secret=1", &headers, "").status, 200);

    let (side, forwarded) = (upstream.next().0, upstream.next().0);
    assert!(side.starts_with("GET /side") && forwarded.starts_with("GET /orders/7"));
    assert!(forwarded.to_ascii_lowercase().contains("tracestate: other=1"), "{forwarded}");
    let spans = Spans::of(
        || {
            let (head, body) = collector.next();
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            let lower = head.to_ascii_lowercase();
            assert!(lower.contains("content-type: application/x-protobuf") && lower.contains("x-token: t1"));
            ExportTraceServiceRequest::decode(&*body).unwrap()
        },
        5,
    );
    assert!(spans.0.iter().all(|span| hex(&span.trace_id) == "0af7651916cd43dd8448eb211c80319c"));
    let server = spans.named("GET /orders/{id}");
    let (look, forward) = (spans.named("look"), spans.named("forward"));
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    assert_eq!((&look.parent_span_id, &forward.parent_span_id), (&server.span_id, &look.span_id));
    assert_eq!((server.kind, look.kind), (SpanKind::Server as i32, SpanKind::Internal as i32));
    assert_eq!(server.trace_state, "other=1");
    let of_server = attributes(&server.attributes);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/orders/{id}"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("url.path", "/orders/7"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("polygate.reason", "completed"),
    ] {
        assert_eq!(of_server[name], value, "{name}");
    }
    let shown = format!("{:?}", spans.0);
    assert!(!shown.contains("secret"), "{shown}");
    // What the upstream got is the context of the span of the call to it.
    let calls: Vec<_> = spans.0.iter().filter(|span| span.kind == SpanKind::Client as i32).collect();
    for (head, parent, path) in [(&side, look, "/side"), (&forwarded, forward, "/orders/7")] {
        let call =
            calls.iter().find(|call| attributes(&call.attributes)["url.full"].ends_with(path)).unwrap();
        let expected = format!("00-{}-{}-01", hex(&call.trace_id), hex(&call.span_id));
        assert_eq!(context(head), expected);
        assert_eq!(call.parent_span_id, parent.span_id, "{path}");
        let of_call = attributes(&call.attributes);
        assert_eq!(of_call["server.port"], upstream.port.to_string());
        assert_eq!(of_call["http.response.status_code"], "200");
        assert!(call.start_time_unix_nano >= parent.start_time_unix_nano);
        assert!(call.end_time_unix_nano <= server.end_time_unix_nano);
    }
    for span in &spans.0 {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano >= server.start_time_unix_nano, "{span:?}");
    }

    // A failure, and the end of the process, which exports what waits.
    assert_eq!(gateway.send("GET", "/fail", &headers, "").status, 500);
    // Without a parent's word the ratio decides, and the context says so.
    assert_eq!(gateway.get("/orders/8").status, 200);
    let (side, forwarded) = (context(&upstream.next().0), context(&upstream.next().0));
    assert!(side.ends_with("-00") && side == forwarded, "{side} {forwarded}");
    gateway.signal("-TERM");
    assert!(gateway.ended().success());
    let spans = Spans::of(|| ExportTraceServiceRequest::decode(&*collector.next().1).unwrap(), 2);
    assert_eq!(spans.0.len(), 2);
    // A function handler's layer is called as its route is.
    let of_kind = |kind: SpanKind| spans.0.iter().find(|span| span.kind == kind as i32).unwrap();
    let (server, handler) = (of_kind(SpanKind::Server), of_kind(SpanKind::Internal));
    assert_eq!((&*server.name, &handler.parent_span_id), ("GET /fail", &server.span_id));
    assert_eq!(server.status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert!(server.status.as_ref().unwrap().message.contains("boom"));
    assert_eq!(attributes(&server.attributes)["error.type"], "policy_error");
}

struct Collector(Sender<(Option<String>, ExportTraceServiceRequest)>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let token =
            request.metadata().get("x-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
        let _ = self.0.send((token, request.into_inner()));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[test]
fn spans_go_to_a_grpc_collector_and_a_lost_one_costs_no_request() {
    let upstream = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Nobody listens at first.
    drop(listener);
    let telemetry =
        format!("endpoint = \"http://127.0.0.1:{port}\"\nprotocol = \"grpc\"\ntimeout = \"1s\"\n");
    let project = project(upstream.port, &telemetry);
    let gateway =
        Gateway::start_with("run", project.root(), &[], &[("OTEL_EXPORTER_OTLP_HEADERS", "x-token=t1")]);
    assert_eq!(gateway.get("/orders/7").status, 200);
    gateway.await_output("traces cannot be exported");
    let failed = || gateway.admin_text("/metrics").contains("polygate_spans_total{outcome=\"failed\"} 5");
    gateway.wait(|| failed().then_some(()), "the count");

    let (sender, batches) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let service = TraceServiceServer::new(Collector(sender));
        runtime.block_on(async {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve(([127, 0, 0, 1], port).into()).await.unwrap();
        });
    });
    let started = Instant::now();
    let (token, batch) = loop {
        assert_eq!(gateway.get("/orders/8").status, 200);
        if let Ok(batch) = batches.recv_timeout(Duration::from_millis(500)) {
            break batch;
        }
        assert!(started.elapsed() < PATIENCE, "{}", gateway.output());
    };
    assert_eq!(token.as_deref(), Some("t1"));
    let mut first = Some(batch);
    let spans = Spans::of(|| first.take().unwrap_or_else(|| batches.recv_timeout(PATIENCE).unwrap().1), 5);
    let roots = spans.0.iter().filter(|span| span.parent_span_id.is_empty());
    assert!(roots.clone().count() > 0 && roots.clone().all(|span| span.name == "GET /orders/{id}"));
}
