//! What is thought of an endpoint: by checks, by exchanges, and after it recovered. No I/O and no clock of its own.

use std::cell::Cell;
use std::time::Duration;

use polygate_plan::{Check, Eject};
use tokio::time::Instant;

/// Counts checks in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    healthy: bool,
    /// Checks in a row that said otherwise.
    against: u32,
}

impl Tally {
    /// Of an endpoint that nothing bad is known of.
    pub(super) const fn new(healthy: bool) -> Self {
        Self { healthy, against: 0 }
    }

    /// Whether it is thought to be healthy.
    pub(super) const fn healthy(self) -> bool {
        self.healthy
    }

    /// Takes the outcome of a check. True when it changes what is thought.
    pub(super) fn observe(&mut self, well: bool, check: &Check) -> bool {
        if well == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.against < if well { check.healthy } else { check.unhealthy } {
            return false;
        }
        *self = Self::new(well);
        true
    }
}

/// What exchanges of one worker told of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// Failures in a row.
    failures: Cell<u32>,
    /// Ejections in a row.
    ejections: Cell<u32>,
    /// Until when it is, or was last, ejected.
    until: Cell<Option<Instant>>,
}

impl Conduct {
    /// An exchange went well.
    pub(super) fn success(&self) {
        if self.failures.get() != 0 {
            self.failures.set(0);
        }
    }

    /// An exchange failed. True when the endpoint is to be ejected from now on, which `may` can forbid.
    pub(super) fn failure(&self, eject: &Eject, now: Instant, may: impl FnOnce() -> bool) -> bool {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        if failures < eject.failures || self.is_ejected(now) || !may() {
            return false;
        }
        // Back for longer than it was away: that is forgiven.
        let last = backoff(eject, self.ejections.get());
        if self.until.get().is_none_or(|until| now.saturating_duration_since(until) > last) {
            self.ejections.set(0);
        }
        self.ejections.set(self.ejections.get().saturating_add(1));
        self.until.set(Some(now + backoff(eject, self.ejections.get())));
        self.failures.set(0);
        true
    }

    /// Whether it is ejected.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| until > now)
    }

    /// Until when it is, or was last, ejected.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.get()
    }
}

/// How long the `times`th ejection in a row lasts.
fn backoff(eject: &Eject, times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(20);
    eject.time.saturating_mul(1 << doublings).min(eject.max_time.max(eject.time))
}

/// Whether one more of `total` endpoints may be ejected.
pub(super) fn may_eject(ejected: usize, total: usize, max_percent: u8) -> bool {
    (ejected + 1) * 100 <= total * usize::from(max_percent)
}

/// Whether so many endpoints are too few: all are used then.
pub(super) fn is_panic(usable: usize, total: usize, percent: u8) -> bool {
    usable * 100 < total * usize::from(percent)
}

/// The whole of a weight, in percent: choices are made in this scale.
pub(super) const WHOLE: u32 = 100;

/// The part of its weight, in percent, that an endpoint gets that recovered at `since`.
pub(super) fn ramp(since: Instant, now: Instant, window: Duration) -> u32 {
    let passed = now.saturating_duration_since(since);
    if passed >= window {
        return WHOLE;
    }
    let percent = passed.as_micros() * u128::from(WHOLE) / window.as_micros().max(1);
    (percent as u32).clamp(1, WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn checks_in_a_row_change_what_is_thought() {
        let check = Check { healthy: 2, unhealthy: 3, ..Check::default() };
        let mut tally = Tally::new(true);
        let observed: Vec<bool> =
            [false, false, true, false, false, false].map(|well| tally.observe(well, &check)).into();
        assert_eq!(observed, [false, false, false, false, false, true]);
        assert!(!tally.healthy());
        let observed: Vec<bool> = [true, false, true, true].map(|well| tally.observe(well, &check)).into();
        assert_eq!(observed, [false, false, false, true]);
        assert!(tally.healthy());
    }

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let eject = Eject { failures: 2, time: seconds(10), max_time: seconds(35), max_percent: 50 };
        let conduct = Conduct::default();
        let mut now = Instant::now();
        assert!(!conduct.failure(&eject, now, || true));
        conduct.success();
        assert!(!conduct.failure(&eject, now, || true), "not in a row");
        assert!(!conduct.failure(&eject, now, || false), "forbidden");
        for (length, what) in [(10, "first"), (20, "doubled"), (35, "capped"), (35, "still capped")] {
            while !conduct.failure(&eject, now, || true) {}
            assert_eq!(conduct.until(), Some(now + seconds(length)), "{what}");
            assert!(conduct.is_ejected(now + seconds(length) - Duration::from_millis(1)));
            assert!(!conduct.is_ejected(now + seconds(length)));
            assert!(!conduct.failure(&eject, now, || true), "it is ejected already");
            now += seconds(length);
        }
        now += seconds(36);
        while !conduct.failure(&eject, now, || true) {}
        assert_eq!(conduct.until(), Some(now + seconds(10)), "forgiven");
    }

    #[test]
    fn percentages() {
        assert!(!may_eject(0, 1, 50), "a single endpoint is never ejected");
        assert!(may_eject(0, 2, 50) && !may_eject(1, 2, 50) && may_eject(1, 4, 50) && !may_eject(0, 9, 0));
        assert!(is_panic(0, 3, 10) && !is_panic(1, 3, 10) && is_panic(1, 3, 50) && !is_panic(0, 3, 0));
    }

    #[test]
    fn weights_ramp_up() {
        let now = Instant::now();
        let percents: Vec<u32> =
            [0, 1, 5, 10, 99].map(|passed| ramp(now, now + seconds(passed), seconds(10))).into();
        assert_eq!(percents, [1, 10, 50, 100, 100]);
        assert_eq!(ramp(now, now, Duration::ZERO), 100);
    }
}
