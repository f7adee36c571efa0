//! The body of a request, read from its connection on demand.

use std::task::{Context, Poll};

use polygate_pipeline::{BodyStream, Failure, Frame, Reason};

use super::state::Shared;

/// Reads from the connection as long as its exchange lasts.
pub(super) struct RequestBody {
    state: Shared,
    exchange: u64,
}

impl RequestBody {
    pub(super) fn new(state: Shared, exchange: u64) -> Self {
        Self { state, exchange }
    }
}

impl BodyStream for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let mut state = self.state.borrow_mut();
        if state.exchange != self.exchange {
            let failure = Failure::new(Reason::ClientClosed).detail("the exchange of this body is over");
            return Poll::Ready(Some(Err(failure)));
        }
        state.poll_frame(cx)
    }

    fn length(&self) -> Option<u64> {
        let state = self.state.borrow();
        if state.exchange == self.exchange { state.length() } else { None }
    }
}
