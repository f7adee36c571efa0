//! A body on its way into a stream, as fast as flow control lets it.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use polygate_pipeline::{Body, Failure, Frame, Headers, Reason};

use super::fields;
use crate::wire::{Deadline, Pace};

/// Why a body could not be sent.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The body itself failed, or does not have the length it promised.
    Body(Failure),
    /// The other end has reset the stream, or the connection is gone.
    Closed(h2::Error),
    /// The other end takes nothing.
    Stalled,
}

/// What ends a body.
enum Last {
    End,
    Trailers(Headers),
}

/// A body on its way into a stream.
pub(crate) struct Outgoing {
    body: Body,
    /// Bytes that were taken from the body and wait for room.
    waiting: Bytes,
    /// Those behind them.
    next: Bytes,
    last: Option<Last>,
    /// Bytes that its head promises and that were not yet taken.
    left: Option<u64>,
    sent: u64,
    pace: Pace,
    deadline: Deadline,
}

impl Outgoing {
    /// A body whose head promises `length` bytes, if it says so.
    pub(crate) fn new(body: Body, length: Option<u64>) -> Self {
        Self {
            body,
            waiting: Bytes::new(),
            next: Bytes::new(),
            last: None,
            left: length,
            sent: 0,
            pace: Pace::default(),
            deadline: Deadline::default(),
        }
    }

    /// Bytes that were handed over to be written.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends on; `patience` is how long the other end may take nothing. Ready when the end of the body was handed over.
    pub(crate) fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            // One frame ahead: so the last bytes go out together with the end, when it is known by then.
            let pulled = self.pull(cx).map_err(Broken::Body)?;
            if !self.waiting.is_empty() {
                if self.poll_capacity(stream, patience, cx)?.is_pending() {
                    return Poll::Pending;
                }
                let piece = self.waiting.split_to(stream.capacity().min(self.waiting.len()));
                self.sent += piece.len() as u64;
                if self.waiting.is_empty() {
                    self.waiting = std::mem::take(&mut self.next);
                }
                let ends = self.waiting.is_empty() && matches!(self.last, Some(Last::End));
                stream.send_data(piece, ends).map_err(Broken::Closed)?;
                if ends {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            match self.last.take() {
                Some(Last::End) => {
                    return Poll::Ready(stream.send_data(Bytes::new(), true).map_err(Broken::Closed));
                }
                Some(Last::Trailers(fields)) => {
                    let fields = fields::trailers_to_send(fields);
                    return Poll::Ready(stream.send_trailers(fields).map_err(Broken::Closed));
                }
                None if pulled => {}
                None => {
                    if let Poll::Ready(reset) = stream.poll_reset(cx) {
                        return Poll::Ready(Err(Broken::Closed(
                            reset.map_or_else(|error| error, h2::Error::from),
                        )));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes what the body has ready, as far as there is room. Says whether something was taken.
    fn pull(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let mut pulled = false;
        while self.last.is_none() && self.next.is_empty() {
            match self.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    if let Some(left) = &mut self.left {
                        *left = left.checked_sub(data.len() as u64).ok_or_else(mismatch)?;
                    }
                    *(if self.waiting.is_empty() { &mut self.waiting } else { &mut self.next }) = data;
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.last = Some(Last::Trailers(fields)),
                Poll::Ready(Some(Err(failure))) => return Err(failure),
                Poll::Ready(None) => self.last = Some(Last::End),
                Poll::Pending => break,
            }
            pulled = true;
        }
        if self.last.is_none() && !self.next.is_empty() {
            self.body.poll_progress(cx);
        }
        if self.last.is_some() && self.left.is_some_and(|left| left > 0) {
            return Err(mismatch());
        }
        Ok(pulled)
    }

    /// Ready when there is room for a byte at least.
    fn poll_capacity(
        &mut self,
        stream: &mut SendStream<Bytes>,
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        stream.reserve_capacity(self.waiting.len());
        while stream.capacity() == 0 {
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Closed(error))),
                // It is closed; why, the reset says.
                Poll::Ready(None) => {
                    let error = match stream.poll_reset(cx) {
                        Poll::Ready(Err(error)) => error,
                        Poll::Ready(Ok(reason)) => reason.into(),
                        Poll::Pending => h2::Reason::STREAM_CLOSED.into(),
                    };
                    return Poll::Ready(Err(Broken::Closed(error)));
                }
                Poll::Pending => {
                    let until = self.pace.wait(patience, self.sent);
                    return self.deadline.poll(until, cx).map(|()| Err(Broken::Stalled));
                }
            }
        }
        self.pace.moved();
        Poll::Ready(Ok(()))
    }
}

fn mismatch() -> Failure {
    Failure::new(Reason::Internal).detail("the body does not have the length that its head promised")
}
