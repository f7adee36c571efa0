//! The seat of a worker's VM: who sits there now, and how a dead one is replaced.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polygate_pipeline::{Failure, LogLevel, LogLine, Reason, Services};
use tokio::sync::Notify;

use crate::live::Live;
use crate::program::Compiled;

/// After a replacement that failed, how long exchanges are refused before the next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Holds the VM of one program on one worker.
pub(crate) struct Seat {
    program: Arc<Compiled>,
    services: Services,
    live: RefCell<Option<Rc<Live>>>,
    replacing: Cell<bool>,
    failed_at: Cell<Option<Instant>>,
    changed: Notify,
}

impl Seat {
    /// A seat with its first VM.
    pub(crate) fn new(program: Arc<Compiled>, services: Services, live: Live) -> Rc<Self> {
        Rc::new(Self {
            program,
            services,
            live: RefCell::new(Some(Rc::new(live))),
            replacing: Cell::new(false),
            failed_at: Cell::new(None),
            changed: Notify::new(),
        })
    }

    /// The program.
    pub(crate) fn program(&self) -> &Compiled {
        &self.program
    }

    /// Memory of the VM, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.live.borrow().as_ref().map_or(0, |live| live.vm.memory_used() as u64)
    }

    /// The VM, if it lives.
    pub(crate) fn ready(&self) -> Option<Rc<Live>> {
        self.live.borrow().as_ref().filter(|live| !live.vm.is_dead()).cloned()
    }

    /// The VM, once it is replaced. The caller's wall time ends the wait.
    ///
    /// # Errors
    /// [`Reason::PolicyUnavailable`] when it cannot be replaced.
    pub(crate) async fn wait(self: &Rc<Self>) -> Result<Rc<Live>, Failure> {
        loop {
            // Asked for before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            if let Some(live) = self.ready() {
                return Ok(live);
            }
            if !self.replace() {
                let failure = Failure::new(Reason::PolicyUnavailable);
                return Err(failure.detail("the virtual machine of the project's modules cannot be replaced"));
            }
            changed.await;
        }
    }

    /// Sees to it that a dead VM is being replaced; false when that just failed.
    pub(crate) fn replace(self: &Rc<Self>) -> bool {
        if self.ready().is_some() || self.replacing.get() {
            return true;
        }
        if self.failed_at.get().is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return false;
        }
        // Freed before the next one is made: two would be more than the limit on memory allows.
        let dead = self.live.take();
        drop(dead);
        self.replacing.set(true);
        let seat = self.clone();
        let spawned = self.services.spawn(async move {
            let result = Live::load(&seat.program, &seat.services).await;
            seat.replacing.set(false);
            match result {
                Ok(live) => {
                    seat.log(LogLevel::Warn, "a virtual machine that had died was replaced".to_owned());
                    seat.failed_at.set(None);
                    seat.live.replace(Some(Rc::new(live)));
                }
                Err(problems) => {
                    let problems: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
                    seat.log(
                        LogLevel::Error,
                        format!(
                            "a virtual machine that had died cannot be replaced: {}",
                            problems.join("; ")
                        ),
                    );
                    seat.failed_at.set(Some(Instant::now()));
                }
            }
            seat.changed.notify_waiters();
        });
        if !spawned {
            self.replacing.set(false);
            self.failed_at.set(Some(Instant::now()));
        }
        spawned
    }

    fn log(&self, level: LogLevel, message: String) {
        self.services.log(LogLine {
            time: std::time::SystemTime::now(),
            level,
            request_id: None,
            policy: None,
            message,
            fields: serde_json::Map::new(),
        });
    }
}
