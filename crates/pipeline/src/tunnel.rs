//! Tunnels: what a connection becomes once both ends have agreed to leave HTTP behind (RFC 9110 7.8).
//!
//! A client's wish stands in [`Request::upgrade`](crate::Request::upgrade), apart from its headers: no head can smuggle
//! one in. An upstream's consent is a response with status 101 and a [`Body`](crate::Body) that is a tunnel; who gives
//! that response back unchanged lets the tunnel be opened.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Headers, Known, is_token};

/// A protocol to go on with, as it stands in `Upgrade`: a name, and a version if it has one.
#[derive(Clone)]
pub struct Upgrade(Box<str>);

impl Upgrade {
    /// The name of the WebSocket protocol (RFC 6455).
    pub const WEBSOCKET: &'static str = "websocket";

    /// A protocol, if that is how one is written.
    pub fn new(protocol: &str) -> Option<Self> {
        let is_good = |part: &str| !part.is_empty() && part.bytes().all(is_token);
        protocol.splitn(2, '/').all(is_good).then(|| Self(protocol.into()))
    }

    /// The first one that the `Upgrade` fields list and that is taken.
    pub fn choose(headers: &Headers, is_taken: impl Fn(&Self) -> bool) -> Option<Self> {
        let listed = headers.all_known(Known::Upgrade).flat_map(|value| value.split(|&b| b == b','));
        let mut listed = listed.filter_map(|name| Self::new(std::str::from_utf8(name.trim_ascii()).ok()?));
        listed.find(is_taken)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the WebSocket protocol.
    pub fn is_websocket(&self) -> bool {
        self.0.eq_ignore_ascii_case(Self::WEBSOCKET)
    }
}

/// Names of protocols are compared without regard to case (RFC 9110 7.8).
impl PartialEq for Upgrade {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Upgrade {}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A stream of bytes in both directions. Its end is read as 0 bytes; shutting it down ends the other direction alone.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

/// The far end of a tunnel. Dropping it closes it.
pub struct Tunnel {
    /// What is spoken in it.
    pub protocol: Upgrade,
    /// Its bytes.
    pub stream: Box<dyn ByteStream>,
    /// Bytes of the far end that were read already: they come before those of `stream`.
    pub read: Bytes,
    held: Vec<Box<dyn Any>>,
}

impl Tunnel {
    /// A tunnel to the far end of `stream`.
    pub fn new(protocol: Upgrade, stream: impl ByteStream + 'static, read: Bytes) -> Self {
        Self { protocol, stream: Box::new(stream), read, held: Vec::new() }
    }

    /// Keeps `guard` until the tunnel is closed: what is counted as under way for as long as it is open.
    pub fn hold(&mut self, guard: impl Any) {
        self.held.push(Box::new(guard));
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// Where a tunnel waits in a body until it is opened. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Waiting(Rc<Cell<Option<Box<Tunnel>>>>);

impl Waiting {
    pub(crate) fn new(tunnel: Tunnel) -> Self {
        Self(Rc::new(Cell::new(Some(Box::new(tunnel)))))
    }

    /// Takes it out to open it.
    pub(crate) fn take(&self) -> Option<Box<Tunnel>> {
        self.0.take()
    }

    /// Changes it where it waits.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Tunnel)) {
        if let Some(mut tunnel) = self.0.take() {
            change(&mut tunnel);
            self.0.set(Some(tunnel));
        }
    }

    /// What tells this place from others.
    pub(crate) fn address(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_chosen_from_lists() {
        let mut headers = Headers::new();
        headers.append("Upgrade", b"h2c, foo/1 ,WebSocket").unwrap();
        headers.append("upgrade", b"bar").unwrap();
        let choose = |taken: &str| {
            Upgrade::choose(&headers, |protocol| Some(protocol) == Upgrade::new(taken).as_ref())
        };
        assert_eq!(choose("websocket").unwrap().as_str(), "WebSocket");
        assert!(choose("websocket").unwrap().is_websocket());
        assert_eq!(choose("FOO/1").unwrap().as_str(), "foo/1");
        assert_eq!(choose("bar").unwrap().as_str(), "bar");
        assert_eq!(choose("foo"), None, "another version is another protocol");
        for bad in ["", "a b", "a/", "/1", "a/b/c", "w\u{e9}b"] {
            assert_eq!(Upgrade::new(bad), None, "{bad}");
        }
    }
}
