//! One direction of a tunnel.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use polygate_pipeline::ByteStream;
use tokio::io::ReadBuf;

use super::websocket::{Frames, Sender};

/// The most that is read at once, and so the most that waits for the other side.
const READ: usize = 64 << 10;
/// Bytes that are copied before the worker's other tasks get their turn.
const TURN: usize = 256 << 10;

thread_local! {
    /// What bytes are read into. Mostly they are written from there at once: a tunnel that is quiet holds no memory.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Why a direction broke.
pub(super) enum Broken {
    /// Nothing more can be read where it comes from.
    Read(io::Error),
    /// Nothing more can be written where it leads.
    Write(io::Error),
}

/// One direction.
pub(super) struct Flow {
    /// What was read and not written.
    rest: BytesMut,
    /// Of a WebSocket, where it stands with what was written.
    frames: Option<Frames>,
    read: u64,
    written: u64,
    phase: Phase,
    /// What was written waits in the encryption still, perhaps.
    unflushed: bool,
    /// What comes is thrown away once the end was passed on.
    is_deaf: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Copying,
    /// More is needed of the frame that has begun, so that a goodbye can follow it.
    Leaving,
    /// What waits is the last that is written; then the end is passed on.
    Ending,
    /// The end was passed on.
    Ended,
    /// Nothing more can happen.
    Over,
}

impl Flow {
    /// A direction of which `rest` was read already; `sender` says whose frames it has, of a WebSocket.
    pub(super) fn new(rest: BytesMut, sender: Option<Sender>) -> Self {
        Self {
            read: rest.len() as u64,
            rest,
            frames: sender.map(Frames::new),
            written: 0,
            phase: Phase::Copying,
            unflushed: false,
            is_deaf: false,
        }
    }

    /// Bytes that were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Grows with each sign of life.
    pub(super) fn moved(&self) -> u64 {
        self.read + self.written
    }

    /// Ends at the next end of a frame, with a goodbye.
    pub(super) fn leave(&mut self) {
        self.is_deaf = true;
        if self.phase == Phase::Copying {
            self.phase = Phase::Leaving;
            self.say_goodbye();
        }
    }

    /// Puts the goodbye behind the frame that has begun, once its end is there.
    fn say_goodbye(&mut self) {
        let Some(frames) = &self.frames else {
            self.phase = Phase::Ending;
            return;
        };
        let mut ahead = frames.clone();
        let belonging = ahead.belonging(&self.rest);
        ahead.pass(&self.rest[..belonging]);
        if !ahead.is_between() && !ahead.is_over() {
            return;
        }
        self.rest.truncate(belonging);
        if !ahead.is_over() {
            self.rest.extend_from_slice(&ahead.goodbye());
        }
        self.phase = Phase::Ending;
    }

    /// Copies what can be copied. Ready when nothing more can be; polled again then, it is ready again.
    pub(super) fn poll<F, T>(
        &mut self,
        from: &mut F,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        F: ByteStream + ?Sized,
        T: ByteStream + ?Sized,
    {
        let polled = self.poll_copy(from, to, cx);
        if let Poll::Ready(Err(_)) = polled {
            self.phase = Phase::Over;
        }
        polled
    }

    fn poll_copy<F, T>(&mut self, from: &mut F, to: &mut T, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>
    where
        F: ByteStream + ?Sized,
        T: ByteStream + ?Sized,
    {
        let mut left = TURN;
        loop {
            match self.phase {
                Phase::Over => return Poll::Ready(Ok(())),
                Phase::Copying | Phase::Ending | Phase::Leaving => {
                    ready!(self.poll_rest(to, cx)).map_err(Broken::Write)?;
                }
                Phase::Ended => {}
            }
            if self.phase == Phase::Ending {
                // A side that has gone need not be told.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.phase = if self.is_deaf { Phase::Ended } else { Phase::Over };
                continue;
            }
            if left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_next(from, to, cx) {
                Poll::Ready(Ok(count)) => left = left.saturating_sub(count),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending if self.unflushed => match Pin::new(&mut *to).poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.unflushed = false;
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Write(error))),
                    Poll::Pending => return Poll::Pending,
                },
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes what waits.
    fn poll_rest<T: ByteStream + ?Sized>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.rest.is_empty() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(frames) = &mut self.frames {
                frames.pass(&self.rest[..count]);
            }
            self.rest.advance(count);
            self.wrote(count);
        }
        self.rest = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) {
        self.written += count as u64;
        self.unflushed = true;
    }

    /// Reads once and writes what it can of it. Says how much was read.
    fn poll_next<F, T>(
        &mut self,
        from: &mut F,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>>
    where
        F: ByteStream + ?Sized,
        T: ByteStream + ?Sized,
    {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; READ].into());
        let polled = self.poll_through(&mut scratch, from, to, cx);
        SCRATCH.set(Some(scratch));
        polled
    }

    fn poll_through<F, T>(
        &mut self,
        scratch: &mut [u8],
        from: &mut F,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>>
    where
        F: ByteStream + ?Sized,
        T: ByteStream + ?Sized,
    {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(Broken::Read)?;
        let read = buffer.filled();
        self.read += read.len() as u64;
        match self.phase {
            Phase::Copying if read.is_empty() => self.phase = Phase::Ending,
            Phase::Copying => {
                let count = match Pin::new(to).poll_write(cx, read) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(Broken::Write(io::ErrorKind::WriteZero.into())));
                    }
                    Poll::Ready(Ok(count)) => count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Write(error))),
                    Poll::Pending => 0,
                };
                if let Some(frames) = &mut self.frames {
                    frames.pass(&read[..count]);
                }
                self.wrote(count);
                self.rest.extend_from_slice(&read[count..]);
            }
            Phase::Leaving if read.is_empty() => self.phase = Phase::Ending,
            Phase::Leaving => {
                self.rest.extend_from_slice(read);
                self.say_goodbye();
            }
            Phase::Ended if read.is_empty() => self.phase = Phase::Over,
            Phase::Ended | Phase::Ending | Phase::Over => {}
        }
        Poll::Ready(Ok(read.len()))
    }
}
