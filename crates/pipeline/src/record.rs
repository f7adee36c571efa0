//! What a layer did to an exchange: the X-ray's material.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::{Reason, Role};

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
    /// When its turn began, from the exchange's beginning.
    #[serde(skip)]
    pub begun: Duration,
    /// When its turn ended; zero when it has not.
    #[serde(skip)]
    pub ended: Duration,
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
