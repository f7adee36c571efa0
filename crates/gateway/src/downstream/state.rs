//! What a connection's task and the body of its current request share: socket, buffer, decoder.
//!
//! All reading is done with the waker of the connection's task; a body that is read by another task leaves its own
//! waker here and is woken when there is more. So neither can take the socket's one wake-up from the other.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Method, StatusCode};
use polygate_http1::encode::{self, ResponseOptions};
use polygate_http1::{Decoded, Decoder, Framing, Limits, Outbox};
use polygate_pipeline::{Failure, Frame, Headers, Reason, Version};
use polygate_plan::Timeouts;
use tokio::time::Instant;

use super::transport::Transport;
use crate::buffer::ReadBuffer;
use crate::wire::{patience, poll_write_all};

/// While an exchange runs, at most so many bytes of what follows are read ahead, to notice a client that goes away.
const READ_AHEAD: usize = 16 << 10;

pub(super) type Shared = Rc<RefCell<State>>;

pub(super) struct State {
    pub(super) stream: Transport,
    pub(super) buffer: ReadBuffer,
    limits: Limits,
    /// Of the current request's body.
    decoder: Decoder,
    /// Counts the exchanges: a body that outlives its own reads nothing more.
    pub(super) exchange: u64,
    /// Of the connection's task.
    task: Waker,
    /// Of the task that waits for the body.
    reader: Option<Waker>,
    /// Since when the body is waited for.
    waiting: Option<Instant>,
    /// How long it was waited for before that, in all.
    waited: Duration,
    /// The response has begun.
    answered: bool,
    /// Why the body cannot be read on.
    broken: Option<Failure>,
    /// The client has closed its side.
    pub(super) eof: bool,
    /// The client waits for `100 Continue`, and no part of a final response was sent.
    continue_owed: bool,
    interim: Outbox,
    /// Since when it waits for room; what was written of it may wait in the encryption still.
    interim_waits: Option<Instant>,
    /// Bytes of the body that were read.
    pub(super) received: u64,
}

impl State {
    pub(super) fn new(stream: Transport, limits: Limits) -> Self {
        Self {
            stream,
            buffer: ReadBuffer::default(),
            limits,
            decoder: Decoder::new(Framing::Empty),
            exchange: 0,
            task: Waker::noop().clone(),
            reader: None,
            waiting: None,
            waited: Duration::ZERO,
            answered: false,
            broken: None,
            eof: false,
            continue_owed: false,
            interim: Outbox::new(),
            interim_waits: None,
            received: 0,
        }
    }

    /// A request's head was read: its body begins.
    pub(super) fn begin(&mut self, framing: Framing, expects_continue: bool) -> u64 {
        self.decoder = Decoder::new(framing);
        self.exchange += 1;
        self.reader = None;
        self.waiting = None;
        self.waited = Duration::ZERO;
        self.answered = false;
        self.broken = None;
        self.continue_owed = expects_continue;
        self.received = 0;
        self.exchange
    }

    /// A final response begins: an interim one can no longer be sent. Says whether one was still owed.
    pub(super) fn settle_continue(&mut self) -> bool {
        std::mem::take(&mut self.continue_owed)
    }

    /// Notes the connection's task.
    pub(super) fn set_task(&mut self, waker: &Waker) {
        if !self.task.will_wake(waker) {
            self.task = waker.clone();
        }
    }

    /// Whether the request's body was read to its end.
    pub(super) fn is_body_read(&self) -> bool {
        self.decoder.is_end()
    }

    /// Whether the request's body can never be read to its end.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some() || (self.eof && !self.decoder.is_end())
    }

    /// Bytes of the body still to come, when known.
    pub(super) fn length(&self) -> Option<u64> {
        self.decoder.length()
    }

    /// Makes the body fail; whoever waits for it is told.
    pub(super) fn fail_body(&mut self, failure: Failure) {
        self.broken.get_or_insert(failure);
        self.arrived();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Something came of a body that was waited for.
    fn arrived(&mut self) {
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    /// Told that the response begins. From then on both sides may talk: the client may pause, and however slow it is.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// When a body that is waited for counts as given up: after a pause, or when it has come too slowly as a whole.
    pub(super) fn body_deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        let since = self.waiting?;
        let pause = match self.answered {
            true => timeouts.tunnel_idle,
            false => patience(timeouts.body, self.received, self.waited),
        };
        Some(since + pause)
    }

    /// Reads once into the buffer, on behalf of the connection's task. `Err` and 0 are the end.
    pub(super) fn poll_fill(&mut self) -> Poll<io::Result<usize>> {
        let polled = self.buffer.poll_read(&mut self.stream, &mut Context::from_waker(&self.task));
        if let Poll::Ready(Ok(0) | Err(_)) = polled {
            self.eof = true;
        }
        polled
    }

    /// Reads ahead while an exchange runs. Ready when the client has closed its side.
    pub(super) fn poll_watch(&mut self) -> Poll<()> {
        while !self.eof && self.buffer.bytes.len() < READ_AHEAD {
            if self.poll_fill().is_pending() {
                return Poll::Pending;
            }
            self.arrived();
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        // What is needed to finish the body may be here already.
        if self.eof { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next frame of the current body.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        loop {
            if let Some(failure) = &self.broken {
                return Poll::Ready(Some(Err(failure.clone())));
            }
            match self.decoder.decode(&mut self.buffer.bytes, &self.limits) {
                Ok(Decoded::Data(data)) => {
                    self.received += data.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Ok(Decoded::Trailers(fields)) => return Poll::Ready(Some(Ok(Frame::Trailers(fields)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(error) => {
                    self.broken = Some(Failure::new(error.reason()).detail(error.to_string()));
                    continue;
                }
            }
            if self.eof {
                self.broken = Some(Failure::new(Reason::ClientClosed).detail("within the request's body"));
                continue;
            }
            if self.settle_continue() {
                self.interim.end_mut().extend_from_slice(encode::CONTINUE);
            }
            // A client that does not take 100 Continue shows on the next write.
            let _ = self.poll_interim();
            match self.poll_fill() {
                Poll::Ready(_) => self.arrived(),
                Poll::Pending => {
                    self.waiting.get_or_insert_with(Instant::now);
                    if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                        self.reader = Some(cx.waker().clone());
                    }
                    // The connection's task keeps the time.
                    if !self.task.will_wake(cx.waker()) {
                        self.task.wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Puts an interim response behind those that are under way. False when the client has not taken those.
    pub(super) fn put_interim(&mut self, status: StatusCode, headers: &Headers) -> bool {
        if self.interim.is_full() {
            // A connection that is broken shows on the next write.
            let _ = self.poll_interim();
            if self.interim.is_full() {
                return false;
            }
        }
        let options = ResponseOptions {
            method: &Method::GET,
            version: Version::Http11,
            framing: Framing::Empty,
            hidden_length: None,
            keep_alive: true,
            date: None,
            upgrade: None,
        };
        encode::response_head(self.interim.end_mut(), status, headers, &options);
        true
    }

    /// Since when interim responses wait for the client to take them.
    pub(super) fn interim_stalled(&self) -> Option<Instant> {
        self.interim_waits
    }

    /// Writes interim responses that are under way.
    pub(super) fn poll_interim(&mut self) -> Poll<io::Result<()>> {
        if self.interim.is_empty() && self.interim_waits.is_none() {
            return Poll::Ready(Ok(()));
        }
        let mut cx = Context::from_waker(&self.task);
        let polled = poll_write_all(&mut self.interim, &mut 0, &mut self.stream, &mut cx);
        self.interim_waits = polled.is_pending().then(|| self.interim_waits.unwrap_or_else(Instant::now));
        if polled.is_ready() {
            self.interim = Outbox::new();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_trickles_is_given_up() {
        let (pause, second) = (Duration::from_secs(30), Duration::from_secs(1));
        // At 100 bytes a second the one pause is used up in the end, at 240 it never is.
        let ends = |rate: u64| (0..10_000).find(|&n| patience(pause, n * rate, second * n as u32) < second);
        assert_eq!(ends(100), Some(50));
        assert_eq!(ends(240), None);
        assert_eq!(patience(pause, 0, Duration::ZERO), pause);
        // A fast start earns patience, but no more than one pause at a time.
        assert_eq!(patience(pause, 1 << 20, Duration::ZERO), pause);
    }
}
