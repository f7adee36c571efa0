//! `[upstreams.NAME]` and `[dns]` as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::settings::Protocol;
use super::text::{Address, Duration, Size};
use super::tls::UpstreamTls;

/// A target: its base URL, or more of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Target {
    /// Its base URL alone.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    Url(String),
    /// A base URL with its weight.
    Weighted(WeightedTarget),
}

/// A target with its weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct WeightedTarget {
    /// Its base URL.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    pub(crate) url: String,
    /// Its share relative to the other targets. Default 1.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) weight: Option<u32>,
}

/// How one of an upstream's endpoints is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    /// In turn, as often as their weights say.
    RoundRobin,
    /// Of two that are drawn, the one with fewer requests under way.
    LeastRequest,
    /// Drawn by lot.
    Random,
    /// The same one for the same key; see `hash`.
    ConsistentHash,
    /// The one that a cookie names; see `cookie`.
    StickyCookie,
}

/// What consistent hashing goes by: one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Hash {
    /// The first value of this header.
    pub(crate) header: Option<String>,
    /// The value of this cookie.
    pub(crate) cookie: Option<String>,
    /// `client` (its address) or `path`.
    pub(crate) by: Option<HashBy>,
}

/// What consistent hashing goes by, of what every request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HashBy {
    /// The client's address.
    Client,
    /// The path, without query.
    Path,
}

/// The cookie of `sticky-cookie`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Cookie {
    /// Its name. Default `polygate-endpoint`.
    pub(crate) name: Option<String>,
    /// `Path`. Default `/`.
    pub(crate) path: Option<String>,
    /// `Domain`. Default none.
    pub(crate) domain: Option<String>,
    /// `Max-Age`. Default none: until the browser is closed.
    pub(crate) max_age: Option<Duration>,
    /// `Secure`. Default false.
    pub(crate) secure: Option<bool>,
    /// `HttpOnly`. Default true.
    pub(crate) http_only: Option<bool>,
    /// `SameSite`. Default `lax`.
    pub(crate) same_site: Option<SameSite>,
}

/// `SameSite` of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SameSite {
    /// Only with requests of the same site.
    Strict,
    /// Also when a link of another site is followed.
    Lax,
    /// Always; needs `secure`.
    None,
}

/// When requests are tried again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Retries {
    /// Further tries after the first one; 0 for none. Default 1.
    #[schemars(range(max = 10))]
    pub(crate) attempts: Option<u32>,
    /// What is worth another try. Default `["connect-failure"]`.
    pub(crate) on: Option<Vec<RetryOn>>,
    /// Retries may be so many percent of requests. Default 20.
    #[schemars(range(max = 100))]
    pub(crate) budget_percent: Option<u32>,
    /// Retries that there may be beyond that; one comes back each second. Default 10.
    #[schemars(range(max = 10_000))]
    pub(crate) budget_reserve: Option<u32>,
    /// The mean wait before the first retry; it doubles with each further one. Default none.
    pub(crate) backoff: Option<Duration>,
    /// The longest `Retry-After` that is waited for. Default: no attention is paid to it.
    pub(crate) retry_after: Option<Duration>,
    /// Bytes of a streaming body that are kept in case they must be sent again. Default 64KiB.
    pub(crate) body: Option<Size>,
}

/// What is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum RetryOn {
    /// Not connected.
    #[serde(rename = "connect-failure")]
    ConnectFailure,
    /// The connection ended before the response's head.
    #[serde(rename = "reset")]
    Reset,
    /// The try took too long.
    #[serde(rename = "timeout")]
    Timeout,
    /// 429.
    #[serde(rename = "429")]
    TooManyRequests,
    /// 500.
    #[serde(rename = "500")]
    InternalServerError,
    /// 502.
    #[serde(rename = "502")]
    BadGateway,
    /// 503.
    #[serde(rename = "503")]
    ServiceUnavailable,
    /// 504.
    #[serde(rename = "504")]
    GatewayTimeout,
}

/// Checks of each endpoint's health.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Check {
    /// The path that is asked for with GET. Default none: a check only connects.
    pub(crate) path: Option<String>,
    /// `Host` of the request. Default the target's.
    pub(crate) host: Option<String>,
    /// Between two checks of an endpoint. Default 10s.
    pub(crate) interval: Option<Duration>,
    /// How long a check may take. Default 2s.
    pub(crate) timeout: Option<Duration>,
    /// Statuses that are well: `200`, `200-299`. Default `["200-299"]`.
    pub(crate) statuses: Option<Vec<String>>,
    /// Checks in a row that must be well before an unhealthy endpoint is healthy. Default 2.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) healthy: Option<u32>,
    /// Checks in a row that must fail before a healthy endpoint is unhealthy. Default 3.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) unhealthy: Option<u32>,
}

/// When an endpoint is left alone because of what exchanges told.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Eject {
    /// Failures in a row that eject. Default 5.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) failures: Option<u32>,
    /// How long the first time; each further one in a row is twice as long. Default 10s.
    pub(crate) time: Option<Duration>,
    /// The longest. Default 5m.
    pub(crate) max_time: Option<Duration>,
    /// Endpoints that may be ejected at a time, in percent. Default 50.
    #[schemars(range(max = 100))]
    pub(crate) max_percent: Option<u8>,
}

/// Caps of one upstream on one worker; beyond, 503.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Breaker {
    /// Open connections; beyond, requests wait. Default 4096.
    #[schemars(range(min = 1))]
    pub(crate) connections: Option<usize>,
    /// Requests that wait for a connection. Default 1024.
    pub(crate) pending: Option<usize>,
    /// Requests under way. Default 16384.
    #[schemars(range(min = 1))]
    pub(crate) requests: Option<usize>,
    /// Retries under way. Default 64.
    pub(crate) retries: Option<usize>,
}

/// Caps of HTTP/2 with one target, of one worker.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct UpstreamHttp2 {
    /// Connections at a time; beyond, requests wait for a stream. Default 16.
    #[schemars(range(min = 1))]
    pub(crate) connections: Option<usize>,
    /// Streams on one connection at a time, if the server allows so many. Default 100.
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) streams: Option<u32>,
    /// Requests that wait for a connection, or for a stream on one; beyond, 503. Default 1024.
    pub(crate) waiting: Option<usize>,
    /// Bytes of one response that are taken before they are read. Default 256KiB.
    pub(crate) stream_window: Option<Size>,
    /// Bytes of one request that wait to be written. Default 64KiB.
    pub(crate) send_buffer: Option<Size>,
    /// Streams that had to be reset because the server broke the protocol; beyond, its connection is closed. Default 100.
    #[schemars(range(min = 1))]
    pub(crate) stream_errors: Option<usize>,
}

/// Where copies of requests go; their answers are thrown away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Mirror {
    /// The name of another upstream.
    pub(crate) upstream: String,
    /// How many of the requests. Default 100.
    #[schemars(range(max = 100))]
    pub(crate) percent: Option<u8>,
    /// The longest body that is copied. Default 64KiB.
    pub(crate) body: Option<Size>,
    /// Copies under way on a worker; beyond, none are made. Default 64.
    pub(crate) in_flight: Option<usize>,
}

/// A named upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Upstream {
    /// Its base URL. `srv+http://_http._tcp.name` takes hosts, ports and weights from SRV records.
    pub(crate) url: Option<String>,
    /// Its base URLs, with weights where they are not alike; in place of `url`.
    pub(crate) targets: Option<Vec<Target>>,
    /// Shares of other upstreams, by name; in place of `url` and `targets`.
    pub(crate) split: Option<BTreeMap<String, u32>>,
    /// How one of the endpoints is chosen. Default `round-robin`.
    pub(crate) balance: Option<Balance>,
    /// What `consistent-hash` goes by. Default the client's address.
    pub(crate) hash: Option<Hash>,
    /// The cookie of `sticky-cookie`.
    pub(crate) cookie: Option<Cookie>,
    /// Until connected, TLS included.
    pub(crate) connect: Option<Duration>,
    /// Until the response's head, over all tries.
    pub(crate) response: Option<Duration>,
    /// Until the response's head, of one try. Default `response`.
    pub(crate) r#try: Option<Duration>,
    /// A pause within a body.
    pub(crate) idle_body: Option<Duration>,
    /// How long an unused connection is kept.
    pub(crate) keep_alive: Option<Duration>,
    /// Unused connections kept per target and worker.
    pub(crate) pool: Option<usize>,
    /// Which HTTP is spoken.
    pub(crate) protocol: Option<Protocol>,
    /// Caps of HTTP/2 with one target, of one worker.
    pub(crate) http2: UpstreamHttp2,
    /// A file with certificate authorities (PEM) beside the system's, relative to the project's folder.
    pub(crate) ca_file: Option<String>,
    /// How connections to `https` targets are encrypted.
    pub(crate) tls: Option<UpstreamTls>,
    /// When requests are tried again.
    pub(crate) retries: Option<Retries>,
    /// Checks of each endpoint's health. Default none.
    pub(crate) check: Option<Check>,
    /// When an endpoint is left alone because of what exchanges told. Default never.
    pub(crate) eject: Option<Eject>,
    /// How long an endpoint that recovered takes to get its whole share. Default none.
    pub(crate) slow_start: Option<Duration>,
    /// With a smaller percentage of usable endpoints all are used; 0 means never. Default 10.
    #[schemars(range(max = 100))]
    pub(crate) panic: Option<u8>,
    /// Caps of one worker.
    pub(crate) breaker: Breaker,
    /// Where copies of requests go.
    pub(crate) mirror: Option<Mirror>,
}

/// How names of upstreams are resolved.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Dns {
    /// Name servers. Default those of the system.
    pub(crate) servers: Vec<Address>,
    /// Answers are used at least so long. Default 1s.
    pub(crate) min_ttl: Option<Duration>,
    /// Answers are used at most so long. Default 5m.
    pub(crate) max_ttl: Option<Duration>,
    /// How long one question may take. Default 5s.
    pub(crate) timeout: Option<Duration>,
    /// Which addresses of a name count. Default `both`.
    pub(crate) family: Option<Family>,
}

/// Which addresses of a name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}
