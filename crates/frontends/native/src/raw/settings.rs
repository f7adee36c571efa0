//! `polygate.toml` as it is written.

use std::collections::BTreeMap;

use polygate_pipeline::OnFailure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::policies::OnFailureName;
use super::routes::AmbiguousPathsName;
use super::text::{Address, Duration, Network, Size};
use super::tls::{Tls, UpstreamTls};
use super::upstreams::{Dns, Upstream, UpstreamHttp2};

/// What is not per route: `polygate.toml`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "Polygate settings")]
pub(crate) struct SettingsFile {
    /// Where clients connect, and whom to believe.
    pub(crate) listen: Listen,
    /// How connections to `listen.tls-address` are encrypted.
    pub(crate) tls: Tls,
    /// The admin API.
    pub(crate) admin: Admin,
    /// Caps on what clients send and on how many there are.
    pub(crate) limits: Limits,
    /// How long clients may take, and how long a stop waits.
    pub(crate) timeouts: Timeouts,
    /// What is done when memory, descriptors or time run out.
    pub(crate) overload: Overload,
    /// The budget of policies, as far as they do not say their own.
    pub(crate) budget: Budget,
    /// Defaults for connections to upstreams.
    pub(crate) connection: Connection,
    /// Named upstreams, for `"options": {"upstream": "NAME"}`.
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// How names of upstreams are resolved.
    pub(crate) dns: Dns,
    /// What plugins may reach with outbound requests.
    pub(crate) outbound: Outbound,
    /// Response compression.
    pub(crate) compression: Compression,
    /// Logging.
    pub(crate) log: Log,
    /// How the lines of exchanges look and where they go.
    pub(crate) access_log: AccessLogFile,
    /// Export of traces and metrics with OpenTelemetry's protocol.
    pub(crate) telemetry: Telemetry,
    /// What `polygate dev` does beside serving.
    pub(crate) dev: Dev,
}

/// Where clients connect, and whom to believe.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Address of the listener. Default 127.0.0.1:8080.
    pub(crate) address: Option<Address>,
    /// Address of the listener for TLS. Default: none.
    pub(crate) tls_address: Option<Address>,
    /// Whether HTTP/2 with prior knowledge is served on the listener without TLS. Default true.
    pub(crate) http2: Option<bool>,
    /// Worker threads. Default: one a core.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) workers: Option<usize>,
    /// Addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-*`, request id and PROXY headers are believed.
    /// Default none.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Whether connections of trusted proxies begin with a header of the PROXY protocol, version 1 or 2. Default false.
    pub(crate) proxy_protocol: Option<bool>,
    /// What becomes of requests whose path can be read in more than one way (`/a/../b`, `/a%2fb`, `/a//b`, `/a;b`), where the
    /// route does not say it: `reject`, `normalize` or `raw`. Default `reject`.
    pub(crate) ambiguous_paths: Option<AmbiguousPathsName>,
    /// The header that carries the request id, in and out. Default `x-request-id`.
    pub(crate) request_id_header: Option<String>,
    /// Protocols that clients may go on with in place of HTTP; others are not asked for. Default `websocket`.
    pub(crate) upgrades: Option<Vec<String>>,
    /// The unix socket at which a new process of `polygate run` takes over from the one that runs; relative to the
    /// project's folder. Default none.
    pub(crate) upgrade_socket: Option<String>,
}

/// The admin API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Its address, or `false` for none. Default 127.0.0.1:8081.
    pub(crate) address: Option<AddressOrOff>,
}

/// An address, or `false`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum AddressOrOff {
    /// There.
    On(Address),
    /// `false`: not at all.
    #[expect(dead_code, reason = "the schema allows false alone")]
    Off(#[schemars(extend("enum" = [false]))] bool),
}

/// Caps on what clients send and on how many there are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Request target. Default 8KiB; beyond, 414.
    pub(crate) uri: Option<Size>,
    /// The whole head of a request. Default 64KiB; beyond, 431.
    pub(crate) head: Option<Size>,
    /// One header line. Default 16KiB; beyond, 431.
    pub(crate) header_line: Option<Size>,
    /// Number of header fields, at most 256. Default 128; beyond, 431.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) header_fields: Option<usize>,
    /// Request body, where the route's own `limits.body` does not say it. Default 100MiB; beyond, 413.
    pub(crate) body: Option<Size>,
    /// Unread bytes of a request's body that are drained to keep the connection. Default 64KiB.
    pub(crate) drain: Option<Size>,
    /// Connections of one worker. Default 20000; beyond, closed at once.
    pub(crate) connections: Option<usize>,
    /// Connections of one client address (of IPv6: of one /64) on one worker; 0 for any number. Trusted proxies may have any
    /// number. Default: half of `connections`; beyond, closed at once.
    pub(crate) connections_per_address: Option<usize>,
    /// TLS handshakes under way on one worker. Default 2000; beyond, closed at once.
    pub(crate) handshakes: Option<usize>,
    /// Interim responses (1xx) of an upstream that a client is sent of one exchange. Default 16; beyond, dropped.
    pub(crate) interim_responses: Option<usize>,
    /// WebSockets and other tunnels of one worker, those that are asked for included. Default 10000; beyond, 503.
    pub(crate) tunnels: Option<usize>,
    /// Exchanges that run on one worker. Default 20000; beyond, 503 `overloaded`.
    #[schemars(range(min = 1))]
    pub(crate) exchanges: Option<usize>,
    /// Caps on one connection of HTTP/2.
    pub(crate) http2: Http2Limits,
}

/// Caps on one connection of HTTP/2.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Http2Limits {
    /// Streams that are open at a time. Default 128; beyond, refused.
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) streams: Option<u32>,
    /// Bytes of one request's body that are taken before they are read. Default 256KiB.
    pub(crate) stream_window: Option<Size>,
    /// The same of all requests of the connection together. Default 1MiB.
    pub(crate) connection_window: Option<Size>,
    /// Bytes of one response that wait to be written. Default 64KiB.
    pub(crate) send_buffer: Option<Size>,
    /// Streams that the client may reset in ten seconds, beyond as many as were answered whole. Default 100; beyond, closed.
    #[schemars(range(min = 1))]
    pub(crate) resets: Option<u32>,
    /// Streams that the client has reset before they were looked at. Default 20; beyond, closed.
    #[schemars(range(min = 1))]
    pub(crate) pending_resets: Option<usize>,
    /// Streams that had to be reset because the client broke the protocol, or opened too many. Default 100; beyond,
    /// closed.
    #[schemars(range(min = 1))]
    pub(crate) stream_errors: Option<usize>,
    /// Frames that carry nothing of a message (PING, WINDOW_UPDATE ...) in ten seconds, beyond four for each frame of a
    /// response. SETTINGS counts twice. Default 100; beyond, closed.
    #[schemars(range(min = 10))]
    pub(crate) control_frames: Option<u32>,
    /// Frames that one head may be spread over. Default 20; beyond, closed.
    #[schemars(range(min = 1))]
    pub(crate) head_frames: Option<u32>,
    /// Heads that were refused because they are too large, and whose answers the client does not take. Default 20; beyond,
    /// closed.
    #[schemars(range(min = 1))]
    pub(crate) large_heads: Option<u32>,
}

/// What is done when memory, descriptors or time run out, and when. Shares are of what there is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Overload {
    /// Whether anything is. Default true.
    pub(crate) enabled: Option<bool>,
    /// How much memory there is. Default: what the process's cgroup may have, or 80 % of the machine's.
    pub(crate) memory: Option<Size>,
    /// From this share of memory or descriptors on, connections are closed after their exchange, and the oldest idle ones
    /// at once. Default 0.85.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) close_at: Option<f64>,
    /// From this share on, new exchanges are answered with 503. Default 0.92.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) shed_at: Option<f64>,
    /// From this share on, no connection is accepted. Default 0.97.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) pause_at: Option<f64>,
    /// When a worker's event loop is so late, twice in a row, it answers new exchanges with 503. Default 500ms.
    pub(crate) lag: Option<Duration>,
    /// What the 503 says in `Retry-After`, in whole seconds. Default 2s.
    pub(crate) retry_after: Option<Duration>,
}

/// How long clients may take, and how long a stop waits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// From a connection's beginning to the end of its PROXY header. Default 5s.
    pub(crate) proxy_header: Option<Duration>,
    /// From a connection's beginning to the end of its TLS handshake. Default 10s.
    pub(crate) handshake: Option<Duration>,
    /// From a request's first byte to its whole head. Default 10s.
    pub(crate) head: Option<Duration>,
    /// A pause within a request's body. Default 30s.
    pub(crate) body: Option<Duration>,
    /// A pause in which the client takes nothing of a response. Default 30s.
    pub(crate) write: Option<Duration>,
    /// Between two requests of a connection. Default 75s.
    pub(crate) idle: Option<Duration>,
    /// A pause in which nothing moves through a WebSocket or another tunnel, either way; over HTTP/2 also one within a
    /// request's body once its response has begun. Default 1h.
    pub(crate) tunnel_idle: Option<Duration>,
    /// How long a stop serves on as before once `/health/ready` says 503, so that load balancers notice. Default 0s.
    pub(crate) ready_delay: Option<Duration>,
    /// How long a stop waits for running exchanges. Default 30s.
    pub(crate) drain: Option<Duration>,
}

/// What one call of a policy may spend, when it does not say so itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Budget {
    /// CPU time of one call. Default 50ms.
    pub(crate) cpu: Option<Duration>,
    /// Memory of the virtual machine that runs the policy. Default 128MiB.
    pub(crate) memory: Option<Size>,
    /// Time of one call, without the time in the layers within. Default 10s.
    pub(crate) wall: Option<Duration>,
    /// Requests that one call may send. Default 16.
    pub(crate) subrequests: Option<u32>,
    /// Bytes of a body that a policy may read as a whole. Default 16MiB.
    pub(crate) body: Option<Size>,
    /// What happens when a policy fails or its budget is spent. Default `closed`.
    #[schemars(with = "Option<OnFailureName>")]
    pub(crate) on_failure: Option<OnFailure>,
}

/// Defaults for connections to upstreams.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Connection {
    /// Until connected, TLS included. Default 5s.
    pub(crate) connect: Option<Duration>,
    /// Until the response's head. Default 60s.
    pub(crate) response: Option<Duration>,
    /// A pause within a body. Default 60s.
    pub(crate) idle_body: Option<Duration>,
    /// How long an unused connection is kept. Default 60s.
    pub(crate) keep_alive: Option<Duration>,
    /// Unused connections kept per target and worker. Default 512.
    pub(crate) pool: Option<usize>,
    /// Which HTTP is spoken. Default `http1`.
    pub(crate) protocol: Option<Protocol>,
    /// Caps of HTTP/2 with one target, of one worker.
    pub(crate) http2: UpstreamHttp2,
    /// A file with certificate authorities (PEM) beside the system's, relative to the project's folder.
    pub(crate) ca_file: Option<String>,
    /// How connections to `https` URLs are encrypted.
    pub(crate) tls: Option<UpstreamTls>,
}

/// Which HTTP is spoken with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN with `https`, by prior knowledge with `http`.
    Http2,
    /// With `https` what the server prefers of both, with `http` HTTP/1.1.
    Auto,
}

/// What plugins may reach with outbound requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Outbound {
    /// Whether link-local addresses may be reached (cloud metadata services live there). Default false.
    pub(crate) link_local: Option<bool>,
    /// Whether loopback and private addresses may be reached. Default true.
    pub(crate) private: Option<bool>,
}

/// Response compression.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Compression {
    /// Whether responses are compressed. Default false.
    pub(crate) enabled: Option<bool>,
    /// What is offered; the first one is taken of those that a client likes equally. Default `zstd`, `br`, `gzip`.
    pub(crate) algorithms: Option<Vec<Algorithm>>,
    /// Media types such as `application/json` or `text/*`, in place of the usual ones.
    pub(crate) types: Option<Vec<String>>,
    /// Shorter bodies are left alone. Default 1KiB.
    pub(crate) min_size: Option<Size>,
    /// Default 5.
    #[schemars(range(min = 1, max = 9))]
    pub(crate) gzip_level: Option<u32>,
    /// Default 4. 10 and 11 are for files that are compressed once: a response would hold up its worker.
    #[schemars(range(min = 0, max = 9))]
    pub(crate) brotli_level: Option<u32>,
    /// Default 3.
    #[schemars(range(min = 1, max = 19))]
    pub(crate) zstd_level: Option<u32>,
}

/// A content coding.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Algorithm {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Br,
    /// RFC 1952.
    Gzip,
}

/// Logging.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Log {
    /// How lines look. Default `pretty` in `dev` and `json` in `run`.
    pub(crate) format: Option<LogFormat>,
    /// How severe a line must be; can be changed while running. Default `debug` in `dev` and `info` in `run`.
    pub(crate) level: Option<LogLevelName>,
    /// Which exchanges get a line. Default `all`.
    pub(crate) access: Option<AccessLog>,
    /// Of how many exchanges `run` keeps one for the X-ray; 0 keeps none. Default 100.
    pub(crate) xray_sample: Option<u32>,
}

/// How the lines of exchanges look and where they go. Which exchanges get one stands in `log.access`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AccessLogFile {
    /// `json`, `combined` (as Apache and nginx write it), or a template such as `$status $duration $path`. Default: as
    /// all other lines look; in a file, `json`.
    pub(crate) format: Option<String>,
    /// The file that gets the lines, relative to the project's folder; opened anew on SIGHUP and SIGUSR1. Default:
    /// standard output.
    pub(crate) file: Option<String>,
    /// Of how many exchanges that did not fail one gets a line; those that failed all do. Default 1.
    #[schemars(range(min = 1))]
    pub(crate) sample: Option<u32>,
    /// Request headers that JSON lines hold; secrets are shown as `(redacted)`.
    pub(crate) headers: Vec<String>,
    /// Response headers that JSON lines hold; secrets are shown as `(redacted)`.
    pub(crate) response_headers: Vec<String>,
}

/// How severe a line must be.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevelName {
    /// Everything.
    Debug,
    /// What is for the record.
    Info,
    /// What may need care.
    Warn,
    /// What failed.
    Error,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Which exchanges get a line.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessLog {
    /// Each one.
    All,
    /// Those that failed or were answered with 5xx.
    Errors,
    /// None.
    Off,
}

/// Export of traces and metrics with OpenTelemetry's protocol (OTLP). Further fields for the collector, such as a token, come from the
/// variable `OTEL_EXPORTER_OTLP_HEADERS`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// The collector, such as `http://127.0.0.1:4318`. Default none: nothing is exported.
    pub(crate) endpoint: Option<String>,
    /// How it is spoken to. Default `http`.
    pub(crate) protocol: Option<OtlpProtocol>,
    /// Share of the traces begun here that are sampled; a client's own decision comes first. Default 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) sample: Option<f64>,
    /// Whether the trace of any client is continued; with `false`, of trusted proxies alone. Default true.
    pub(crate) trust_parents: Option<bool>,
    /// Whether traces are exported. Default true.
    pub(crate) traces: Option<bool>,
    /// Whether metrics are exported. Default false.
    pub(crate) metrics: Option<bool>,
    /// How often they are. Default 60s.
    pub(crate) metrics_interval: Option<Duration>,
    /// What the gateway is called in traces and metrics. Default `polygate`.
    pub(crate) service_name: Option<String>,
    /// How long one request to the collector may take. Default 10s.
    pub(crate) timeout: Option<Duration>,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtlpProtocol {
    /// OTLP/HTTP with protobuf; port 4318 mostly.
    Http,
    /// OTLP/gRPC; port 4317 mostly.
    Grpc,
}

/// What `polygate dev` does beside serving.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Dev {
    /// Address of an echo service that is started as an upstream to try things with.
    pub(crate) echo: Option<Address>,
}
