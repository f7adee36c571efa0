//! The byte stream of a client's connection, and how it ends.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::transport;

/// The byte stream of a client's connection.
pub(crate) type Transport = transport::Transport<TlsStream<TcpStream>>;

impl Transport {
    fn tcp(&self) -> &TcpStream {
        match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Ready when the socket has something to read, or has ended. What was read of an encrypted stream must have been used
    /// up: a read that was pending has seen to that.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_read_ready(cx)
    }

    /// Closes the socket both ways, whoever still holds it.
    pub(crate) fn cut(&self) {
        // It may be closed already.
        let _ = SockRef::from(self.tcp()).shutdown(Shutdown::Both);
    }

    /// Has the socket reset when it is closed: the client must not take what it got for the whole.
    pub(crate) fn reset_on_close(&self) {
        // Without it the client sees an early end, which is second best.
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Ends an encrypted stream as it must be ended before its socket is closed (RFC 8446 6.1), as far as that is
    /// possible without waiting.
    pub(crate) fn say_goodbye(&mut self) {
        if let Transport::Tls(stream) = self {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}
