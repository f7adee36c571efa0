//! One body read twice: what `clone()` makes of a native body.
//!
//! The branch that is read first pulls the source; what the other one has not read yet waits for it in memory. That
//! waiting line is bounded: once it is longer than the cap, both branches fail with `BodyTooLarge`, since neither
//! dropping bytes nor stopping the faster reader (which the slower one may be waiting for) would be right.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use polygate_pipeline::{Body, BodyStream, Failure, Frame, Reason};

/// Two bodies that give what `body` gives.
pub(super) fn tee(body: Body, cap: u64) -> (Body, Body) {
    if let Some(bytes) = body.as_full().cloned() {
        return (body, Body::full(bytes));
    }
    let shared = Rc::new(RefCell::new(Shared {
        source: body,
        cap,
        ended: None,
        branches: [Branch::default(), Branch::default()],
    }));
    (Body::stream(Half { shared: shared.clone(), index: 0 }), Body::stream(Half { shared, index: 1 }))
}

struct Shared {
    source: Body,
    cap: u64,
    /// How the source ended.
    ended: Option<Result<(), Failure>>,
    branches: [Branch; 2],
}

#[derive(Default)]
struct Branch {
    line: VecDeque<Frame>,
    bytes: u64,
    dropped: bool,
    waker: Option<Waker>,
}

struct Half {
    shared: Rc<RefCell<Shared>>,
    index: usize,
}

impl BodyStream for Half {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let Ok(mut shared) = self.shared.try_borrow_mut() else {
            return Poll::Ready(Some(Err(
                Failure::new(Reason::Internal).detail("a body is read from within itself")
            )));
        };
        let shared = &mut *shared;
        let [first, second] = &mut shared.branches;
        let (own, other) = if self.index == 0 { (first, second) } else { (second, first) };
        if let Some(frame) = own.line.pop_front() {
            if let Frame::Data(bytes) = &frame {
                own.bytes -= bytes.len() as u64;
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match &shared.ended {
            Some(Ok(())) => return Poll::Ready(None),
            Some(Err(failure)) => return Poll::Ready(Some(Err(failure.clone()))),
            None => {}
        }
        let polled = shared.source.poll_frame(cx);
        let Poll::Ready(polled) = polled else {
            own.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let given = match polled {
            None => {
                shared.ended = Some(Ok(()));
                None
            }
            Some(Err(failure)) => {
                shared.ended = Some(Err(failure.clone()));
                Some(Err(failure))
            }
            Some(Ok(frame)) if other.dropped => Some(Ok(frame)),
            Some(Ok(frame)) => {
                let copy = match &frame {
                    Frame::Data(bytes) => {
                        other.bytes += bytes.len() as u64;
                        Frame::Data(bytes.clone())
                    }
                    Frame::Trailers(fields) => Frame::Trailers(fields.clone()),
                };
                if other.bytes > shared.cap {
                    let failure = Failure::new(Reason::BodyTooLarge)
                        .detail(format!("a copy of a body lags more than {} bytes behind", shared.cap));
                    other.line.clear();
                    shared.ended = Some(Err(failure.clone()));
                    shared.source = Body::empty();
                    Some(Err(failure))
                } else {
                    other.line.push_back(copy);
                    Some(Ok(frame))
                }
            }
        };
        let waker = other.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(given)
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // Taken out under the borrow, dropped after it: frames and bodies may run anything when they go.
        let left = self.shared.try_borrow_mut().map(|mut shared| {
            let shared = &mut *shared;
            let [first, second] = &mut shared.branches;
            let (own, other) = if self.index == 0 { (first, second) } else { (second, first) };
            own.dropped = true;
            own.bytes = 0;
            // The other branch must be polled again, for the source to know whom to wake.
            let waker = other.waker.take();
            let source = other.dropped.then(|| std::mem::take(&mut shared.source));
            (std::mem::take(&mut own.line), source, waker)
        });
        if let Ok((_, _, Some(waker))) = left {
            waker.wake();
        }
    }
}
