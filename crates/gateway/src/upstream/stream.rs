//! A connection to an upstream: plain or encrypted.

use std::io;
use std::net::IpAddr;
use std::task::{Context, Waker};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::breaker::Open;
use crate::buffer::ReadBuffer;
use crate::transport::Transport;
use crate::wire::Deadline;

/// The byte stream.
pub(super) type Stream = Transport<TlsStream<TcpStream>>;

/// Whether a read failed because the server ended the encryption with an alert. In TLS 1.3 that is how it refuses our
/// certificate, or the want of one: for us, the handshake is over by then (RFC 8446 4.4.2.4).
pub(super) fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// A connection with what is kept along with it from one request to the next.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) buffer: ReadBuffer,
    pub(super) deadline: Deadline,
    pub(super) peer: IpAddr,
    /// Whether HTTP/2 is to be spoken on it.
    pub(super) http2: bool,
    /// What its place's generation was when it was made.
    pub(super) generation: u32,
    /// That a named upstream counts it as open.
    pub(super) open: Option<Open>,
}

impl Connected {
    pub(super) fn new(stream: Stream, peer: IpAddr) -> Self {
        let (buffer, deadline) = Default::default();
        Self { stream, buffer, deadline, peer, http2: false, generation: 0, open: None }
    }

    /// Whether an unused connection is still quiet: neither closed nor speaking out of turn.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.buffer.poll_read(&mut self.stream, &mut cx).is_pending() && self.buffer.bytes.is_empty()
    }
}
