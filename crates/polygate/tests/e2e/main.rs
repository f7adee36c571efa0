//! End to end: the `polygate` program over real sockets, with real npm packages and real upstreams.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::print_stderr, reason = "a skipped test is said")]

mod acme;
mod balancing;
mod budgets;
mod compression;
mod events;
mod examples;
mod grpc;
mod harness;
mod http2;
mod limits;
mod logs;
mod metrics;
mod names;
mod overload;
mod packages;
mod policies;
mod proxy;
mod reload;
mod stop;
mod streaming;
mod tls;
mod traces;
mod upgrade;
mod upstream_tls;
mod upstreams;
mod websocket;
mod websocket_http2;
