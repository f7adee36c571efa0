//! Counts of upstreams that others may read while one worker writes them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that one thread alone writes: an addition is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn add(&self, count: u64) {
        self.set(self.get() + count);
    }

    pub(super) fn sub(&self, count: u64) {
        self.set(self.get().saturating_sub(count));
    }
}

/// One upstream on one worker.
#[derive(Debug, Default)]
pub(super) struct UpstreamVitals {
    /// Open connections.
    pub(super) connections: Count,
    /// Requests that wait for a connection.
    pub(super) pending: Count,
    /// Requests under way.
    pub(super) running: Count,
    /// Retries under way.
    pub(super) retrying: Count,
    /// Requests so far.
    pub(super) requests: Count,
    /// Retries so far.
    pub(super) retries: Count,
    /// Retries that the budget did not allow.
    pub(super) over_budget: Count,
    /// Requests and retries that a cap did not allow.
    pub(super) overloaded: Count,
    /// Requests for which all endpoints were unhealthy.
    pub(super) unhealthy: Count,
    /// Choices among all endpoints because too few were usable.
    pub(super) panics: Count,
    /// Ejections so far.
    pub(super) ejections: Count,
    /// Copies that were sent.
    pub(super) mirrored: Count,
    /// Copies that were not made, because of a cap or because they could not be sent.
    pub(super) unmirrored: Count,
    /// Copies under way.
    pub(super) mirroring: Count,
}

/// One endpoint on one worker.
#[derive(Debug, Default)]
pub(super) struct EndpointVitals {
    /// Requests under way.
    pub(super) running: Count,
    /// Requests so far.
    pub(super) requests: Count,
    /// Failures so far: not connected, closed, timed out, 5xx.
    pub(super) failures: Count,
    /// Until when it is ejected, in milliseconds since 1970; 0 when it never was.
    pub(super) ejected_until: Count,
}
