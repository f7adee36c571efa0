//! What is watched while a response's body comes, over either protocol: how long nothing has, and whether the request's
//! own body broke off.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use polygate_pipeline::{Failure, Reason};
use tokio::time::Instant;

use crate::wire::{Deadline, now};

#[derive(Default)]
pub(super) struct Progress {
    /// Since when nothing has come.
    stalled: Option<Instant>,
    /// Why the request's body broke off.
    broken: Option<Failure>,
}

impl Progress {
    /// Something came.
    pub(super) fn moved(&mut self) {
        self.stalled = None;
    }

    /// The request's body was sent on.
    pub(super) fn sent(&mut self, upload: Result<(), Failure>) {
        if let Err(failure) = upload {
            self.broken = Some(failure);
        }
    }

    /// Nothing more has come by now of the response. Whoever waits for the rest of a request that will not come is not waited
    /// for.
    pub(super) fn broken(&mut self) -> Option<Failure> {
        self.broken.take()
    }

    /// Ready when nothing has come for as long as `pause`.
    pub(super) fn poll_stalled(
        &mut self,
        pause: Duration,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Failure> {
        let since = *self.stalled.get_or_insert_with(now);
        ready!(deadline.poll(since + pause, cx));
        Poll::Ready(
            Failure::new(Reason::UpstreamTimeout).detail(format!("nothing of the body for {pause:?}")),
        )
    }
}
