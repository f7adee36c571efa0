//! Export of traces and metrics (OTLP). For traces a thread takes traced exchanges from a bounded channel, makes spans of
//! them, and sends them in batches; for metrics another one looks at the counts at an interval. A collector that is away
//! costs spans, never a request.

mod metrics;
mod resource;
mod send;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use polygate_gateway::TraceRecord;
use polygate_plan::Telemetry;

pub(crate) use self::metrics::{Exporter as MetricsExporter, Exports};
use self::resource::Resource;
use self::send::{Refused, Sender};
use crate::state::State;

/// Spans of one request to the collector.
const BATCH: usize = 512;

/// How long spans wait for others to be sent with.
const WAIT: Duration = Duration::from_secs(1);

/// How often a batch is tried.
const TRIES: u32 = 3;

/// Pause before the second try; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(500);

/// A collector that is away is told of at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Further fields for the collector, such as a token: `name=value,name=value`. The name is OpenTelemetry's own.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// What became of spans.
#[derive(Default)]
pub(crate) struct Counts {
    /// Those that the collector took.
    pub(crate) exported: AtomicU64,
    /// Those that it did not.
    pub(crate) failed: AtomicU64,
}

/// Starts the export of metrics, if it is wanted.
///
/// # Errors
/// When there is no thread to be had, or the endpoint cannot be used.
pub(crate) fn start_metrics(
    settings: &Telemetry,
    variables: &BTreeMap<String, String>,
    state: &Arc<State>,
) -> io::Result<Option<MetricsExporter>> {
    let Some(interval) = settings.metrics else { return Ok(None) };
    let headers = headers(variables.get(HEADERS).map_or("", String::as_str));
    let sender = Sender::new(settings, &headers)?;
    let resource = Resource::new(settings, state.version);
    metrics::start(sender, resource, interval, state.clone()).map(Some)
}

/// Starts the export of traces. The thread ends when nobody can send it anything more.
///
/// # Errors
/// When there is no thread to be had, or the endpoint cannot be used.
pub(crate) fn start(
    settings: &Telemetry,
    variables: &BTreeMap<String, String>,
    version: &str,
    traces: Receiver<Box<TraceRecord>>,
    counts: Arc<Counts>,
) -> io::Result<JoinHandle<()>> {
    let headers = headers(variables.get(HEADERS).map_or("", String::as_str));
    let sender = Sender::new(settings, &headers)?;
    let resource = Resource::new(settings, version);
    std::thread::Builder::new()
        .name("polygate-traces".to_owned())
        .spawn(move || Exporter { sender, resource, counts, complained: None }.run(&traces))
}

/// Pairs of the specification's form; what is none is left out.
fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect()
}

struct Exporter {
    sender: Sender,
    resource: Resource,
    counts: Arc<Counts>,
    complained: Option<Instant>,
}

impl Exporter {
    fn run(mut self, traces: &Receiver<Box<TraceRecord>>) {
        let mut batch = Vec::new();
        while let Ok(first) = traces.recv() {
            spans::of(&first, &mut batch);
            let end = Instant::now() + WAIT;
            let mut gone = false;
            while batch.len() < BATCH {
                match traces.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(record) => spans::of(&record, &mut batch),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        gone = true;
                        break;
                    }
                }
            }
            let count = batch.len() as u64;
            let request = spans::request(&self.resource, std::mem::take(&mut batch));
            match self.export(&request, gone) {
                Ok(()) => self.counts.exported.fetch_add(count, Ordering::Relaxed),
                Err(why) => {
                    self.complain(&why);
                    self.counts.failed.fetch_add(count, Ordering::Relaxed)
                }
            };
        }
    }

    /// Sends one batch, several times if need be; once when the process is about to end.
    fn export(&mut self, request: &ExportTraceServiceRequest, once: bool) -> Result<(), String> {
        let mut pause = PAUSE;
        for tries_left in (0..TRIES).rev() {
            match self.sender.send(request) {
                Ok(()) => return Ok(()),
                Err(Refused { why, retryable }) if !retryable || once || tries_left == 0 => return Err(why),
                Err(_) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
        Ok(())
    }

    fn complain(&mut self, why: &str) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            tracing::warn!("traces cannot be exported: {why}");
            self.complained = Some(Instant::now());
        }
    }
}
