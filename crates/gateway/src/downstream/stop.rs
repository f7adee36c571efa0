//! The open connections of a worker: telling all of them to finish, the oldest idle ones to leave, and waiting for them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use crate::metrics::WorkerMetrics;

/// Under pressure one of so many idle connections is closed at a time, the oldest ones.
const REAPED_SHARE: usize = 8;

/// Or so many, when that is more.
const REAPED_LEAST: usize = 32;

/// A connection that is idle for less than this is left alone: its request is on the way, most likely.
const REAPED_AFTER: Duration = Duration::from_secs(1);

/// Tells connections of a worker to finish, and waits for them.
#[derive(Clone, Default)]
pub(crate) struct Stop(Rc<Inner>);

#[derive(Default)]
struct Inner {
    stopping: Cell<bool>,
    cut: Cell<bool>,
    tunnels: Cell<usize>,
    next: Cell<u64>,
    listening: Cell<usize>,
    open: RefCell<HashMap<u64, Rc<Seat>>>,
    waiting: RefCell<Vec<Waker>>,
    addresses: Addresses,
}

/// What is known of one connection.
#[derive(Default)]
struct Seat {
    /// Of its task.
    waker: RefCell<Option<Waker>>,
    /// Since when it waits for a request.
    idle: Cell<Option<Instant>>,
    /// Whether it is to be closed once it is idle.
    leaves: Cell<bool>,
}

/// One open connection; dropping it says that it is closed.
pub(super) struct Open {
    stop: Stop,
    metrics: WorkerMetrics,
    id: u64,
    seat: Rc<Seat>,
}

impl Stop {
    /// No new connections; idle ones close now, busy ones after their exchange.
    pub(crate) fn stop(&self) {
        self.0.stopping.set(true);
        self.0.wake_all();
    }

    /// Open tunnels end now.
    pub(crate) fn cut(&self) {
        self.0.cut.set(true);
        self.0.wake_all();
    }

    /// Until the last tunnel is closed.
    pub(crate) async fn tunnels_closed(&self) {
        poll_fn(|cx| self.poll_when(|inner| inner.tunnels.get() == 0, cx)).await;
    }

    /// Closes the connections that have been idle for longest: some of them, called again and again all of them. Says
    /// how many.
    pub(crate) fn reap(&self) -> u64 {
        let now = Instant::now();
        let of = |seat: &Rc<Seat>| seat.idle.get().filter(|since| now.duration_since(*since) >= REAPED_AFTER);
        let mut idle: Vec<(Instant, Rc<Seat>)> = {
            let open = self.0.open.borrow();
            let told = |seat: &&Rc<Seat>| !seat.leaves.get();
            open.values().filter(told).filter_map(|seat| Some((of(seat)?, seat.clone()))).collect()
        };
        let count = (idle.len() / REAPED_SHARE).max(REAPED_LEAST).min(idle.len());
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(since, _)| *since);
        }
        for (_, seat) in &idle[..count] {
            seat.leaves.set(true);
            if let Some(waker) = &*seat.waker.borrow() {
                waker.wake_by_ref();
            }
        }
        count as u64
    }

    /// Until the last connection is closed.
    pub(crate) async fn drained(&self) {
        poll_fn(|cx| self.poll_when(Inner::is_drained, cx)).await;
    }

    /// Until [`stop`](Self::stop) is called.
    pub(super) async fn stopped(&self) {
        poll_fn(|cx| self.poll_when(|inner| inner.stopping.get(), cx)).await;
    }

    /// Counts a listener in, until the guard is dropped: what it still accepts is waited for.
    pub(super) fn listening(&self) -> Listening {
        self.0.listening.set(self.0.listening.get() + 1);
        Listening(self.clone())
    }

    /// Whether the worker is stopping.
    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.get()
    }

    /// Whether open tunnels must end.
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.get()
    }

    /// Counts an open tunnel in, until the guard is dropped.
    pub(super) fn tunnel(&self) -> OpenTunnel {
        self.0.tunnels.set(self.0.tunnels.get() + 1);
        OpenTunnel(self.clone())
    }

    /// How many connections are open.
    pub(super) fn connections(&self) -> usize {
        self.0.open.borrow().len()
    }

    /// Those of each client address, over all listeners.
    pub(super) fn addresses(&self) -> &Addresses {
        &self.0.addresses
    }

    /// Counts a connection in.
    pub(super) fn open(&self, metrics: WorkerMetrics) -> Open {
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        let seat = Rc::<Seat>::default();
        self.0.open.borrow_mut().insert(id, seat.clone());
        metrics.with(|metrics| metrics.connections += 1);
        Open { stop: self.clone(), metrics, id, seat }
    }

    fn poll_when(&self, done: impl Fn(&Inner) -> bool, cx: &mut Context<'_>) -> Poll<()> {
        if done(&self.0) {
            return Poll::Ready(());
        }
        // A handful of tasks wait here at most; each of their polls leaves one entry.
        let mut waiting = self.0.waiting.borrow_mut();
        waiting.retain(|waker| !waker.will_wake(cx.waker()));
        waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Inner {
    fn is_drained(&self) -> bool {
        self.open.borrow().is_empty() && self.listening.get() == 0
    }

    fn wake_if_drained(&self) {
        if self.is_drained() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Wakes all connections, and whoever waits.
    fn wake_all(&self) {
        // Each keeps its waker: it may have to be woken again.
        let wakers: Vec<Waker> =
            self.open.borrow().values().filter_map(|seat| seat.waker.borrow().clone()).collect();
        wakers.into_iter().chain(self.waiting.take()).for_each(Waker::wake);
    }
}

/// An open tunnel; see [`Stop::tunnel`].
pub(super) struct OpenTunnel(Stop);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.tunnels.set(inner.tunnels.get() - 1);
        if inner.tunnels.get() == 0 {
            inner.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// A listener that accepts; see [`Stop::listening`].
pub(super) struct Listening(Stop);

impl Drop for Listening {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.listening.set(inner.listening.get() - 1);
        inner.wake_if_drained();
    }
}

impl Open {
    /// The connection's task, to be woken when the worker stops or wants it closed. Called once: a task keeps its waker.
    pub(super) fn wake_on_stop(&self, waker: &Waker) {
        self.seat.waker.replace(Some(waker.clone()));
    }

    /// Notes since when the connection waits for a request; `None` when it does not.
    pub(super) fn set_idle(&self, since: Option<Instant>) {
        self.seat.idle.set(since);
    }

    /// Whether the connection is to be closed once it is idle.
    pub(super) fn leaves(&self) -> bool {
        self.seat.leaves.get()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.with(|metrics| metrics.connections = metrics.connections.saturating_sub(1));
        self.stop.0.open.borrow_mut().remove(&self.id);
        self.stop.0.wake_if_drained();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_idle_connections_leave_first() {
        let stop = Stop::default();
        let begun = Instant::now() - Duration::from_secs(10);
        let open: Vec<Open> = (0..400).map(|_| stop.open(WorkerMetrics::default())).collect();
        // The first one is busy, the second hundred are the oldest, the last hundred have only just come.
        for (number, open) in open.iter().enumerate().skip(1) {
            let since = match number {
                100..200 => Duration::from_millis(number as u64),
                301.. => Duration::from_secs(3600),
                _ => Duration::from_millis(500 + number as u64),
            };
            open.set_idle(Some(begun + since));
        }
        let left = || {
            let leaving = open.iter().enumerate().filter(|(_, open)| open.leaves());
            leaving.map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(stop.reap(), 37, "one of eight of 300");
        assert_eq!(left(), (100..137).collect::<Vec<_>>());
        for _ in 0..20 {
            stop.reap();
        }
        assert_eq!(left(), (1..301).collect::<Vec<_>>(), "all but the busy and the young");
        assert_eq!(stop.reap(), 0);
    }
}
