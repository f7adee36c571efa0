//! One HTTP/2 connection to an upstream, and the places on it.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection as H2, SendRequest};
use h2::{Ping, PingPong};
use polygate_http1::Limits;
use polygate_pipeline::{Failure, Reason};
use polygate_plan::{Connection, MAX_HTTP2_WINDOW, UpstreamHttp2};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout};

use super::super::breaker::Open;
use super::super::pool::Place;
use super::super::stream::{Connected, Stream};
use super::super::vitals::Http2Vitals;

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
    /// Streams on it at most, whatever the server allows.
    most_streams: usize,
    streams: Cell<usize>,
    /// Whether it has carried a request before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
    /// No further request is put on it.
    retired: Cell<bool>,
    /// Whether the server has said goodbye.
    goodbye: Cell<bool>,
    vitals: Arc<Http2Vitals>,
    place: Weak<Place>,
    /// Until the server is known to have said its settings.
    unsettled: Mutex<Option<PingPong>>,
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
        settings: &Connection,
    ) -> Result<Rc<Self>, Failure> {
        let Connected { stream, peer, generation, open, .. } = connected;
        let handshake = builder(&settings.http2).handshake::<Stream, Bytes>(stream).await;
        let (sender, mut connection) = handshake.map_err(|error| {
            let failure = Failure::new(Reason::UpstreamClosed).detail("closed as it was made");
            failure.source(error).retryable()
        })?;
        let line = Rc::new(Self {
            sender,
            peer,
            generation,
            keep_alive: settings.keep_alive,
            most_streams: settings.http2.streams as usize,
            streams: Cell::new(0),
            used: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            retired: Cell::new(false),
            goodbye: Cell::new(false),
            vitals: place.lines.vitals.clone(),
            place: Rc::downgrade(place),
            unsettled: Mutex::new(connection.ping_pong()),
            dropped: Rc::default(),
            _open: open,
        });
        line.vitals.opened.add(1);
        line.vitals.connections.add(1);
        let (dropped, vitals) = (line.dropped.clone(), line.vitals.clone());
        tokio::task::spawn_local(drive(connection, Rc::downgrade(&line), dropped, vitals));
        Ok(line)
    }

    /// A place on it, when it is good and not full.
    pub(super) fn take(self: &Rc<Self>) -> Option<Ticket> {
        let mut sender = self.sender.clone();
        if !self.has_room() || !self.is_open(&mut sender) {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        self.vitals.streams.add(1);
        Some(Ticket { line: self.clone(), sender, reused: self.used.replace(true) })
    }

    /// Whether requests may still be put on it: the server has not said goodbye, and there are numbers for streams left.
    pub(super) fn is_good(&self) -> bool {
        !self.retired.get() && self.is_open(&mut self.sender.clone())
    }

    /// Whether the server takes extended CONNECT (RFC 8441 3). When it has not spoken yet, its answer to a PING is waited
    /// for: its settings come before that (RFC 9113 3.4).
    ///
    /// # Errors
    /// When the connection was lost.
    pub(super) async fn takes_tunnels(&self) -> Result<bool, h2::Error> {
        if self.sender.is_extended_connect_protocol_enabled() {
            return Ok(true);
        }
        // Who comes second waits for the answer of the first.
        let mut unsettled = self.unsettled.lock().await;
        if let Some(pings) = &mut *unsettled {
            // It fails when one is under way still, of a request that was given up, or when its answer fails.
            let _ = pings.send_ping(Ping::opaque());
            if let Err(error) = poll_fn(|cx| pings.poll_pong(cx)).await {
                // The connection itself knows better why.
                let known = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
                return Err(match known {
                    Poll::Ready(Err(known)) => known,
                    _ => error,
                });
            }
            *unsettled = None;
        }
        Ok(self.sender.is_extended_connect_protocol_enabled())
    }

    fn is_open(&self, sender: &mut SendRequest<Bytes>) -> bool {
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) if error.is_go_away() && error.is_remote() => {
                if !self.goodbye.replace(true) {
                    self.vitals.goaways.add(1);
                }
                false
            }
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    /// Whether one more stream may be open.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < self.most_streams.min(self.sender.current_max_send_streams())
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
        self.vitals.connections.sub(1);
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
        line.vitals.streams.sub(1);
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

fn builder(caps: &UpstreamHttp2) -> Builder {
    let window = caps.stream_window.bytes().min(MAX_HTTP2_WINDOW);
    // No response that nobody reads holds up another one on its connection: there is room for the windows of all.
    let all = window.saturating_mul(u64::from(caps.streams)).min(MAX_HTTP2_WINDOW);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(window as u32)
        .initial_connection_window_size(all as u32)
        .max_send_buffer_size(caps.send_buffer.bytes() as usize)
        .max_header_list_size(Limits::DEFAULT.head as u32)
        .max_local_error_reset_streams(Some(caps.stream_errors))
        // What small frames cost beyond their bytes, while they wait to be read: the crate's own measure would end a
        // server that streams small messages faster than they are taken.
        .data_frame_budget(2 * all as usize);
    builder
}

/// Drives a connection to its end.
async fn drive(
    connection: H2<Stream, Bytes>,
    line: Weak<Line>,
    dropped: Rc<Notify>,
    vitals: Arc<Http2Vitals>,
) {
    let mut connection = pin!(connection);
    let end = tokio::select! {
        end = &mut connection => end,
        () = dropped.notified() => match timeout(FAREWELL, connection).await {
            Ok(end) => end,
            Err(_) => return,
        },
    };
    if let Err(error) = end {
        if error.is_library() {
            vitals.broken.add(1);
        }
        tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
    }
    if let Some(line) = line.upgrade() {
        // A goodbye on a connection that nobody needed is seen here alone.
        let _ = line.is_good();
        line.retire();
    }
}
