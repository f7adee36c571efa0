//! Native asynchronous operations: a Rust future whose end resolves a JavaScript promise.
//!
//! Timers, fetch and body reads are operations. Each is counted against the VM's cap, is stopped when the VM is dropped
//! or its scope aborted, and resumes JavaScript under the scope that started it.

use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use rquickjs::{Ctx, Exception, IntoJs, Promise, Result, Value};

use crate::handle::{PendingOp, State, VmHandle};
use crate::kept::Kept;
use crate::scope::CallScope;
use crate::throw::OpError;

/// A promise for the value of `future`.
///
/// The future must not enter the VM and holds no JavaScript values other than as [`Kept`]. It is polled once at once:
/// when it is ready then, no task is made. Throws when the VM has its full number of operations.
pub fn spawn_promise<'js, F, T>(ctx: &Ctx<'js>, future: F) -> Result<Promise<'js>>
where
    F: Future<Output = std::result::Result<T, OpError>> + 'static,
    T: for<'a> IntoJs<'a> + 'static,
{
    spawn_promise_with(ctx, future, |ctx, output| match output {
        Ok(value) => value.into_js(ctx),
        Err(error) => Err(error.throw(ctx)),
    })
}

/// A promise for what `finish` makes of the future's output, inside the VM; what `finish` throws rejects it.
pub fn spawn_promise_with<'js, F, C>(ctx: &Ctx<'js>, future: F, finish: C) -> Result<Promise<'js>>
where
    F: Future + 'static,
    F::Output: 'static,
    C: for<'a> FnOnce(&Ctx<'a>, F::Output) -> Result<Value<'a>> + 'static,
{
    let mut future = Box::pin(future);
    let (promise, resolve, reject) = Promise::new(ctx)?;
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        match finish(ctx, output) {
            Ok(value) => resolve.call::<_, ()>((value,))?,
            Err(error) => reject.call::<_, ()>((thrown(ctx, error),))?,
        }
        return Ok(promise);
    }
    let handle = VmHandle::of(ctx);
    let resolve = handle.keep(ctx, resolve.into_value());
    let reject = handle.keep(ctx, reject.into_value());
    spawn_op(ctx, move |op: Op| async move {
        let output = future.await;
        op.finish(move |ctx| settle(ctx, &resolve, &reject, finish(ctx, output)));
    })?;
    Ok(promise)
}

/// A promise for what `finish` makes of `work`'s output, inside the VM; `work` runs on a blocking thread.
///
/// At most [`VmOptions::max_blocking_jobs`](crate::VmOptions::max_blocking_jobs) of a VM run at a time. A job that
/// runs cannot be stopped: when its scope is aborted it ends unheard, and holds its permit until then, so that aborted
/// calls cannot pile up threads. Its time is not charged to the scope: `work` must have a bound of its own.
///
/// # Errors
/// Throws when the VM has its full number of operations, and in a context that no VM made.
pub fn spawn_blocking_promise<'js, T, C>(
    ctx: &Ctx<'js>,
    work: impl FnOnce() -> T + Send + 'static,
    finish: C,
) -> Result<Promise<'js>>
where
    T: Send + 'static,
    C: for<'a> FnOnce(&Ctx<'a>, T) -> Result<Value<'a>> + 'static,
{
    let Some(vm) = VmHandle::try_of(ctx) else {
        return Err(Exception::throw_internal(ctx, "blocking work needs a VM"));
    };
    let permits = vm.0.blocking.clone();
    let future = async move {
        let permit = permits.acquire_owned().await.ok()?;
        let job = tokio::task::spawn_blocking(move || {
            let output = work();
            drop(permit);
            output
        });
        job.await.ok()
    };
    spawn_promise_with(ctx, future, move |ctx, output| match output {
        Some(output) => finish(ctx, output),
        // The runtime is shutting down, or the work panicked.
        None => Err(Exception::throw_message(ctx, "the work was not completed")),
    })
}

/// Runs `make(op)` as an operation: for what calls back more than once, or not through a promise.
/// The future resumes JavaScript with [`Op::run`]. Gives the operation's id for [`cancel`].
pub fn spawn_op<F>(ctx: &Ctx<'_>, make: impl FnOnce(Op) -> F) -> Result<OpId>
where
    F: Future<Output = ()> + 'static,
{
    let handle = VmHandle::of(ctx);
    let state = handle.0;
    let limit = state.options.max_pending_ops;
    if state.ops.borrow().len() >= limit {
        return Err(Exception::throw_range(ctx, &format!("more than {limit} operations are pending")));
    }
    let scope = state.scope.borrow().clone();
    let id = OpId { key: 0, serial: state.next_serial() };
    let key =
        state.ops.borrow_mut().insert(PendingOp { serial: id.serial, scope: scope.clone(), task: None });
    let id = OpId { key, ..id };
    let op = Op { slot: Slot { state: Rc::downgrade(&state), id }, scope };
    let task = tokio::task::spawn_local(make(op));
    if let Some(entry) = state.ops.borrow_mut().get_mut(key) {
        entry.task = Some(task.abort_handle());
    }
    Ok(id)
}

/// Stops an operation: its promise is never settled. Does nothing when it has ended.
pub fn cancel(ctx: &Ctx<'_>, id: OpId) {
    let state = VmHandle::of(ctx).0;
    if let Some(task) = state.remove_op(id).and_then(|op| op.task) {
        task.abort();
    }
}

/// Names an operation under way in its VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpId {
    pub(crate) key: usize,
    /// Keys are used again; serials are not.
    pub(crate) serial: u64,
}

/// An operation as its own future sees it.
pub struct Op {
    slot: Slot,
    scope: Option<Rc<CallScope>>,
}

impl Op {
    /// Runs `f` in the VM under the operation's scope, then the job queue; does nothing, and gives false, when the
    /// VM is gone or dead, or the scope may not run any more. The operation should end then.
    pub fn run(&self, f: impl for<'js> FnOnce(&Ctx<'js>) -> Result<()>) -> bool {
        let Some(state) = self.slot.state.upgrade() else { return false };
        VmHandle(state).run(self.scope.as_ref(), f).is_ok()
    }

    /// The scope that started the operation.
    pub fn scope(&self) -> Option<&Rc<CallScope>> {
        self.scope.as_ref()
    }

    /// Ends the operation, then runs `f` as [`run`](Self::run) does.
    pub fn finish(self, f: impl for<'js> FnOnce(&Ctx<'js>) -> Result<()>) {
        let Op { slot, scope } = self;
        let Some(state) = slot.state.upgrade() else { return };
        drop(slot);
        // Errors are logged by the run; there is nobody else to tell.
        let _ = VmHandle(state).run(scope.as_ref(), f);
    }
}

/// The operation's place among those counted; given back when its future ends or is dropped.
struct Slot {
    state: Weak<State>,
    id: OpId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            drop(state.remove_op(self.id));
        }
    }
}

fn settle<'js>(ctx: &Ctx<'js>, resolve: &Kept, reject: &Kept, result: Result<Value<'js>>) -> Result<()> {
    let (function, value) = match result {
        Ok(value) => (resolve.function(ctx), value),
        Err(error) => (reject.function(ctx), thrown(ctx, error)),
    };
    match function {
        Some(function) => function.call((value,)),
        None => Ok(()),
    }
}

/// The JavaScript value of an error that a native function gave back.
pub fn thrown<'js>(ctx: &Ctx<'js>, error: rquickjs::Error) -> Value<'js> {
    if error.is_exception() {
        return ctx.catch();
    }
    match Exception::from_message(ctx.clone(), &error.to_string()) {
        Ok(exception) => exception.into_value(),
        Err(_) => ctx.catch(),
    }
}

/// A boxed future of an operation, for callers that choose between several.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;
