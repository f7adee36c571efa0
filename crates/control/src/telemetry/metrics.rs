//! Export of metrics: a thread of its own sends what `/metrics` shows, and the durations of exchanges as OpenTelemetry's
//! conventions for HTTP have them, at an interval and once more at the end. Counts are cumulative: what a collector that is
//! away does not get, the next export holds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Channel, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as HistogramData, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use polygate_gateway::{Histogram, Metrics, Series};
use polygate_pipeline::{LogLevel, Reason};

use super::resource::{Resource, number, text};
use super::send::{Refused, Sender};
use crate::admin::metrics::all;
use crate::families::{Families, Family, Kind, Labels, Value};
use crate::state::State;

/// Points of one request to the collector: many refuse messages of more than 4 MiB.
const MAX_POINTS: usize = 4_000;

/// How long the last export is tried for.
const LAST_CHANCE: Duration = Duration::from_millis(1_500);

/// Pause between two tries of the last export.
const PAUSE: Duration = Duration::from_millis(100);

/// The durations of exchanges go out under the name of the conventions, which has all that this one has.
const REPLACED: &str = "polygate_exchange_duration_seconds";

/// What became of exports.
#[derive(Default)]
pub(crate) struct Exports {
    /// Those that the collector took whole.
    pub(crate) ok: AtomicU64,
    /// Those that it did not.
    pub(crate) failed: AtomicU64,
}

/// A running export.
pub(crate) struct Exporter {
    last: Channel<Metrics>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Has what the workers counted to their very end exported. Gives the thread that does it, within a limit.
    pub(crate) fn finish(self, counted: Metrics) -> JoinHandle<()> {
        // A thread that has ended has said why.
        let _ = self.last.send(counted);
        self.thread
    }
}

/// Starts the export.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn start(
    sender: Sender,
    resource: Resource,
    interval: Duration,
    state: Arc<State>,
) -> io::Result<Exporter> {
    let (last, told) = channel();
    let thread = std::thread::Builder::new()
        .name("polygate-metrics".to_owned())
        .spawn(move || Export { sender, resource, state, failing: false }.run(interval, &told))?;
    Ok(Exporter { last, thread })
}

struct Export {
    sender: Sender,
    resource: Resource,
    state: Arc<State>,
    failing: bool,
}

impl Export {
    fn run(mut self, interval: Duration, told: &Receiver<Metrics>) {
        loop {
            match told.recv_timeout(interval) {
                Ok(last) => return self.finish(&last),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The gateway is not held while a collector takes its time.
            let Some(counted) = self.state.gateway().map(|gateway| gateway.metrics()) else { continue };
            let outcome = self.export(&counted);
            self.note(outcome);
        }
    }

    /// The last export is worth another try.
    fn finish(&mut self, counted: &Metrics) {
        let end = Instant::now() + LAST_CHANCE;
        let outcome = loop {
            match self.export(counted) {
                Err(refused) if refused.retryable && Instant::now() + PAUSE < end => {
                    std::thread::sleep(PAUSE)
                }
                outcome => break outcome,
            }
        };
        self.note(outcome);
    }

    fn export(&mut self, counted: &Metrics) -> Result<(), Refused> {
        let families = all(&self.state, counted);
        let times = Times::of(&self.state);
        let mut metrics: Vec<Metric> = families_of(&families, times);
        metrics.insert(0, server_durations(counted, times));
        for batch in batches(metrics) {
            self.sender.send(&self.request(batch))?;
        }
        Ok(())
    }

    fn request(&self, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.attributes()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(self.resource.scope()),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }

    /// Counts, and says when it changes.
    fn note(&mut self, outcome: Result<(), Refused>) {
        let failed = outcome.is_err();
        let exports = &self.state.exports;
        if failed { &exports.failed } else { &exports.ok }.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Err(Refused { why, .. }) if !self.failing => {
                self.state.say(LogLevel::Warn, format!("metrics cannot be exported: {why}"));
            }
            Ok(()) if self.failing => self.state.say(LogLevel::Info, "metrics are exported again"),
            _ => {}
        }
        self.failing = failed;
    }
}

/// Since when is counted, and when it was looked; in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn of(state: &State) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = now.saturating_sub(state.started.elapsed());
        Self { start: start.as_nanos() as u64, now: now.as_nanos() as u64 }
    }
}

/// `http.server.request.duration` of OpenTelemetry's semantic conventions for HTTP metrics.
fn server_durations(counted: &Metrics, times: Times) -> Metric {
    let mut points = Vec::new();
    for (label, route) in &counted.routes {
        for series in &route.series {
            points.push(durations(server_attributes(label, series), &series.duration, times));
        }
    }
    let data = HistogramData {
        data_points: points,
        aggregation_temporality: AggregationTemporality::Cumulative as i32,
    };
    Metric {
        name: "http.server.request.duration".to_owned(),
        description: "From a request's head to its response's last byte.".to_owned(),
        unit: "s".to_owned(),
        data: Some(Data::Histogram(data)),
        ..Metric::default()
    }
}

fn server_attributes(label: &str, series: &Series) -> Vec<KeyValue> {
    let Series { method, tls, status, reason, .. } = series;
    let mut attributes = vec![
        text("http.request.method", method.as_ref().map_or("_OTHER", |method| method.as_str())),
        text("url.scheme", if *tls { "https" } else { "http" }),
        number("http.response.status_code", i64::from(*status)),
        text("polygate.reason", reason.as_str()),
    ];
    // A label is the methods and the path.
    let route = label.split_once(' ').map_or(label, |(_, path)| path);
    if !route.is_empty() {
        attributes.push(text("http.route", route));
    }
    // As in traces: what the client did wrong is no error of a server.
    if *status >= 500 {
        let cause = match reason {
            Reason::Completed | Reason::PolicyAnswered => status.to_string(),
            reason => reason.as_str().to_owned(),
        };
        attributes.push(text("error.type", &cause));
    }
    attributes
}

fn families_of(families: &Families, times: Times) -> Vec<Metric> {
    let told = families.0.iter().filter(|family| family.name != REPLACED && !family.samples.is_empty());
    told.map(|family| metric(family, times)).collect()
}

fn metric(family: &Family, times: Times) -> Metric {
    let (name, unit) = name_and_unit(family);
    let numbers =
        || family.samples.iter().filter_map(|(labels, value)| point(labels, value, times)).collect();
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Kind::Histogram => {
            let points = family.samples.iter().filter_map(|(labels, value)| match value {
                Value::Durations(histogram) => Some(durations(attributes(labels), histogram, times)),
                _ => None,
            });
            Data::Histogram(HistogramData {
                data_points: points.collect(),
                aggregation_temporality: cumulative,
            })
        }
    };
    Metric { name, description: family.help.to_owned(), unit, data: Some(data), ..Metric::default() }
}

/// The name as OpenTelemetry writes them. What a collector shows to Prometheus has our own name again.
fn name_and_unit(family: &Family) -> (String, String) {
    let name = family.name.strip_suffix("_total").unwrap_or(family.name);
    let (name, unit) = match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes")) {
        (Some(name), _) => (name, "s"),
        (_, Some(name)) => (name, "By"),
        _ => (name, "1"),
    };
    let name = name.split_once('_').map_or_else(|| name.to_owned(), |(own, rest)| format!("{own}.{rest}"));
    (name, unit.to_owned())
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.0.iter().map(|(name, value)| text(name, value)).collect()
}

fn point(labels: &Labels, value: &Value, times: Times) -> Option<NumberDataPoint> {
    let value = match value {
        Value::Whole(value) => Number::AsInt(i64::try_from(*value).unwrap_or(i64::MAX)),
        Value::Float(value) => Number::AsDouble(*value),
        Value::Durations(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn durations(attributes: Vec<KeyValue>, histogram: &Histogram, times: Times) -> HistogramDataPoint {
    let within: u64 = histogram.counts.iter().sum();
    let beyond = histogram.count.saturating_sub(within);
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count: histogram.count,
        sum: Some(histogram.sum.as_secs_f64()),
        bucket_counts: histogram.counts.iter().copied().chain([beyond]).collect(),
        explicit_bounds: Histogram::bounds().iter().map(|bound| *bound as f64 / 1e6).collect(),
        ..HistogramDataPoint::default()
    }
}

/// Metrics in requests of a size that collectors take; a metric with many points is split.
fn batches(metrics: Vec<Metric>) -> Vec<Vec<Metric>> {
    let mut batches: Vec<Vec<Metric>> = Vec::new();
    let mut room = 0;
    for mut metric in metrics {
        loop {
            if room == 0 {
                batches.push(Vec::new());
                room = MAX_POINTS;
            }
            let rest = split(&mut metric, room);
            room -= points(&metric).min(room);
            if let Some(batch) = batches.last_mut() {
                batch.push(metric);
            }
            match rest {
                Some(rest) => metric = rest,
                None => break,
            }
        }
    }
    batches
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    }
}

/// Leaves so many points in the metric. Gives one with the others, if there are any.
fn split(metric: &mut Metric, most: usize) -> Option<Metric> {
    if points(metric) <= most {
        return None;
    }
    let mut rest = metric.clone();
    match (&mut metric.data, &mut rest.data) {
        (Some(Data::Gauge(kept)), Some(Data::Gauge(rest))) => {
            kept.data_points.truncate(most);
            rest.data_points.drain(..most);
        }
        (Some(Data::Sum(kept)), Some(Data::Sum(rest))) => {
            kept.data_points.truncate(most);
            rest.data_points.drain(..most);
        }
        (Some(Data::Histogram(kept)), Some(Data::Histogram(rest))) => {
            kept.data_points.truncate(most);
            rest.data_points.drain(..most);
        }
        _ => return None,
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{family, labels, sample};

    const TIMES: Times = Times { start: 1, now: 2 };

    fn gauge(points: usize) -> Metric {
        let mut out = Families::default();
        family(&mut out, "polygate_gauge", "gauge", "A gauge.");
        for n in 0..points {
            sample(&mut out, "polygate_gauge", labels(&[("n", &n.to_string())]), n as u64);
        }
        families_of(&out, TIMES).remove(0)
    }

    #[test]
    fn requests_are_of_a_bounded_size_and_nothing_is_lost() {
        for sizes in
            [vec![MAX_POINTS - 1, 1, 1], vec![3 * MAX_POINTS + 5, 2], vec![MAX_POINTS], vec![1, MAX_POINTS]]
        {
            let metrics: Vec<Metric> = sizes.iter().map(|size| gauge(*size)).collect();
            let batches = batches(metrics);
            let counts: Vec<usize> = batches.iter().map(|batch| batch.iter().map(points).sum()).collect();
            let all: usize = sizes.iter().sum();
            assert_eq!(counts.iter().sum::<usize>(), all, "{sizes:?}");
            assert_eq!(counts.len(), all.div_ceil(MAX_POINTS), "{sizes:?}");
            assert!(counts.iter().all(|count| *count <= MAX_POINTS), "{counts:?}");
        }
    }

    #[test]
    fn names_have_their_unit_apart() {
        for (ours, theirs) in [
            ("polygate_exchanges_total", ("polygate.exchanges", "1")),
            ("polygate_policy_cpu_seconds_total", ("polygate.policy_cpu", "s")),
            ("process_resident_memory_bytes", ("process.resident_memory", "By")),
            ("polygate_connections", ("polygate.connections", "1")),
        ] {
            let family = Family { name: ours, kind: Kind::Gauge, help: "", samples: Vec::new() };
            assert_eq!(name_and_unit(&family), (theirs.0.to_owned(), theirs.1.to_owned()));
        }
    }

    #[test]
    fn a_histogram_counts_what_is_beyond_its_bounds() {
        let mut histogram = Histogram { count: 3, sum: Duration::from_millis(1500), ..Histogram::default() };
        histogram.counts[1] = 2;
        let point = durations(Vec::new(), &histogram, TIMES);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.bucket_counts[1], point.bucket_counts.last()), (2, Some(&1)));
        assert_eq!((point.count, point.sum, point.explicit_bounds[0]), (3, Some(1.5), 0.0001));
    }
}
