//! The record of an exchange: metrics, traces, X-ray and access log, once it is over.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::{Exchange, Failure, LogLevel, Reason, Response};

use super::{Server, is_registered};
use crate::access::Captured;
use crate::events::Event;
use crate::live::Live;
use crate::metrics::Over;
use crate::problem::problem;
use crate::record::ExchangeRecord;
use crate::service::{End, Finish};
use crate::traces::TraceRecord;
use crate::tunnel::Seat;

/// Sees to it that every exchange gets its record, whichever way it ends.
pub(crate) struct Track {
    pub(super) server: Server,
    pub(super) live: Rc<Live>,
    pub(super) exchange: Exchange,
    pub(super) route: Option<usize>,
    pub(super) status: u16,
    pub(super) over: bool,
    /// Parts of the messages, for the access log.
    pub(super) captured: Option<Box<Captured>>,
    /// Of a request that asks for a tunnel.
    pub(super) seat: Option<Seat>,
}

impl Track {
    /// The response to a failure; operators are told what the client is not.
    pub(super) fn fail(&self, failure: &Failure) -> Response {
        self.exchange.fail(failure);
        if failure.reason() == Reason::Overloaded {
            // The log has a line for each change of the level; one for each exchange would be a load of its own.
            let mut response = problem(failure, self.exchange.id(), self.exchange.target().path());
            let after = self.live.deployment.plan().settings.overload.retry_after.as_secs();
            // The name is constant, the value a number.
            let _ = response.headers.set("retry-after", after.to_string().as_bytes());
            return response;
        }
        if !failure.detail_text().is_empty() || failure.status().is_server_error() {
            let level = if failure.status().is_server_error() { LogLevel::Error } else { LogLevel::Info };
            self.exchange.log(level, failure.policy_name(), failure.to_string());
        }
        problem(failure, self.exchange.id(), self.exchange.target().path())
    }

    fn record(&mut self, end: &End) {
        self.over = true;
        let exchange = &self.exchange;
        if let Some(failure) = &end.failure {
            exchange.fail(failure);
        }
        if let Some(route) = self.route {
            self.live.routes[route].chain.log(exchange);
        }
        let inner = &self.server.0;
        let reason = exchange.reason();
        let duration = exchange.elapsed();
        let label = self.route.map(|route| &self.live.routes[route].info.label);
        inner.metrics.with(|metrics| metrics.running = metrics.running.saturating_sub(1));
        inner.running.set(inner.running.get().saturating_sub(1));
        let method = Some(exchange.method()).filter(|method| is_registered(method));
        let over = Over { method, tls: exchange.client().tls.is_some(), status: self.status, reason };
        inner.metrics.exchange(label.unwrap_or(&inner.unrouted), &over, duration, &exchange.steps());

        let traced = TraceRecord::of(exchange, || self.to_record(end, reason, duration, label.cloned()));
        if let Some(traced) = traced {
            inner.events.trace(traced);
        }
        let logged = self.live.access.takes(self.status >= 500 || exchange.failure().is_some());
        if !logged && !exchange.xray() {
            return;
        }
        let mut record = self.to_record(end, reason, duration, label.cloned());
        if exchange.xray() {
            inner.metrics.keep(Arc::new(record.clone()));
        }
        if logged {
            record.captured = self.captured.take();
            if let Some(captured) = &mut record.captured {
                self.live.access.end(captured, &self.exchange);
            }
            inner.events.send(Event::Exchange(Box::new(record)));
        }
    }

    fn to_record(
        &self,
        end: &End,
        reason: Reason,
        duration: Duration,
        route: Option<Arc<str>>,
    ) -> ExchangeRecord {
        let exchange = &self.exchange;
        let failure = exchange.failure();
        ExchangeRecord {
            id: *exchange.id(),
            time: exchange.started_at(),
            client: exchange.client().ip,
            tls: exchange.client().tls.clone(),
            method: exchange.method().clone(),
            host: exchange.target().authority().to_owned(),
            path: exchange.target().path().to_owned(),
            version: exchange.version(),
            route,
            status: self.status,
            reason,
            policy: failure.as_ref().and_then(|failure| failure.policy_name().cloned()),
            error: failure.map(|failure| failure.to_string()),
            duration,
            received: end.received,
            sent: end.sent,
            upstream: exchange.upstream().map(|upstream| upstream.to_string()),
            upstream_address: exchange.upstream_address(),
            tries: exchange.tries(),
            steps: exchange.steps().to_vec(),
            xray: exchange.xray(),
            worker: self.server.0.worker,
            captured: None,
        }
    }
}

impl Finish for Track {
    fn finish(mut self, end: End) {
        self.record(&end);
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        if !self.over {
            let reason = self.server.0.dropped_for.get();
            self.status = reason.status();
            let failure = Some(Failure::new(reason));
            self.record(&End { received: 0, sent: 0, failure });
        }
    }
}
