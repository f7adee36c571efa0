//! Named upstreams: their targets, and how requests are spread over, kept from and repeated on them.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use polygate_pipeline::{ByteSize, Target};

use crate::Connection;

/// Upstreams of one plan, at most.
pub const MAX_UPSTREAMS: usize = 1024;
/// Targets of one upstream, and upstreams of one split, at most.
pub const MAX_TARGETS: usize = 256;
/// The largest weight of a target or share.
pub const MAX_WEIGHT: u32 = 10_000;

/// A named pool of targets, or a weighted choice between other upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in configuration.
    pub name: String,
    /// Where it leads. Empty when it is a split.
    pub targets: Vec<UpstreamTarget>,
    /// The upstreams it is split into; each has targets. Empty when it has targets itself.
    pub split: Vec<Share>,
    /// How one of the endpoints is chosen.
    pub balance: Balance,
    /// How connections to it are made and kept.
    pub connection: Connection,
    /// How long one try may go without progress until the response's head. Never longer than what is left of
    /// [`Connection::response`].
    pub try_timeout: Option<Duration>,
    /// When requests are tried again.
    pub retries: Retries,
    /// Checks that the gateway makes of its own accord.
    pub check: Option<Check>,
    /// What exchanges tell of an endpoint.
    pub eject: Option<Eject>,
    /// How long an endpoint that recovered takes to get its whole share. Default none.
    pub slow_start: Duration,
    /// With a smaller percentage of usable endpoints than this all are used; 0 means never. Default 10.
    pub panic_percent: u8,
    /// Caps of one worker.
    pub breaker: Breaker,
    /// Where copies of requests go.
    pub mirror: Option<Mirror>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            name: String::new(),
            targets: Vec::new(),
            split: Vec::new(),
            balance: Balance::default(),
            connection: Connection::default(),
            try_timeout: None,
            retries: Retries::default(),
            check: None,
            eject: None,
            slow_start: Duration::ZERO,
            panic_percent: 10,
            breaker: Breaker::default(),
            mirror: None,
        }
    }
}

/// One target of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// Its base URL.
    pub url: Target,
    /// The share of each of its addresses, relative to the others. 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Whether the host is the name of SRV records (RFC 2782), which say host, port and weight; of several
    /// priorities only the first is used.
    pub srv: bool,
}

impl UpstreamTarget {
    /// A target of weight 1 whose host is an address or a name that has addresses.
    pub fn new(url: Target) -> Self {
        Self { url, weight: 1, srv: false }
    }
}

/// A part of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Index in [`Settings::upstreams`](crate::Settings::upstreams).
    pub upstream: usize,
    /// Its share, relative to the others; 0 gets nothing.
    pub weight: u32,
}

/// How one of the endpoints is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn, as often as their weights say.
    #[default]
    RoundRobin,
    /// Of two that are drawn, the one with less to do.
    LeastRequest,
    /// Drawn by lot.
    Random,
    /// The same one for the same key.
    ConsistentHash(HashKey),
    /// The one that a cookie names.
    StickyCookie(StickyCookie),
}

/// What consistent hashing goes by. A request without it is spread by lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The first value of a header.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The client's address.
    Client,
    /// The path, without query.
    Path,
}

/// The cookie that says which endpoint a client had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name. Default `polygate-endpoint`.
    pub name: String,
    /// What follows the value in `Set-Cookie`, from `; ` on.
    pub attributes: String,
}

/// When requests are tried again: at most so often, for these causes, and only where it is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Further tries after the first one. Default 1.
    pub attempts: u32,
    /// What is worth another try. Default [`RetryOn::ConnectFailure`] alone.
    pub on: Vec<RetryOn>,
    /// Whether an upstream with a single endpoint is tried again as well. Default false.
    pub same_endpoint: bool,
    /// Retries may be so many percent of requests. Default 20.
    pub budget_percent: u32,
    /// Retries that there may be beyond that percentage; one comes back each second. Default 10.
    pub budget_reserve: u32,
    /// The mean wait before the first retry; it doubles with each further one. Default none.
    pub backoff: Duration,
    /// The longest `Retry-After` that is waited for; `None` pays no attention to it.
    pub retry_after: Option<Duration>,
    /// Bytes of a streaming body that are kept in case they must be sent again. Default 64 KiB.
    pub body: ByteSize,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: vec![RetryOn::ConnectFailure],
            same_endpoint: false,
            budget_percent: 20,
            budget_reserve: 10,
            backoff: Duration::ZERO,
            retry_after: None,
            body: ByteSize::kib(64),
        }
    }
}

/// What is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// Not connected: nothing was sent, so that every request may be tried again.
    ConnectFailure,
    /// The connection ended before the response's head. Idempotent requests, and those of which nothing was sent.
    Reset,
    /// The try took too long. Idempotent requests alone.
    Timeout,
    /// A response of this status. Idempotent requests alone.
    Status(StatusCode),
}

/// Checks of each endpoint's health, made once for all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The path that is asked for with GET; `None` only connects (over TLS where the target says https).
    pub path: Option<String>,
    /// `Host` of the request; the target's authority when `None`.
    pub host: Option<String>,
    /// Between the end of a check and the next one; a tenth more or less is drawn. Default 10 s.
    pub interval: Duration,
    /// How long a check may take. Default 2 s.
    pub timeout: Duration,
    /// Statuses that are well, as inclusive ranges. Default 200-299.
    pub statuses: Vec<(u16, u16)>,
    /// Checks in a row that must be well before an unhealthy endpoint is healthy. Default 2.
    pub healthy: u32,
    /// Checks in a row that must fail before a healthy endpoint is unhealthy. Default 3.
    pub unhealthy: u32,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            path: None,
            host: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            statuses: vec![(200, 299)],
            healthy: 2,
            unhealthy: 3,
        }
    }
}

/// When an endpoint is left alone because of what exchanges told: each worker by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row (not connected, closed, timed out, 5xx) that eject. Default 5.
    pub failures: u32,
    /// How long the first time. Each further one in a row is twice as long. Default 10 s.
    pub time: Duration,
    /// The longest. Default 5 min.
    pub max_time: Duration,
    /// Endpoints that may be ejected at a time, in percent. Default 50.
    pub max_percent: u8,
}

impl Default for Eject {
    fn default() -> Self {
        Self {
            failures: 5,
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            max_percent: 50,
        }
    }
}

/// Caps of one upstream on one worker. Beyond: 503 `upstream_overloaded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Open connections. Beyond, requests wait. Default 4,096.
    pub connections: usize,
    /// Requests that wait for a connection. Default 1,024.
    pub pending: usize,
    /// Requests under way, waiting ones included. Default 16,384.
    pub requests: usize,
    /// Retries under way. Default 64.
    pub retries: usize,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { connections: 4096, pending: 1024, requests: 16_384, retries: 64 }
    }
}

/// Where copies of requests go. Their answers are thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Index in [`Settings::upstreams`](crate::Settings::upstreams); that one's own mirror takes no part.
    pub upstream: usize,
    /// How many of the requests. Default 100.
    pub percent: u8,
    /// The longest body that is copied; a request with a longer one is not mirrored. Default 64 KiB.
    pub body: ByteSize,
    /// Copies under way on a worker; beyond, none are made. Default 64.
    pub in_flight: usize,
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; empty means those of the system.
    pub servers: Vec<SocketAddr>,
    /// Answers are used at least so long. Default 1 s.
    pub min_ttl: Duration,
    /// Answers are used at most so long. Default 5 min.
    pub max_ttl: Duration,
    /// How long one question may take. Default 5 s.
    pub timeout: Duration,
    /// Which addresses count.
    pub family: Family,
}

/// Which addresses of a name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            family: Family::Both,
        }
    }
}
