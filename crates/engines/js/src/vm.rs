//! One worker's live JavaScript: a QuickJS runtime with its limits, its modules and the runs inside it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::Services;
use rquickjs::function::Args;
use rquickjs::{Context, Ctx, Function, IntoJs, Module, Persistent, Result as JsResult, Runtime, Value};

use crate::call::{Call, Settled};
use crate::compile::Program;
use crate::error::{CallError, Death};
use crate::handle::{Rejection, State, UserData, VmHandle};
use crate::kept::Kept;
use crate::loader::{GraphLoader, GraphResolver};
use crate::native::has_jobs;
use crate::scope::CallScope;
use crate::sys::{Counting, Memory};
use crate::{harden, trace, web};

/// Arguments that [`Vm::call`] passes without an allocation.
pub const FEW_ARGS: usize = 4;

/// Most arguments that [`Vm::call`] passes.
pub const MAX_ARGS: usize = 5;

/// Most unhandled rejections that are remembered within one run.
const MAX_REJECTIONS: usize = 100;

/// Jobs between two looks at the clock.
const JOBS_PER_LOOK: u32 = 64;

/// What turns a call's result into a Rust value, when it captures nothing.
pub type Finish<T> = for<'js> fn(&Ctx<'js>, Value<'js>) -> JsResult<T>;

/// Limits of a VM.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// Memory of all JavaScript values, in bytes. Default 128 MiB.
    pub memory_limit: usize,
    /// Native stack that JavaScript may use, in bytes. Default 512 KiB.
    pub stack_size: usize,
    /// Bytes of new values after which cycles are collected. Default 4 MiB.
    pub gc_threshold: usize,
    /// Timers, fetches, body reads and the like under way at a time. Default 1,000.
    pub max_pending_ops: usize,
    /// Key generations and derivations that run at a time, each on a blocking thread. More wait in turn, as pending
    /// operations. Default 4.
    pub max_blocking_jobs: usize,
    /// CPU time for loading one entry module with all it imports. Default 2 s.
    pub load_cpu: Duration,
    /// Whether `eval` and `new Function` work. Default false.
    pub allow_eval: bool,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            memory_limit: 128 * 1024 * 1024,
            stack_size: 512 * 1024,
            gc_threshold: 4 * 1024 * 1024,
            max_pending_ops: 1000,
            max_blocking_jobs: 4,
            load_cpu: Duration::from_secs(2),
            allow_eval: false,
        }
    }
}

/// A VM. Clones are handles to the same one; the last one frees everything.
///
/// Must live inside a `tokio` local task set, for the sake of its operations.
#[derive(Clone)]
pub struct Vm(pub(crate) Rc<VmInner>);

pub(crate) struct VmInner {
    pub(crate) context: Context,
    pub(crate) state: Rc<State>,
    entered: Cell<bool>,
}

impl Drop for VmInner {
    fn drop(&mut self) {
        self.state.clear();
    }
}

/// The arguments of a call, pushed in order.
pub struct Arguments<'js> {
    args: Args<'js>,
    count: usize,
    most: usize,
}

impl<'js> Arguments<'js> {
    fn new(ctx: &Ctx<'js>) -> Self {
        Self { args: Args::new(ctx.clone(), FEW_ARGS), count: 0, most: FEW_ARGS }
    }

    /// Makes room for [`MAX_ARGS`] arguments instead of [`FEW_ARGS`]. To be called before the first one is added.
    pub fn expect_many(&mut self) {
        if self.count == 0 {
            self.args = Args::new(self.args.ctx().clone(), MAX_ARGS);
            self.most = MAX_ARGS;
        }
    }

    /// Adds an argument. At most [`FEW_ARGS`], unless [more are expected](Self::expect_many).
    pub fn push(&mut self, value: impl IntoJs<'js>) -> JsResult<()> {
        if self.count == self.most {
            return Err(rquickjs::Error::TooManyArgs { expected: self.most, given: self.most + 1 });
        }
        self.args.push_arg(value)?;
        self.count += 1;
        Ok(())
    }
}

impl Vm {
    /// A VM that can load `program`'s modules, with the Web APIs installed.
    ///
    /// `setup` runs before any module and may define more globals.
    ///
    /// # Errors
    /// The limits are too small for the built-in objects, or `setup` threw.
    pub fn new(
        program: Arc<Program>,
        services: Option<Services>,
        options: VmOptions,
        setup: impl for<'js> FnOnce(&Ctx<'js>) -> JsResult<()>,
    ) -> Result<Self, CallError> {
        // The process's first random bytes take tens of milliseconds to seed: not at some policy's expense. Should this
        // fail, the script that asks for random bytes is told so.
        let _ = aws_lc_rs::rand::fill(&mut [0; 1]);
        let memory = Memory::new(options.memory_limit);
        let limit = options.memory_limit;
        let exhausted = move |_: rquickjs::Error| CallError::MemoryExceeded { limit };
        let runtime = Runtime::new_with_alloc(Counting(memory.clone())).map_err(exhausted)?;
        runtime.set_max_stack_size(options.stack_size);
        runtime.set_gc_threshold(options.gc_threshold);
        runtime.set_loader(GraphResolver::new(program.clone()), GraphLoader::new(program.clone()));
        let context = Context::full(&runtime).map_err(exhausted)?;
        let state = State::new(options, services, Some(program), memory);
        watch(&runtime, &state);
        let vm = Self(Rc::new(VmInner { context, state: state.clone(), entered: Cell::new(false) }));
        // Set once, here: the cell is empty.
        let _ = state.vm.set(Rc::downgrade(&vm.0));
        let scope = vm.load_scope();
        let installed = vm.0.enter(&scope, |ctx| {
            let result = ctx
                .store_userdata(UserData(state.clone()))
                .map_err(|_| rquickjs::Error::Unknown)
                .and_then(|_| if state.options.allow_eval { Ok(()) } else { harden::forbid_eval(ctx) })
                .and_then(|()| web::install(ctx))
                .and_then(|()| setup(ctx));
            let result = result.map_err(|error| Box::new(trace::from_error(ctx, error)));
            pump(ctx, &state);
            result
        })?;
        installed.map_err(CallError::Script)?;
        Ok(vm)
    }

    /// Loads a module of the program by its specifier, with all it imports, and awaits its top level.
    pub fn load(&self, specifier: &str) -> Call<LoadedModule, Finish<LoadedModule>> {
        let scope = self.load_scope();
        self.start(
            &scope,
            |ctx| Ok(Module::import(ctx, specifier)?.into_value()),
            LoadedModule::keep as Finish<_>,
        )
    }

    /// Calls `function` with the arguments that `args` pushes, under `scope`, and empties the job queue.
    ///
    /// `finish` turns the result, awaited when it is a promise, into a Rust value inside the VM; what it throws is the
    /// call's error. The returned future is ready at once when the promise has settled by then; otherwise it is woken
    /// when it does. Dropping it does not stop what the call started: see [`abort`](Self::abort).
    pub fn call<T, A, C>(&self, scope: &Rc<CallScope>, function: &Kept, args: A, finish: C) -> Call<T, C>
    where
        A: for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()>,
        C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
    {
        self.start(
            scope,
            |ctx| {
                let function = function.function(ctx).ok_or(rquickjs::Error::UnrelatedRuntime)?;
                let mut arguments = Arguments::new(ctx);
                args(ctx, &mut arguments)?;
                arguments.args.apply(&function)
            },
            finish,
        )
    }

    /// Runs `f` inside the VM under `scope`, then empties the job queue.
    pub fn run<T>(
        &self,
        scope: &Rc<CallScope>,
        f: impl for<'js> FnOnce(&Ctx<'js>) -> JsResult<T>,
    ) -> Result<T, CallError> {
        let state = &self.0.state;
        self.0.enter(scope, |ctx| {
            let result = f(ctx).map_err(|error| CallError::Script(Box::new(trace::from_error(ctx, error))));
            pump(ctx, state);
            result
        })?
    }

    /// Aborts a scope: stops its operations and wakes its calls, which end with [`CallError::Aborted`].
    pub fn abort(&self, scope: &Rc<CallScope>) {
        scope.abort();
        let state = &self.0.state;
        state.stop_ops(scope);
        state.wake_where(|s| Rc::ptr_eq(s, scope));
    }

    /// Whether it runs nothing any more and must be replaced.
    pub fn is_dead(&self) -> bool {
        self.death().is_some()
    }

    /// Why it is dead.
    pub fn death(&self) -> Option<Death> {
        self.0.state.death.get()
    }

    /// Bytes that its JavaScript values use now.
    pub fn memory_used(&self) -> usize {
        self.0.state.memory.used()
    }

    /// The most bytes that its JavaScript values used.
    pub fn memory_peak(&self) -> usize {
        self.0.state.memory.peak()
    }

    /// Native operations under way.
    pub fn pending_ops(&self) -> usize {
        self.0.state.ops.borrow().len()
    }

    /// The VM as native functions see it.
    pub fn handle(&self) -> VmHandle {
        VmHandle(self.0.state.clone())
    }

    /// Collects cycles now.
    pub fn collect_garbage(&self) {
        if !self.0.entered.get() {
            self.0.context.runtime().run_gc();
        }
    }

    fn load_scope(&self) -> Rc<CallScope> {
        CallScope::new(self.0.state.options.load_cpu, None, None)
    }

    /// Runs `begin` and settles what it gave.
    fn start<T, C>(
        &self,
        scope: &Rc<CallScope>,
        begin: impl for<'js> FnOnce(&Ctx<'js>) -> JsResult<Value<'js>>,
        finish: C,
    ) -> Call<T, C>
    where
        C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
    {
        let state = &self.0.state;
        let entered = self.0.enter(scope, |ctx| {
            let value = match begin(ctx) {
                Ok(value) => {
                    pump(ctx, state);
                    value
                }
                Err(error) => {
                    let error = trace::from_error(ctx, error);
                    pump(ctx, state);
                    return Settled::Done(Err(CallError::Script(Box::new(error))));
                }
            };
            let settled = Settled::of(state, scope, ctx, value, finish);
            pump(ctx, state);
            settled
        });
        Call::new(self, entered)
    }
}

impl VmInner {
    /// One run: makes `scope` current, measures, and afterwards looks at what became of it.
    pub(crate) fn enter<R>(
        &self,
        scope: &Rc<CallScope>,
        f: impl for<'js> FnOnce(&Ctx<'js>) -> R,
    ) -> Result<R, CallError> {
        let state = &*self.state;
        self.admit(scope)?;
        self.entered.set(true);
        let outer = state.scope.replace(Some(scope.clone()));
        state.clock.start(scope.cpu_left());
        let result = self.context.with(|ctx| {
            let result = f(&ctx);
            if !state.rejections.borrow().is_empty() {
                trace::report_rejections(&ctx, &self.state);
            }
            result
        });
        self.entered.set(false);
        let out_of_grace = state.clock.is_out_of_grace();
        let spent = state.clock.was_spent();
        scope.charge(u64::try_from(state.clock.stop().as_nanos()).unwrap_or(u64::MAX));
        state.scope.replace(outer);
        if state.memory.is_reached() {
            state.die(Death::Memory);
            return Err(CallError::MemoryExceeded { limit: state.memory.limit() });
        }
        if spent {
            scope.set_exceeded();
            state.stop_ops(scope);
            if out_of_grace {
                state.die(Death::JobStorm);
            } else {
                state.wake_where(|s| Rc::ptr_eq(s, scope));
            }
            return Err(CallError::CpuExceeded { used: scope.cpu_used(), limit: scope.cpu_limit() });
        }
        Ok(result)
    }

    /// Whether `scope` may run.
    pub(crate) fn admit(&self, scope: &Rc<CallScope>) -> Result<(), CallError> {
        if let Some(death) = self.state.death.get() {
            return Err(CallError::VmDead(death));
        }
        if scope.is_aborted() || self.entered.get() {
            return Err(CallError::Aborted);
        }
        if scope.is_exceeded() || scope.cpu_left().is_zero() {
            scope.set_exceeded();
            return Err(CallError::CpuExceeded { used: scope.cpu_used(), limit: scope.cpu_limit() });
        }
        Ok(())
    }

    /// See [`VmHandle::run`].
    pub(crate) fn resume<T>(
        &self,
        scope: Option<&Rc<CallScope>>,
        f: impl for<'js> FnOnce(&Ctx<'js>) -> JsResult<T>,
    ) -> Result<Option<T>, CallError> {
        let own;
        let scope = match scope {
            Some(scope) => scope,
            None => {
                own = CallScope::new(self.state.options.load_cpu, None, None);
                &own
            }
        };
        self.enter(scope, |ctx| {
            let result = match f(ctx) {
                Ok(value) => Some(value),
                Err(error) => {
                    trace::report_uncaught(ctx, &self.state, error);
                    None
                }
            };
            pump(ctx, &self.state);
            result
        })
    }
}

/// A loaded module.
#[derive(Debug)]
pub struct LoadedModule(Kept);

impl LoadedModule {
    fn keep<'js>(ctx: &Ctx<'js>, namespace: Value<'js>) -> JsResult<Self> {
        Ok(Self(VmHandle::of(ctx).keep(ctx, namespace)))
    }

    /// The value of an export; `None` when there is no such export.
    pub fn export<'js>(&self, ctx: &Ctx<'js>, name: &str) -> JsResult<Option<Value<'js>>> {
        let Some(namespace) = self.0.get(ctx).and_then(Value::into_object) else { return Ok(None) };
        if namespace.contains_key(name)? { namespace.get(name).map(Some) } else { Ok(None) }
    }

    /// An export that is a function, kept for calls; `None` when there is no such export or it is no function.
    pub fn function(&self, ctx: &Ctx<'_>, name: &str) -> JsResult<Option<Kept>> {
        let function = self.export(ctx, name)?.and_then(Value::into_function);
        Ok(function.map(Function::into_value).map(|value| VmHandle::of(ctx).keep(ctx, value)))
    }
}

/// Empties the job queue, unless the run was stopped and its jobs beget jobs.
pub(crate) fn pump(ctx: &Ctx<'_>, state: &State) {
    let mut jobs = 0u32;
    while has_jobs(ctx) && ctx.execute_pending_job() {
        jobs = jobs.wrapping_add(1);
        if jobs.is_multiple_of(JOBS_PER_LOOK)
            && (state.memory.is_reached() || (state.clock.is_spent() && state.clock.is_out_of_grace()))
        {
            return;
        }
    }
}

/// Sets the interrupt handler and the tracker of rejections.
fn watch(runtime: &Runtime, state: &Rc<State>) {
    let watched = state.clone();
    runtime.set_interrupt_handler(Some(Box::new(move || {
        watched.memory.is_reached() || watched.clock.is_spent()
    })));
    let watched = state.clone();
    runtime.set_host_promise_rejection_tracker(Some(Box::new(move |ctx, promise, reason, is_handled| {
        let promise = Persistent::save(&ctx, promise);
        let mut rejections = watched.rejections.borrow_mut();
        if is_handled {
            let handled = rejections.iter().position(|rejection| rejection.promise == promise);
            let handled = handled.map(|index| rejections.swap_remove(index));
            drop(rejections);
            drop(handled);
        } else if rejections.len() < MAX_REJECTIONS {
            rejections.push(Rejection { promise, reason: Persistent::save(&ctx, reason) });
        }
    })));
}
