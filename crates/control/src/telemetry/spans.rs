//! Spans of an exchange: its own, one for each layer (each within the one around it), and one for each request that it
//! sent. Attributes are those of OpenTelemetry's semantic conventions for HTTP; our own begin with `polygate.`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use polygate_gateway::TraceRecord;
use polygate_pipeline::{CallRecord, Reason, StepRecord, Verdict, Version};

use super::resource::{Resource, number, text};

/// The flag of spans that are sampled (W3C Trace Context 3.2.2.5.1).
const SAMPLED: u32 = 1;

/// A request to the collector with these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.attributes()),
            scope_spans: vec![ScopeSpans { scope: Some(resource.scope()), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

/// Appends the spans of an exchange.
pub(super) fn of(record: &TraceRecord, spans: &mut Vec<Span>) {
    spans.push(exchange(record));
    let mut parent = record.span;
    for (step, &id) in record.exchange.steps.iter().zip(&record.layers) {
        spans.push(layer(record, step, id, parent));
        parent = id;
    }
    spans.extend(record.calls.iter().map(|made| call(record, made)));
}

fn exchange(record: &TraceRecord) -> Span {
    let exchange = &record.exchange;
    let path = exchange.route.as_deref().map(|label| label.split_once(' ').map_or(label, |(_, path)| path));
    let mut attributes = vec![
        text("http.request.method", exchange.method.as_str()),
        text("url.scheme", if record.tls { "https" } else { "http" }),
        text("url.path", &exchange.path),
        text("server.address", &exchange.host),
        text("client.address", &exchange.client.to_string()),
        text("network.protocol.version", version(exchange.version)),
        number("http.response.status_code", i64::from(exchange.status)),
        number("http.request.body.size", exchange.received as i64),
        number("http.response.body.size", exchange.sent as i64),
        text("polygate.request_id", exchange.id.as_str()),
        text("polygate.reason", exchange.reason.as_str()),
        number("polygate.worker", exchange.worker as i64),
    ];
    attributes.extend(path.map(|path| text("http.route", path)));
    attributes.extend(exchange.policy.as_deref().map(|policy| text("polygate.policy", policy)));
    // Of a server's span, what the client did wrong is no error.
    let failed = exchange.status >= 500;
    if failed {
        let cause = match exchange.reason {
            Reason::Completed | Reason::PolicyAnswered => exchange.status.to_string(),
            reason => reason.as_str().to_owned(),
        };
        attributes.push(text("error.type", &cause));
    }
    let name = match path {
        Some(path) => format!("{} {path}", exchange.method),
        None => exchange.method.to_string(),
    };
    Span {
        kind: SpanKind::Server as i32,
        name,
        parent_span_id: record.parent.map(id).unwrap_or_default(),
        attributes,
        status: Some(status(failed, exchange.error.as_deref())),
        ..span(record, record.span, Duration::ZERO, exchange.duration)
    }
}

fn layer(record: &TraceRecord, step: &StepRecord, own: u64, parent: u64) -> Span {
    let (verdict, reason) = match step.verdict {
        Verdict::Running => ("running", None),
        Verdict::Continued => ("continued", None),
        Verdict::Answered => ("answered", None),
        Verdict::Failed { reason } => ("failed", Some(reason)),
        Verdict::Skipped { reason } => ("skipped", Some(reason)),
        Verdict::Abandoned => ("abandoned", None),
    };
    let mut attributes = vec![
        text("polygate.policy", &step.policy),
        text("polygate.world", &step.world),
        text("polygate.role", step.role.as_str()),
        text("polygate.verdict", verdict),
        number("polygate.self_us", step.duration.as_micros() as i64),
        number("polygate.cpu_us", step.cpu.as_micros() as i64),
    ];
    attributes.extend(step.status.map(|status| number("http.response.status_code", status.as_u16().into())));
    attributes.extend(reason.map(|reason| text("error.type", reason.as_str())));
    // A turn that did not end was cut short with its exchange.
    let ended = if step.ended.is_zero() { record.exchange.duration } else { step.ended };
    Span {
        kind: SpanKind::Internal as i32,
        name: step.policy.to_string(),
        parent_span_id: id(parent),
        attributes,
        status: Some(status(matches!(step.verdict, Verdict::Failed { .. }), None)),
        ..span(record, own, step.begun, ended)
    }
}

fn call(record: &TraceRecord, made: &CallRecord) -> Span {
    let mut attributes = vec![
        text("http.request.method", made.method.as_str()),
        text("url.full", &made.url),
        text("server.address", &made.host),
        number("server.port", made.port.into()),
    ];
    if made.resends > 0 {
        attributes.push(number("http.request.resend_count", made.resends.into()));
    }
    attributes.extend(made.status.map(|status| number("http.response.status_code", status.into())));
    let failed = made.failure.is_some() || made.status.is_none_or(|status| status >= 400);
    if failed {
        let cause = match (made.failure, made.status) {
            (Some(reason), _) => reason.as_str().to_owned(),
            (None, Some(status)) => status.to_string(),
            (None, None) => "given_up".to_owned(),
        };
        attributes.push(text("error.type", &cause));
    }
    Span {
        kind: SpanKind::Client as i32,
        name: made.method.to_string(),
        parent_span_id: id(made.parent),
        attributes,
        status: Some(status(failed, None)),
        ..span(record, made.span, made.begun, made.ended)
    }
}

/// What all spans of an exchange have; times count from the exchange's beginning.
fn span(record: &TraceRecord, own: u64, begun: Duration, ended: Duration) -> Span {
    let nanos = |offset: Duration| {
        let time: SystemTime = record.exchange.time + offset;
        time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
    };
    Span {
        trace_id: record.trace.to_be_bytes().to_vec(),
        span_id: id(own),
        trace_state: record.state.clone().unwrap_or_default(),
        flags: SAMPLED,
        start_time_unix_nano: nanos(begun),
        end_time_unix_nano: nanos(ended),
        ..Span::default()
    }
}

fn id(span: u64) -> Vec<u8> {
    span.to_be_bytes().to_vec()
}

fn status(failed: bool, message: Option<&str>) -> Status {
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    // The first line: what follows may be a stack trace, which the log has.
    let message = message.filter(|_| failed).and_then(|message| message.lines().next()).unwrap_or_default();
    Status { message: message.to_owned(), code: code as i32 }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}
