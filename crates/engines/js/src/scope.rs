//! Who is charged for JavaScript that runs: one policy's (or handler's) call for one exchange.
//!
//! A scope is current while its call runs. Every native operation that starts then (timer, fetch, body read) keeps it,
//! and what JavaScript does when that operation ends runs, and is charged, under the same scope.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::Exchange;

/// A call's account: CPU spent and allowed, whether it still matters, and whom its log lines are about.
pub struct CallScope {
    exchange: Option<Exchange>,
    policy: Option<Arc<str>>,
    cpu_limit: Duration,
    cpu_used: Cell<u64>,
    subrequests: Cell<u32>,
    exceeded: Cell<bool>,
    aborted: Cell<bool>,
    detached: Cell<bool>,
    attachment: OnceCell<Rc<dyn Any>>,
}

impl CallScope {
    /// A scope that may use `cpu_limit` of CPU time in all its runs together.
    pub fn new(cpu_limit: Duration, exchange: Option<Exchange>, policy: Option<Arc<str>>) -> Rc<Self> {
        Rc::new(Self {
            exchange,
            policy,
            cpu_limit,
            cpu_used: Cell::new(0),
            subrequests: Cell::new(0),
            exceeded: Cell::new(false),
            aborted: Cell::new(false),
            detached: Cell::new(false),
            attachment: OnceCell::new(),
        })
    }

    /// The exchange that the call is for.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref()
    }

    /// The policy (or handler) that is called.
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.policy.as_ref()
    }

    /// CPU time spent so far.
    pub fn cpu_used(&self) -> Duration {
        Duration::from_nanos(self.cpu_used.get())
    }

    /// CPU time allowed.
    pub fn cpu_limit(&self) -> Duration {
        self.cpu_limit
    }

    /// CPU time left.
    pub fn cpu_left(&self) -> Duration {
        self.cpu_limit.saturating_sub(self.cpu_used())
    }

    /// Whether a run was stopped because the CPU time was spent. Nothing more runs under this scope then.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Counts one more request that is sent under this scope, and for its exchange; false when `cap` are sent already.
    pub fn count_subrequest(&self, cap: u32) -> bool {
        let sent = self.subrequests.get();
        if sent >= cap {
            return false;
        }
        self.subrequests.set(sent + 1);
        if let Some(exchange) = &self.exchange {
            exchange.count_subrequest(u32::MAX);
        }
        true
    }

    /// Says that nobody waits any more (the client is gone, the wall time is up): operations of this scope that end
    /// later do not resume JavaScript. [`Vm::abort`](crate::Vm::abort) also stops those under way.
    pub fn abort(&self) {
        self.aborted.set(true);
    }

    /// Whether [`abort`](Self::abort) was called.
    pub fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// Says that its work goes on after its exchange.
    pub fn detach(&self) {
        self.detached.set(true);
    }

    /// Whether [`detach`](Self::detach) was called.
    pub fn is_detached(&self) -> bool {
        self.detached.get()
    }

    /// Whether JavaScript may still run under this scope.
    pub fn is_live(&self) -> bool {
        !self.aborted.get() && !self.exceeded.get()
    }

    /// What the world keeps for this call; it can be set once.
    pub fn attach(&self, value: Rc<dyn Any>) -> bool {
        self.attachment.set(value).is_ok()
    }

    /// What [`attach`](Self::attach) set, if it is a `T`.
    pub fn attachment<T: 'static>(&self) -> Option<Rc<T>> {
        self.attachment.get()?.clone().downcast().ok()
    }

    /// Adds to the CPU time spent.
    pub(crate) fn charge(&self, nanos: u64) {
        self.cpu_used.set(self.cpu_used.get().saturating_add(nanos));
    }

    pub(crate) fn set_exceeded(&self) {
        self.exceeded.set(true);
    }
}
