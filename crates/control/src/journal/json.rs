//! The journal for machines: one JSON object a line.
//!
//! Every line has `time` (RFC 3339, UTC), `type` and `level`.
//! - `type: "access"`: one exchange: `id`, `client`, `method`, `host`, `path` (no query), `version`, `route` (null when
//!   none matched), `status`, `reason`, `duration_us`, `received` and `sent` (body bytes), `upstream`, on an encrypted
//!   connection `tls` (version, cipher, name asked for, facts of the client's certificate), and when it failed
//!   `policy` and `error`. Its level is `error` for 5xx and `info` otherwise.
//! - `type: "log"`: what a plugin says: `message`, `id` of the exchange, `policy`, `fields`.
//! - `type: "gateway"`: what the gateway says about itself: `message`.

use std::sync::Arc;

use polygate_gateway::ExchangeRecord;
use polygate_pipeline::{LogLine, Tls};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::rfc3339;

#[derive(Serialize)]
struct AccessLine<'a> {
    time: String,
    r#type: &'static str,
    level: &'static str,
    id: &'a str,
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a Tls>,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    version: &'static str,
    route: Option<&'a str>,
    status: u16,
    reason: &'static str,
    duration_us: u64,
    received: u64,
    sent: u64,
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    response_headers: Map<String, Value>,
}

#[derive(Serialize)]
struct MessageLine<'a> {
    time: String,
    r#type: &'static str,
    level: polygate_pipeline::LogLevel,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: &'a Map<String, Value>,
}

pub(super) fn exchange(record: &ExchangeRecord, text: &mut String) {
    push(
        text,
        &AccessLine {
            time: rfc3339(record.time),
            r#type: "access",
            level: if record.status >= 500 { "error" } else { "info" },
            id: record.id.as_str(),
            client: record.client.to_string(),
            tls: record.tls.as_deref(),
            method: record.method.as_str(),
            host: &record.host,
            path: &record.path,
            version: record.version.as_str(),
            route: record.route.as_deref(),
            status: record.status,
            reason: record.reason.as_str(),
            duration_us: record.duration.as_micros() as u64,
            received: record.received,
            sent: record.sent,
            upstream: record.upstream.as_deref(),
            policy: record.policy.as_deref(),
            error: record.error.as_deref(),
            headers: headers(record.captured.as_deref().map(|captured| &*captured.request)),
            response_headers: headers(record.captured.as_deref().map(|captured| &*captured.response)),
        },
    );
}

fn headers(captured: Option<&[(Arc<str>, String)]>) -> Map<String, Value> {
    let pairs = captured.unwrap_or_default().iter();
    pairs.map(|(name, value)| (name.to_string(), Value::from(value.as_str()))).collect()
}

pub(super) fn line(line: &LogLine, text: &mut String) {
    message(line, "log", text);
}

pub(super) fn gateway(line: &LogLine, text: &mut String) {
    message(line, "gateway", text);
}

fn message(line: &LogLine, r#type: &'static str, text: &mut String) {
    push(
        text,
        &MessageLine {
            time: rfc3339(line.time),
            r#type,
            level: line.level,
            message: &line.message,
            id: line.request_id.as_ref().map(|id| id.as_str()),
            policy: line.policy.as_deref(),
            fields: &line.fields,
        },
    );
}

fn push(text: &mut String, line: &impl Serialize) {
    // Maps with string keys and plain values always serialise.
    if let Ok(line) = serde_json::to_string(line) {
        text.push_str(&line);
        text.push('\n');
    }
}
