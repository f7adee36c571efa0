//! Metrics: each worker counts for itself, under a lock that nobody else takes but a reader of metrics.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polygate_pipeline::{Method, Reason, StepRecord, Verdict};

use crate::overload::Cause;
use crate::record::ExchangeRecord;
use crate::turnstile::Queue;

/// Routes and policies beyond this many get the label `other`: labels must not grow without bound over reloads.
pub(crate) const MAX_LABELS: usize = 20_000;
/// Exchanges that the X-ray keeps on each worker.
pub(crate) const MAX_KEPT_EXCHANGES: usize = 200;

/// Upper bounds of the duration histograms, in microseconds.
pub(crate) const BUCKETS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Observations at most as long as the bound of [`Histogram::bounds`] at the same index, and longer than the one before.
    pub counts: [u64; BUCKETS.len()],
    /// Observations in all.
    pub count: u64,
    /// Sum of the observations.
    pub sum: Duration,
}

impl Histogram {
    /// Upper bounds of the buckets, in microseconds.
    pub const fn bounds() -> &'static [u64] {
        &BUCKETS
    }

    fn observe(&mut self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        if let Some(bucket) = BUCKETS.iter().position(|&bound| micros <= bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum += duration;
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

/// Counts of one route.
#[derive(Debug, Clone, Default)]
pub struct RouteMetrics {
    /// Exchanges by what they have in common.
    pub series: Vec<Series>,
}

/// Exchanges of a route that have the same method, scheme, status and reason.
#[derive(Debug, Clone)]
pub struct Series {
    /// As received; `None` for one that HTTP does not register: clients could make up any number of them.
    pub method: Option<Method>,
    /// Whether the client's connection was encrypted.
    pub tls: bool,
    /// What the client got.
    pub status: u16,
    /// How they ended.
    pub reason: Reason,
    /// Durations from the request's head to the response's last byte.
    pub duration: Histogram,
}

impl RouteMetrics {
    /// How many exchanges there were, by status and reason.
    pub fn exchanges(&self) -> Vec<(u16, Reason, u64)> {
        let mut counts: Vec<(u16, Reason, u64)> = Vec::new();
        for Series { status, reason, duration, .. } in &self.series {
            match counts.iter_mut().find(|(s, r, _)| s == status && r == reason) {
                Some((.., count)) => *count += duration.count,
                None => counts.push((*status, *reason, duration.count)),
            }
        }
        counts
    }

    /// The durations of all exchanges.
    pub fn duration(&self) -> Histogram {
        let mut sum = Histogram::default();
        self.series.iter().for_each(|series| sum.add(&series.duration));
        sum
    }

    /// The durations of those like `over`.
    fn of(&mut self, over: &Over<'_>) -> &mut Histogram {
        let is = |series: &Series| {
            series.status == over.status
                && series.reason == over.reason
                && series.tls == over.tls
                && series.method.as_ref() == over.method
        };
        let at = self.series.iter().position(is).unwrap_or_else(|| {
            self.series.push(Series {
                method: over.method.cloned(),
                tls: over.tls,
                status: over.status,
                reason: over.reason,
                duration: Histogram::default(),
            });
            self.series.len() - 1
        });
        &mut self.series[at].duration
    }
}

/// An exchange that is over.
pub(crate) struct Over<'a> {
    pub(crate) method: Option<&'a Method>,
    pub(crate) tls: bool,
    pub(crate) status: u16,
    pub(crate) reason: Reason,
}

/// Counts of one policy.
#[derive(Debug, Clone, Default)]
pub struct PolicyMetrics {
    /// Time in the policy itself.
    pub duration: Histogram,
    /// CPU time that its engine measured.
    pub cpu: Duration,
    /// Failures by reason, also those that were skipped.
    pub failures: Vec<(Reason, u64)>,
}

/// Counts of TLS handshakes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandshakeMetrics {
    /// Under way now.
    pub running: u64,
    /// Done, from the beginning.
    pub full: u64,
    /// Done, as the resumption of an earlier session.
    pub resumed: u64,
    /// Broken off for want of agreement, or by the client.
    pub failed: u64,
    /// Given up because they took too long.
    pub timed_out: u64,
    /// Not begun because too many were under way.
    pub refused: u64,
}

impl HandshakeMetrics {
    fn add(&mut self, other: &Self) {
        self.running += other.running;
        self.full += other.full;
        self.resumed += other.resumed;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.refused += other.refused;
    }
}

/// Counts of HTTP/2 with clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http2Metrics {
    /// Open connections; counted among all connections as well.
    pub connections: u64,
    /// Connections that were made.
    pub accepted: u64,
    /// Streams that clients have reset.
    pub resets_received: u64,
    /// Streams that were reset by us.
    pub resets_sent: u64,
    /// Connections that were cut off, by what the client did too much of.
    pub abuse: AbuseMetrics,
}

/// Connections of HTTP/2 that were cut off, by what the client did too much of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AbuseMetrics {
    /// It reset streams.
    pub resets: u64,
    /// It sent frames that carry nothing of a message.
    pub control_frames: u64,
    /// It spread a head over too many frames or bytes.
    pub heads: u64,
    /// It took too long to send a head.
    pub slow: u64,
    /// It broke the protocol on streams, opened too many, reset too many before they were looked at, or sent a head far
    /// beyond the limit.
    pub streams: u64,
}

impl Http2Metrics {
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.accepted += other.accepted;
        self.resets_received += other.resets_received;
        self.resets_sent += other.resets_sent;
        let (mine, theirs) = (&mut self.abuse, &other.abuse);
        mine.resets += theirs.resets;
        mine.control_frames += theirs.control_frames;
        mine.heads += theirs.heads;
        mine.slow += theirs.slow;
        mine.streams += theirs.streams;
    }
}

/// Counts of all workers, or of one.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// By the route's label; exchanges without a route have the label empty.
    pub routes: HashMap<Arc<str>, RouteMetrics>,
    /// By the policy's name.
    pub policies: HashMap<Arc<str>, PolicyMetrics>,
    /// Open connections.
    pub connections: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were refused because a worker had too many.
    pub refused: u64,
    /// Connections that were refused because their client's address had too many on a worker.
    pub refused_per_address: u64,
    /// Idle connections that were closed because of overload.
    pub reaped: u64,
    /// Unused connections to upstreams that were closed because of overload.
    pub upstreams_reaped: u64,
    /// Connections that could not be accepted: no descriptors left, mostly.
    pub accept_errors: u64,
    /// Exchanges that were answered with 503 because of overload, by the number of [`Cause::ALL`].
    pub shed: [u64; Cause::ALL.len()],
    /// Connections that were closed because a trusted proxy did not begin them with a good PROXY header in time.
    pub proxy_headers_refused: u64,
    /// TLS handshakes with clients.
    pub handshakes: HandshakeMetrics,
    /// HTTP/2 with clients.
    pub http2: Http2Metrics,
    /// Exchanges that run now.
    pub running: u64,
    /// Interim responses of upstreams that were not handed on: beyond the cap, or the client did not take the others.
    pub interim_dropped: u64,
    /// Tunnels that are open now.
    pub tunnels: u64,
    /// Requests for a tunnel that were refused because a worker had too many.
    pub tunnels_refused: u64,
    /// Memory of the plugins' virtual machines, in bytes.
    pub plugin_memory: u64,
    /// Requests that wait to be let in, where many come at the same time.
    pub requests_waiting: Queue,
    /// Exchanges that wait to make a connection to an upstream, where many want one at the same time.
    pub connects_waiting: Queue,
    /// Log events that were dropped because the log could not keep up.
    pub dropped_events: u64,
    /// Traced exchanges that were dropped because the exporter could not keep up.
    pub dropped_traces: u64,
}

impl Metrics {
    /// Adds another worker's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        for (label, theirs) in &other.routes {
            let mine = self.routes.entry(label.clone()).or_default();
            for Series { method, tls, status, reason, duration } in &theirs.series {
                let over = Over { method: method.as_ref(), tls: *tls, status: *status, reason: *reason };
                mine.of(&over).add(duration);
            }
        }
        for (name, theirs) in &other.policies {
            let mine = self.policies.entry(name.clone()).or_default();
            mine.duration.add(&theirs.duration);
            mine.cpu += theirs.cpu;
            for &(reason, count) in &theirs.failures {
                count_failure(&mut mine.failures, reason, count);
            }
        }
        self.connections += other.connections;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.refused_per_address += other.refused_per_address;
        self.reaped += other.reaped;
        self.upstreams_reaped += other.upstreams_reaped;
        self.accept_errors += other.accept_errors;
        for (mine, theirs) in self.shed.iter_mut().zip(other.shed) {
            *mine += theirs;
        }
        self.proxy_headers_refused += other.proxy_headers_refused;
        self.handshakes.add(&other.handshakes);
        self.http2.add(&other.http2);
        self.running += other.running;
        self.interim_dropped += other.interim_dropped;
        self.tunnels += other.tunnels;
        self.tunnels_refused += other.tunnels_refused;
        self.plugin_memory += other.plugin_memory;
        self.requests_waiting.add(&other.requests_waiting);
        self.connects_waiting.add(&other.connects_waiting);
        self.dropped_events += other.dropped_events;
    }
}

fn count_failure(counts: &mut Vec<(Reason, u64)>, reason: Reason, by: u64) {
    match counts.iter_mut().find(|(r, _)| *r == reason) {
        Some((_, count)) => *count += by,
        None => counts.push((reason, by)),
    }
}

/// One worker's counts and kept exchanges.
#[derive(Clone, Default)]
pub(crate) struct WorkerMetrics(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    metrics: Metrics,
    exchanges: VecDeque<Arc<ExchangeRecord>>,
}

impl WorkerMetrics {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic while counting leaves counts, not invariants, behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the plain counts.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Metrics)) {
        change(&mut self.lock().metrics);
    }

    /// Counts an exchange that is over.
    pub(crate) fn exchange(
        &self,
        route: &Arc<str>,
        over: &Over<'_>,
        duration: Duration,
        steps: &[StepRecord],
    ) {
        let mut kept = self.lock();
        let metrics = &mut kept.metrics;
        let counts = entry(&mut metrics.routes, route);
        counts.of(over).observe(duration);
        for step in steps.iter().filter(|step| *step.world != *crate::live::OWN_WORLD) {
            let counts = entry(&mut metrics.policies, &step.policy);
            counts.duration.observe(step.duration);
            counts.cpu += step.cpu;
            if let Verdict::Failed { reason } | Verdict::Skipped { reason } = step.verdict {
                count_failure(&mut counts.failures, reason, 1);
            }
        }
    }

    /// Keeps an exchange for the X-ray.
    pub(crate) fn keep(&self, record: Arc<ExchangeRecord>) {
        let mut kept = self.lock();
        if kept.exchanges.len() >= MAX_KEPT_EXCHANGES {
            kept.exchanges.pop_front();
        }
        kept.exchanges.push_back(record);
    }

    /// Exchanges that run now.
    pub(crate) fn running(&self) -> u64 {
        self.lock().metrics.running
    }

    /// A copy of the counts.
    pub(crate) fn snapshot(&self) -> Metrics {
        self.lock().metrics.clone()
    }

    /// The kept exchanges, oldest first.
    pub(crate) fn exchanges(&self) -> Vec<Arc<ExchangeRecord>> {
        self.lock().exchanges.iter().cloned().collect()
    }
}

fn entry<'a, T: Default>(map: &'a mut HashMap<Arc<str>, T>, label: &Arc<str>) -> &'a mut T {
    if map.len() >= MAX_LABELS && !map.contains_key(label) {
        return map.entry(Arc::from("other")).or_default();
    }
    map.entry(label.clone()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(status: u16, reason: Reason) -> Over<'static> {
        Over { method: Some(&Method::GET), tls: false, status, reason }
    }

    #[test]
    fn labels_are_capped() {
        let metrics = WorkerMetrics::default();
        for n in 0..MAX_LABELS + 50 {
            let label: Arc<str> = Arc::from(n.to_string());
            metrics.exchange(&label, &over(200, Reason::Completed), Duration::from_millis(1), &[]);
        }
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.routes.len(), MAX_LABELS + 1);
        assert_eq!(snapshot.routes["other"].exchanges(), [(200, Reason::Completed, 50)]);
    }

    #[test]
    fn workers_add_up() {
        let (a, b) = (WorkerMetrics::default(), WorkerMetrics::default());
        let label: Arc<str> = Arc::from("GET /");
        a.exchange(&label, &over(200, Reason::Completed), Duration::from_micros(90), &[]);
        let encrypted = Over { tls: true, ..over(200, Reason::Completed) };
        b.exchange(&label, &encrypted, Duration::from_secs(100), &[]);
        b.exchange(&label, &over(500, Reason::PolicyError), Duration::from_micros(300), &[]);
        let mut sum = a.snapshot();
        sum.add(&b.snapshot());
        let route = &sum.routes["GET /"];
        assert_eq!(route.exchanges(), [(200, Reason::Completed, 2), (500, Reason::PolicyError, 1)]);
        let duration = route.duration();
        assert_eq!((duration.counts[0], duration.counts[2], duration.count), (1, 1, 3));
        assert_eq!(route.series.len(), 3, "encrypted ones are told apart");
    }
}
