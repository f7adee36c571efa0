//! Overload as a worker sees it: what it is told of the process's strain, and what follows for connections and exchanges.
//!
//! Whoever owns the gateway samples memory, descriptors and event loops, and tells all workers the level. Each keeps a
//! copy of its own: what a request looks at is a plain cell that no other thread touches.

mod lap;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::lap::Lap;
use crate::downstream::Stop;
use crate::metrics::WorkerMetrics;
use crate::turnstile::{Queue, Ticket, Turnstile};
use crate::upstream::Client;

/// HTTP/1.1 requests that a worker lets in in a turn.
const A_TURN: u32 = 64;

/// What is done about strain. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Nothing.
    #[default]
    Calm,
    /// Connections are closed after their exchange, and the oldest idle ones at once.
    Close,
    /// New exchanges are answered with 503.
    Shed,
    /// No connection is accepted; those that come wait in the backlog.
    Pause,
}

impl Level {
    /// Every level, in order.
    pub const ALL: [Level; 4] = [Level::Calm, Level::Close, Level::Shed, Level::Pause];

    /// The name in logs and views.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Calm => "calm",
            Level::Close => "close",
            Level::Shed => "shed",
            Level::Pause => "pause",
        }
    }
}

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Memory of the process.
    Memory,
    /// File descriptors.
    Descriptors,
    /// Time of a worker: its event loop comes round late.
    Lag,
    /// A worker's places for exchanges.
    Exchanges,
}

impl Cause {
    /// Every cause, in the order of their numbers.
    pub const ALL: [Cause; 4] = [Cause::Memory, Cause::Descriptors, Cause::Lag, Cause::Exchanges];

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Memory => "memory",
            Cause::Descriptors => "descriptors",
            Cause::Lag => "lag",
            Cause::Exchanges => "exchanges",
        }
    }
}

/// What all workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overload {
    /// What is done.
    pub level: Level,
    /// Why; `None` when calm.
    pub cause: Option<Cause>,
    /// Whoever is given a descriptor of this number or above for a connection accepts no further one until the next
    /// sample. The kernel gives the lowest free number, so that one can tell without counting that few are left.
    pub last_descriptor: Option<RawFd>,
}

/// How busy the workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strain {
    /// Running exchanges of the worker that has most of them.
    pub exchanges: u64,
    /// How long the slowest event loop takes to come round to what it has been given.
    pub lag: Duration,
}

/// A worker's view of the overload. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Valve(Rc<Inner>);

struct Inner {
    now: Cell<Overload>,
    told: watch::Receiver<Overload>,
    lap: Lap,
    turnstile: Rc<Turnstile>,
}

impl Valve {
    pub(crate) fn new(told: watch::Receiver<Overload>) -> Self {
        let now = Cell::new(*told.borrow());
        let turnstile = Turnstile::new(A_TURN);
        Self(Rc::new(Inner { now, told, lap: Lap::new(turnstile.clone()), turnstile }))
    }

    /// Ready when a request may be read: with many that come at the same time, a few at a time.
    pub(crate) fn poll_enter(&self, ticket: &mut Ticket, cx: &Context<'_>) -> Poll<()> {
        self.0.turnstile.poll_enter(ticket, cx)
    }

    /// Until a request that came now would be read.
    pub(crate) async fn entered(&self) {
        self.0.turnstile.enter().await;
    }

    /// Who waits to be read.
    pub(crate) fn waiting(&self) -> Queue {
        self.0.turnstile.watch()
    }

    /// Ends the laps of the worker's event loop. For ever; a task of its own.
    pub(crate) async fn laps(self) -> Infallible {
        poll_fn(|cx| self.0.lap.poll_end(cx)).await
    }

    /// Whether the event loop comes round later than `most`, as an exchange that begins `now` finds it.
    pub(crate) fn is_late(&self, now: Instant, most: Duration) -> bool {
        self.0.lap.exchange(now, most)
    }

    /// Takes over what the worker is told, and closes idle connections, those of `client` to upstreams too, as long as it
    /// says so. Ends when nobody can tell any more.
    pub(crate) async fn follow(self, stop: Stop, client: Rc<Client>, metrics: WorkerMetrics) {
        let mut told = self.0.told.clone();
        while told.changed().await.is_ok() {
            let now = *told.borrow_and_update();
            self.0.now.set(now);
            if now.level >= Level::Close {
                let (reaped, upstreams) = (stop.reap(), client.reap());
                metrics.with(|metrics| {
                    metrics.reaped += reaped;
                    metrics.upstreams_reaped += upstreams;
                });
            }
        }
    }

    /// Whether connections are closed after their exchange.
    pub(crate) fn closes(&self) -> bool {
        self.0.now.get().level >= Level::Close
    }

    /// Why new exchanges are answered with 503, if they are.
    pub(crate) fn sheds(&self) -> Option<Cause> {
        let now = self.0.now.get();
        now.cause.filter(|_| now.level >= Level::Shed)
    }

    /// Whether no connection is accepted.
    pub(crate) fn is_shut(&self) -> bool {
        self.0.now.get().level >= Level::Pause
    }

    /// Until no connection is accepted any more; for ever when nobody can tell.
    pub(crate) async fn shut(&self) {
        let mut told = self.0.told.clone();
        if told.wait_for(|now| now.level >= Level::Pause).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Until connections are accepted again.
    pub(crate) async fn opened(&self) {
        let mut told = self.0.told.clone();
        // When nobody can tell any more the gateway is about to end.
        if let Ok(now) = told.wait_for(|now| now.level < Level::Pause).await {
            // Now, and not when `follow` has its turn: what is accepted next must not be shed for what is over.
            self.0.now.set(*now);
        }
    }

    /// Until the next sample was taken, or so much time has passed.
    pub(crate) async fn sampled(&self, patience: Duration) {
        let mut told = self.0.told.clone();
        let _ = tokio::time::timeout(patience, told.changed()).await;
    }

    /// Whether a connection's descriptor shows that few are left.
    pub(crate) fn is_last(&self, descriptor: RawFd) -> bool {
        self.0.now.get().last_descriptor.is_some_and(|last| descriptor >= last)
    }
}

/// Measures how late a worker's event loop is.
#[derive(Default)]
pub(crate) struct Pulse {
    /// A question that was not answered yet, and since when.
    asked: Option<(Instant, Receiver<Instant>)>,
    before: Duration,
    last: Duration,
}

impl Pulse {
    /// How late it is now. One late turn does not count, for it is over when it is seen: of the last two figures it is the
    /// smaller one. Asks anew with `ask`.
    pub(crate) fn take(&mut self, ask: impl FnOnce(Sender<Instant>)) -> Duration {
        if let Some((since, answers)) = &self.asked {
            match answers.try_recv() {
                Ok(at) => {
                    self.before = self.last;
                    self.last = at.saturating_duration_since(*since);
                    self.asked = None;
                }
                Err(TryRecvError::Empty) => return self.last.min(since.elapsed()),
                Err(TryRecvError::Disconnected) => self.asked = None,
            }
        }
        if self.asked.is_none() {
            let (reply, answers) = channel();
            self.asked = Some((Instant::now(), answers));
            ask(reply);
        }
        self.before.min(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_late_turn_of_an_event_loop_does_not_count() {
        let mut pulse = Pulse::default();
        let mut late = |by: Duration| {
            let mut reply = None;
            let lag = pulse.take(|asked| reply = Some(asked));
            reply.unwrap().send(Instant::now() + by).unwrap();
            lag
        };
        let (none, second) = (Duration::ZERO, Duration::from_secs(3600));
        assert!(late(second) < second);
        assert!(late(none) < second, "one was late");
        assert!(late(second) < second);
        assert!(late(second) < second, "one after the other");
        assert!(late(none) >= second, "two in a row");
        assert!(late(none) < second, "the last one was in time");
    }
}
