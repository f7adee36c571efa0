//! Settings of the whole gateway, with their defaults.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::{Budget, ByteSize, LogLevel, Target, Upgrade};

use crate::upstream::{Dns, Upstream};
use crate::{AccessLogSettings, AmbiguousPaths, Compression, Connection, Networks, Tls, UpstreamTls};

/// What is not per route.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where clients connect.
    pub listen: Listen,
    /// Caps on what clients send.
    pub limits: Limits,
    /// How long clients may take.
    pub timeouts: Timeouts,
    /// What is done when memory, descriptors or time run out.
    pub overload: Overload,
    /// The budget of policies that name none.
    pub budget: Budget,
    /// Defaults for connections to upstreams.
    pub connection: Connection,
    /// Named upstreams.
    pub upstreams: Vec<Upstream>,
    /// Encryption towards clients; `None` when there is no listener for it.
    pub tls: Option<Tls>,
    /// How names of upstreams are resolved.
    pub dns: Dns,
    /// What plugins may reach.
    pub outbound: Outbound,
    /// Response compression; `None` when it is off, as by default.
    pub compression: Option<Compression>,
    /// Logging.
    pub log: LogSettings,
    /// Export of traces and metrics; `None` when it is off.
    pub telemetry: Option<Telemetry>,
    /// Address of the echo service that `dev` starts beside the gateway; `None` when the project wants none.
    pub dev_echo: Option<SocketAddr>,
}

impl Settings {
    /// How each kind of connection to upstreams is encrypted, with the name of the upstream, if it is one's own.
    pub fn upstream_tls(&self) -> impl Iterator<Item = (Option<&str>, &Arc<UpstreamTls>)> {
        let named = self.upstreams.iter().filter(|upstream| upstream.split.is_empty());
        let named = named.map(|upstream| (Some(upstream.name.as_str()), &upstream.connection.tls));
        std::iter::once((None, &self.connection.tls)).chain(named)
    }

    /// All files of certificates, keys and authorities, some of them more than once.
    pub fn certificate_files(&self) -> impl Iterator<Item = &Path> {
        let upstreams = self.upstream_tls().flat_map(|(_, tls)| tls.files());
        self.tls.iter().flat_map(Tls::files).chain(upstreams)
    }
}

/// Where clients connect, and whom to believe.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address of the listener. Default 127.0.0.1:8080.
    pub address: SocketAddr,
    /// Address of the listener for TLS; `None` when there is none.
    pub tls_address: Option<SocketAddr>,
    /// Whether HTTP/2 with prior knowledge (RFC 9113 3.3) is served on the listener without TLS. Default true.
    pub http2: bool,
    /// Address of the admin API; `None` when it is off. Default 127.0.0.1:8081.
    pub admin: Option<SocketAddr>,
    /// Worker threads; `None` means one a core.
    pub workers: Option<usize>,
    /// Proxies whose `X-Forwarded-*`, request id and PROXY headers are believed. Default none.
    pub trusted_proxies: Networks,
    /// Whether connections of trusted proxies begin with a header of the PROXY protocol. Default false.
    pub proxy_protocol: bool,
    /// What becomes of requests whose path can be read in more than one way, where the route does not say it. Default
    /// [`AmbiguousPaths::Reject`].
    pub ambiguous_paths: AmbiguousPaths,
    /// The header that carries the request id, in and out. Default `x-request-id`.
    pub request_id_header: String,
    /// Protocols that clients may go on with in place of HTTP; others are not asked for. Default `websocket`.
    pub upgrades: Vec<Upgrade>,
    /// The unix socket at which a new process of `run` asks for the listening sockets; `None` means that it cannot.
    pub upgrade_socket: Option<PathBuf>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_address: None,
            http2: true,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 8081))),
            workers: None,
            trusted_proxies: Networks::default(),
            proxy_protocol: false,
            ambiguous_paths: AmbiguousPaths::default(),
            request_id_header: "x-request-id".to_owned(),
            upgrades: Upgrade::new(Upgrade::WEBSOCKET).into_iter().collect(),
            upgrade_socket: None,
        }
    }
}

/// Caps on what clients send and on how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Request target. Beyond: 414. Default 8 KiB.
    pub uri: ByteSize,
    /// The whole head. Beyond: 431. Default 64 KiB.
    pub head: ByteSize,
    /// One header line. Beyond: 431. Default 16 KiB.
    pub header_line: ByteSize,
    /// Number of header fields. Beyond: 431. Default 128.
    pub header_fields: usize,
    /// Request body, where the route does not say it. Beyond: 413. Default 100 MiB.
    pub body: ByteSize,
    /// Unread bytes of a request's body that are drained so that the connection can be kept. Default 64 KiB.
    pub drain: ByteSize,
    /// Connections of one worker. Beyond: closed at once. Default 20,000.
    pub connections: usize,
    /// Connections of one client address on one worker; of IPv6, of one network of 64 bits. Trusted proxies may have any
    /// number. Beyond: closed at once, before TLS. `None` when there is no such cap. Default 10,000: half of
    /// [`connections`](Self::connections), so that no address takes all places, and a translator or a load balancer with
    /// many clients behind it is let in all the same.
    pub connections_per_address: Option<NonZeroUsize>,
    /// TLS handshakes under way on one worker. Beyond: closed at once. Default 2,000.
    pub handshakes: usize,
    /// Interim responses (1xx) of an upstream that a client is sent of one exchange. Beyond: dropped. Default 16.
    pub interim_responses: usize,
    /// Tunnels of one worker, those that are asked for included. Beyond: 503. Default 10,000.
    pub tunnels: usize,
    /// Exchanges that run on one worker. Beyond: 503 `overloaded`. Default 20,000.
    pub exchanges: usize,
    /// Caps on connections of HTTP/2.
    pub http2: Http2Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri: ByteSize::kib(8),
            head: ByteSize::kib(64),
            header_line: ByteSize::kib(16),
            header_fields: 128,
            body: ByteSize::mib(100),
            drain: ByteSize::kib(64),
            connections: 20_000,
            connections_per_address: NonZeroUsize::new(10_000),
            handshakes: 2_000,
            interim_responses: 16,
            tunnels: 10_000,
            exchanges: 20_000,
            http2: Http2Limits::default(),
        }
    }
}

/// What is done when memory, descriptors or time run out, and when. Shares are of what there is, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overload {
    /// Whether anything is. Default true.
    pub enabled: bool,
    /// How much memory there is; `None` means what the process's cgroup may have, or 80 % of the machine's.
    pub memory: Option<ByteSize>,
    /// From this share of memory or descriptors on, connections are closed after their exchange, and the oldest idle ones
    /// at once. Default 0.85.
    pub close_at: f64,
    /// From this share on, new exchanges are answered with 503. Default 0.92.
    pub shed_at: f64,
    /// From this share on, no connection is accepted. Default 0.97.
    pub pause_at: f64,
    /// When a worker's event loop is so late, twice in a row, it answers new exchanges with 503. Default 500 ms.
    pub lag: Duration,
    /// What the 503 says in `Retry-After`, in whole seconds. Default 2 s.
    pub retry_after: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            enabled: true,
            memory: None,
            close_at: 0.85,
            shed_at: 0.92,
            pause_at: 0.97,
            lag: Duration::from_millis(500),
            retry_after: Duration::from_secs(2),
        }
    }
}

/// The largest window of flow control, and the largest buffer behind one (RFC 9113 6.9.1).
pub const MAX_HTTP2_WINDOW: u64 = (1 << 31) - 1;

/// Caps on one connection of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams that are open at a time. Beyond: refused with REFUSED_STREAM. Default 128.
    pub streams: u32,
    /// Bytes of one request's body that are taken before they are read. Default 256 KiB.
    pub stream_window: ByteSize,
    /// The same of all requests of a connection together. Default 1 MiB.
    pub connection_window: ByteSize,
    /// Bytes of one response that wait to be written. Default 64 KiB.
    pub send_buffer: ByteSize,
    /// Streams that the client may reset in ten seconds, beyond as many as were answered whole. Beyond: closed with
    /// ENHANCE_YOUR_CALM. Default 100.
    pub resets: u32,
    /// Streams that the client has reset before they were looked at. Beyond: closed likewise. Default 20.
    pub pending_resets: usize,
    /// Streams that had to be reset because the client broke the protocol, or opened too many. Beyond: closed
    /// likewise. Default 100.
    pub stream_errors: usize,
    /// Frames that carry nothing of a message (SETTINGS counts twice, PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown
    /// ones) in ten seconds, beyond four for each frame of a response. Beyond: closed likewise. Default 100.
    pub control_frames: u32,
    /// Frames that one head may be spread over. Beyond: closed likewise. Default 20.
    pub head_frames: u32,
    /// Heads that were refused because they are too large, and whose answers the client does not take. Beyond: closed
    /// likewise. Default 20.
    pub large_heads: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            stream_window: ByteSize::kib(256),
            connection_window: ByteSize::mib(1),
            send_buffer: ByteSize::kib(64),
            resets: 100,
            pending_resets: 20,
            stream_errors: 100,
            control_frames: 100,
            head_frames: 20,
            large_heads: 20,
        }
    }
}

/// How long clients may take, and how long a stop waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From a connection's beginning to the end of its PROXY header. Default 5 s.
    pub proxy_header: Duration,
    /// From a connection's beginning to the end of its TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// From a connection's or request's first byte to its whole head. Default 10 s.
    pub head: Duration,
    /// A pause within a request's body, over HTTP/2 until its response begins. Default 30 s.
    pub body: Duration,
    /// A pause in which the client takes nothing of a response. Default 30 s.
    pub write: Duration,
    /// Between two requests of a connection. Default 75 s.
    pub idle: Duration,
    /// A pause in which nothing moves through a tunnel, either way, and over HTTP/2 one within a request's body once its
    /// response has begun. Default 1 h.
    pub tunnel_idle: Duration,
    /// How long a stop serves on as before once `/health/ready` says 503. Default 0.
    pub ready_delay: Duration,
    /// How long a stop waits for running exchanges. Default 30 s.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            proxy_header: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            tunnel_idle: Duration::from_secs(3600),
            ready_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
        }
    }
}

/// What plugins may reach with outbound requests.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Whether plugins may send requests to link-local addresses (cloud metadata services live there). Default false.
    pub link_local: bool,
    /// Whether plugins may send requests to loopback and private addresses. Default true: a gateway's own services
    /// live there.
    pub private: bool,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { link_local: false, private: true }
    }
}

/// Logging.
#[derive(Debug, Clone, Default)]
pub struct LogSettings {
    /// How lines look; `None` means pretty in `dev` and JSON in `run`.
    pub format: Option<LogFormat>,
    /// How severe a line must be, at first; `None` means debug in `dev` and info in `run`.
    pub level: Option<LogLevel>,
    /// One line for each exchange.
    pub access: AccessLogSettings,
    /// Exchanges that the X-ray of `run` keeps in full: one of so many; 0 keeps none. Default 100; `dev`
    /// keeps each.
    pub xray_sample: Option<u32>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Export of traces and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The collector.
    pub endpoint: Target,
    /// How it is spoken to. Default HTTP.
    pub protocol: OtlpProtocol,
    /// Share of the traces begun here that are sampled, 0 to 1. Default 1.
    pub sample: f64,
    /// Whether the trace of any client is continued, and not of trusted proxies alone. Default true.
    pub trust_parents: bool,
    /// Whether traces are exported. Default true.
    pub traces: bool,
    /// How often metrics are exported; `None`, as by default, when they are not.
    pub metrics: Option<Duration>,
    /// What the gateway is called. Default `polygate`.
    pub service_name: String,
    /// How long one request to the collector may take. Default 10 s.
    pub timeout: Duration,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtlpProtocol {
    /// OTLP/HTTP with protobuf.
    #[default]
    Http,
    /// OTLP/gRPC.
    Grpc,
}
