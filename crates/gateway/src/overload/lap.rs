//! How long a worker's event loop takes for a lap: from when somebody is put behind all requests that wait until it has its
//! turn.
//!
//! Whoever comes now waits that long. When all that comes is let in although more comes than can be done, each lap is
//! longer than the one before, and in the end everybody waits for what nobody wants any more. When whole laps are turned
//! away, there is nothing to do in between. So a lap that has lasted long enough ends early: what is left of it is turned
//! away, which costs little, and the worker is busy all the time with what it can answer in time.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use polygate_pipeline::clock;

use crate::turnstile::Turnstile;

/// Laps are measured when there are exchanges, and not more often than this: those that are shorter are of no interest.
const EVERY: Duration = Duration::from_millis(1);
/// A lap this long ago says nothing about the present.
const STALE: Duration = Duration::from_secs(1);

/// Measures the laps of one event loop.
pub(super) struct Lap {
    /// Where requests wait.
    turnstile: Rc<Turnstile>,
    /// Of the task that ends a lap.
    waker: RefCell<Option<Waker>>,
    /// When the present one has begun, if it is measured.
    begun: Cell<Option<Instant>>,
    /// When the last one that was measured ended, and how long it was.
    last: Cell<(Instant, Duration)>,
}

impl Lap {
    pub(super) fn new(turnstile: Rc<Turnstile>) -> Self {
        let last = Cell::new((Instant::now(), Duration::ZERO));
        Self { turnstile, waker: RefCell::default(), begun: Cell::default(), last }
    }

    /// Polled when a lap is over.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Poll<Infallible> {
        if let Some(begun) = self.begun.take() {
            let now = clock::now();
            self.last.set((now, now.saturating_duration_since(begun)));
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// An exchange begins. Says whether the lap has lasted for more than `most`, as the last one nearly did: one long turn
    /// alone is over when it is seen.
    pub(super) fn exchange(&self, now: Instant, most: Duration) -> bool {
        let (ended, last) = self.last.get();
        if let Some(begun) = self.begun.get() {
            return now.saturating_duration_since(begun) > most && last > most / 2;
        }
        let ago = now.saturating_duration_since(ended);
        if ago >= EVERY {
            if ago >= STALE {
                self.last.set((ended, Duration::ZERO));
            }
            if let Some(waker) = &*self.waker.borrow() {
                self.begun.set(Some(now));
                self.turnstile.wake_behind(waker);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(100);

    struct Track {
        lap: Lap,
        now: Instant,
    }

    impl Track {
        fn new() -> Self {
            let track = Self { lap: Lap::new(Turnstile::new(1)), now: Instant::now() + STALE * 2 };
            let _ = track.lap.poll_end(&Context::from_waker(Waker::noop()));
            track
        }

        /// A lap of so many exchanges, each of which takes so long if it is let in. Gives how many were.
        fn lap(&mut self, exchanges: u32, each: Duration) -> u32 {
            let mut admitted = 0;
            for _ in 0..exchanges {
                if !self.lap.exchange(self.now, MOST) {
                    admitted += 1;
                    self.now += each;
                }
            }
            if let Some(begun) = self.lap.begun.take() {
                self.lap.last.set((self.now, self.now - begun));
            }
            self.now += EVERY;
            admitted
        }
    }

    #[test]
    fn a_long_lap_after_another_ends_early() {
        let mut track = Track::new();
        let each = Duration::from_millis(10);
        assert_eq!(track.lap(5, each), 5);
        assert_eq!(track.lap(50, each), 50, "one alone");
        // The one with which it is more than enough is the last.
        assert_eq!(track.lap(50, each), 11);
        assert_eq!(track.lap(50, each), 11);
        assert_eq!(track.lap(10, each), 10);
        assert_eq!(track.lap(12, each), 11);
        assert_eq!(track.lap(3, each), 3);
        assert_eq!(track.lap(50, each), 50, "the last one was short");
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut track = Track::new();
        let each = Duration::from_millis(10);
        track.lap(50, each);
        track.now += STALE;
        assert_eq!(track.lap(50, each), 50);
        assert_eq!(track.lap(50, each), 11);
    }

    #[tokio::test]
    async fn a_lap_ends_after_what_was_queued_before() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let lap = Rc::new(Lap::new(Turnstile::new(1)));
                let ends = lap.clone();
                tokio::task::spawn_local(async move { std::future::poll_fn(|cx| ends.poll_end(cx)).await });
                tokio::task::yield_now().await;
                let slow = Duration::from_millis(20);
                let exchanges: Vec<_> = (0..3)
                    .map(|_| {
                        let lap = lap.clone();
                        tokio::task::spawn_local(async move {
                            lap.exchange(Instant::now() + STALE, MOST);
                            std::thread::sleep(slow);
                        })
                    })
                    .collect();
                for exchange in exchanges {
                    exchange.await.unwrap();
                }
                tokio::task::yield_now().await;
                assert!(lap.begun.get().is_none(), "it is over");
            })
            .await;
    }
}
