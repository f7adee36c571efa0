//! The plan: the one validated, typed form of a gateway's configuration.
//!
//! Front ends read foreign files and produce it; the data plane runs it. Nothing in it is left to interpret: no
//! unresolved names, no templates that were not parsed, no options that are not optional.

mod access_log;
mod acme;
mod compression;
mod connection;
mod network;
mod path;
mod pattern;
mod settings;
mod template;
mod tls;
mod upstream;
mod upstream_tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;
use polygate_pipeline::{ByteSize, PolicySpec, Project, Role, RouteInfo};

pub use access_log::{
    AccessFormat, AccessLog, AccessLogSettings, LineError, LinePiece, LineTemplate, Variable,
};
pub use acme::{Acme, AcmeChallenge, AcmeDomain, AcmeKey, ExternalAccount, MAX_ACME_DOMAINS};
pub use compression::{Coding, Compression};
pub use connection::{Connection, UpstreamHttp2, UpstreamProtocol};
pub use network::Networks;
pub use path::{AmbiguousPaths, CanonicalPath, PathForm, PathSeen, canonical};
pub use pattern::{InvalidPattern, Params, Part, PathPattern, Segment};
pub use settings::{
    Http2Limits, Limits, Listen, LogFormat, LogSettings, MAX_HTTP2_WINDOW, OtlpProtocol, Outbound, Overload,
    Settings, Telemetry, Timeouts,
};
pub use template::{Expression, Template, TemplateError, Variables};
pub use tls::{CertificateFiles, ClientAuth, Tls};
pub use upstream::{
    Balance, Breaker, Check, Dns, Eject, Family, HashKey, MAX_TARGETS, MAX_UPSTREAMS, MAX_WEIGHT, Mirror,
    Retries, RetryOn, Share, StickyCookie, Upstream, UpstreamTarget,
};
pub use upstream_tls::UpstreamTls;

/// One gateway's configuration, whole and valid.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// What is not per route.
    pub settings: Settings,
    /// Environment variables and secrets that plugins may read.
    pub variables: Arc<BTreeMap<String, String>>,
    /// The policies of all worlds. Routes refer to them by index.
    pub policies: Vec<Policy>,
    /// The routes; the first one that matches wins.
    pub routes: Vec<Route>,
}

/// A policy and the world that runs it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The world's name.
    pub world: Arc<str>,
    /// What the world is told.
    pub spec: PolicySpec,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// What plugins may know of it; holds the methods.
    pub info: Arc<RouteInfo>,
    /// Which paths it takes.
    pub pattern: PathPattern,
    /// What becomes of requests whose path can be read in more than one way.
    pub ambiguous_paths: AmbiguousPaths,
    /// The longest body of a request. Beyond: 413.
    pub body_limit: ByteSize,
    /// Its layers, outermost first, without the handler.
    pub layers: Vec<PlannedLayer>,
    /// What answers.
    pub handler: Handler,
}

/// A policy in its place on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedLayer {
    /// Index in [`Plan::policies`].
    pub policy: usize,
    /// Its role there.
    pub role: Role,
}

/// The innermost step of a route.
#[derive(Debug, Clone)]
pub enum Handler {
    /// Sends the request to an upstream.
    Forward(Forward),
    /// Answers with a redirect.
    Redirect {
        /// Where to.
        location: Template,
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
    /// A function of a world: index in [`Plan::policies`]; its role is [`Role::Handler`].
    Function(usize),
}

/// How a request is forwarded.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Where to.
    pub to: ForwardTo,
    /// Whether the incoming query is appended.
    pub search: bool,
    /// Whether redirects of the upstream are followed rather than handed on.
    pub follow_redirects: bool,
    /// The named upstream whose timeouts hold; `None` for the defaults.
    pub upstream: Option<usize>,
}

/// Where a request is forwarded to.
#[derive(Debug, Clone)]
pub enum ForwardTo {
    /// A base URL, to which the incoming path is appended.
    Base(Template),
    /// A whole URL.
    Url(Template),
    /// A target of the named upstream of that index in [`Settings::upstreams`], with the incoming path.
    Upstream(usize),
    /// The URL that a layer of the route has set on the exchange.
    Exchange,
}

impl Plan {
    /// What worlds are told of the project.
    pub fn project(&self) -> Project {
        Project { root: self.root.clone(), variables: self.variables.clone() }
    }
}
