//! The contract of Polygate: what a plugin's world is given and what it must give back.
//!
//! A request walks through layers like an onion: `layer(request, exchange, next) -> response`. A world (the
//! environment that one gateway gives its plugins) turns a project's policies into a [`Program`] once per
//! deployment, spawns an [`Instance`] of it on every worker, and hands out one [`Layer`] for each place in which a
//! policy stands on a route. Everything on a worker is single-threaded; nothing there is `Send`.
//!
//! Life cycle: compile (diagnostics) -> spawn (per worker) -> layer -> handle ... -> log -> drop.

mod body;
mod budget;
pub mod clock;
mod diagnostic;
mod exchange;
mod failure;
mod headers;
mod interim;
mod known;
mod layer;
mod message;
mod path;
mod record;
mod services;
mod shared_body;
mod target;
mod tls;
mod trace;
mod tunnel;
mod world;
mod xray;

pub use body::{Body, BodyStream, Frame};
pub use budget::{Budget, ByteSize, OnFailure};
pub use bytes::Bytes;
pub use diagnostic::{Diagnostic, Severity, Span, nearest};
pub use exchange::{Client, Exchange, ExchangeParts, Identity, RequestId, RouteInfo};
pub use failure::{Blame, Failure, Reason};
pub use futures_util::future::LocalBoxFuture;
pub use headers::{Fate, Headers, InvalidHeader, check_name, check_value, is_token};
pub use http::{Method, StatusCode};
pub use interim::Interim;
pub use known::Known;
pub use layer::{Chain, Layer, Next, Step, boxed};
pub use message::{Request, Response, Version};
pub use path::leads_out;
pub use record::{Edit, StepRecord, Verdict};
pub use services::{LogLevel, LogLine, LogSink, MAX_BACKGROUND_TASKS, Outbound, OutboundOptions, Services};
pub use target::{InvalidTarget, Scheme, Target};
pub use tls::{CertificateNames, ClientCertificate, Fingerprint, SubjectName, Tls, TlsVersion};
pub use trace::{Call, CallRecord, Caller, Parent, Trace};
pub use tunnel::{ByteStream, Tunnel, Upgrade};
pub use world::{Instance, PluginRef, PolicySpec, Program, Project, Role, World};
pub use xray::is_secret;
