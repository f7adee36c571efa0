//! A cap on the length of a body whose length is not known in advance.

use std::task::{Context, Poll};

use polygate_pipeline::{Body, BodyStream, Failure, Frame, Reason};

/// Fails once more than the cap was read.
pub(crate) struct Limited {
    body: Body,
    left: u64,
}

impl Limited {
    pub(crate) fn new(body: Body, cap: u64) -> Self {
        Self { body, left: cap }
    }
}

impl BodyStream for Limited {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let polled = self.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(Frame::Data(data)))) = &polled {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(Failure::new(Reason::BodyTooLarge)))),
            }
        }
        polled
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.body.poll_progress(cx);
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}
