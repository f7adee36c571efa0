//! The time of a worker, which every exchange asks for again and again.
//!
//! A reading of the operating system's clock costs some 40 ns on virtual machines, one of the processor's counter a
//! third of that. So the counter tells how long ago the system's clock was read last, and that is read again once a
//! second: what the counter gets wrong (its rate is measured, and a machine may be moved to another) is never more
//! than the error of a second, and never adds up. Where the counter cannot be trusted, the system's clock is read each
//! time.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// How long a reading of the system's clocks serves.
const AGE: Duration = Duration::from_secs(1);

/// By how much the counter may be ahead of the system's clock after that time. More is no drift, but a jump.
const DRIFT: Duration = Duration::from_millis(1);

thread_local! {
    static CLOCK: Clock = Clock::new();
}

/// Now: the same time line as [`Instant::now`], a few microseconds off at most.
pub fn now() -> Instant {
    CLOCK.with(Clock::now)
}

/// The wall clock's time at that moment, if it goes on as it does now.
pub fn wall(at: Instant) -> SystemTime {
    CLOCK.with(|clock| clock.wall(at))
}

struct Clock {
    counter: Option<quanta::Clock>,
    anchor: Cell<Anchor>,
}

/// The same moment on all clocks.
#[derive(Clone, Copy)]
struct Anchor {
    raw: u64,
    instant: Instant,
    wall: SystemTime,
}

impl Clock {
    fn new() -> Self {
        let counter = is_trusted().then(quanta::Clock::new);
        let raw = counter.as_ref().map_or(0, quanta::Clock::raw);
        let anchor = Cell::new(Anchor { raw, instant: Instant::now(), wall: SystemTime::now() });
        Self { counter, anchor }
    }

    fn now(&self) -> Instant {
        let Some(counter) = &self.counter else { return Instant::now() };
        let raw = counter.raw();
        let anchor = self.anchor.get();
        let since = Duration::from_nanos(counter.delta_as_nanos(anchor.raw, raw));
        if raw >= anchor.raw && since < AGE {
            return anchor.instant + since;
        }
        self.take(raw, Instant::now(), anchor.instant + since)
    }

    /// Begins anew from the system's clocks; `expected` is what the counter made of the time.
    #[cold]
    fn take(&self, raw: u64, instant: Instant, expected: Instant) -> Instant {
        // No step back for a counter that is a little fast.
        let drifted = expected > instant && expected - instant < DRIFT;
        let instant = if drifted { expected } else { instant };
        self.anchor.set(Anchor { raw, instant, wall: SystemTime::now() });
        instant
    }

    fn wall(&self, at: Instant) -> SystemTime {
        let mut anchor = self.anchor.get();
        if self.counter.is_none() && at.saturating_duration_since(anchor.instant) > AGE {
            anchor = Anchor { raw: 0, instant: Instant::now(), wall: SystemTime::now() };
            self.anchor.set(anchor);
        }
        match at.checked_duration_since(anchor.instant) {
            Some(after) => anchor.wall.checked_add(after),
            None => anchor.wall.checked_sub(anchor.instant - at),
        }
        .unwrap_or(anchor.wall)
    }
}

/// Whether the processor's counter runs evenly, and alike on all cores. Linux compares the cores of x86 machines and
/// leaves the counter out of its list where they differ; whether it runs evenly the processor says (quanta asks it).
fn is_trusted() -> bool {
    const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "x86"))) {
        return true;
    }
    std::fs::read_to_string(CLOCKS).is_ok_and(|clocks| clocks.split_whitespace().any(|clock| clock == "tsc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_system_s_time() {
        let clock = Clock::new();
        let end = Instant::now() + Duration::from_millis(30);
        let mut last = clock.now();
        while last < end {
            let (before, now, after) = (Instant::now(), clock.now(), Instant::now());
            assert!(now >= last, "it went back");
            assert!(now + DRIFT > before && now < after + DRIFT, "{before:?} {now:?} {after:?}");
            last = now;
        }
        let (wall, system) = (clock.wall(clock.now()), SystemTime::now());
        let apart = system.duration_since(wall).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_millis(100), "{apart:?}");
    }

    #[test]
    fn a_counter_that_jumps_is_set_right() {
        let clock = Clock::new();
        let Some(counter) = &clock.counter else { return };
        let good = clock.anchor.get();
        for raw in [counter.raw() + (1 << 42), 0] {
            clock.anchor.set(Anchor { raw, ..good });
            let (now, system) = (clock.now(), Instant::now());
            assert!(system.saturating_duration_since(now) < DRIFT && now < system + DRIFT);
        }
    }

    #[test]
    fn a_fast_counter_never_takes_time_back() {
        let clock = Clock::new();
        let system = Instant::now();
        assert_eq!(clock.take(7, system, system + DRIFT / 2), system + DRIFT / 2);
        assert_eq!(clock.take(7, system, system + DRIFT * 2), system);
        assert_eq!(clock.take(7, system, system - DRIFT / 2), system);
    }

    #[test]
    fn moments_before_the_last_reading_have_their_wall_time() {
        let clock = Clock::new();
        let now = clock.now();
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.wall(now).duration_since(clock.wall(now - hour)).ok(), Some(hour));
    }
}
