//! `/upstreams`, and the metrics of named upstreams.

use std::time::{SystemTime, UNIX_EPOCH};

use polygate_gateway::{EndpointReport, UpstreamReport};
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
        "endpoints": report.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
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
