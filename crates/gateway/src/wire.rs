//! What both sides of the gateway need of a connection: sending a body, lazy deadlines.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use polygate_http1::Outbox;
use polygate_http1::encode::Encoder;
use polygate_pipeline::{Body, Failure, Frame, Headers};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

/// Bodies up to this size are copied out of the buffer they were read into.
const SMALL: usize = 4096;

/// Takes a body that is there as a whole. A small one is copied, so that the buffer stays and is read into again.
pub(crate) fn take_whole(buffer: &mut BytesMut, length: usize) -> Bytes {
    if length > SMALL {
        return buffer.split_to(length).freeze();
    }
    let bytes = Bytes::copy_from_slice(&buffer[..length]);
    buffer.advance(length);
    bytes
}

/// Now, for deadlines on the hot path.
pub(crate) fn now() -> Instant {
    Instant::from_std(polygate_pipeline::clock::now())
}

/// A timer that is made once a connection and moved lazily: a deadline that moves later, as they do with each
/// request, costs nothing until the old one fires.
#[derive(Default)]
pub(crate) struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Ready once `at` is past.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at || now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

/// Bytes a second that a body must move with, of the time that it is waited for beyond one pause.
const LEAST_RATE: u64 = 240;

/// The patience with a body that is waited for: with its pauses, and with its slowness as a whole.
#[derive(Default)]
pub(crate) struct Pace {
    /// Since when it is waited for.
    since: Option<Instant>,
    /// How long it was waited for before that, in all.
    waited: Duration,
}

impl Pace {
    /// It is waited for. Gives when it counts as given up: after a pause, or because it has come too slowly as a whole.
    /// `moved` bytes came so far.
    pub(crate) fn wait(&mut self, pause: Duration, moved: u64) -> Instant {
        let since = *self.since.get_or_insert_with(now);
        since + patience(pause, moved, self.waited)
    }

    /// Something came, or went.
    pub(crate) fn moved(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += now() - since;
        }
    }
}

/// How long a body is waited for now, of which so many bytes came while it was waited for so long before.
pub(crate) fn patience(pause: Duration, moved: u64, waited: Duration) -> Duration {
    let earned = pause + Duration::from_secs(moved / LEAST_RATE);
    pause.min(earned.saturating_sub(waited))
}

/// How often a body is read from and written in one turn. An upload that never has to wait would use up what the runtime
/// lets a task do at a time (128 operations), and nothing of its response would ever be read.
const TURN: usize = 16;

/// Why a body could not be sent.
pub(crate) enum Broken {
    /// The body itself failed, or does not have the length it promised.
    Body(Failure),
    /// The connection takes no more.
    Write,
}

/// A body on its way from where it is made to a connection.
pub(crate) struct Transfer {
    pub(crate) outbox: Outbox,
    encoder: Encoder,
    body: Body,
    trailers: Option<Headers>,
    pulled_all: bool,
    pulled: u64,
    written: u64,
    stalled: Option<Instant>,
    /// What was written waits in the encryption still, for room in the socket.
    unflushed: bool,
}

impl Transfer {
    /// Sends `body` behind what is in `outbox` already: its head.
    pub(crate) fn new(outbox: Outbox, encoder: Encoder, body: Body) -> Self {
        Self {
            outbox,
            encoder,
            body,
            trailers: None,
            pulled_all: false,
            pulled: 0,
            written: 0,
            stalled: None,
            unflushed: false,
        }
    }

    /// The outbox, to be used again; the body is dropped.
    pub(crate) fn into_outbox(self) -> Outbox {
        self.outbox
    }

    /// Bytes of the body that were written, counting what stands before it as written first.
    pub(crate) fn sent(&self) -> u64 {
        self.pulled.saturating_sub(self.outbox.len() as u64)
    }

    /// Bytes that were written in all.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Since when the other end has taken nothing.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Whether the whole body was taken; what is left of it waits in the outbox.
    pub(crate) fn has_pulled_all(&self) -> bool {
        self.pulled_all
    }

    /// Whether all that was taken is out.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && !self.unflushed
    }

    /// Takes what the body has ready, as far as there is room.
    pub(crate) fn pull(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while !self.pulled_all && !self.outbox.is_full() {
            match self.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    self.pulled += data.len() as u64;
                    self.encoder.data(&mut self.outbox, data).map_err(mismatch)?;
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.trailers = Some(fields),
                Poll::Ready(Some(Err(failure))) => return Err(failure),
                Poll::Ready(None) => {
                    self.encoder.end(&mut self.outbox, self.trailers.as_ref()).map_err(mismatch)?;
                    self.pulled_all = true;
                }
                // It has gone on with what runs beside it.
                Poll::Pending => return Ok(()),
            }
        }
        if !self.pulled_all {
            self.body.poll_progress(cx);
        }
        Ok(())
    }

    /// Writes what was taken. Ready when nothing of it is left.
    pub(crate) fn poll_push<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let written = self.written;
        let polled = poll_write_all(&mut self.outbox, &mut self.written, stream, cx);
        self.unflushed = polled.is_pending();
        self.stalled = match (polled.is_pending(), self.stalled) {
            (true, Some(since)) if self.written == written => Some(since),
            (true, _) => Some(now()),
            (false, _) => None,
        };
        polled
    }

    /// Sends on, for one turn at most. Ready when the whole body is out.
    pub(crate) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..TURN {
            if let Err(failure) = self.pull(cx) {
                return Poll::Ready(Err(Broken::Body(failure)));
            }
            let idle = self.is_idle();
            if !idle && ready!(self.poll_push(stream, cx)).is_err() {
                return Poll::Ready(Err(Broken::Write));
            }
            if self.pulled_all {
                return Poll::Ready(Ok(()));
            }
            if idle {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn mismatch(error: polygate_http1::encode::LengthMismatch) -> Failure {
    Failure::new(polygate_pipeline::Reason::Internal).detail(error.to_string())
}

/// Writes all of `outbox`, in plain writes where one slice waits and vectored ones otherwise.
pub(crate) fn poll_write_all<S: AsyncWrite + Unpin>(
    outbox: &mut Outbox,
    written: &mut u64,
    stream: &mut S,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !outbox.is_empty() {
        let result = match outbox.single() {
            Some(single) => Pin::new(&mut *stream).poll_write(cx, single),
            None => {
                let (slices, used) = outbox.slices();
                Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..used])
            }
        };
        let count = ready!(result)?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *written += count as u64;
        outbox.advance(count);
    }
    // Needed by TLS; nothing for a plain socket.
    Pin::new(stream).poll_flush(cx)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use polygate_http1::Framing;

    use super::*;

    /// Takes all at once, as encryption does, and gets rid of it later.
    struct Encrypting {
        flushed: bool,
    }

    impl AsyncWrite for Encrypting {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.flushed { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_waits_in_the_encryption_is_not_out() {
        let mut transfer =
            Transfer::new(Outbox::new(), Encoder::new(Framing::Length(5)), Body::full(&b"hello"[..]));
        let (mut stream, mut cx) = (Encrypting { flushed: false }, Context::from_waker(Waker::noop()));
        for _ in 0..3 {
            assert!(transfer.poll(&mut stream, &mut cx).is_pending());
            assert!(transfer.outbox.is_empty() && !transfer.is_idle() && transfer.stalled().is_some());
        }
        stream.flushed = true;
        assert!(matches!(transfer.poll(&mut stream, &mut cx), Poll::Ready(Ok(()))));
        assert!(transfer.is_idle() && transfer.stalled().is_none());
    }
}
