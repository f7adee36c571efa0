//! All metrics of the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use polygate_gateway::{Cause, Histogram, Metrics, TlsStatus, UpstreamTlsStatus};

use super::{certificates, upstreams};
use crate::families::{self, Families, Value, family, labels, sample};
use crate::overload::Report;
use crate::state::{Deployments, State, resident_memory};

/// All metrics of the process, as text.
pub(super) fn text(state: &State) -> String {
    let running = state.gateway();
    let metrics = running.as_ref().map(|gateway| gateway.metrics()).unwrap_or_default();
    families::text(&all(state, &metrics))
}

/// All metrics of the process, with what its workers counted.
pub(crate) fn all(state: &State, metrics: &Metrics) -> Families {
    let running = state.gateway();
    let mut out = Families::default();
    gateway(&mut out, metrics);
    http2(&mut out, metrics);
    let towards_clients = running.as_ref().and_then(|gateway| gateway.tls_status());
    let towards_upstreams = running.as_ref().map(|gateway| gateway.upstream_tls_status()).unwrap_or_default();
    tls(&mut out, metrics, towards_clients.as_ref(), &towards_upstreams);
    certificates::metrics(&mut out, state);
    let named = running.as_ref().map(|gateway| gateway.upstreams()).unwrap_or_default();
    upstreams::metrics(&mut out, &named);
    let plain = running.map(|gateway| gateway.plain_http2()).unwrap_or_default();
    upstreams::http2_metrics(&mut out, &named, &plain);
    overload(&mut out, metrics, state.overload().as_ref());
    process(&mut out, state, &state.deployments());
    out
}

fn gateway(out: &mut Families, metrics: &Metrics) {
    let routes = sorted(&metrics.routes);
    family(out, "polygate_exchanges_total", "counter", "Exchanges that ended, by route, status and reason.");
    for (route, counts) in &routes {
        for (status, reason, count) in counts.exchanges() {
            let labels =
                labels(&[("route", route), ("status", &status.to_string()), ("reason", reason.as_str())]);
            sample(out, "polygate_exchanges_total", &labels, count);
        }
    }
    let help = "From a request's head to its response's last byte.";
    family(out, "polygate_exchange_duration_seconds", "histogram", help);
    for (route, counts) in &routes {
        histogram(out, "polygate_exchange_duration_seconds", ("route", route), &counts.duration());
    }
    let policies = sorted(&metrics.policies);
    let help = "Time in a policy itself, without the layers within.";
    family(out, "polygate_policy_duration_seconds", "histogram", help);
    for (policy, counts) in &policies {
        histogram(out, "polygate_policy_duration_seconds", ("policy", policy), &counts.duration);
    }
    family(
        out,
        "polygate_policy_cpu_seconds_total",
        "counter",
        "CPU time of a policy, as its engine measured it.",
    );
    for (policy, counts) in &policies {
        let labels = labels(&[("policy", policy)]);
        sample(out, "polygate_policy_cpu_seconds_total", &labels, counts.cpu.as_secs_f64());
    }
    family(out, "polygate_policy_failures_total", "counter", "Failures of a policy, by reason.");
    for (policy, counts) in &policies {
        for (reason, count) in &counts.failures {
            let labels = labels(&[("policy", policy), ("reason", reason.as_str())]);
            sample(out, "polygate_policy_failures_total", &labels, count);
        }
    }
    for (name, kind, help, value) in [
        ("polygate_exchanges_running", "gauge", "Exchanges that run now.", metrics.running),
        ("polygate_connections", "gauge", "Open connections of clients.", metrics.connections),
        (
            "polygate_connections_accepted_total",
            "counter",
            "Connections that were accepted.",
            metrics.accepted,
        ),
        (
            "polygate_connections_refused_total",
            "counter",
            "Connections that were refused because there were too many.",
            metrics.refused,
        ),
        (
            "polygate_connections_refused_per_address_total",
            "counter",
            "Connections that were refused because their client's address had too many.",
            metrics.refused_per_address,
        ),
        (
            "polygate_connections_reaped_total",
            "counter",
            "Idle connections that were closed because of overload.",
            metrics.reaped,
        ),
        (
            "polygate_upstream_connections_reaped_total",
            "counter",
            "Unused connections to upstreams that were closed because of overload.",
            metrics.upstreams_reaped,
        ),
        (
            "polygate_accept_errors_total",
            "counter",
            "Connections that could not be accepted: no descriptors left, mostly.",
            metrics.accept_errors,
        ),
        (
            "polygate_proxy_headers_refused_total",
            "counter",
            "Connections of trusted proxies that were closed for want of a good PROXY header.",
            metrics.proxy_headers_refused,
        ),
        (
            "polygate_interim_responses_dropped_total",
            "counter",
            "Interim responses of upstreams that were not handed on.",
            metrics.interim_dropped,
        ),
        ("polygate_tunnels", "gauge", "WebSockets and other tunnels that are open.", metrics.tunnels),
        (
            "polygate_tunnels_refused_total",
            "counter",
            "Requests for a tunnel that were refused because there were too many.",
            metrics.tunnels_refused,
        ),
        (
            "polygate_plugin_memory_bytes",
            "gauge",
            "Memory of the plugins' virtual machines.",
            metrics.plugin_memory,
        ),
        (
            "polygate_log_events_dropped_total",
            "counter",
            "Log events that were dropped because the log could not keep up.",
            metrics.dropped_events,
        ),
        (
            "polygate_traces_dropped_total",
            "counter",
            "Traced exchanges that were dropped because the exporter could not keep up.",
            metrics.dropped_traces,
        ),
    ] {
        family(out, name, kind, help);
        sample(out, name, "", value);
    }
    let queues = [("request", metrics.requests_waiting), ("upstream_connection", metrics.connects_waiting)];
    let name = "polygate_turns_waiting";
    family(out, name, "gauge", "Those who wait for their turn, where many come at the same time.");
    for (to, queue) in queues {
        sample(out, name, labels(&[("for", to)]), queue.waiting);
    }
    let name = "polygate_turns_waited_total";
    family(out, name, "counter", "Those who had to wait for their turn.");
    for (to, queue) in queues {
        sample(out, name, labels(&[("for", to)]), queue.waited);
    }
}

/// What is particular to HTTP/2 with clients.
fn http2(out: &mut Families, metrics: &Metrics) {
    let http2 = &metrics.http2;
    family(out, "polygate_http2_connections", "gauge", "Open connections of clients that speak HTTP/2.");
    sample(out, "polygate_http2_connections", "", http2.connections);
    let name = "polygate_http2_connections_accepted_total";
    family(out, name, "counter", "Connections of clients on which HTTP/2 began.");
    sample(out, name, "", http2.accepted);
    let name = "polygate_http2_resets_total";
    family(out, name, "counter", "Streams that were reset, by who reset them.");
    for (by, count) in [("client", http2.resets_received), ("gateway", http2.resets_sent)] {
        sample(out, name, labels(&[("by", by)]), count);
    }
    let name = "polygate_http2_cut_off_total";
    family(out, name, "counter", "Connections that were cut off, by what the client did too much of.");
    for (what, count) in [
        ("resets", http2.abuse.resets),
        ("control_frames", http2.abuse.control_frames),
        ("heads", http2.abuse.heads),
        ("slow", http2.abuse.slow),
        ("streams", http2.abuse.streams),
    ] {
        sample(out, name, labels(&[("for", what)]), count);
    }
}

/// How hard the process is pressed, and what became of it.
fn overload(out: &mut Families, metrics: &Metrics, report: Option<&Report>) {
    let help = "Exchanges that were answered with 503 because of overload, by cause.";
    family(out, "polygate_exchanges_shed_total", "counter", help);
    for (cause, shed) in Cause::ALL.iter().zip(metrics.shed) {
        sample(out, "polygate_exchanges_shed_total", labels(&[("cause", cause.as_str())]), shed);
    }
    let Some(report) = report else { return };
    let help =
        "What is done about overload: 0 nothing, 1 close connections, 2 shed exchanges, 3 accept nothing.";
    family(out, "polygate_overload_level", "gauge", help);
    sample(out, "polygate_overload_level", "", report.overload.level as u8);
    family(out, "polygate_overload_share", "gauge", "Share in use of what there is, by what it is.");
    for reading in &report.readings {
        let labels = labels(&[("cause", reading.cause.as_str())]);
        sample(out, "polygate_overload_share", &labels, reading.share());
    }
}

/// Handshakes, and how long certificates are good for.
fn tls(out: &mut Families, metrics: &Metrics, tls: Option<&TlsStatus>, upstreams: &UpstreamTlsStatus) {
    let handshakes = &metrics.handshakes;
    family(out, "polygate_tls_handshakes_total", "counter", "TLS handshakes with clients, by outcome.");
    for (outcome, count) in [
        ("full", handshakes.full),
        ("resumed", handshakes.resumed),
        ("failed", handshakes.failed),
        ("timeout", handshakes.timed_out),
        ("refused", handshakes.refused),
    ] {
        sample(out, "polygate_tls_handshakes_total", labels(&[("outcome", outcome)]), count);
    }
    let help = "TLS handshakes with clients that are under way.";
    family(out, "polygate_tls_handshakes_running", "gauge", help);
    sample(out, "polygate_tls_handshakes_running", "", handshakes.running);
    let help = "1 while the newest files of certificates towards upstreams are refused.";
    family(out, "polygate_upstream_certificates_stale", "gauge", help);
    sample(out, "polygate_upstream_certificates_stale", "", u8::from(upstreams.refused.is_some()));
    let none = TlsStatus::default();
    let (tls, listens) = (tls.unwrap_or(&none), tls.is_some());
    let help = "When a certificate in use expires, in seconds since 1970.";
    family(out, "polygate_certificate_expiry_timestamp_seconds", "gauge", help);
    for certificate in tls.certificates.iter().chain(&upstreams.certificates) {
        let name = certificate.names.first().map_or("", String::as_str);
        let file = certificate.file.display().to_string();
        let expiry = certificate.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let labels = labels(&[("name", name), ("file", &file)]);
        sample(out, "polygate_certificate_expiry_timestamp_seconds", &labels, expiry.as_secs());
    }
    let name = "polygate_certificate_staple_expiry_timestamp_seconds";
    let help =
        "When what is stapled to a certificate expires, in seconds since 1970; 0 when it cannot be used.";
    family(out, name, "gauge", help);
    for (certificate, staple) in tls.certificates.iter().filter_map(|one| Some((one, one.staple.as_ref()?))) {
        let first = certificate.names.first().map_or("", String::as_str);
        let until = staple.until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        let labels = labels(&[("name", first), ("file", &staple.file.display().to_string())]);
        sample(out, name, &labels, until.unwrap_or_default().as_secs());
    }
    if !listens {
        return;
    }
    family(out, "polygate_certificate_refreshes_total", "counter", "New files of certificates, by outcome.");
    for (outcome, count) in [("ok", tls.refreshed), ("refused", tls.refusals)] {
        sample(out, "polygate_certificate_refreshes_total", labels(&[("outcome", outcome)]), count);
    }
    family(
        out,
        "polygate_certificates_stale",
        "gauge",
        "1 while the newest files of certificates are refused.",
    );
    sample(out, "polygate_certificates_stale", "", u8::from(tls.refused.is_some()));
}

fn process(out: &mut Families, state: &State, deployments: &Deployments) {
    if let Some(failed) = state.failed_writes() {
        let name = "polygate_access_log_write_errors_total";
        family(out, name, "counter", "Writes to the access log's file that failed.");
        sample(out, name, "", failed);
    }
    let spans = |count: &AtomicU64| count.load(Ordering::Relaxed);
    family(out, "polygate_spans_total", "counter", "Spans by what became of them.");
    sample(out, "polygate_spans_total", labels(&[("outcome", "exported")]), spans(&state.spans.exported));
    sample(out, "polygate_spans_total", labels(&[("outcome", "failed")]), spans(&state.spans.failed));
    family(out, "polygate_metrics_exports_total", "counter", "Exports of metrics, by what became of them.");
    let exports = &state.exports;
    for (outcome, count) in [("ok", &exports.ok), ("failed", &exports.failed)] {
        sample(out, "polygate_metrics_exports_total", labels(&[("outcome", outcome)]), spans(count));
    }
    family(out, "polygate_reloads_total", "counter", "Changes of the project, by outcome.");
    for (outcome, count) in [("ok", deployments.reloaded), ("refused", deployments.refusals)] {
        sample(out, "polygate_reloads_total", labels(&[("outcome", outcome)]), count);
    }
    let help = "1 while the newest change is refused and an older deployment serves on.";
    family(out, "polygate_deployment_stale", "gauge", help);
    sample(out, "polygate_deployment_stale", "", u8::from(deployments.stale));
    family(out, "polygate_info", "gauge", "Version and deployment that run.");
    let running = deployments.running.as_ref().map_or("", |running| running.deployment.id());
    let info = labels(&[("version", state.version), ("deployment", running), ("mode", state.mode.as_str())]);
    sample(out, "polygate_info", &info, 1_u8);
    if let Some(resident) = resident_memory() {
        family(out, "process_resident_memory_bytes", "gauge", "Resident memory of the process.");
        sample(out, "process_resident_memory_bytes", "", resident);
    }
    family(out, "process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.");
    let started = SystemTime::now().checked_sub(state.started.elapsed());
    let since = started.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    sample(out, "process_start_time_seconds", "", since.as_secs_f64());
}

fn sorted<T>(map: &HashMap<Arc<str>, T>) -> Vec<(&str, &T)> {
    let mut all: Vec<(&str, &T)> = map.iter().map(|(label, value)| (&**label, value)).collect();
    all.sort_by_key(|(label, _)| *label);
    all
}

fn histogram(out: &mut Families, name: &'static str, label: (&'static str, &str), histogram: &Histogram) {
    sample(out, name, labels(&[label]), Value::Durations(Box::new(histogram.clone())));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use polygate_gateway::{PolicyMetrics, RouteMetrics, Series};
    use polygate_pipeline::{Method, Reason};

    use super::*;

    #[test]
    fn counts_become_samples() {
        let mut duration = Histogram { count: 3, sum: Duration::from_millis(1500), ..Histogram::default() };
        duration.counts[0] = 1;
        duration.counts[3] = 1;
        let series = |method, status, reason, duration| Series {
            method: Some(method),
            tls: false,
            status,
            reason,
            duration,
        };
        let one = Histogram { count: 1, ..Histogram::default() };
        let route = RouteMetrics {
            series: vec![
                series(Method::GET, 200, Reason::Completed, one.clone()),
                series(Method::GET, 502, Reason::UpstreamRefused, duration.clone()),
                series(Method::POST, 200, Reason::Completed, one),
            ],
        };
        let policy = PolicyMetrics {
            duration,
            cpu: Duration::from_micros(2_500),
            failures: vec![(Reason::PolicyCpu, 4)],
        };
        let metrics = Metrics {
            routes: HashMap::from([(Arc::from("GET /a\"b"), route)]),
            policies: HashMap::from([(Arc::from("stamp"), policy)]),
            connections: 7,
            ..Metrics::default()
        };
        let mut out = Families::default();
        gateway(&mut out, &metrics);
        let out = families::text(&out);
        for line in [
            "polygate_exchanges_total{route=\"GET /a\\\"b\",status=\"502\",reason=\"upstream_refused\"} 3",
            "polygate_exchanges_total{route=\"GET /a\\\"b\",status=\"200\",reason=\"completed\"} 2",
            "polygate_exchange_duration_seconds_bucket{route=\"GET /a\\\"b\",le=\"0.0001\"} 1",
            "polygate_exchange_duration_seconds_bucket{route=\"GET /a\\\"b\",le=\"0.001\"} 2",
            "polygate_exchange_duration_seconds_bucket{route=\"GET /a\\\"b\",le=\"60\"} 2",
            "polygate_exchange_duration_seconds_bucket{route=\"GET /a\\\"b\",le=\"+Inf\"} 5",
            "polygate_exchange_duration_seconds_sum{route=\"GET /a\\\"b\"} 1.5",
            "polygate_policy_cpu_seconds_total{policy=\"stamp\"} 0.0025",
            "polygate_policy_failures_total{policy=\"stamp\",reason=\"policy_cpu\"} 4",
            "polygate_connections 7",
        ] {
            assert!(out.lines().any(|given| given == line), "{line}\n{out}");
        }
    }
}
