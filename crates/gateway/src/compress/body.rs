//! Bodies that are compressed as they are read.

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use polygate_pipeline::{Body, BodyStream, Failure, Frame, Headers, Reason};
use polygate_plan::Coding;

use super::encoder::Encoder;

/// A body in memory up to this size is compressed at once: it costs about as much time as one turn of a stream.
pub(super) const WHOLE: usize = 64 << 10;

/// Bytes that are compressed before the worker's other tasks get their turn.
const TURN: usize = 64 << 10;

/// Bytes that are worth sending on their own.
const WORTH_SENDING: usize = 8 << 10;

/// Compresses a body that is in memory. `None` when it would not shrink.
pub(super) fn compress_whole(coding: Coding, level: u32, bytes: &Bytes) -> Option<Bytes> {
    let mut encoder = Encoder::new(coding, level).ok()?;
    encoder.write(bytes).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < bytes.len()).then(|| compressed.into())
}

/// A body that is compressed as it is read.
pub(super) struct CompressedBody {
    coding: Coding,
    level: u32,
    /// Made when it is needed first; `None` also when it has ended.
    encoder: Option<Encoder>,
    body: Body,
    /// Bytes of the body that were read and not compressed yet.
    input: Bytes,
    /// Whether there is something in the encoder that the client has not got.
    unflushed: bool,
    trailers: Option<Headers>,
    /// All is compressed; trailers may follow.
    ended: bool,
}

impl CompressedBody {
    pub(super) fn new(coding: Coding, level: u32, body: Body) -> Self {
        let (encoder, input, trailers) = (None, Bytes::new(), None);
        Self { coding, level, encoder, body, input, unflushed: false, trailers, ended: false }
    }

    /// Compresses until there is something worth sending, the body pauses, or the turn is over.
    fn poll_compressed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Failure>> {
        let mut left = TURN;
        loop {
            if self.input.is_empty() {
                match self.body.poll_frame(cx) {
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => self.input = data,
                    Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.trailers = Some(fields),
                    Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure)),
                    Poll::Ready(None) => {
                        self.ended = true;
                        let encoder = match self.encoder.take() {
                            Some(encoder) => encoder,
                            None => self.new_encoder()?,
                        };
                        return Poll::Ready(encoder.finish().map_err(broken));
                    }
                    Poll::Pending if self.unflushed => {
                        // Who is slow is not made slower: what is there goes on.
                        self.unflushed = false;
                        let encoder = self.encoder()?;
                        encoder.flush().map_err(broken)?;
                        let ready = encoder.take();
                        if !ready.is_empty() {
                            return Poll::Ready(Ok(ready));
                        }
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            if left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = self.input.len().min(left);
            left -= count;
            let piece = self.input.split_to(count);
            let encoder = self.encoder()?;
            encoder.write(piece.chunk()).map_err(broken)?;
            let ready = (encoder.ready() >= WORTH_SENDING).then(|| encoder.take());
            self.unflushed = true;
            if let Some(ready) = ready {
                return Poll::Ready(Ok(ready));
            }
        }
    }

    fn encoder(&mut self) -> Result<&mut Encoder, Failure> {
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => self.new_encoder()?,
        };
        Ok(self.encoder.insert(encoder))
    }

    fn new_encoder(&self) -> Result<Encoder, Failure> {
        Encoder::new(self.coding, self.level).map_err(broken)
    }
}

impl BodyStream for CompressedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if self.ended {
            return Poll::Ready(self.trailers.take().map(|fields| Ok(Frame::Trailers(fields))));
        }
        match self.poll_compressed(cx) {
            Poll::Ready(Ok(data)) => Poll::Ready(Some(Ok(Frame::Data(data.into())))),
            Poll::Ready(Err(failure)) => Poll::Ready(Some(Err(failure))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.body.poll_progress(cx);
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::new(Reason::Internal).detail("the response could not be compressed").source(error)
}
