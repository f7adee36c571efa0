//! The CPU clock of one run of JavaScript: cheap while all is well, careful before anything is stopped.
//!
//! A run is measured by the worker's clock ([`polygate_pipeline::clock`]), which costs some 15 ns to read. The thread's
//! CPU clock, a system call, is read about once a millisecond at most, and again before a run is stopped or charged for
//! more than that: what the thread spent since the last reading bounds what the run spent, so a run that merely lost the
//! processor to others is neither stopped nor charged for it. The error is at most [`MARK_AGE`].

use std::cell::Cell;
use std::time::{Duration, Instant};

use polygate_pipeline::clock::now;
use rustix::time::{ClockId, clock_gettime};

/// How long the job queue may go on once the CPU time is spent and scripts are being stopped.
const GRACE: Duration = Duration::from_millis(20);

/// How old a reading of the CPU clock may be when a run starts.
const MARK_AGE: Duration = Duration::from_millis(1);

/// Measures the run under way.
pub(crate) struct RunClock {
    start: Cell<Option<Instant>>,
    /// When to look at the CPU time, on the monotonic clock.
    deadline: Cell<Option<Instant>>,
    limit: Cell<Duration>,
    /// The last reading: when, and the thread's CPU time then.
    mark: Cell<(Instant, Duration)>,
    /// When the CPU time was found to be spent.
    spent: Cell<Option<Instant>>,
}

impl RunClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Cell::new(None),
            deadline: Cell::new(None),
            limit: Cell::new(Duration::ZERO),
            mark: Cell::new((now(), thread_cpu())),
            spent: Cell::new(None),
        }
    }

    /// Begins a run of at most `limit`.
    pub(crate) fn start(&self, limit: Duration) {
        let now = now();
        if now.saturating_duration_since(self.mark.get().0) > MARK_AGE {
            self.mark.set((now, thread_cpu()));
        }
        self.start.set(Some(now));
        self.limit.set(limit);
        self.deadline.set(now.checked_add(limit));
        self.spent.set(None);
    }

    /// Ends the run; gives the CPU time it took.
    pub(crate) fn stop(&self) -> Duration {
        let Some(start) = self.start.take() else { return Duration::ZERO };
        self.deadline.set(None);
        let now = now();
        let wall = now.saturating_duration_since(start);
        if wall <= MARK_AGE {
            return wall;
        }
        let cpu = thread_cpu();
        let (_, marked) = self.mark.replace((now, cpu));
        wall.min(cpu.saturating_sub(marked))
    }

    /// Whether the run's CPU time is spent. Asked by the interrupt handler.
    pub(crate) fn is_spent(&self) -> bool {
        if self.spent.get().is_some() {
            return true;
        }
        let (Some(start), Some(deadline)) = (self.start.get(), self.deadline.get()) else { return false };
        let now = now();
        if now < deadline {
            return false;
        }
        let used = now.saturating_duration_since(start).min(thread_cpu().saturating_sub(self.mark.get().1));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_the_processor_is_not_charged() {
        let clock = RunClock::new();
        clock.start(Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!clock.is_spent());
        assert!(clock.stop() < Duration::from_millis(5));
    }

    #[test]
    fn time_with_the_processor_is() {
        let clock = RunClock::new();
        clock.start(Duration::from_millis(5));
        let start = thread_cpu();
        while thread_cpu() - start < Duration::from_millis(7) {}
        assert!(clock.is_spent() && clock.was_spent());
        assert!(clock.stop() >= Duration::from_millis(5));
    }
}
