//! One connection: its handshake, its streams' tasks, its time, its end.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::Builder;
use polygate_pipeline::{ByteSize, Client, Scheme};
use polygate_plan::Limits;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::budget::Abuse;
use super::guard::{Guard, Watch};
use super::stream::Stream;
use crate::downstream::Common;
use crate::downstream::connection::LAST_CHANCE;
use crate::downstream::stop::Open;
use crate::downstream::transport::Transport;
use crate::metrics::Http2Metrics;
use crate::service::Service;
use crate::wire::Deadline;

/// A head that is larger than its limit is refused by us, with a record, up to so many times the limit; beyond, by the
/// crate, which keeps no record, and beyond four times that the connection is closed.
const HEAD_TOLERANCE: u64 = 2;
/// Streams that one turn of the connection's task begins. All that a client may open at once would keep others waiting.
const MAX_A_TURN: usize = 16;
/// How long a client that is cut off is given to take our last frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the streams of a connection have in common.
pub(super) struct Shared<S: Service> {
    pub(super) common: Rc<Common<S>>,
    pub(super) client: Client,
    pub(super) scheme: Scheme,
    pub(super) limits: Limits,
    /// A connection counts as open as long as one of its streams has a task.
    open: Open,
    streams: Cell<usize>,
    /// Streams whose head was refused because it is too large, and whose answer waits to be taken.
    large_heads: Cell<u32>,
    /// Tells tunnels that they must end.
    pub(super) cut: Notify,
    /// Since when there is no stream.
    idle_since: Cell<Instant>,
    /// Of the connection's task.
    task: RefCell<Waker>,
}

impl<S: Service> Shared<S> {
    pub(super) fn opened(&self) {
        let streams = self.streams.get();
        self.streams.set(streams + 1);
        if streams == 0 {
            self.open.set_idle(None);
        }
    }

    /// A head is refused because it is too large: it costs more than its bytes on the wire (RFC 7541 6.1). Who does not take
    /// the answers makes one such stream after the other stay.
    pub(super) fn refuses_large_head(&self) {
        let waiting = self.large_heads.get() + 1;
        self.large_heads.set(waiting);
        if waiting > self.limits.http2.large_heads {
            self.task.borrow().wake_by_ref();
        }
    }

    /// The answer to that was taken, or given up.
    pub(super) fn refused_large_head(&self) {
        self.large_heads.set(self.large_heads.get() - 1);
    }

    pub(super) fn closed(&self) {
        let left = self.streams.get() - 1;
        self.streams.set(left);
        if left == 0 {
            let now = Instant::now();
            self.idle_since.set(now);
            self.open.set_idle(Some(now));
            self.task.borrow().wake_by_ref();
        }
    }
}

/// Serves a connection of `client` to its end. `ahead` was read from it already.
pub(in crate::downstream) async fn serve<S: Service>(
    stream: Transport,
    ahead: BytesMut,
    client: Client,
    common: Rc<Common<S>>,
    open: Open,
) {
    let limits = common.settings;
    let (guard, watch) = Guard::new(stream, ahead, &limits);
    let handshake = builder(&limits).handshake(guard);
    let connection = match timeout(common.timeouts.head, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(peer = %client.peer, %error, "no HTTP/2 handshake"),
        Err(_) => return tracing::debug!(peer = %client.peer, "no HTTP/2 handshake in time"),
    };
    let scheme = if client.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let shared = Rc::new(Shared {
        common,
        client,
        scheme,
        limits,
        open,
        streams: Cell::new(0),
        large_heads: Cell::new(0),
        cut: Notify::new(),
        idle_since: Cell::new(Instant::now()),
        task: RefCell::new(Waker::noop().clone()),
    });
    count(&shared, |metrics| {
        metrics.connections += 1;
        metrics.accepted += 1;
    });
    let mut driver = Driver {
        connection,
        shared: shared.clone(),
        watch,
        deadline: Deadline::default(),
        leaving: Leaving::Not,
        abuse: None,
    };
    poll_fn(|cx| {
        shared.open.wake_on_stop(cx.waker());
        shared.open.set_idle(Some(shared.idle_since.get()));
        shared.task.replace(cx.waker().clone());
        Poll::Ready(())
    })
    .await;
    let end = poll_fn(|cx| driver.poll(cx)).await;
    driver.count_resets();
    count(&shared, |metrics| metrics.connections = metrics.connections.saturating_sub(1));
    if let Err(error) = end {
        // The crate itself cuts off who opens and resets too much.
        let calmed = error.is_go_away() && error.is_library();
        if calmed && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) && driver.abuse.is_none() {
            count(&shared, |metrics| metrics.abuse.streams += 1);
        }
        tracing::debug!(peer = %shared.client.peer, %error, "an HTTP/2 connection ended");
    }
}

fn builder(limits: &Limits) -> Builder {
    // The plan was checked: no window is larger than the protocol's largest.
    let window = |size: ByteSize| size.bytes().min(polygate_plan::MAX_HTTP2_WINDOW) as u32;
    let http2 = &limits.http2;
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(http2.streams)
        .initial_window_size(window(http2.stream_window))
        .initial_connection_window_size(window(http2.connection_window))
        .max_send_buffer_size(window(http2.send_buffer) as usize)
        .max_header_list_size((limits.head.bytes() * HEAD_TOLERANCE).min(u64::from(u32::MAX)) as u32)
        .max_pending_accept_reset_streams(http2.pending_resets)
        .max_local_error_reset_streams(Some(http2.stream_errors))
        // What small frames cost beyond their bytes, while they wait to be read: the crate's own measure would end a
        // client that streams small messages faster than they are taken.
        .data_frame_budget(2 * window(http2.connection_window) as usize);
    builder
}

/// Counts for the worker.
fn count<S: Service>(shared: &Shared<S>, change: impl FnOnce(&mut Http2Metrics)) {
    shared.common.metrics.with(|metrics| change(&mut metrics.http2));
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Not,
    /// The client was asked to open no more streams; those that are open end as they would. Without one, the connection is
    /// closed by then.
    Asked(Instant),
    /// The client is cut off; it has so long to take our last frame.
    Cut(Instant),
}

/// Drives a connection.
struct Driver<S: Service> {
    connection: h2::server::Connection<Guard, Bytes>,
    shared: Rc<Shared<S>>,
    watch: Rc<Watch>,
    deadline: Deadline,
    leaving: Leaving,
    abuse: Option<Abuse>,
}

impl<S: Service> Driver<S> {
    /// Ready at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.watch.read.set(0);
        let mut begun = 0;
        if self.shared.large_heads.get() > self.shared.limits.http2.large_heads {
            // Before more is read.
            self.watch.abuse.set(Some(Abuse::Head));
        }
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let stream = Stream::new(self.shared.clone(), respond);
                    // Boxed: a task moves what it holds about, to the day that it ends.
                    tokio::task::spawn_local(Box::pin(stream.serve(request)));
                    begun += 1;
                    if begun < MAX_A_TURN {
                        continue;
                    }
                    // Behind them, and behind others.
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            self.count_resets();
            if self.shared.common.stop.is_cut() {
                self.shared.cut.notify_waiters();
            }
            if let (Some(abuse), None) = (self.watch.abuse.get(), self.abuse) {
                self.cut_off(abuse);
                continue;
            }
            if self.leaving == Leaving::Not && self.is_pressed() {
                self.ask_to_leave();
                continue;
            }
            let Some((at, then)) = self.next_deadline() else { return Poll::Pending };
            if self.deadline.poll(at, cx).is_pending() {
                return Poll::Pending;
            }
            match then {
                Then::AskToLeave => self.ask_to_leave(),
                Then::Close => {
                    self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                    self.leaving = Leaving::Cut(Instant::now() + FAREWELL);
                }
                Then::CutOff => self.cut_off(Abuse::Slow),
                Then::Drop => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Whether the worker stops, or is better off without the connection.
    fn is_pressed(&self) -> bool {
        let Shared { common, open, .. } = &*self.shared;
        common.stop.is_stopping() || open.leaves() || common.service.valve().closes()
    }

    /// What time will do next, if nothing else happens.
    fn next_deadline(&self) -> Option<(Instant, Then)> {
        let timeouts = &self.shared.common.timeouts;
        let stalled = self.watch.stalled_since.get().map(|since| (since + timeouts.write, Then::Drop));
        if let Leaving::Cut(until) = self.leaving {
            return Some((until, Then::Drop));
        }
        let head = self.watch.head_since.get().map(|since| (since + timeouts.head, Then::CutOff));
        let idle = match (self.shared.streams.get(), self.leaving) {
            (0, Leaving::Asked(until)) => Some((until, Then::Close)),
            (0, _) => Some((self.shared.idle_since.get() + timeouts.idle, Then::AskToLeave)),
            _ => None,
        };
        [stalled, head, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Has the client open no more streams. What is under way by now is still served.
    fn ask_to_leave(&mut self) {
        self.connection.graceful_shutdown();
        self.leaving = Leaving::Asked(Instant::now() + LAST_CHANCE);
    }

    fn cut_off(&mut self, abuse: Abuse) {
        self.abuse = Some(abuse);
        count(&self.shared, |metrics| match abuse {
            Abuse::Resets => metrics.abuse.resets += 1,
            Abuse::ControlFrames => metrics.abuse.control_frames += 1,
            Abuse::Head => metrics.abuse.heads += 1,
            Abuse::Slow => metrics.abuse.slow += 1,
        });
        tracing::debug!(peer = %self.shared.client.peer, ?abuse, "an HTTP/2 client is cut off");
        self.connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
        self.leaving = Leaving::Cut(Instant::now() + FAREWELL);
    }

    /// Takes the resets that the guard has seen into the metrics.
    fn count_resets(&self) {
        let (theirs, ours) = self.watch.resets.take();
        if theirs + ours > 0 {
            count(&self.shared, |metrics| {
                metrics.resets_received += theirs;
                metrics.resets_sent += ours;
            });
        }
    }
}

/// What time does to a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    AskToLeave,
    Close,
    CutOff,
    Drop,
}
