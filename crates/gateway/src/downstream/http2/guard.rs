//! The byte stream under a connection: sees every frame pass, in both directions, and tells the connection's task what
//! the `h2` crate does not.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use polygate_plan::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::budget::{Abuse, Budget};
use crate::downstream::transport::Transport;
use crate::http2::frames::{Walker, kind};
use crate::wire::Deadline;

/// Bytes before the client's first frame (RFC 9113 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// After our last frame the client is listened to this long, and so many bytes: closing a socket with unread bytes
/// resets it, and the client may not learn why.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 << 10);
/// Bytes that are read in one turn of the connection's task. The `h2` crate handles all that it can read before it does
/// anything else, and a few of these bytes may stand for much: see RFC 7541 6.1. Others have their turn in between.
const MAX_A_TURN: usize = 16 << 10;
/// As long as the client sends heads, or it is not known what it sends: a byte of a head may stand for a whole field.
const MAX_OF_HEADS_A_TURN: usize = 4 << 10;

/// What the guard tells the connection's task.
#[derive(Default)]
pub(super) struct Watch {
    /// The client is to be cut off.
    pub(super) abuse: Cell<Option<Abuse>>,
    /// Since when a head is being read.
    pub(super) head_since: Cell<Option<Instant>>,
    /// Since when the client takes nothing that we write.
    pub(super) stalled_since: Cell<Option<Instant>>,
    /// Bytes that were read in the present turn of the connection's task, which begins with 0.
    pub(super) read: Cell<usize>,
    /// Streams that the client has reset, and that we have, not yet in the metrics.
    pub(super) resets: Cell<(u64, u64)>,
}

/// A connection's byte stream.
pub(super) struct Guard {
    stream: Transport,
    /// What was read before it was known to be HTTP/2.
    ahead: BytesMut,
    watch: Rc<Watch>,
    incoming: Walker,
    outgoing: Walker,
    budget: Budget,
    /// Whether there was anything but data in what was read last, and whether the last frame that began is such.
    reads_heads: (bool, bool),
    eof: bool,
    lingered: usize,
    linger_until: Option<Instant>,
    deadline: Deadline,
}

impl Guard {
    pub(super) fn new(stream: Transport, ahead: BytesMut, limits: &Limits) -> (Self, Rc<Watch>) {
        let watch = Rc::<Watch>::default();
        let guard = Self {
            stream,
            ahead,
            watch: watch.clone(),
            incoming: Walker::after(PREFACE.len()),
            outgoing: Walker::after(0),
            budget: Budget::new(limits),
            reads_heads: (true, true),
            eof: false,
            lingered: 0,
            linger_until: None,
            deadline: Deadline::default(),
        };
        (guard, watch)
    }

    fn received(&mut self, bytes: &[u8]) {
        let Self { incoming, budget, watch, reads_heads, .. } = self;
        let mut begun = watch.head_since.get().is_none();
        // One frame of data behind many heads makes them no cheaper.
        let (any, last) = reads_heads;
        *any = *last && incoming.is_within();
        incoming.walk(bytes, |frame| {
            begun |= frame.kind == kind::HEADERS;
            *last = frame.kind != kind::DATA;
            *any |= *last;
            if frame.kind == kind::RST_STREAM {
                let (theirs, ours) = watch.resets.get();
                watch.resets.set((theirs + 1, ours));
            }
            if let Some(abuse) = budget.received(frame) {
                watch.abuse.set(Some(abuse));
            }
        });
        // Of a client that sends one head behind the other each has its own time.
        if !budget.is_in_head(incoming.is_within()) {
            watch.head_since.set(None);
        } else if begun {
            watch.head_since.set(Some(Instant::now()));
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let Self { outgoing, budget, watch, .. } = self;
        outgoing.walk(bytes, |frame| {
            if frame.kind == kind::RST_STREAM {
                let (theirs, ours) = watch.resets.get();
                watch.resets.set((theirs, ours + 1));
            }
            budget.sent(frame);
        });
    }

    /// Notes whether the client takes what we write.
    fn stalls(&self, pending: bool) {
        if pending != self.watch.stalled_since.get().is_some() {
            self.watch.stalled_since.set(pending.then(Instant::now));
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.abuse.get().is_some() {
            // Nothing more is taken from it; the connection's task ends it.
            return Poll::Pending;
        }
        let most = if this.reads_heads.0 { MAX_OF_HEADS_A_TURN } else { MAX_A_TURN };
        let Some(left @ 1..) = most.checked_sub(this.watch.read.get()) else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let before = buf.filled().len();
        if !this.ahead.is_empty() {
            let count = buf.remaining().min(this.ahead.len()).min(left);
            buf.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
        } else {
            let room = buf.remaining().min(left);
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            buf.advance(count);
        }
        this.eof = buf.filled().len() == before;
        this.watch.read.set(this.watch.read.get() + buf.filled().len() - before);
        this.received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.stalls(polled.is_pending());
        let count = ready!(polled)?;
        this.sent(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.stalls(polled.is_pending());
        let count = ready!(polled)?;
        let mut left = count;
        for slice in bufs {
            let part = left.min(slice.len());
            this.sent(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.stalls(polled.is_pending());
        polled
    }

    /// Closes our side, and waits for the client's for a moment.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        let mut room = [0; 4096];
        while !this.eof && this.lingered < LINGER.1 {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => {
                    this.lingered += buf.filled().len();
                    this.eof = buf.filled().is_empty();
                }
                // It is closed, which is all that was waited for.
                Poll::Ready(Err(_)) => this.eof = true,
                Poll::Pending => {
                    let until = *this.linger_until.get_or_insert_with(|| Instant::now() + LINGER.0);
                    ready!(this.deadline.poll(until, cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn each_head_has_its_own_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut guard, watch) = Guard::new(Transport::Plain(stream), BytesMut::new(), &Limits::default());
        let long_ago = Instant::now() - Duration::from_secs(3600);
        // HEADERS of ten bytes with END_HEADERS, of which the second half has not come yet.
        let frame = [0, 0, 10, 1, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (begun, rest) = frame.split_at(14);
        guard.received(PREFACE);
        assert_eq!(watch.head_since.get(), None);
        guard.received(begun);
        assert!(watch.head_since.get().is_some());
        watch.head_since.set(Some(long_ago));
        guard.received(&rest[..1]);
        assert_eq!(watch.head_since.get(), Some(long_ago), "the same head still");
        guard.received(&[&rest[1..], begun].concat());
        assert!(watch.head_since.get() > Some(long_ago), "the next one");
        guard.received(rest);
        assert_eq!(watch.head_since.get(), None);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn one_turn_reads_no_more_than_it_may() {
        for (kind, most) in [(kind::DATA, MAX_A_TURN), (kind::HEADERS, MAX_OF_HEADS_A_TURN)] {
            assert_eq!(turns_of(kind, 3 * MAX_A_TURN, most).await, (3 * MAX_A_TURN).div_ceil(most) + 1);
        }
    }

    /// In how many turns a frame of that kind and length is read, none of which may read more than `most`.
    async fn turns_of(kind: u8, length: usize, most: usize) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // It came with the preface.
        let mut ahead = BytesMut::from(PREFACE);
        ahead.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        ahead.extend_from_slice(&[kind, 0, 0, 0, 0, 1]);
        ahead.resize(ahead.len() + length, 0);
        let all = ahead.len();
        let (mut guard, watch) = Guard::new(Transport::Plain(stream), ahead, &Limits::default());
        let (mut room, mut read, mut turns) = (vec![0; MAX_A_TURN / 4], 0, 0);
        while read < all {
            turns += 1;
            watch.read.set(0);
            let before = read;
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(woken.clone());
            let mut cx = Context::from_waker(&waker);
            while read < all {
                let mut buf = ReadBuf::new(&mut room);
                if Pin::new(&mut guard).poll_read(&mut cx, &mut buf).is_pending() {
                    assert!(woken.0.load(Ordering::Relaxed), "it must have another turn");
                    break;
                }
                read += buf.filled().len();
            }
            assert!(read - before <= most, "{}", read - before);
        }
        turns
    }
}
