//! The HTTP/2 connections of one place: found, made one at a time, given up.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::{Failure, Reason, Target};
use polygate_plan::UpstreamProtocol;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::super::named::Admitted;
use super::super::stream::Connected;
use super::super::vitals::Http2Vitals;
use super::super::{Inner, Way};
use super::line::{Line, Ticket};

/// How long a server that chose HTTP/1.1 is taken to want that still. Then one request asks anew, on a new connection.
const SETTLED: Duration = Duration::from_secs(60);

/// HTTP/2 connections to one target.
pub(in crate::upstream) struct Lines {
    open: RefCell<Vec<Rc<Line>>>,
    /// The connection that is being made.
    making: RefCell<Option<Rc<Making>>>,
    /// Told when one was made or could not be, and when a stream has ended.
    changed: Notify,
    waiting: Cell<usize>,
    /// Until when the server is taken to want HTTP/1.1, which it chose the last time: each request needs a connection then.
    unlikely: Cell<Option<Instant>>,
    /// Whether the connection that was made last is known to take no extended CONNECT.
    pub(super) no_tunnels: Cell<bool>,
    pub(super) vitals: Arc<Http2Vitals>,
}

/// What waits together has the same outcome.
#[derive(Default)]
struct Making {
    failed: OnceCell<(Reason, String)>,
}

/// A way to send a request.
pub(super) enum Ready {
    Http2(Ticket),
    /// A new connection on which the server chose HTTP/1.1.
    Http1(Box<Connected>),
    /// The server is taken to want HTTP/1.1.
    Unlikely,
}

/// What there is for a request.
enum Found {
    Ticket(Ticket),
    /// A connection may be made.
    Room,
    /// All are full, and there are as many as may be.
    Full,
}

impl Lines {
    /// None as yet; what becomes of them is counted there.
    pub(in crate::upstream) fn new(vitals: Arc<Http2Vitals>) -> Self {
        let (open, making, changed, waiting, unlikely, no_tunnels) = Default::default();
        Self { open, making, changed, waiting, unlikely, no_tunnels, vitals }
    }

    /// A place for a stream on a connection of that generation whose address is admitted; else whether one more
    /// connection may be made.
    fn find(&self, generation: u32, most: usize, admits: impl Fn(IpAddr) -> bool) -> Found {
        let mut open = self.open.borrow_mut();
        let mut gone = Vec::new();
        let mut ticket = None;
        let mut index = 0;
        while index < open.len() && ticket.is_none() {
            let line = &open[index];
            if line.generation != generation || !line.is_good() {
                gone.push(open.swap_remove(index));
                continue;
            }
            if admits(line.peer) {
                ticket = line.take();
            }
            index += 1;
        }
        let full = open.len() >= most;
        drop(open);
        // Dropping one may call who waits.
        drop(gone);
        match ticket {
            Some(ticket) => Found::Ticket(ticket),
            None if full => Found::Full,
            None => Found::Room,
        }
    }

    /// Whether a tunnel is better asked for over HTTP/1.1, as far as is known.
    pub(super) fn lacks_tunnels(&self, protocol: UpstreamProtocol) -> bool {
        self.no_tunnels.get() && protocol == UpstreamProtocol::Auto
    }

    /// Whether a further request can be put on one that is open.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        self.open.borrow().iter().any(|line| line.is_good() && line.has_room())
    }

    /// Lets those go that take no further requests.
    pub(super) fn tidy(&self) {
        self.let_go(|line| !line.is_good());
    }

    /// Lets all go that were made before.
    pub(in crate::upstream) fn retire(&self) {
        self.let_go(|_| true);
    }

    /// Lets those go that have had no stream for too long, or are closed. Says whether any is left.
    pub(in crate::upstream) fn sweep(&self, now: Instant) -> bool {
        let expired = |line: &Line| line.idle_since().is_some_and(|since| since + line.keep_alive <= now);
        self.let_go(|line| expired(line) || !line.is_good());
        !self.open.borrow().is_empty()
    }

    /// Lets one go that has no stream. False when there is none.
    pub(in crate::upstream) fn close_one(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let idle = open.iter().position(|line| line.idle_since().is_some());
        let closed = idle.map(|index| open.swap_remove(index));
        drop(open);
        closed.is_some()
    }

    fn let_go(&self, which: impl Fn(&Line) -> bool) {
        let gone: Vec<Rc<Line>> = self.open.borrow_mut().extract_if(.., |line| which(line)).collect();
        drop(gone);
    }

    /// A stream has ended: one more request may try.
    pub(in crate::upstream) fn freed(&self) {
        if self.waiting.get() > 0 {
            self.changed.notify_one();
        }
    }

    /// Whether a request better goes over HTTP/1.1. While one request is `asking` anew, no other waits for the answer.
    fn is_unlikely(&self, asking: bool) -> bool {
        self.unlikely.get().is_some_and(|until| asking || until > Instant::now())
    }

    /// As if much time had passed since the server chose HTTP/1.1.
    #[cfg(test)]
    pub(super) fn unsettle(&self) {
        self.unlikely.set(self.unlikely.get().map(|until| until - SETTLED));
        assert!(self.is_unlikely(true) && !self.is_unlikely(false), "it has not chosen, or just now");
    }

    /// How many are open.
    #[cfg(test)]
    pub(in crate::upstream) fn len(&self) -> usize {
        self.open.borrow().len()
    }
}

impl Inner {
    /// A place for a stream to the target. One connection is made at a time: who comes meanwhile waits for it.
    ///
    /// # Errors
    /// Why no connection could be made, or that too many requests wait.
    pub(super) async fn line(&self, target: &Target, way: &Way<'_>) -> Result<Ready, Failure> {
        let lines = &way.place.lines;
        let caps = &way.connection.http2;
        let mut until = None;
        loop {
            // Before anything is looked at, so that no change is missed.
            let changed = lines.changed.notified();
            let found = lines.find(way.place.generation(), caps.connections, |ip| way.policy.admits(ip));
            if let Found::Ticket(ticket) = found {
                return Ok(Ready::Http2(ticket));
            }
            let making = lines.making.borrow().clone();
            if way.connection.protocol == UpstreamProtocol::Auto && lines.is_unlikely(making.is_some()) {
                return Ok(Ready::Unlikely);
            }
            if making.is_none() && matches!(found, Found::Room) {
                match self.make(target, way).await? {
                    Some(ready) => return Ok(ready),
                    None => continue,
                }
            }
            let overloaded = |what: String| {
                lines.vitals.overloaded.add(1);
                match way.named {
                    Some(named) => named.overloaded(what),
                    None => Failure::new(Reason::UpstreamOverloaded)
                        .detail(format!("{}: {what}", target.authority())),
                }
            };
            if lines.waiting.get() >= caps.waiting {
                return Err(overloaded(format!("{} requests wait for a stream", lines.waiting.get())));
            }
            let time = way.connection.connect;
            let until = *until.get_or_insert_with(|| Instant::now() + time);
            let waits = Waits::begin(lines);
            let waited = timeout_at(until, changed).await;
            drop(waits);
            if let Some((reason, detail)) = making.as_ref().and_then(|making| making.failed.get()) {
                return Err(Failure::new(*reason).detail(detail.clone()).retryable());
            }
            waited.map_err(|_| overloaded(format!("no stream was free within {time:?}")))?;
        }
    }

    /// Makes a connection; `None` when one has room again before that was possible.
    async fn make(&self, target: &Target, way: &Way<'_>) -> Result<Option<Ready>, Failure> {
        let lines = &way.place.lines;
        let made = Maker::begin(lines);
        let result = self.connect_http2(target, way).await;
        match &result {
            Err(failure) => made.failed(failure),
            Ok(Some(Ready::Http1(_))) => lines.unlikely.set(Some(Instant::now() + SETTLED)),
            Ok(_) => lines.unlikely.set(None),
        }
        result
    }

    async fn connect_http2(&self, target: &Target, way: &Way<'_>) -> Result<Option<Ready>, Failure> {
        let open = match way.named {
            None => None,
            Some(named) => match named.admit(way.place, true, true).await? {
                Admitted::New(open) => Some(open),
                Admitted::Kept(_) | Admitted::Shared => return Ok(None),
            },
        };
        let generation = way.place.generation();
        let protocol = way.connection.protocol;
        let mut connected =
            self.connector.connect(target, way.at, way.connection, protocol, way.policy).await?;
        connected.open = open;
        connected.generation = generation;
        if !connected.http2 {
            return Ok(Some(Ready::Http1(Box::new(connected))));
        }
        way.place.lines.no_tunnels.set(false);
        let line = Line::begin(connected, way.place, way.connection).await?;
        let ticket = line.take();
        if generation == way.place.generation() {
            way.place.lines.open.borrow_mut().push(line);
        }
        // It is new: there is room, unless it is gone already.
        let gone =
            || Failure::new(Reason::UpstreamClosed).detail("closed as soon as it was made").retryable();
        ticket.map(Ready::Http2).map(Some).ok_or_else(gone)
    }
}

/// A request that waits.
struct Waits<'a>(&'a Lines);

impl<'a> Waits<'a> {
    fn begin(lines: &'a Lines) -> Self {
        lines.waiting.set(lines.waiting.get() + 1);
        lines.vitals.waiting.add(1);
        Self(lines)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.vitals.waiting.sub(1);
    }
}

/// Who makes a connection. Afterwards, or when it goes away, those who wait look again.
struct Maker<'a> {
    lines: &'a Lines,
    making: Rc<Making>,
}

impl<'a> Maker<'a> {
    fn begin(lines: &'a Lines) -> Self {
        let making = Rc::<Making>::default();
        lines.making.replace(Some(making.clone()));
        Self { lines, making }
    }

    /// Those who wait for it fail alike: otherwise each would wait for a try of its own.
    fn failed(&self, failure: &Failure) {
        let _ = self.making.failed.set((failure.reason(), failure.detail_text().to_owned()));
    }
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        self.lines.making.take();
        self.lines.changed.notify_waiters();
    }
}
