//! How connections to upstreams are made and kept.

use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::{ByteSize, Scheme};

use crate::UpstreamTls;

/// How connections to an upstream are made and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Until connected, TLS included. Default 5 s.
    pub connect: Duration,
    /// Until the response's head. Default 60 s.
    pub response: Duration,
    /// A pause within a body. Default 60 s.
    pub idle_body: Duration,
    /// How long an unused connection is kept. Default 60 s.
    pub keep_alive: Duration,
    /// Unused connections kept per target and worker: those that a burst of requests needed at a time, and not for longer
    /// than `keep_alive`, because the one that was used last is used first. Default 512.
    pub pool: usize,
    /// Which HTTP is spoken. Default HTTP/1.1.
    pub protocol: UpstreamProtocol,
    /// Caps of HTTP/2, where it is spoken.
    pub http2: UpstreamHttp2,
    /// How it is encrypted, where the target says `https`.
    pub tls: Arc<UpstreamTls>,
}

/// Caps of HTTP/2 with one target, of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamHttp2 {
    /// Connections at a time. Beyond, requests wait for a stream. Default 16.
    pub connections: usize,
    /// Streams on one connection at a time; fewer where the server says so. Default 100.
    pub streams: u32,
    /// Requests that wait for a connection, or for a stream on one. Beyond: 503 `upstream_overloaded`. Default 1,024.
    pub waiting: usize,
    /// Bytes of one response that are taken before they are read. All `streams` together get at most
    /// [`MAX_HTTP2_WINDOW`](crate::MAX_HTTP2_WINDOW). Default 256 KiB.
    pub stream_window: ByteSize,
    /// Bytes of one request that wait to be written. Default 64 KiB.
    pub send_buffer: ByteSize,
    /// Streams that had to be reset because the server broke the protocol. Beyond, its connection is closed. Default 100.
    pub stream_errors: usize,
}

impl Default for UpstreamHttp2 {
    fn default() -> Self {
        Self {
            connections: 16,
            streams: 100,
            waiting: 1024,
            stream_window: ByteSize::kib(256),
            send_buffer: ByteSize::kib(64),
            stream_errors: 100,
        }
    }
}

/// Which HTTP is spoken with an upstream. A request that asks to go on with another protocol is sent over HTTP/2 as well, to
/// servers that take extended CONNECT (RFC 8441).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: agreed on with `https` (ALPN), known beforehand with `http` (RFC 9113 3.3).
    Http2,
    /// With `https` what the server prefers, with `http` HTTP/1.1. Where a server takes no extended CONNECT over HTTP/2,
    /// it is asked for other protocols over HTTP/1.1.
    Auto,
}

impl UpstreamProtocol {
    /// Whether HTTP/2 may be spoken with targets of that scheme.
    pub fn may_be_http2(self, scheme: Scheme) -> bool {
        match self {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => scheme == Scheme::Https,
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(60),
            idle_body: Duration::from_secs(60),
            keep_alive: Duration::from_secs(60),
            pool: 512,
            protocol: UpstreamProtocol::Http1,
            http2: UpstreamHttp2::default(),
            tls: Arc::default(),
        }
    }
}
