//! Tunnels that are open: bytes are copied both ways until both ends have closed, or the gateway stops.
//!
//! Nothing here knows what carries a tunnel: an HTTP/1.1 connection, or one stream of an HTTP/2 connection. A direction
//! ends on its own, as TCP's do; what one side does not take is not read from the other.

mod flow;
mod seat;
mod websocket;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use polygate_pipeline::{ByteStream, Failure, Reason, Upgrade};
use tokio::time::Instant;

use self::flow::{Broken, Flow};
pub(crate) use self::seat::{Seat, Seats};
use self::websocket::Sender;
use crate::wire::Deadline;

/// Once one side has closed, a WebSocket's other side gets this long between two signs of life: it has nothing to wait
/// for (RFC 6455 7.1.1).
const HALF_OPEN: Duration = Duration::from_secs(5);

/// How long both sides of a WebSocket may take to answer that the gateway goes away.
pub(crate) const FAREWELL: Duration = Duration::from_millis(300);

/// An open tunnel, without its two ends.
pub(crate) struct Splice {
    up: Flow,
    down: Flow,
    is_websocket: bool,
    idle: Duration,
    half_open: Duration,
    deadline: Deadline,
    /// When bytes moved last, or the farewell began.
    last: Instant,
    leaving: bool,
    broken: Option<Failure>,
}

impl Splice {
    /// A tunnel in which `protocol` is spoken and of which these bytes were read already. It ends when nothing moves for
    /// `idle`.
    pub(crate) fn new(
        protocol: &Upgrade,
        from_client: BytesMut,
        from_upstream: BytesMut,
        idle: Duration,
    ) -> Self {
        let is_websocket = protocol.is_websocket();
        let flow = |rest, sender| Flow::new(rest, is_websocket.then_some(sender));
        Self {
            up: flow(from_client, Sender::Client),
            down: flow(from_upstream, Sender::Server),
            is_websocket,
            idle,
            half_open: if is_websocket { HALF_OPEN.min(idle) } else { idle },
            deadline: Deadline::default(),
            last: Instant::now(),
            leaving: false,
            broken: None,
        }
    }

    /// Bytes that the client sent and that the upstream's side took.
    pub(crate) fn received(&self) -> u64 {
        self.up.written()
    }

    /// Bytes that the upstream sent and that the client's side took.
    pub(crate) fn sent(&self) -> u64 {
        self.down.written()
    }

    /// Copies what can be copied. Ready when the tunnel is over, with the reason unless both sides have closed. With
    /// `cut` it ends soon: both ends of a WebSocket are told that the gateway goes away.
    pub(crate) fn poll<C, U>(
        &mut self,
        client: &mut C,
        upstream: &mut U,
        cut: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Failure>>
    where
        C: ByteStream + ?Sized,
        U: ByteStream + ?Sized,
    {
        if cut && !self.leaving {
            self.leaving = true;
            self.last = Instant::now();
            if !self.is_websocket {
                return Poll::Ready(Some(Failure::new(Reason::Stopping)));
            }
            self.up.leave();
            self.down.leave();
        }
        let before = self.up.moved() + self.down.moved();
        let up = self.up.poll(client, upstream, cx);
        let down = self.down.poll(upstream, client, cx);
        let half = up.is_ready() || down.is_ready();
        let mut over = up.is_ready() && down.is_ready();
        for (polled, source, sink) in [
            (up, Reason::ClientClosed, Reason::UpstreamClosed),
            (down, Reason::UpstreamClosed, Reason::ClientClosed),
        ] {
            let (reason, error) = match polled {
                Poll::Ready(Err(Broken::Read(error))) => {
                    over = true;
                    (source, error)
                }
                // A side that takes nothing more may still have something to say.
                Poll::Ready(Err(Broken::Write(error))) => (sink, error),
                _ => continue,
            };
            self.broken.get_or_insert_with(|| Failure::new(reason).detail("within a tunnel").source(error));
        }
        if self.leaving {
            return match over || self.deadline.poll(self.last + FAREWELL, cx).is_ready() {
                true => Poll::Ready(Some(Failure::new(Reason::Stopping))),
                false => Poll::Pending,
            };
        }
        if over {
            return Poll::Ready(self.broken.take());
        }
        if self.up.moved() + self.down.moved() != before {
            self.last = Instant::now();
        }
        let pause = if half { self.half_open } else { self.idle };
        ready!(self.deadline.poll(self.last + pause, cx));
        let detail = format!("nothing came through the tunnel for {pause:?}");
        Poll::Ready(Some(Failure::new(Reason::TunnelIdle).detail(detail)))
    }
}

#[cfg(test)]
mod tests;
