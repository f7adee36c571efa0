//! One HTTP/2 connection to an upstream, and the places on it.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use polygate_http1::Limits;
use polygate_pipeline::{Failure, Reason};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::breaker::Open;
use super::super::pool::Place;
use super::super::stream::{Connected, Stream};

/// Streams that we open on one connection at most, whatever the server lets us.
pub(super) const MAX_STREAMS: usize = 100;
/// Bytes of one response that are taken before they are read.
const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes of one request that wait to be written.
const SEND_BUFFER: usize = 64 << 10;
/// No response that nobody reads holds up another one on its connection: there is room for the windows of all.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// Streams that the server may make us reset by breaking the protocol, before its connection is closed.
const MAX_STREAM_ERRORS: usize = 100;

/// How long a server is given to take our last frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// An HTTP/2 connection to an upstream. It closes once it was dropped and its last stream has ended.
pub(in crate::upstream) struct Line {
    sender: SendRequest<Bytes>,
    pub(super) peer: IpAddr,
    /// What its place's generation was when it was made.
    pub(super) generation: u32,
    /// How long it is kept without a stream.
    pub(super) keep_alive: Duration,
    streams: Cell<usize>,
    /// Whether it has carried a request before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
    /// No further request is put on it.
    retired: Cell<bool>,
    place: Weak<Place>,
    /// Told when the line is dropped.
    dropped: Rc<Notify>,
    /// That a named upstream counts it as open.
    _open: Option<Open>,
}

/// A place for one stream on a connection, until it is dropped.
pub(in crate::upstream) struct Ticket {
    line: Rc<Line>,
    sender: SendRequest<Bytes>,
    reused: bool,
}

impl Line {
    /// Begins HTTP/2 on a new connection. The server's first word is not waited for.
    ///
    /// # Errors
    /// When our own first word cannot be sent.
    pub(super) async fn begin(
        connected: Connected,
        place: &Rc<Place>,
        keep_alive: Duration,
    ) -> Result<Rc<Self>, Failure> {
        let Connected { stream, peer, generation, open, .. } = connected;
        let handshake = builder().handshake::<Stream, Bytes>(stream).await;
        let (sender, connection) = handshake.map_err(|error| {
            let failure = Failure::new(Reason::UpstreamClosed).detail("closed as it was made");
            failure.source(error).retryable()
        })?;
        let line = Rc::new(Self {
            sender,
            peer,
            generation,
            keep_alive,
            streams: Cell::new(0),
            used: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            retired: Cell::new(false),
            place: Rc::downgrade(place),
            dropped: Rc::default(),
            _open: open,
        });
        tokio::task::spawn_local(drive(connection, Rc::downgrade(&line), line.dropped.clone()));
        Ok(line)
    }

    /// A place on it, when it is good and not full.
    pub(super) fn take(self: &Rc<Self>) -> Option<Ticket> {
        let mut sender = self.sender.clone();
        if !self.has_room() || !is_open(&mut sender) {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Ticket { line: self.clone(), sender, reused: self.used.replace(true) })
    }

    /// Whether requests may still be put on it: the server has not said goodbye, and there are numbers for streams left.
    pub(super) fn is_good(&self) -> bool {
        !self.retired.get() && is_open(&mut self.sender.clone())
    }

    /// Whether one more stream may be open.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < MAX_STREAMS.min(self.sender.current_max_send_streams())
    }

    /// Since when it has no stream.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }

    /// Has no further request put on it. It closes when the last one has ended.
    pub(super) fn retire(&self) {
        if !self.retired.replace(true)
            && let Some(place) = self.place.upgrade()
        {
            place.lines.tidy();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

impl Ticket {
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.sender
    }

    /// Whether the connection has carried another request before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let line = &self.line;
        let left = line.streams.get() - 1;
        line.streams.set(left);
        if left == 0 {
            line.idle_since.set(Instant::now());
            if line.keep_alive.is_zero() {
                line.retire();
            }
        }
        if let Some(place) = line.place.upgrade() {
            place.freed();
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(Limits::DEFAULT.head as u32)
        .max_local_error_reset_streams(Some(MAX_STREAM_ERRORS))
        // What small frames cost beyond their bytes, while they wait to be read: the crate's own measure would end a
        // server that streams small messages faster than they are taken.
        .data_frame_budget(2 * CONNECTION_WINDOW as usize);
    builder
}

fn is_open(sender: &mut SendRequest<Bytes>) -> bool {
    matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

/// Drives a connection to its end.
async fn drive(connection: Connection<Stream, Bytes>, line: Weak<Line>, dropped: Rc<Notify>) {
    let mut connection = pin!(connection);
    let end = tokio::select! {
        end = &mut connection => end,
        () = dropped.notified() => match timeout(FAREWELL, connection).await {
            Ok(end) => end,
            Err(_) => return,
        },
    };
    if let Err(error) = end {
        tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
    }
    if let Some(line) = line.upgrade() {
        line.retire();
    }
}
