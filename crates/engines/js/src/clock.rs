//! The CPU clock of one run of JavaScript: cheap while all is well, exact before anything is stopped.
//!
//! A run is measured by the monotonic clock, which costs some 20 ns to read. Only once the engine polls for an
//! interrupt (every 10,000 branches or so) is the thread's CPU clock read, so that a run which merely lost the
//! processor to others is not stopped for it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long the job queue may go on once the CPU time is spent and scripts are being stopped.
const GRACE: Duration = Duration::from_millis(20);

/// Measures the run under way.
pub(crate) struct RunClock {
    start: Cell<Option<Instant>>,
    /// When to look at the CPU time, on the monotonic clock.
    deadline: Cell<Option<Instant>>,
    limit: Cell<Duration>,
    /// The monotonic time since the start, and the thread's CPU time, at the first poll.
    base: Cell<Option<(Duration, Duration)>>,
    /// When the CPU time was found to be spent.
    spent: Cell<Option<Instant>>,
}

impl RunClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Cell::new(None),
            deadline: Cell::new(None),
            limit: Cell::new(Duration::ZERO),
            base: Cell::new(None),
            spent: Cell::new(None),
        }
    }

    /// Begins a run of at most `limit`; `None` is a run that nothing stops.
    pub(crate) fn start(&self, limit: Option<Duration>) {
        let now = Instant::now();
        self.start.set(Some(now));
        self.limit.set(limit.unwrap_or(Duration::MAX));
        self.deadline.set(limit.and_then(|limit| now.checked_add(limit)));
        self.base.set(None);
        self.spent.set(None);
    }

    /// Ends the run; gives the CPU time it took.
    pub(crate) fn stop(&self) -> Duration {
        let Some(start) = self.start.take() else { return Duration::ZERO };
        self.deadline.set(None);
        let wall = start.elapsed();
        match self.base.get() {
            Some((before, cpu)) => (before + thread_cpu().saturating_sub(cpu)).min(wall),
            None => wall,
        }
    }

    /// Whether the run's CPU time is spent. Asked by the interrupt handler.
    pub(crate) fn is_spent(&self) -> bool {
        if self.spent.get().is_some() {
            return true;
        }
        let (Some(start), Some(deadline)) = (self.start.get(), self.deadline.get()) else { return false };
        let now = Instant::now();
        let wall = now.saturating_duration_since(start);
        let Some((before, cpu)) = self.base.get() else {
            self.base.set(Some((wall, thread_cpu())));
            if now < deadline {
                return false;
            }
            // A single native call took all of the time: there is no earlier reading to compare with.
            self.spent.set(Some(now));
            return true;
        };
        if now < deadline {
            return false;
        }
        let used = before + thread_cpu().saturating_sub(cpu);
        let left = self.limit.get().saturating_sub(used);
        if left.is_zero() {
            self.spent.set(Some(now));
            return true;
        }
        self.deadline.set(now.checked_add(left));
        false
    }

    /// Whether the run was stopped.
    pub(crate) fn was_spent(&self) -> bool {
        self.spent.get().is_some()
    }

    /// Whether the run was stopped, and stopping it takes too long.
    pub(crate) fn is_out_of_grace(&self) -> bool {
        self.spent.get().is_some_and(|since| since.elapsed() > GRACE)
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
