//! Connections from clients. SKETCH of the interface that worker.rs and serve.rs use; the connection loop replaces it.

use std::net::TcpListener;

use polygate_plan::Settings;

use crate::metrics::WorkerMetrics;
use crate::service::Service;

/// Accepts connections on a worker and serves each in a task of its own.
pub(crate) struct Listener;

impl Listener {
    /// Starts accepting. Counts connections in `metrics` (accepted, refused, connections).
    pub(crate) fn spawn<S: Service + Clone>(
        _listener: TcpListener,
        _service: S,
        _stop: Stop,
        _metrics: WorkerMetrics,
        _settings: &Settings,
    ) {
    }
}

/// Tells all connections of a worker to finish, and waits for them.
#[derive(Clone, Default)]
pub(crate) struct Stop;

impl Stop {
    /// No new connections; idle ones close now, busy ones after their exchange.
    pub(crate) fn stop(&self) {}

    /// Until the last connection is closed.
    pub(crate) async fn drained(&self) {}
}
