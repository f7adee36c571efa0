//! The VM as native functions see it: who is being charged, the log, values to keep, runs to resume.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use polygate_pipeline::{LogLevel, LogLine, Services};
use rquickjs::{Ctx, JsLifetime, Persistent, Value};
use slab::Slab;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::call::Wait;
use crate::clock::RunClock;
use crate::compile::Program;
use crate::error::{CallError, Death};
use crate::kept::Kept;
use crate::ops::OpId;
use crate::scope::CallScope;
use crate::sys::Memory;
use crate::vm::{Vm, VmInner, VmOptions};

/// A native operation under way.
pub(crate) struct PendingOp {
    pub(crate) serial: u64,
    pub(crate) scope: Option<Rc<CallScope>>,
    pub(crate) task: Option<AbortHandle>,
}

/// A promise that was rejected while nobody had asked for its result.
pub(crate) struct Rejection {
    pub(crate) promise: Persistent<Value<'static>>,
    pub(crate) reason: Persistent<Value<'static>>,
}

/// What belongs to a VM beside the engine's own runtime.
pub(crate) struct State {
    pub(crate) vm: OnceCell<Weak<VmInner>>,
    pub(crate) options: VmOptions,
    pub(crate) services: Option<Services>,
    pub(crate) program: Option<Arc<Program>>,
    pub(crate) memory: Rc<Memory>,
    pub(crate) clock: RunClock,
    pub(crate) scope: RefCell<Option<Rc<CallScope>>>,
    pub(crate) death: Cell<Option<Death>>,
    pub(crate) kept: RefCell<Slab<Persistent<Value<'static>>>>,
    pub(crate) ops: RefCell<Slab<PendingOp>>,
    /// Permits for jobs on blocking threads: [`VmOptions::max_blocking_jobs`].
    pub(crate) blocking: Arc<Semaphore>,
    serial: Cell<u64>,
    pub(crate) waits: RefCell<Slab<Rc<Wait>>>,
    pub(crate) rejections: RefCell<Vec<Rejection>>,
}

impl State {
    pub(crate) fn new(
        options: VmOptions,
        services: Option<Services>,
        program: Option<Arc<Program>>,
        memory: Rc<Memory>,
    ) -> Rc<Self> {
        let blocking = Arc::new(Semaphore::new(options.max_blocking_jobs.clamp(1, Semaphore::MAX_PERMITS)));
        Rc::new(Self {
            vm: OnceCell::new(),
            blocking,
            options,
            services,
            program,
            memory,
            clock: RunClock::new(),
            scope: RefCell::default(),
            death: Cell::new(None),
            kept: RefCell::default(),
            ops: RefCell::default(),
            serial: Cell::new(0),
            waits: RefCell::default(),
            rejections: RefCell::default(),
        })
    }

    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// Takes an operation out of those under way, unless it has ended.
    pub(crate) fn remove_op(&self, id: OpId) -> Option<PendingOp> {
        let mut ops = self.ops.borrow_mut();
        match ops.get(id.key) {
            Some(op) if op.serial == id.serial => Some(ops.remove(id.key)),
            _ => None,
        }
    }

    /// Marks the VM as dead and wakes every call that waits for it.
    pub(crate) fn die(&self, death: Death) {
        if self.death.get().is_none() {
            self.death.set(Some(death));
            self.wake_where(|_| true);
        }
    }

    /// Wakes the waiting calls of the scopes that `which` picks.
    pub(crate) fn wake_where(&self, which: impl Fn(&Rc<CallScope>) -> bool) {
        let waits: Vec<_> = self
            .waits
            .borrow()
            .iter()
            .filter(|(_, wait)| which(wait.scope()))
            .map(|(_, w)| w.clone())
            .collect();
        for wait in waits {
            wait.wake();
        }
    }

    /// Stops the operations of a scope: nothing of it will run any more.
    pub(crate) fn stop_ops(&self, scope: &Rc<CallScope>) {
        let of_scope = |op: &PendingOp| op.scope.as_ref().is_some_and(|s| Rc::ptr_eq(s, scope));
        let tasks: Vec<_> = self
            .ops
            .borrow()
            .iter()
            .filter(|(_, op)| of_scope(op))
            .filter_map(|(_, op)| op.task.clone())
            .collect();
        for task in tasks {
            task.abort();
        }
    }

    /// Frees all JavaScript values and stops all operations.
    pub(crate) fn clear(&self) {
        let ops = std::mem::take(&mut *self.ops.borrow_mut());
        for (_, op) in ops {
            if let Some(task) = op.task {
                task.abort();
            }
        }
        // Taken out before they are dropped: a finalizer may reach for these lists again.
        let kept = std::mem::take(&mut *self.kept.borrow_mut());
        let rejections = std::mem::take(&mut *self.rejections.borrow_mut());
        drop((kept, rejections));
    }
}

/// The VM that a native function runs in. Cloning is cheap; it does not keep the VM alive.
#[derive(Clone)]
pub struct VmHandle(pub(crate) Rc<State>);

// SAFETY of the derive: the type holds no JavaScript lifetime.
#[derive(JsLifetime)]
pub(crate) struct UserData(pub(crate) Rc<State>);

impl VmHandle {
    /// The VM that `ctx` belongs to.
    ///
    /// # Panics
    /// Never for a context that [`Vm::new`] made.
    pub fn of(ctx: &Ctx<'_>) -> Self {
        let data = ctx
            .userdata::<UserData>()
            .expect("Vm::new stores the user data before any native function exists");
        Self(data.0.clone())
    }

    /// The VM that `ctx` belongs to; `None` for a context that no [`Vm`] made (unit tests of native functions).
    pub fn try_of(ctx: &Ctx<'_>) -> Option<Self> {
        ctx.userdata::<UserData>().map(|data| Self(data.0.clone()))
    }

    /// The VM itself, while it lives.
    pub fn vm(&self) -> Option<Vm> {
        self.0.vm.get()?.upgrade().map(Vm)
    }

    /// Who is being charged now; `None` while modules load and outside of runs.
    pub fn scope(&self) -> Option<Rc<CallScope>> {
        self.0.scope.borrow().clone()
    }

    /// What the VM's plugins may reach; `None` in a VM made without services.
    pub fn services(&self) -> Option<&Services> {
        self.0.services.as_ref()
    }

    /// Keeps `value` beyond the run.
    pub fn keep<'js>(&self, ctx: &Ctx<'js>, value: Value<'js>) -> Kept {
        Kept::new(&self.0, ctx, value)
    }

    /// Writes a log line about `scope`'s exchange and policy, or about none.
    pub fn log(
        &self,
        scope: Option<&CallScope>,
        level: LogLevel,
        message: String,
        fields: serde_json::Map<String, serde_json::Value>,
    ) {
        let Some(services) = &self.0.services else { return };
        services.log(LogLine {
            time: SystemTime::now(),
            level,
            request_id: scope.and_then(CallScope::exchange).map(|exchange| *exchange.id()),
            policy: scope.and_then(CallScope::policy).cloned(),
            message,
            fields,
        });
    }

    /// Runs `f` in the VM under `scope` and then empties the job queue: how an operation that ended resumes
    /// JavaScript. Must not be called from within a run, that is from a native function.
    ///
    /// Under no scope (module load, background work) the limit is [`VmOptions::load_cpu`].
    ///
    /// # Errors
    /// The VM is gone or dead, the scope is aborted or its CPU time spent, or it was spent in this run. Exceptions
    /// that `f` leaves behind are logged, since nobody waits for them.
    pub fn run<T>(
        &self,
        scope: Option<&Rc<CallScope>>,
        f: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>,
    ) -> Result<Option<T>, CallError> {
        let Some(vm) = self.vm() else { return Err(CallError::Aborted) };
        vm.0.resume(scope, f)
    }

    /// The limit on CPU time while modules load.
    pub fn load_cpu(&self) -> Duration {
        self.0.options.load_cpu
    }
}
