//! The data plane: listeners, workers, router, exchanges, upstreams, error responses.
//!
//! One thread a worker, each with its own event loop, connections, upstream pool and one live instance of each
//! program; nothing on a worker is shared with another but immutable deployments. It knows no engine and no world by
//! name: it gets them through the contract.
//!
//! What a request passes through, in order: `downstream` (connection, HTTP/1.1 or HTTP/2) -> `serve` (exchange, limits) ->
//! `router` -> the chain of layers -> `forward` or another handler -> `upstream` -> back -> `serve` (record) -> log.

mod access;
mod buffer;
mod compress;
mod deployment;
mod downstream;
mod events;
mod forward;
mod forwarded;
mod gateway;
mod grpc;
mod http2;
mod limit;
mod listen;
mod live;
mod metrics;
mod overload;
mod problem;
mod record;
mod redirect;
mod router;
mod serve;
mod service;
mod tls;
mod traces;
mod transport;
mod tunnel;
mod turnstile;
mod upstream;
mod wire;
mod worker;

pub use access::Captured;
pub use deployment::Deployment;
pub use events::{Event, LogThreshold};
pub use gateway::{Gateway, GatewayOptions, StartError};
pub use listen::Inherited;
pub use metrics::{
    AbuseMetrics, HandshakeMetrics, Histogram, Http2Metrics, Metrics, PolicyMetrics, RouteMetrics, Series,
};
pub use overload::{Cause, Level, Overload, Strain};
pub use problem::problem;
pub use record::ExchangeRecord;
pub use router::{Found, Router};
pub use serve::is_registered;
pub use tls::{
    Answering, CertificateStatus, Challenges, Refreshed, StapleStatus, TlsStatus, UpstreamTlsStatus,
};
pub use traces::{TraceRecord, Tracing};
pub use turnstile::Queue;
pub use upstream::{EndpointReport, Http2Report, UpstreamReport};
