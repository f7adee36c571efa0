//! Metrics that are exported to collectors which the tests are.

use std::net::TcpListener;
use std::sync::mpsc::{Sender, channel};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, HistogramDataPoint, Metric};
use prost::Message;

use crate::harness::{Gateway, PATIENCE, Project};
use crate::traces::{Server, attributes};

const MODULE: &str = r#"export async function hello() { return new Response("hello"); }"#;

fn project(telemetry: &str) -> Project {
    Project::new()
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", &format!("[telemetry]\nmetrics = true\nservice-name = \"shop\"\n{telemetry}"))
        .function("get", "/hello/{name}", "hello")
}

/// One export.
struct Export(Vec<Metric>);

impl Export {
    fn of(request: ExportMetricsServiceRequest) -> Self {
        let mut metrics = Vec::new();
        for resource in request.resource_metrics {
            let told = resource.resource.unwrap();
            let told = attributes(&told.attributes);
            assert_eq!((&*told["service.name"], told["service.instance.id"].len()), ("shop", 36));
            metrics.extend(resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
        }
        Self(metrics)
    }

    fn named(&self, name: &str) -> &Metric {
        let names: Vec<&str> = self.0.iter().map(|metric| &*metric.name).collect();
        self.0.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
    }

    /// Durations of exchanges with this status.
    fn server(&self, status: &str) -> Option<&HistogramDataPoint> {
        let Some(Data::Histogram(histogram)) = &self.named("http.server.request.duration").data else {
            panic!("no histogram");
        };
        assert_eq!(histogram.aggregation_temporality, AggregationTemporality::Cumulative as i32);
        let has = |point: &&HistogramDataPoint| {
            attributes(&point.attributes)["http.response.status_code"] == status
        };
        histogram.data_points.iter().find(has)
    }
}

fn next(collector: &Server) -> Export {
    let (head, body) = collector.next();
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.contains("content-type: application/x-protobuf") && lower.contains("x-token: t1"),
        "{head}"
    );
    Export::of(ExportMetricsServiceRequest::decode(&*body).unwrap())
}

const TOKEN: [(&str, &str); 1] = [("OTEL_EXPORTER_OTLP_HEADERS", "x-token=t1")];

#[test]
fn metrics_go_to_a_collector_again_and_again() {
    let collector = Server::start();
    let settings = format!(
        "endpoint = \"http://127.0.0.1:{}\"\ntraces = false\nmetrics-interval = \"100ms\"\n",
        collector.port
    );
    let gateway = Gateway::start_with("run", project(&settings).root(), &[], &TOKEN);
    for _ in 0..3 {
        assert_eq!(gateway.get("/hello/a").status, 200);
    }
    assert_eq!(gateway.get("/none").status, 404);
    let export = loop {
        let export = next(&collector);
        let counted = |status| export.server(status).is_some_and(|point| point.count > 0);
        if counted("200") && counted("404") && export.server("200").unwrap().count == 3 {
            break export;
        }
    };
    let point = export.server("200").unwrap();
    let told = attributes(&point.attributes);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/hello/{name}"),
        ("url.scheme", "http"),
        ("polygate.reason", "completed"),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert!(!told.contains_key("error.type"));
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 3);
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert!(point.sum.unwrap() > 0.0 && point.start_time_unix_nano < point.time_unix_nano);
    let missing = attributes(&export.server("404").unwrap().attributes);
    assert!(!missing.contains_key("http.route"), "{missing:?}");
    assert_eq!(export.named("http.server.request.duration").unit, "s");

    // What /metrics shows goes out as well, in the form that the kind asks for.
    let Some(Data::Sum(exchanges)) = &export.named("polygate.exchanges").data else { panic!("no sum") };
    assert!(exchanges.is_monotonic);
    let completed =
        exchanges.data_points.iter().find(|point| attributes(&point.attributes)["status"] == "200");
    assert_eq!(completed.unwrap().value, Some(Number::AsInt(3)));
    let memory = export.named("process.resident_memory");
    assert!(matches!(memory.data, Some(Data::Gauge(_))) && memory.unit == "By");
    assert!(matches!(export.named("polygate.policy_duration").data, Some(Data::Histogram(_))));
    for line in gateway.admin_text("/metrics").lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, _) = line.split_once(' ').unwrap();
        if name == "polygate_exchange_duration_seconds" {
            continue;
        }
        let plain = ["_total", "_seconds", "_bytes"]
            .iter()
            .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
        let shown = plain.replacen('_', ".", 1);
        // A family without samples is not sent.
        let has_samples = gateway.admin_text("/metrics").lines().any(|line| line.starts_with(name));
        if has_samples && export.0.iter().all(|metric| metric.name != shown) {
            panic!("{name} is not exported as {shown}");
        }
    }
}

#[test]
fn the_end_of_the_process_exports_what_was_counted_last() {
    let collector = Server::start();
    let endpoint = format!(
        "endpoint = \"http://127.0.0.1:{}/v1/traces\"\nmetrics-interval = \"1h\"\nsample = 0.0\n",
        collector.port
    );
    let mut gateway = Gateway::start_with("run", project(&endpoint).root(), &[], &TOKEN);
    assert_eq!(gateway.get("/hello/a").status, 200);
    assert_eq!(gateway.get("/hello/b").status, 200);
    gateway.signal("-TERM");
    assert!(gateway.ended().success());
    assert_eq!(next(&collector).server("200").unwrap().count, 2);
}

struct Collector(Sender<(Option<String>, ExportMetricsServiceRequest)>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let token =
            request.metadata().get("x-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
        let _ = self.0.send((token, request.into_inner()));
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[test]
fn a_grpc_collector_that_was_away_gets_all_counts_and_is_complained_of_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Nobody listens at first.
    drop(listener);
    let settings = format!(
        "endpoint = \"http://127.0.0.1:{port}\"\nprotocol = \"grpc\"\ntimeout = \"1s\"\nmetrics-interval = \"100ms\"\ntraces = false\n"
    );
    let gateway = Gateway::start_with("run", project(&settings).root(), &[], &TOKEN);
    assert_eq!(gateway.get("/hello/a").status, 200);
    let failed = |count: &str| {
        let metric = "polygate_metrics_exports_total{outcome=\"failed\"} ";
        let text = gateway.admin_text("/metrics");
        text.lines().any(|line| line.strip_prefix(metric).is_some_and(|found| found == count))
    };
    gateway.wait(|| failed("3").then_some(()), "three exports to fail");
    assert_eq!(gateway.output().matches("metrics cannot be exported").count(), 1, "{}", gateway.output());

    let (sender, exports) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let service = MetricsServiceServer::new(Collector(sender));
        runtime.block_on(async {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve(([127, 0, 0, 1], port).into()).await.unwrap();
        });
    });
    let (token, request) = exports.recv_timeout(PATIENCE).unwrap();
    assert_eq!(token.as_deref(), Some("t1"));
    assert_eq!(Export::of(request).server("200").unwrap().count, 1);
    gateway.await_output("metrics are exported again");
}
