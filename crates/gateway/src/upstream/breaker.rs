//! Circuit breaking: caps of one upstream on one worker, and the queue for connections.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::vitals::{Http2Vitals, UpstreamVitals};

/// Counts an upstream's open connections on a worker and lets requests wait for one.
pub(super) struct Gate {
    vitals: Arc<UpstreamVitals>,
    waiting: RefCell<VecDeque<Rc<Ticket>>>,
}

#[derive(Default)]
struct Ticket {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// An open connection; counted until it is dropped.
pub(super) struct Open(Rc<Gate>);

impl Gate {
    pub(super) fn new(vitals: Arc<UpstreamVitals>) -> Rc<Self> {
        Rc::new(Self { vitals, waiting: RefCell::default() })
    }

    /// What is counted of HTTP/2.
    pub(super) fn http2(&self) -> &Arc<Http2Vitals> {
        &self.vitals.http2
    }

    /// Room for one more connection, when fewer than `max` are open.
    pub(super) fn open(self: &Rc<Self>, max: usize) -> Option<Open> {
        if self.vitals.connections.get() >= max as u64 {
            return None;
        }
        self.vitals.connections.add(1);
        Some(Open(self.clone()))
    }

    /// Waits until a connection is free or closed, in the order of asking. `None` at once when `max` wait already.
    pub(super) fn wait(self: &Rc<Self>, max: usize) -> Option<impl Future<Output = ()> + use<>> {
        if self.waiting.borrow().len() >= max {
            return None;
        }
        let mut place = InLine { gate: self.clone(), ticket: Rc::default(), tried: false };
        self.waiting.borrow_mut().push_back(place.ticket.clone());
        self.vitals.pending.add(1);
        Some(poll_fn(move |cx| {
            if place.ticket.called.get() {
                place.tried = true;
                return Poll::Ready(());
            }
            place.ticket.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        }))
    }

    /// A connection is free or closed: whoever waits longest may try.
    pub(super) fn call(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        if let Some(ticket) = next {
            ticket.called.set(true);
            if let Some(waker) = ticket.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.vitals.connections.sub(1);
        self.0.call();
    }
}

/// A place in the line. One who is called and goes away without having tried passes the call on.
struct InLine {
    gate: Rc<Gate>,
    ticket: Rc<Ticket>,
    tried: bool,
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.gate.vitals.pending.sub(1);
        if !self.ticket.called.get() {
            self.gate.waiting.borrow_mut().retain(|ticket| !Rc::ptr_eq(ticket, &self.ticket));
        } else if !self.tried {
            self.gate.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn requests_wait_in_line_for_connections() {
        let vitals = Arc::<UpstreamVitals>::default();
        let gate = Gate::new(vitals.clone());
        let first = gate.open(1).unwrap();
        assert!(gate.open(1).is_none());
        let mut one = Box::pin(gate.wait(2).unwrap());
        let mut two = Box::pin(gate.wait(2).unwrap());
        assert!(gate.wait(2).is_none(), "as many wait as may");
        assert_eq!((vitals.connections.get(), vitals.pending.get()), (1, 2));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        drop(first);
        assert!((&mut two).now_or_never().is_none(), "the first one is first");
        assert!((&mut one).now_or_never().is_some());
        drop(one);
        let mut three = Box::pin(gate.wait(2).unwrap());
        assert!((&mut three).now_or_never().is_none());
        gate.call();
        drop(two);
        assert!((&mut three).now_or_never().is_some(), "who was called and left passes it on");
        drop(three);
        let again = gate.open(1).unwrap();
        assert_eq!((vitals.connections.get(), vitals.pending.get()), (1, 0));
        drop(again);
        assert_eq!(vitals.connections.get(), 0);
    }
}
