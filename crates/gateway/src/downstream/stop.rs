//! Graceful stop: tells all connections of a worker to finish, and waits for them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::metrics::WorkerMetrics;

/// Tells all connections of a worker to finish, and waits for them.
#[derive(Clone, Default)]
pub(crate) struct Stop(Rc<Inner>);

#[derive(Default)]
struct Inner {
    stopping: Cell<bool>,
    cut: Cell<bool>,
    tunnels: Cell<usize>,
    next: Cell<u64>,
    listening: Cell<usize>,
    open: RefCell<HashMap<u64, Option<Waker>>>,
    waiting: RefCell<Vec<Waker>>,
}

/// One open connection; dropping it says that it is closed.
pub(super) struct Open {
    stop: Stop,
    metrics: WorkerMetrics,
    id: u64,
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

    /// Counts a connection in.
    pub(super) fn open(&self, metrics: WorkerMetrics) -> Open {
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        self.0.open.borrow_mut().insert(id, None);
        metrics.with(|metrics| metrics.connections += 1);
        Open { stop: self.clone(), metrics, id }
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
        let wakers: Vec<Waker> = self.open.borrow().values().flatten().cloned().collect();
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
    /// The connection's task, to be woken when the worker stops. Called once: a task keeps its waker.
    pub(super) fn wake_on_stop(&self, waker: &Waker) {
        if let Some(place) = self.stop.0.open.borrow_mut().get_mut(&self.id) {
            *place = Some(waker.clone());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.with(|metrics| metrics.connections = metrics.connections.saturating_sub(1));
        self.stop.0.open.borrow_mut().remove(&self.id);
        self.stop.0.wake_if_drained();
    }
}
