//! The cap on a worker's tunnels: each takes a seat before its upstream is asked.

use std::cell::Cell;
use std::rc::Rc;

use crate::metrics::WorkerMetrics;

/// The seats of one worker. Clones are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Seats(Rc<Cell<usize>>);

/// A seat, of a tunnel that is open or may be soon. Dropping it leaves it.
pub(crate) struct Seat {
    seats: Seats,
    /// Where the tunnel is counted, once it is open.
    open: Option<WorkerMetrics>,
}

impl Seats {
    /// A seat, unless `most` are taken.
    pub(crate) fn take(&self, most: usize) -> Option<Seat> {
        let taken = self.0.get();
        if taken >= most {
            return None;
        }
        self.0.set(taken + 1);
        Some(Seat { seats: self.clone(), open: None })
    }
}

impl Seat {
    /// Counts the tunnel as open.
    pub(crate) fn open(&mut self, metrics: &WorkerMetrics) {
        if self.open.is_none() {
            metrics.with(|metrics| metrics.tunnels += 1);
            self.open = Some(metrics.clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = &self.seats.0;
        taken.set(taken.get() - 1);
        if let Some(metrics) = &self.open {
            metrics.with(|metrics| metrics.tunnels = metrics.tunnels.saturating_sub(1));
        }
    }
}
