//! Counts of upstreams that others may read while one worker writes them.

use std::sync::Arc;
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
    /// What is particular to HTTP/2.
    pub(super) http2: Arc<Http2Vitals>,
}

/// HTTP/2 towards one upstream on one worker, or towards all targets that no named upstream has.
#[derive(Debug, Default)]
pub(super) struct Http2Vitals {
    /// Open connections.
    pub(super) connections: Count,
    /// Streams under way.
    pub(super) streams: Count,
    /// Requests that wait for a stream, or for a connection that is being made.
    pub(super) waiting: Count,
    /// Connections on which HTTP/2 began so far.
    pub(super) opened: Count,
    /// Connections to which the server said goodbye with GOAWAY.
    pub(super) goaways: Count,
    /// Requests that the server let lie: refused, or beyond the last one that its GOAWAY names.
    pub(super) refused: Count,
    /// Requests that got no stream, because too many waited or for too long.
    pub(super) overloaded: Count,
    /// Connections that were closed because the server broke the protocol, or made too many of our streams do so.
    pub(super) broken: Count,
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
