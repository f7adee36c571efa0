//! `/upstreams`, and the metrics of named upstreams.

use std::time::{SystemTime, UNIX_EPOCH};

use polygate_gateway::{EndpointReport, Http2Report, UpstreamReport};
use serde_json::{Map, Value, json};

use crate::families::{Families, family, labels, sample};
use crate::state::State;

/// The named upstreams of what runs.
pub(super) fn view(state: &State) -> Value {
    let reports = state.gateway().map(|gateway| gateway.upstreams()).unwrap_or_default();
    json!({ "upstreams": reports.iter().map(upstream).collect::<Vec<_>>() })
}

fn upstream(report: &UpstreamReport) -> Value {
    let split: Map<String, Value> =
        report.split.iter().map(|(name, weight)| (name.clone(), json!(weight))).collect();
    let totals: Map<String, Value> =
        report.totals.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    json!({
        "name": report.name,
        "balance": report.balance,
        "split": split,
        "mirror": report.mirror,
        "resolved": report.settled,
        "problem": report.problem,
        "left_out": report.left_out,
        "connections": report.connections,
        "pending": report.pending,
        "running": report.running,
        "retrying": report.retrying,
        "mirroring": report.mirroring,
        "totals": totals,
        "http2": http2(&report.http2),
        "endpoints": report.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn http2(report: &Http2Report) -> Value {
    let totals = Http2Report::EVENTS.iter().zip(report.totals);
    let totals: Map<String, Value> =
        totals.map(|(event, count)| ((*event).to_owned(), json!(count))).collect();
    json!({
        "connections": report.connections,
        "streams": report.streams,
        "waiting": report.waiting,
        "totals": totals,
    })
}

fn endpoint(report: &EndpointReport) -> Value {
    json!({
        "url": report.url,
        "address": report.address,
        "weight": report.weight,
        "healthy": report.healthy,
        "why": &*report.why,
        "since_ms": report.since.map(millis),
        "ejected_by_workers": report.ejected_by,
        "ejected_until_ms": report.ejected_until.map(millis),
        "running": report.running,
        "requests": report.requests,
        "failures": report.failures,
    })
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// How one figure of an upstream or an endpoint is read.
type Figure<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

const OF_UPSTREAMS: [Figure<UpstreamReport>; 4] = [
    ("polygate_upstream_connections", "gauge", "Open connections to an upstream.", |report| {
        report.connections
    }),
    ("polygate_upstream_pending", "gauge", "Requests that wait for a connection.", |report| report.pending),
    ("polygate_upstream_running", "gauge", "Requests under way.", |report| report.running),
    ("polygate_upstream_endpoints_left_out", "gauge", "Endpoints beyond the cap.", |report| {
        report.left_out as u64
    }),
];

const OF_ENDPOINTS: [Figure<EndpointReport>; 4] = [
    ("polygate_endpoint_requests_total", "counter", "Requests that an endpoint was sent.", |report| {
        report.requests
    }),
    ("polygate_endpoint_failures_total", "counter", "Requests of an endpoint that failed.", |report| {
        report.failures
    }),
    ("polygate_endpoint_healthy", "gauge", "0 while checks find an endpoint unhealthy.", |report| {
        u64::from(report.healthy != Some(false))
    }),
    ("polygate_endpoint_ejected", "gauge", "Workers that leave an endpoint alone now.", |report| {
        report.ejected_by as u64
    }),
];

const OF_HTTP2: [Figure<Http2Report>; 3] = [
    ("polygate_upstream_http2_connections", "gauge", "Open HTTP/2 connections to an upstream.", |report| {
        report.connections
    }),
    ("polygate_upstream_http2_streams", "gauge", "Streams under way to an upstream.", |report| {
        report.streams
    }),
    ("polygate_upstream_http2_waiting", "gauge", "Requests that wait for a stream.", |report| report.waiting),
];

/// HTTP/2 towards named upstreams, and under an empty name towards all other targets.
pub(super) fn http2_metrics(out: &mut Families, reports: &[UpstreamReport], plain: &Http2Report) {
    let all = || {
        let named = reports.iter().map(|report| (report.name.as_str(), &report.http2));
        std::iter::once(("", plain)).chain(named)
    };
    for (name, kind, help, read) in OF_HTTP2 {
        family(out, name, kind, help);
        for (upstream, report) in all() {
            sample(out, name, labels(&[("upstream", upstream)]), read(report));
        }
    }
    let name = "polygate_upstream_http2_events_total";
    family(out, name, "counter", "What befell HTTP/2 connections and streams to an upstream, by kind.");
    for (upstream, report) in all() {
        for (event, count) in Http2Report::EVENTS.iter().zip(report.totals) {
            sample(out, name, labels(&[("upstream", upstream), ("event", event)]), count);
        }
    }
}

/// The metrics of named upstreams.
pub(super) fn metrics(out: &mut Families, reports: &[UpstreamReport]) {
    if reports.is_empty() {
        return;
    }
    family(out, "polygate_upstream_events_total", "counter", "What befell an upstream's requests, by kind.");
    for report in reports {
        for (event, count) in &report.totals {
            let labels = labels(&[("upstream", &report.name), ("event", event)]);
            sample(out, "polygate_upstream_events_total", &labels, count);
        }
    }
    for (name, kind, help, read) in OF_UPSTREAMS {
        family(out, name, kind, help);
        for report in reports {
            sample(out, name, labels(&[("upstream", &report.name)]), read(report));
        }
    }
    for (name, kind, help, read) in OF_ENDPOINTS {
        family(out, name, kind, help);
        for report in reports {
            for endpoint in &report.endpoints {
                let address = endpoint.address.to_string();
                sample(
                    out,
                    name,
                    labels(&[("upstream", &report.name), ("address", &address)]),
                    read(endpoint),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families;

    #[test]
    fn http2_is_told_of_each_upstream_and_of_all_others_together() {
        let plain = Http2Report { connections: 1, totals: [2, 0, 0, 0, 0], ..Http2Report::default() };
        let http2 = Http2Report { connections: 3, streams: 40, waiting: 5, totals: [1, 2, 3, 4, 5] };
        let named = UpstreamReport { name: "shop".to_owned(), http2, ..UpstreamReport::default() };
        let mut out = Families::default();
        http2_metrics(&mut out, std::slice::from_ref(&named), &plain);
        let out = families::text(&out);
        for line in [
            "polygate_upstream_http2_connections{upstream=\"\"} 1",
            "polygate_upstream_http2_connections{upstream=\"shop\"} 3",
            "polygate_upstream_http2_streams{upstream=\"shop\"} 40",
            "polygate_upstream_http2_waiting{upstream=\"shop\"} 5",
            "polygate_upstream_http2_events_total{upstream=\"\",event=\"opened\"} 2",
            "polygate_upstream_http2_events_total{upstream=\"shop\",event=\"goaway\"} 2",
            "polygate_upstream_http2_events_total{upstream=\"shop\",event=\"refused\"} 4",
            "polygate_upstream_http2_events_total{upstream=\"shop\",event=\"overloaded\"} 5",
        ] {
            assert!(out.lines().any(|given| given == line), "{line}\n{out}");
        }
        assert_eq!(upstream(&named)["http2"]["totals"]["broken"], 3);
    }
}
