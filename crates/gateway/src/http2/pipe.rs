//! A stream as a pipe of bytes: what the streams of an extended CONNECT become once both ends have agreed (RFC 8441 4).
//!
//! Flow control works as it does for bodies: what is not taken from the pipe holds the far end back, and what the far end
//! does not take is not accepted. The end of a direction is `END_STREAM`; a broken connection is `RST_STREAM` with
//! `CANCEL` (RFC 8441 5, RFC 9113 8.5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Our end of a stream.
pub(crate) struct Pipe {
    incoming: RecvStream,
    outgoing: SendStream<Bytes>,
    /// Came, and was not taken yet.
    rest: Bytes,
    /// The far end has ended its direction.
    heard_all: bool,
    /// We have ended ours.
    said_all: bool,
    /// The far end has sent what has no place here.
    offended: bool,
}

impl Pipe {
    /// Joins both directions of a stream whose heads were exchanged.
    pub(crate) fn new(incoming: RecvStream, outgoing: SendStream<Bytes>) -> Self {
        Self { incoming, outgoing, rest: Bytes::new(), heard_all: false, said_all: false, offended: false }
    }

    /// Ready once the far end has reset the stream, or is gone. Reading says so too, but for a far end that had ended its
    /// direction before.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.outgoing.poll_reset(cx).map(|reset| broken(reset.map_or_else(|error| error, h2::Error::from)))
    }

    /// Breaks off. What was said whole still arrives whole.
    pub(crate) fn cut(mut self) {
        if self.offended {
            self.outgoing.send_reset(Reason::PROTOCOL_ERROR);
        } else if !self.said_all {
            self.outgoing.send_reset(Reason::CANCEL);
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            if this.heard_all {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.incoming.poll_data(cx)) {
                // A frame may be empty.
                Some(Ok(data)) => this.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => match ready!(this.incoming.poll_trailers(cx)) {
                    Ok(None) => this.heard_all = true,
                    Ok(Some(_)) => {
                        // RFC 9113 8.5: nothing but DATA.
                        this.offended = true;
                        let error = io::Error::new(io::ErrorKind::InvalidData, "fields behind a tunnel");
                        return Poll::Ready(Err(error));
                    }
                    Err(error) => return Poll::Ready(Err(broken(error))),
                },
            }
        }
        let count = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        // It fails only for more than was taken.
        let _ = this.incoming.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        while this.outgoing.capacity() == 0 {
            this.outgoing.reserve_capacity(buf.len());
            match ready!(this.outgoing.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                // It is closed; why, the reset says.
                None => {
                    let error = match this.poll_gone(cx) {
                        Poll::Ready(error) => error,
                        Poll::Pending => io::ErrorKind::BrokenPipe.into(),
                    };
                    return Poll::Ready(Err(error));
                }
            }
        }
        let count = this.outgoing.capacity().min(buf.len());
        match this.outgoing.send_data(Bytes::copy_from_slice(&buf[..count]), false) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }

    /// The connection's task writes what was accepted.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.said_all, true) {
            return Poll::Ready(this.outgoing.send_data(Bytes::new(), true).map_err(broken));
        }
        Poll::Ready(Ok(()))
    }
}

/// Of a stream that was reset, or whose connection is gone.
fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
