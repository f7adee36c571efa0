//! Interim responses (1xx) on their way to the client. They pass by the layers, which see the final response alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use http::StatusCode;

use crate::Headers;

/// Where interim responses of an upstream wait to be sent to the client. Clones are the same place.
///
/// What is put in while an exchange is polled is looked for after that poll: putting something in wakes nobody.
#[derive(Clone, Default)]
pub struct Interim(Rc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: RefCell<VecDeque<(StatusCode, Headers)>>,
    left: Cell<usize>,
    dropped: Cell<u64>,
}

impl Interim {
    /// An exchange begins, of which at most so many are sent.
    pub fn begin(&self, most: usize) {
        self.0.left.set(most);
        self.0.waiting.borrow_mut().clear();
    }

    /// Puts one in. Beyond the exchange's cap it is dropped: who sends a final response need not send others
    /// (RFC 9110 15.2).
    pub fn push(&self, status: StatusCode, headers: Headers) {
        match self.0.left.get().checked_sub(1) {
            Some(left) => {
                self.0.left.set(left);
                self.0.waiting.borrow_mut().push_back((status, headers));
            }
            None => self.drop_one(),
        }
    }

    /// Takes the next one out.
    pub fn take(&self) -> Option<(StatusCode, Headers)> {
        self.0.waiting.borrow_mut().pop_front()
    }

    /// Notes that one could not be sent.
    pub fn drop_one(&self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
    }

    /// How many were dropped since this was asked last.
    pub fn take_dropped(&self) -> u64 {
        self.0.dropped.take()
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interim({} waiting)", self.0.waiting.borrow().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exchange_has_its_own_cap() {
        let interim = Interim::default();
        let push = || interim.push(StatusCode::EARLY_HINTS, Headers::new());
        let count = || std::iter::from_fn(|| interim.take()).count();
        push();
        assert_eq!((count(), interim.take_dropped()), (0, 1), "no exchange has begun");
        interim.begin(2);
        push();
        assert_eq!(count(), 1);
        push();
        push();
        assert_eq!((count(), interim.take_dropped(), interim.take_dropped()), (1, 1, 0));
        interim.begin(2);
        push();
        // What one exchange left is not sent in the next.
        interim.begin(2);
        assert_eq!(count(), 0);
    }
}
