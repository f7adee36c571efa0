//! Request and response as every layer sees them.

use http::{Method, StatusCode};

use crate::{Body, Headers, Target, Upgrade};

/// HTTP versions a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl Version {
    /// As it stands in a request line and in access logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }
}

/// A request on its way through the pipeline.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to: scheme, authority, canonical path, query.
    pub target: Target,
    /// Version it was received in.
    pub version: Version,
    /// Header fields. Framing fields are regenerated when it is sent on.
    pub headers: Headers,
    /// The protocol that the client wants to go on with. The headers show it as well: a policy that takes the `Upgrade`
    /// field away takes the wish back; adding the field wishes nothing.
    pub upgrade: Option<Upgrade>,
    /// The body; not read unless a layer reads it.
    pub body: Body,
}

/// A response on its way back.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Header fields. Framing fields are regenerated when it is sent on.
    pub headers: Headers,
    /// The body; with status 101 a tunnel.
    pub body: Body,
}

impl Request {
    /// A request without fields and body.
    pub fn new(method: Method, target: Target) -> Self {
        Self {
            method,
            target,
            version: Version::Http11,
            headers: Headers::new(),
            upgrade: None,
            body: Body::empty(),
        }
    }

    /// A copy of everything but the body, which is empty in the copy.
    pub fn clone_head(&self) -> Self {
        Self {
            method: self.method.clone(),
            target: self.target.clone(),
            version: self.version,
            headers: self.headers.clone(),
            upgrade: self.upgrade.clone(),
            body: Body::empty(),
        }
    }
}

impl Response {
    /// A response without fields and body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: Headers::new(), body: Body::empty() }
    }

    /// A copy of everything but the body, which is empty in the copy.
    pub fn clone_head(&self) -> Self {
        Self { status: self.status, headers: self.headers.clone(), body: Body::empty() }
    }
}
