//! Why an exchange did not go well: who is to blame, a closed reason, and what may be told to whom.

use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The client.
    Downstream,
    /// The target that the request was forwarded to.
    Upstream,
    /// A policy or function handler.
    Policy,
    /// The configuration, or an operator's limit.
    Configuration,
    /// Polygate itself.
    Gateway,
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal, $status:literal, $blame:ident;)+) => {
        /// Why an exchange ended as it did: the metric label and the access log's `reason` field.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])+ $variant),+ }

        impl Reason {
            /// Every reason, in order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];

            /// The name in logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $name),+ }
            }

            /// The status a client gets when nothing else answers.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status),+ }
            }

            /// Who is to blame.
            pub const fn blame(self) -> Blame {
                match self { $(Reason::$variant => Blame::$blame),+ }
            }
        }
    };
}

reasons! {
    /// The handler answered and the response was sent whole.
    Completed = "completed", 200, Gateway;
    /// A policy answered in the handler's place.
    PolicyAnswered = "policy_answered", 200, Policy;
    /// No route matches.
    NoRoute = "no_route", 404, Downstream;
    /// The method is not one that HTTP registers.
    MethodNotImplemented = "method_not_implemented", 501, Downstream;
    /// Nobody goes on with the protocol that an extended CONNECT asks for.
    UpgradeRefused = "upgrade_refused", 501, Downstream;
    /// The request breaks HTTP.
    BadRequest = "bad_request", 400, Downstream;
    /// The path has an ambiguous form that the route does not take.
    PathRefused = "path_refused", 400, Downstream;
    /// The request is for a host that the connection was not made for and its certificate is not good for.
    Misdirected = "misdirected", 421, Downstream;
    /// The request line is longer than the limit.
    UriTooLong = "uri_too_long", 414, Downstream;
    /// The head has more fields or bytes than the limit.
    HeadersTooLarge = "headers_too_large", 431, Downstream;
    /// The HTTP version is not served.
    VersionNotSupported = "version_not_supported", 505, Downstream;
    /// An expectation other than 100-continue.
    ExpectationFailed = "expectation_failed", 417, Downstream;
    /// A body is longer than the limit.
    BodyTooLarge = "body_too_large", 413, Downstream;
    /// The client took too long to send its head.
    HeadTimeout = "head_timeout", 408, Downstream;
    /// The client took too long to send its body.
    BodyTimeout = "body_timeout", 408, Downstream;
    /// The client took too long to take the response.
    WriteTimeout = "write_timeout", 499, Downstream;
    /// The client went away before the end.
    ClientClosed = "client_closed", 499, Downstream;
    /// Nothing came through a tunnel, either way, for too long.
    TunnelIdle = "tunnel_idle", 408, Downstream;
    /// The upstream's name has no address.
    UpstreamUnresolved = "upstream_unresolved", 502, Upstream;
    /// The upstream cannot be connected to.
    UpstreamRefused = "upstream_refused", 502, Upstream;
    /// Connecting took too long.
    UpstreamConnectTimeout = "upstream_connect_timeout", 504, Upstream;
    /// The TLS handshake with the upstream failed.
    UpstreamTls = "upstream_tls", 502, Upstream;
    /// The upstream closed before its response was whole.
    UpstreamClosed = "upstream_closed", 502, Upstream;
    /// The upstream's response breaks HTTP.
    UpstreamProtocol = "upstream_protocol", 502, Upstream;
    /// The upstream took too long to answer or to go on.
    UpstreamTimeout = "upstream_timeout", 504, Upstream;
    /// The upstream is spoken to over HTTP/2, and does not go on with another protocol there.
    UpstreamUpgrade = "upstream_upgrade", 502, Configuration;
    /// None of the upstream's endpoints is healthy.
    UpstreamUnhealthy = "upstream_unhealthy", 503, Upstream;
    /// More requests to the upstream, or waiting for it, than the limit.
    UpstreamOverloaded = "upstream_overloaded", 503, Configuration;
    /// An address that plugins may not reach.
    AddressDenied = "address_denied", 502, Configuration;
    /// The policy threw.
    PolicyError = "policy_error", 500, Policy;
    /// The policy returned something that is neither request nor response.
    PolicyResult = "policy_result", 500, Policy;
    /// The policy spent its CPU budget.
    PolicyCpu = "policy_cpu", 500, Policy;
    /// The policy spent its memory budget.
    PolicyMemory = "policy_memory", 500, Policy;
    /// The policy took longer than its wall time.
    PolicyTimeout = "policy_timeout", 504, Policy;
    /// The policy made more sub-requests than its budget.
    PolicySubrequests = "policy_subrequests", 500, Policy;
    /// The policy could not be made ready on this worker.
    PolicyUnavailable = "policy_unavailable", 503, Policy;
    /// More exchanges than the limit, or too little memory, descriptors or time left for another one.
    Overloaded = "overloaded", 503, Gateway;
    /// The process is stopping.
    Stopping = "stopping", 503, Gateway;
    /// A fault of Polygate's own.
    Internal = "internal", 500, Gateway;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// The pipeline's error. The client sees status, a title and the request id; `detail` goes to the log alone.
#[derive(Clone)]
pub struct Failure(Box<Inner>);

#[derive(Clone)]
struct Inner {
    reason: Reason,
    status: Option<StatusCode>,
    detail: String,
    extensions: Option<serde_json::Map<String, serde_json::Value>>,
    policy: Option<Arc<str>>,
    retryable: bool,
    source: Option<Rc<dyn Error + 'static>>,
}

impl Failure {
    /// A failure for `reason`.
    pub fn new(reason: Reason) -> Self {
        Self(Box::new(Inner {
            reason,
            status: None,
            detail: String::new(),
            extensions: None,
            policy: None,
            retryable: false,
            source: None,
        }))
    }

    /// What the log is told: may name files and hold stack traces; never sent to a client.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Another status than the reason's.
    #[must_use]
    pub fn status_code(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Members that the problem body shows to the client: only what a plugin meant for it.
    #[must_use]
    pub fn extensions(mut self, members: serde_json::Map<String, serde_json::Value>) -> Self {
        self.0.extensions = Some(members);
        self
    }

    /// The policy in which it happened.
    #[must_use]
    pub fn policy(mut self, name: &Arc<str>) -> Self {
        self.0.policy.get_or_insert_with(|| name.clone());
        self
    }

    /// That the request may be tried again: nothing of it has been acted upon.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// The error beneath.
    #[must_use]
    pub fn source(mut self, source: impl Error + 'static) -> Self {
        self.0.source = Some(Rc::new(source));
        self
    }

    /// The closed reason.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        self.0.reason.blame()
    }

    /// The status for the client.
    pub fn status(&self) -> StatusCode {
        self.0.status.unwrap_or_else(|| {
            StatusCode::from_u16(self.0.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    /// The text for the log.
    pub fn detail_text(&self) -> &str {
        &self.0.detail
    }

    /// The name of the policy to blame.
    pub fn policy_name(&self) -> Option<&Arc<str>> {
        self.0.policy.as_ref()
    }

    /// Members for the problem body.
    pub fn extension_members(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.0.extensions.as_ref()
    }

    /// Whether the request may be tried again.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.reason.as_str())?;
        if let Some(policy) = &self.0.policy {
            write!(f, " in policy {policy:?}")?;
        }
        if !self.0.detail.is_empty() {
            write!(f, ": {}", self.0.detail)?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref()
    }
}
