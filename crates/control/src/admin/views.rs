//! The admin API's JSON.

use std::net::SocketAddr;
use std::time::SystemTime;

use polygate_gateway::{Cause, CertificateStatus, ExchangeRecord, TlsStatus, UpstreamTlsStatus};
use polygate_pipeline::Diagnostic;
use polygate_plan::{Plan, Settings};
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::explain::handler_kind;
use crate::overload::Report;
use crate::state::{Deployments, State, policies, resident_memory};

/// Exchanges that are given when no limit is asked for.
const DEFAULT_LIMIT: usize = 50;

/// Exchanges that are given at most.
const MAX_LIMIT: usize = 1_000;

pub(super) fn status(state: &State) -> Value {
    let deployments = state.deployments();
    let running = deployments.running.as_ref().map(|running| {
        let plan = running.deployment.plan();
        json!({
            "deployment": running.deployment.id(),
            "since": rfc3339(running.since),
            "took_ms": running.took.as_millis() as u64,
            "routes": plan.routes.len(),
            "policies": policies(plan),
        })
    });
    let refused = deployments.refused.as_ref().map(|refused| {
        json!({
            "at": rfc3339(refused.at),
            "newer_than_running": deployments.stale,
            "diagnostics": refused.diagnostics,
        })
    });
    let gateway = state.gateway();
    let metrics = gateway.as_ref().map(|gateway| gateway.metrics()).unwrap_or_default();
    json!({
        "version": state.version,
        "mode": state.mode.as_str(),
        "project": { "name": state.project, "root": state.root },
        "process": std::process::id(),
        "uptime_s": state.started.elapsed().as_secs(),
        "stopping": state.is_stopping(),
        "address": gateway.as_ref().map(|gateway| gateway.address().to_string()),
        "tls": gateway.as_ref().and_then(|gateway| Some(tls(gateway.tls_address()?, &gateway.tls_status()?))),
        "upstream_tls": gateway.as_ref().map(|gateway| upstream_tls(&gateway.upstream_tls_status(), &deployments)),
        "workers": gateway.as_ref().map_or(0, |gateway| gateway.workers()),
        "connections": metrics.connections,
        "exchanges_running": metrics.running,
        "running": running,
        "refused": refused,
        "reloads": { "ok": deployments.reloaded, "refused": deployments.refusals },
        "overload": state.overload().as_ref().map(overload),
        "memory": { "resident_bytes": resident_memory(), "plugins_bytes": metrics.plugin_memory },
    })
}

fn overload(report: &Report) -> Value {
    let readings: serde_json::Map<String, Value> = report
        .readings
        .iter()
        .map(|reading| {
            // What nothing limits is null.
            let most = reading.most.is_finite().then_some(reading.most);
            let shown = json!({ "used": reading.used, "most": most, "share": reading.share() });
            (reading.cause.as_str().to_owned(), shown)
        })
        .collect();
    json!({
        "level": report.overload.level.as_str(),
        "cause": report.overload.cause.map(Cause::as_str),
        "since": rfc3339(report.since),
        "readings": readings,
    })
}

fn tls(address: SocketAddr, tls: &TlsStatus) -> Value {
    json!({
        "address": address.to_string(),
        "certificates": certificates(&tls.certificates),
        "refused": tls.refused.as_ref().map(refused_files),
        "refreshes": { "ok": tls.refreshed, "refused": tls.refusals },
    })
}

/// TLS towards upstreams, with those that need not prove who they are.
fn upstream_tls(tls: &UpstreamTlsStatus, deployments: &Deployments) -> Value {
    let settings = deployments.running.as_ref().map(|running| &running.deployment.plan().settings);
    let unverified: Vec<String> = settings
        .into_iter()
        .flat_map(Settings::upstream_tls)
        .filter(|(_, tls)| !tls.verify)
        .map(|(name, _)| name.map_or("connection".to_owned(), |name| format!("upstreams.{name}")))
        .collect();
    json!({
        "unverified": unverified,
        "certificates": certificates(&tls.certificates),
        "refused": tls.refused.as_ref().map(refused_files),
        "refreshes": { "ok": tls.refreshed, "refused": tls.refusals },
    })
}

fn certificates(all: &[CertificateStatus]) -> Vec<Value> {
    let view = |certificate: &CertificateStatus| {
        json!({
            "file": certificate.file,
            "names": certificate.names,
            "issuer": certificate.issuer,
            "not_before": rfc3339(certificate.not_before),
            "not_after": rfc3339(certificate.not_after),
        })
    };
    all.iter().map(view).collect()
}

fn refused_files((at, diagnostics): &(SystemTime, Vec<Diagnostic>)) -> Value {
    json!({ "at": rfc3339(*at), "diagnostics": diagnostics })
}

pub(super) fn routes(state: &State) -> Value {
    let running = state.deployments().running;
    let routes = running.as_ref().map(|running| route_list(running.deployment.plan())).unwrap_or_default();
    json!({ "deployment": running.map(|running| running.deployment.id().to_owned()), "routes": routes })
}

fn route_list(plan: &Plan) -> Vec<Value> {
    let described = |route: &polygate_plan::Route| {
        let info = &route.info;
        let methods: Vec<&str> = info.methods.iter().map(|method| method.as_str()).collect();
        json!({
            "label": info.label,
            "methods": methods,
            "path": info.path,
            "operation_id": info.operation_id,
            "summary": info.summary,
            "file": info.file,
            "inbound": info.inbound,
            "outbound": info.outbound,
            "handler": { "kind": handler_kind(&route.handler), "module": info.handler.0, "export": info.handler.1 },
        })
    };
    plan.routes.iter().map(described).collect()
}

/// Which exchanges are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    limit: usize,
    route: Option<String>,
    status: Option<Statuses>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statuses {
    One(u16),
    /// `5xx`.
    Class(u16),
}

impl Filter {
    /// Reads `limit`, `route` (a part of the label) and `status` (`404`, `5xx`).
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self { limit: DEFAULT_LIMIT, route: None, status: None };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => {
                    let limit: Option<usize> = value.parse().ok();
                    let wanted = || format!("limit: a number from 1 to {MAX_LIMIT}, not {value:?}");
                    filter.limit =
                        limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(wanted)?;
                }
                "route" => filter.route = Some(value.into_owned()),
                "status" => {
                    let wanted =
                        || format!("status: a status such as 404 or a class such as 5xx, not {value:?}");
                    filter.status = Some(Statuses::parse(&value).ok_or_else(wanted)?);
                }
                _ => return Err(format!("unknown parameter {name:?}; there are limit, route and status")),
            }
        }
        Ok(filter)
    }

    fn takes(&self, record: &ExchangeRecord) -> bool {
        let route =
            self.route.as_ref().is_none_or(|part| record.route.as_ref().is_some_and(|r| r.contains(&**part)));
        let status = match self.status {
            None => true,
            Some(Statuses::One(status)) => record.status == status,
            Some(Statuses::Class(class)) => record.status / 100 == class,
        };
        route && status
    }
}

impl Statuses {
    fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class);
        }
        text.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::One)
    }
}

pub(super) fn exchanges(state: &State, filter: &Filter) -> Value {
    let all = state.gateway().as_ref().map(|gateway| gateway.exchanges(usize::MAX)).unwrap_or_default();
    let wanted: Vec<&ExchangeRecord> =
        all.iter().map(|record| &**record).filter(|record| filter.takes(record)).take(filter.limit).collect();
    json!({ "kept": all.len(), "exchanges": wanted })
}

pub(super) fn exchange(state: &State, id: &str) -> Option<Value> {
    let all = state.gateway().as_ref().map(|gateway| gateway.exchanges(usize::MAX)).unwrap_or_default();
    let found = all.iter().find(|record| record.id.as_str() == id)?;
    serde_json::to_value(&**found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_refused() {
        let filter = Filter::parse("limit=5&route=%2Forders&status=5xx").unwrap();
        let expected =
            Filter { limit: 5, route: Some("/orders".to_owned()), status: Some(Statuses::Class(5)) };
        assert_eq!(filter, expected);
        assert_eq!(Filter::parse("status=404").unwrap().status, Some(Statuses::One(404)));
        for query in ["limit=0", "limit=1001", "limit=x", "status=9xx", "status=99", "colour=red"] {
            assert!(Filter::parse(query).is_err(), "{query}");
        }
    }
}
