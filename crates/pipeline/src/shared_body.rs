//! A body that can be taken back as long as nobody has read from it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::{Body, BodyStream, Failure, Frame};

/// Our end of a body that was lent to a layer.
pub(crate) struct Shared(Rc<RefCell<Lent>>);

struct Lent {
    body: Body,
    touched: bool,
}

impl Shared {
    /// Puts a loan of the body in its place and keeps the means to take it back.
    pub(crate) fn split(body: &mut Body) -> Self {
        if let Some(bytes) = body.as_full().cloned() {
            // A body in memory is lent as a copy of the handle: there is nothing to wrap.
            return Self(Rc::new(RefCell::new(Lent { body: Body::full(bytes), touched: false })));
        }
        if let Some(tunnel) = body.same_tunnel() {
            return Self(Rc::new(RefCell::new(Lent { body: tunnel, touched: false })));
        }
        if body.is_empty() {
            return Self(Rc::new(RefCell::new(Lent { body: Body::empty(), touched: false })));
        }
        let lent = Rc::new(RefCell::new(Lent { body: std::mem::take(body), touched: false }));
        *body = Body::stream(Loan(lent.clone()));
        Self(lent)
    }

    /// The body, if nothing was read from the loan.
    pub(crate) fn take_untouched(self) -> Option<Body> {
        let mut lent = self.0.borrow_mut();
        (!lent.touched).then(|| std::mem::take(&mut lent.body))
    }
}

struct Loan(Rc<RefCell<Lent>>);

impl BodyStream for Loan {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let mut lent = self.0.borrow_mut();
        lent.touched = true;
        lent.body.poll_frame(cx)
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.0.borrow_mut().body.poll_progress(cx);
    }

    fn length(&self) -> Option<u64> {
        self.0.borrow().body.length()
    }
}
