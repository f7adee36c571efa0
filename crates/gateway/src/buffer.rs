//! Room to read into and to write from, which the connections of a worker share.
//!
//! A connection holds what came and was not used yet, and nothing else: most connections wait, and what they would hold
//! meanwhile is memory that nobody uses, and that the processor's caches do not have when its turn comes. The
//! room that was used last is used next.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread::LocalKey;

use bytes::BytesMut;
use polygate_http1::Outbox;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most that is read at once.
const ROOM: usize = 32 << 10;
/// With less room than this behind what waits, the next read has another buffer.
const LEAST: usize = 2 << 10;
/// What a buffer may have been grown to for being written from again.
const OUTBOX: usize = 8 << 10;

thread_local! {
    static TO_READ: Cell<BytesMut> = Cell::default();
    static TO_WRITE: Cell<BytesMut> = Cell::default();
}

/// Where the one buffer lies that is used next, if it has room. Others are freed: more than one is needed only while bodies
/// are handed on.
type Shelf = LocalKey<Cell<BytesMut>>;

fn put(shelf: &'static Shelf, mut buffer: BytesMut) {
    buffer.clear();
    shelf.set(buffer);
}

/// An outbox with room for a head.
pub(crate) fn outbox() -> Outbox {
    Outbox::in_room(TO_WRITE.take())
}

/// An outbox is not needed any more.
pub(crate) fn give_back(outbox: Outbox) {
    let room = outbox.into_room();
    if (1..=OUTBOX).contains(&room.capacity()) {
        put(&TO_WRITE, room);
    }
}

/// Room for a read: all of it, unless a body that stands in the other part is still held.
fn room() -> BytesMut {
    let mut room = TO_READ.take();
    if !room.try_reclaim(ROOM) && room.capacity() < LEAST {
        room.reserve(ROOM);
    }
    room
}

/// What is read from.
pub(crate) trait Source: AsyncRead + Unpin {
    /// Whether nothing has come, where that can be told without reading. Who is told so is woken later, as after a read that
    /// is pending.
    fn is_dry(&self, cx: &mut Context<'_>) -> bool;
}

/// The bytes that were read from a connection and not yet used.
#[derive(Default)]
pub(crate) struct ReadBuffer {
    pub(crate) bytes: BytesMut,
}

impl ReadBuffer {
    /// Reads once. 0 is the end of the connection. While nothing comes, no room is held for it.
    pub(crate) fn poll_read<S: Source>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if stream.is_dry(cx) {
            self.settle();
            return Poll::Pending;
        }
        let waiting = self.bytes.len();
        if waiting > 0 && self.bytes.capacity() - waiting < LEAST {
            let mut room = room();
            let polled = pin!(stream.read_buf(&mut room)).poll(cx);
            self.bytes.extend_from_slice(&room);
            put(&TO_READ, room);
            return polled;
        }
        if self.bytes.capacity() < LEAST {
            self.bytes = room();
        }
        let polled = pin!(stream.read_buf(&mut self.bytes)).poll(cx);
        if polled.is_pending() {
            self.settle();
        }
        polled
    }

    /// Holds no more than what waits, because it may do so for long.
    fn settle(&mut self) {
        let waiting = self.bytes.len();
        if waiting == 0 {
            self.release();
        } else if self.bytes.capacity() > 2 * (waiting + LEAST) {
            let mut fitting = BytesMut::with_capacity(waiting + LEAST);
            fitting.extend_from_slice(&self.bytes);
            put(&TO_READ, std::mem::replace(&mut self.bytes, fitting));
        }
    }

    /// Gives the room back, if nothing waits in it: nothing is expected for a while.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            put(&TO_READ, std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::ReadBuf;

    use super::*;

    /// What comes, read by read; then nothing more.
    struct Script(Vec<Vec<u8>>);

    impl AsyncRead for Script {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(next) = self.0.first_mut() else { return Poll::Pending };
            let count = next.len().min(into.remaining());
            into.put_slice(&next[..count]);
            next.drain(..count);
            if next.is_empty() {
                self.0.remove(0);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl Source for Script {
        fn is_dry(&self, _: &mut Context<'_>) -> bool {
            false
        }
    }

    /// The room that is kept for reading.
    fn kept() -> usize {
        let kept = TO_READ.take();
        let room = kept.capacity();
        TO_READ.set(kept);
        room
    }

    /// Reads until nothing comes; gives how many reads there were.
    fn read_all(buffer: &mut ReadBuffer, script: &mut Script) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        (0..).find(|_| buffer.poll_read(script, &mut cx).is_pending()).unwrap_or_default()
    }

    #[test]
    fn who_waits_holds_no_room() {
        let (mut buffer, mut script) = (ReadBuffer::default(), Script(vec![b"hello".to_vec()]));
        assert_eq!(read_all(&mut buffer, &mut script), 1);
        assert_eq!(buffer.bytes, "hello");
        assert!(buffer.bytes.capacity() <= 5 + LEAST, "{}", buffer.bytes.capacity());
        assert_eq!(kept(), ROOM);
        buffer.bytes.clear();
        assert_eq!(read_all(&mut buffer, &mut script), 0);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn what_comes_in_pieces_is_whole() {
        let text: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 7, 2_047, 4_096, 40_000] {
            let pieces = text.chunks(piece).map(<[u8]>::to_vec).collect();
            let mut buffer = ReadBuffer::default();
            read_all(&mut buffer, &mut Script(pieces));
            assert_eq!(buffer.bytes, text, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_body_that_is_held_is_not_overwritten() {
        let (mut buffer, mut held) = (ReadBuffer::default(), Vec::new());
        for n in 0..100_u8 {
            let mut script = Script(vec![vec![n; 5_000]]);
            let mut cx = Context::from_waker(Waker::noop());
            while buffer.bytes.len() < 5_000 {
                assert!(buffer.poll_read(&mut script, &mut cx).is_ready());
            }
            held.push(buffer.bytes.split_to(5_000).freeze());
            buffer.release();
        }
        assert!(held.iter().zip(0..).all(|(body, n)| body.iter().all(|&byte| byte == n)));
        assert!(kept() <= ROOM);
    }

    #[test]
    fn an_outbox_that_has_grown_is_not_kept() {
        for (room, kept) in [(100, true), (OUTBOX, true), (OUTBOX + 1, false)] {
            TO_WRITE.take();
            let mut outbox = outbox();
            outbox.end_mut().reserve(room);
            give_back(outbox);
            assert_eq!(TO_WRITE.take().capacity() >= room, kept, "{room}");
        }
    }
}
