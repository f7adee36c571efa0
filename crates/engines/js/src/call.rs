//! A call under way: ready at once, or woken when its promise settles.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rquickjs::function::This;
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Function, Persistent, Promise, Result as JsResult, Value};

use crate::cast::as_object;
use crate::error::CallError;
use crate::handle::State;
use crate::kept::Kept;
use crate::scope::CallScope;
use crate::trace;
use crate::vm::{Vm, pump};
use crate::web::fetch;

/// The result of a JavaScript call: a future, and often ready already (see [`Call::into_ready`]).
#[must_use = "the result of the call is lost"]
pub struct Call<T, C>(Progress<T, C>);

enum Progress<T, C> {
    Ready(Result<T, CallError>),
    Waiting(Box<Waiting<C>>),
    Taken,
}

struct Waiting<C> {
    promise: Kept,
    wait: Rc<Wait>,
    key: usize,
    finish: C,
    vm: Vm,
}

/// What became of a value that a call gave.
pub(crate) enum Settled<T, C> {
    Done(Result<T, CallError>),
    Pending { promise: Kept, wait: Rc<Wait>, finish: C },
}

impl<T, C> Settled<T, C>
where
    C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
{
    /// Looks at `value`: a promise that is pending is waited for, anything else is handed to `finish`.
    pub(crate) fn of<'js>(
        state: &Rc<State>,
        scope: &Rc<CallScope>,
        ctx: &Ctx<'js>,
        value: Value<'js>,
        finish: C,
    ) -> Self {
        // What most calls give, and no promise.
        if fetch::is_message(&value) {
            return Self::Done(finished(ctx, value, finish));
        }
        let value = match awaited(ctx, value) {
            Ok(value) => value,
            Err(error) => {
                return Self::Done(Err(CallError::Script(Box::new(trace::from_error(ctx, error)))));
            }
        };
        let Some(promise) = value.as_promise() else { return Self::Done(finished(ctx, value, finish)) };
        match promise.state() {
            PromiseState::Pending => {
                let wait = Wait::new(scope);
                match wait.attach(ctx, promise) {
                    Ok(()) => Self::Pending { promise: Kept::new(state, ctx, value), wait, finish },
                    Err(error) => Self::Done(Err(CallError::Script(Box::new(trace::from_error(ctx, error))))),
                }
            }
            PromiseState::Resolved | PromiseState::Rejected => {
                Self::Done(taken(state, ctx, promise).and_then(|value| finished(ctx, value, finish)))
            }
        }
    }
}

/// What `await` would wait for: a promise for an object that has a `then`, anything else as it is. (It is not asked about
/// messages: a `then` that a script adds to one makes no difference.)
fn awaited<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> JsResult<Value<'js>> {
    let Some(object) = as_object(&value) else { return Ok(value) };
    if value.is_promise() || !object.get::<_, Value<'js>>("then")?.is_function() {
        return Ok(value);
    }
    let (promise, resolve, _) = ctx.promise()?;
    let () = resolve.call((value,))?;
    Ok(promise.into_value())
}

/// The result of a settled promise.
fn taken<'js>(state: &Rc<State>, ctx: &Ctx<'js>, promise: &Promise<'js>) -> Result<Value<'js>, CallError> {
    match promise.result::<Value<'js>>() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => {
            let error = trace::from_error(ctx, error);
            forget_rejection(state, ctx, promise);
            Err(CallError::Script(Box::new(error)))
        }
        // Asked only of settled promises.
        None => Err(CallError::Aborted),
    }
}

fn finished<'js, T>(
    ctx: &Ctx<'js>,
    value: Value<'js>,
    finish: impl FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
) -> Result<T, CallError> {
    finish(ctx, value).map_err(|error| CallError::Script(Box::new(trace::from_error(ctx, error))))
}

/// The caller takes the rejection: it is not unhandled.
fn forget_rejection<'js>(state: &Rc<State>, ctx: &Ctx<'js>, promise: &Promise<'js>) {
    let promise = Persistent::save(ctx, promise.clone().into_value());
    let mut rejections = state.rejections.borrow_mut();
    let ours = rejections.iter().position(|rejection| rejection.promise == promise);
    let ours = ours.map(|index| rejections.swap_remove(index));
    drop(rejections);
    drop(ours);
}

impl<T, C> Call<T, C> {
    pub(crate) fn new(vm: &Vm, entered: Result<Settled<T, C>, CallError>) -> Self {
        match entered {
            Err(error) => Self(Progress::Ready(Err(error))),
            Ok(Settled::Done(result)) => Self(Progress::Ready(result)),
            Ok(Settled::Pending { promise, wait, finish }) => {
                let key = vm.0.state.waits.borrow_mut().insert(wait.clone());
                Self(Progress::Waiting(Box::new(Waiting { promise, wait, key, finish, vm: vm.clone() })))
            }
        }
    }

    /// The result, if the call has ended already; else the call itself, to be awaited.
    pub fn into_ready(mut self) -> Result<Result<T, CallError>, Self> {
        match std::mem::replace(&mut self.0, Progress::Taken) {
            Progress::Ready(result) => Ok(result),
            other => Err(Self(other)),
        }
    }
}

// Nothing is pinned: the fields are only ever moved out of.
impl<T, C> Unpin for Call<T, C> {}

impl<T, C> Future for Call<T, C>
where
    C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
{
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Progress::Waiting(waiting) = &self.0
            && !waiting.wait.woken.get()
        {
            waiting.wait.register(cx.waker());
            return Poll::Pending;
        }
        match std::mem::replace(&mut self.0, Progress::Taken) {
            Progress::Ready(result) => Poll::Ready(result),
            Progress::Waiting(waiting) => Poll::Ready(waiting.end()),
            Progress::Taken => Poll::Ready(Err(CallError::Aborted)),
        }
    }
}

impl<C> Waiting<C> {
    /// Takes the result of the settled promise, or says why it will never settle.
    fn end<T>(self) -> Result<T, CallError>
    where
        C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
    {
        let Self { promise, wait, key, finish, vm } = self;
        let state = &vm.0.state;
        let listed = state.waits.borrow_mut().try_remove(key);
        drop(listed);
        vm.0.enter(&wait.scope, |ctx| {
            let value = promise.get(ctx).ok_or(CallError::Aborted)?;
            let settled = value.as_promise().ok_or(CallError::Aborted)?;
            let result = taken(state, ctx, settled).and_then(|value| finished(ctx, value, finish));
            pump(ctx, state);
            result
        })?
    }
}

impl<T, C> Drop for Call<T, C> {
    fn drop(&mut self) {
        if let Progress::Waiting(waiting) = &self.0 {
            let listed = waiting.vm.0.state.waits.borrow_mut().try_remove(waiting.key);
            drop(listed);
        }
    }
}

/// Somebody waits for a promise.
pub(crate) struct Wait {
    scope: Rc<CallScope>,
    woken: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Wait {
    fn new(scope: &Rc<CallScope>) -> Rc<Self> {
        Rc::new(Self { scope: scope.clone(), woken: Cell::new(false), waker: RefCell::default() })
    }

    pub(crate) fn scope(&self) -> &Rc<CallScope> {
        &self.scope
    }

    /// Wakes the waiting call.
    pub(crate) fn wake(&self) {
        self.woken.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        match &mut *slot {
            Some(old) => old.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }

    /// Asks the promise to wake this.
    fn attach<'js>(self: &Rc<Self>, ctx: &Ctx<'js>, promise: &Promise<'js>) -> JsResult<()> {
        let wait = self.clone();
        let wake = Function::new(ctx.clone(), move || wait.wake())?;
        promise.then()?.call((This(promise.clone()), wake.clone(), wake))
    }
}
