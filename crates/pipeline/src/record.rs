//! What a layer did to an exchange: the X-ray's material.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::{Headers, Reason, Request, Response, Role};

/// How a layer's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It has not ended.
    Running,
    /// It passed the request on, and back what came: the response, or the failure of a layer within.
    Continued,
    /// It answered itself; what stands within did not run.
    Answered,
    /// It failed and the exchange with it.
    Failed {
        /// Why.
        reason: Reason,
    },
    /// It failed and was skipped, as its failure policy says.
    Skipped {
        /// Why.
        reason: Reason,
    },
    /// The exchange ended before it did: the client went away.
    Abandoned,
}

/// One layer's part in an exchange.
#[derive(Debug, Clone, Serialize)]
pub struct StepRecord {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Its world.
    pub world: Arc<str>,
    /// Its role on the route.
    pub role: Role,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Time in the layer itself, without what stands within.
    #[serde(serialize_with = "as_micros", rename = "duration_us")]
    pub duration: Duration,
    /// CPU time that its engine measured; contained in `duration`.
    #[serde(serialize_with = "as_micros", rename = "cpu_us")]
    pub cpu: Duration,
    /// The status of the response as it left the layer.
    #[serde(serialize_with = "status_number")]
    pub status: Option<StatusCode>,
    /// What it changed; filled only while the exchange is being X-rayed.
    pub edits: Vec<Edit>,
    /// Whether control is in the layers within.
    #[serde(skip)]
    pub(crate) within: bool,
    /// Whether it called the layers within at all.
    #[serde(skip)]
    pub(crate) called: bool,
}

fn as_micros<S: serde::Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(duration.as_micros() as u64)
}

fn status_number<S: serde::Serializer>(status: &Option<StatusCode>, s: S) -> Result<S::Ok, S::Error> {
    match status {
        Some(status) => s.serialize_u16(status.as_u16()),
        None => s.serialize_none(),
    }
}

/// One change of a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// `request` or `response`.
    pub message: &'static str,
    /// The header's name, or `:method`, `:target`, `:status`, `:body`.
    pub name: String,
    /// What stood there; `None` when nothing did.
    pub before: Option<String>,
    /// What stands there now; `None` when it was removed.
    pub after: Option<String>,
}

/// Values of these fields are shown as `(redacted)`: the X-ray must not collect credentials.
const SECRET: &[&str] = &["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

pub(crate) fn request_edits(before: &Request, after: &Request, edits: &mut Vec<Edit>) {
    if before.method != after.method {
        edits.push(edit("request", ":method", Some(before.method.as_str()), Some(after.method.as_str())));
    }
    if before.target != after.target {
        let (b, a) = (before.target.to_string(), after.target.to_string());
        edits.push(edit("request", ":target", Some(&b), Some(&a)));
    }
    header_edits("request", &before.headers, &after.headers, edits);
}

pub(crate) fn response_edits(before: &Response, after: &Response, edits: &mut Vec<Edit>) {
    if before.status != after.status {
        edits.push(edit("response", ":status", Some(before.status.as_str()), Some(after.status.as_str())));
    }
    header_edits("response", &before.headers, &after.headers, edits);
}

fn edit(message: &'static str, name: &str, before: Option<&str>, after: Option<&str>) -> Edit {
    Edit {
        message,
        name: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

fn header_edits(message: &'static str, before: &Headers, after: &Headers, edits: &mut Vec<Edit>) {
    let joined = |headers: &Headers, name: &str| {
        let values: Vec<_> = headers.get_all(name).map(String::from_utf8_lossy).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in before.iter().chain(after.iter()) {
        if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    for name in names {
        let (mut b, mut a) = (joined(before, name), joined(after, name));
        if a == b {
            continue;
        }
        if SECRET.iter().any(|s| s.eq_ignore_ascii_case(name)) {
            for value in [&mut b, &mut a].into_iter().flatten() {
                *value = "(redacted)".to_owned();
            }
        }
        edits.push(Edit { message, name: name.to_ascii_lowercase(), before: b, after: a });
    }
}
