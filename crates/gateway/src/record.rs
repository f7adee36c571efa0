//! What is kept of an exchange when it is over: an access log entry, and the X-ray when its steps hold edits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polygate_pipeline::{Method, Reason, RequestId, StepRecord, Tls, Version};
use serde::{Serialize, Serializer};

use crate::access::Captured;

/// One exchange.
#[derive(Debug, Clone, Serialize)]
pub struct ExchangeRecord {
    /// Its id.
    pub id: RequestId,
    /// When the request's head was complete; milliseconds since 1970 in JSON.
    #[serde(serialize_with = "as_epoch_millis", rename = "time_ms")]
    pub time: SystemTime,
    /// The client's address.
    pub client: IpAddr,
    /// Facts of the encryption; `None` on a cleartext connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<Tls>>,
    /// The method as received.
    #[serde(serialize_with = "method_name")]
    pub method: Method,
    /// The authority as received.
    pub host: String,
    /// The path as received, without query: queries may hold secrets.
    pub path: String,
    /// The version as received.
    #[serde(serialize_with = "version_name")]
    pub version: Version,
    /// The route's label; `None` when none matched.
    pub route: Option<Arc<str>>,
    /// The status that was sent.
    pub status: u16,
    /// Why it ended as it did.
    pub reason: Reason,
    /// The policy that is to blame for a failure.
    pub policy: Option<Arc<str>>,
    /// What went wrong, for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the request's head to the response's last byte.
    #[serde(serialize_with = "as_micros", rename = "duration_us")]
    pub duration: Duration,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes of the response's body that were sent.
    pub sent: u64,
    /// The authority the request was forwarded to.
    pub upstream: Option<String>,
    /// The address that it was sent to last.
    pub upstream_address: Option<SocketAddr>,
    /// How often it was forwarded: more than once after retries and redirects.
    pub tries: u32,
    /// What the layers did, outermost first.
    pub steps: Vec<StepRecord>,
    /// Whether the steps' edits were recorded.
    pub xray: bool,
    /// The worker's number.
    pub worker: usize,
    /// Parts of the messages that the access log's lines hold.
    #[serde(skip)]
    pub captured: Option<Box<Captured>>,
}

fn as_micros<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(duration.as_micros() as u64)
}

fn as_epoch_millis<S: Serializer>(time: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

fn method_name<S: Serializer>(method: &Method, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(method.as_str())
}

fn version_name<S: Serializer>(version: &Version, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(version.as_str())
}
