//! A stream made by JavaScript as a native body.
//!
//! The body's reader never enters the VM: it asks, and an operation of the VM (charged to the scope that handed the
//! stream over) makes the script read once. So a body may be polled from anywhere, also from within a run, and the
//! reader's pace is the stream's back-pressure.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use polygate_pipeline::{Body, BodyStream, Failure, Frame, Reason};
use rquickjs::{Ctx, Exception, Function, Result};
use tokio::time::sleep;

use super::body::{Held, HeldClass};
use crate::handle::VmHandle;
use crate::ops::spawn_op;
use crate::vm::Vm;
use crate::web::bytes::View;

/// How often a pipe that waits for its script looks whether the script may still run.
const LOOK: Duration = Duration::from_secs(1);

/// Both ends of a pipe.
#[derive(Clone, Default)]
pub(super) struct Pipe(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    ended: bool,
    failure: Option<Failure>,
    /// The reader waits for a chunk.
    wanted: bool,
    /// The script gave what it was last asked for. Not the same as `!wanted`: the reader may have asked again before
    /// the script's operation was polled.
    answered: bool,
    cancelled: bool,
    reader: Option<Waker>,
    script: Option<Waker>,
}

impl Pipe {
    /// Changes the state, then wakes the reader.
    fn give(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.0.borrow_mut();
            change(&mut state);
            state.wanted = false;
            state.answered = true;
            [state.reader.take(), state.script.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ready when `is` holds.
    async fn script_waits(&self, is: impl Fn(&State) -> bool) {
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            if is(&state) {
                return Poll::Ready(());
            }
            state.script = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn is_over(&self) -> bool {
        let state = self.0.borrow();
        state.ended || state.failure.is_some()
    }

    fn is_cancelled(&self) -> bool {
        self.0.borrow().cancelled
    }
}

/// The native end.
struct PipeBody {
    pipe: Pipe,
    /// The script that fills the pipe must live as long as somebody reads it.
    _vm: Option<Vm>,
}

impl BodyStream for PipeBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Frame, Failure>>> {
        let mut state = self.pipe.0.borrow_mut();
        if let Some(chunk) = state.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::Data(chunk))));
        }
        if let Some(failure) = &state.failure {
            return Poll::Ready(Some(Err(failure.clone())));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        let asked = std::mem::replace(&mut state.wanted, true);
        let script = if asked { None } else { state.script.take() };
        drop(state);
        if let Some(waker) = script {
            waker.wake();
        }
        Poll::Pending
    }
}

impl Drop for PipeBody {
    fn drop(&mut self) {
        let script = {
            let mut state = self.pipe.0.borrow_mut();
            state.cancelled = true;
            state.script.take()
        };
        if let Some(waker) = script {
            waker.wake();
        }
    }
}

/// Says so to the reader when the operation goes away before the end: its scope was aborted, or its VM dropped.
struct Guard(Pipe);

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.0.is_over() {
            let failure =
                Failure::new(Reason::PolicyError).detail("the script that makes the body was stopped");
            self.0.give(|state| state.failure = Some(failure));
        }
    }
}

/// A held body that is filled by `pull`: a function of the held body that makes the script read once and then call
/// [`push`], [`end`] or [`fail`]. `cancel` is called when nobody reads any more.
pub(super) fn open<'js>(ctx: Ctx<'js>, pull: Function<'js>, cancel: Function<'js>) -> Result<HeldClass<'js>> {
    let handle =
        VmHandle::try_of(&ctx).ok_or_else(|| Exception::throw_internal(&ctx, "streams need a VM"))?;
    let pipe = Pipe::default();
    let body = Body::stream(PipeBody { pipe: pipe.clone(), _vm: handle.vm() });
    let held = Held::with_pipe(&ctx, body, Some(pipe.clone()))?;
    let kept_held = handle.keep(&ctx, held.clone().into_value());
    let pull = handle.keep(&ctx, pull.into_value());
    let cancel = handle.keep(&ctx, cancel.into_value());
    let guard = Guard(pipe.clone());
    spawn_op(&ctx, move |op| async move {
        let _guard = guard;
        loop {
            pipe.script_waits(|state| state.wanted || state.cancelled).await;
            if pipe.is_cancelled() {
                op.finish(|ctx| match cancel.function(ctx) {
                    Some(cancel) => cancel.call(()),
                    None => Ok(()),
                });
                return;
            }
            pipe.0.borrow_mut().answered = false;
            let alive = op.run(|ctx| match (pull.function(ctx), kept_held.get(ctx)) {
                (Some(pull), Some(held)) => pull.call((held,)),
                _ => Ok(()),
            });
            if !alive {
                return;
            }
            loop {
                tokio::select! {
                    biased;
                    () = pipe.script_waits(|state| state.answered || state.cancelled) => break,
                    () = sleep(LOOK) => {}
                }
                if op.scope().is_some_and(|scope| !scope.is_live()) {
                    return;
                }
            }
            if pipe.is_over() {
                return;
            }
        }
    })?;
    Ok(held)
}

fn pipe_of(held: &HeldClass<'_>) -> Option<Pipe> {
    held.borrow().pipe.clone()
}

/// The script read a chunk. An empty one is asked for again.
pub(super) fn push<'js>(held: HeldClass<'js>, bytes: View<'js>) -> Result<bool> {
    let bytes = bytes.with(Bytes::copy_from_slice)?;
    let Some(pipe) = pipe_of(&held) else { return Ok(true) };
    if bytes.is_empty() {
        return Ok(false);
    }
    pipe.give(|state| state.chunks.push_back(bytes));
    Ok(true)
}

/// The script's stream is at its end.
pub(super) fn end(held: HeldClass<'_>) {
    if let Some(pipe) = pipe_of(&held) {
        pipe.give(|state| state.ended = true);
    }
}

/// The script's stream failed.
pub(super) fn fail(held: HeldClass<'_>, detail: String, code: String) {
    if let Some(pipe) = pipe_of(&held) {
        let failure = super::failure_of(detail, &code);
        pipe.give(|state| state.failure = Some(failure));
    }
}
