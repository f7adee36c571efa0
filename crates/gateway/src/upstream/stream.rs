//! A connection to an upstream: plain or encrypted.

use std::net::IpAddr;
use std::task::{Context, Waker};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::breaker::Open;
use crate::transport::Transport;
use crate::wire::{Deadline, ReadBuffer};

/// The byte stream.
pub(super) type Stream = Transport<TlsStream<TcpStream>>;

/// A connection with what is kept along with it from one request to the next.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) buffer: ReadBuffer,
    pub(super) deadline: Deadline,
    pub(super) peer: IpAddr,
    /// That a named upstream counts it as open.
    pub(super) open: Option<Open>,
}

impl Connected {
    pub(super) fn new(stream: Stream, peer: IpAddr) -> Self {
        Self { stream, buffer: ReadBuffer::default(), deadline: Deadline::default(), peer, open: None }
    }

    /// Whether an unused connection is still quiet: neither closed nor speaking out of turn.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.buffer.poll_read(&mut self.stream, &mut cx).is_pending() && self.buffer.bytes.is_empty()
    }
}
