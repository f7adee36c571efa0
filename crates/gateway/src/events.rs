//! Events: what the workers tell whoever writes the log. The channel is bounded and never blocks a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use polygate_pipeline::{LogLevel, LogLine, LogSink};

use crate::record::ExchangeRecord;
use crate::traces::TraceRecord;

/// How many events may wait to be written before further ones are dropped and counted.
pub(crate) const MAX_WAITING_EVENTS: usize = 16_384;

/// How many traced exchanges may wait to be exported before further ones are dropped and counted.
pub(crate) const MAX_WAITING_TRACES: usize = 4_096;

/// What a worker has to say.
#[derive(Debug)]
pub enum Event {
    /// An exchange is over.
    Exchange(Box<ExchangeRecord>),
    /// A plugin, or the gateway about a plugin, says something.
    Log(LogLine),
}

/// How severe a log line must be to be written; can be changed while workers run. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct LogThreshold(Arc<AtomicU8>);

impl LogThreshold {
    /// Lines of this level and above.
    pub fn new(level: LogLevel) -> Self {
        Self(Arc::new(AtomicU8::new(level as u8)))
    }

    /// Changes it, for all who hold it.
    pub fn set(&self, level: LogLevel) {
        self.0.store(level as u8, Ordering::Relaxed);
    }

    /// The least severe level that is written.
    pub fn get(&self) -> LogLevel {
        let now = self.0.load(Ordering::Relaxed);
        let all = [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
        all.into_iter().find(|level| *level as u8 == now).unwrap_or(LogLevel::Error)
    }

    /// Whether lines of this level are written.
    pub fn takes(&self, level: LogLevel) -> bool {
        level as u8 >= self.0.load(Ordering::Relaxed)
    }
}

/// The workers' end.
#[derive(Clone)]
pub(crate) struct Events {
    sender: SyncSender<Event>,
    dropped: Arc<AtomicU64>,
    threshold: LogThreshold,
    /// Where traced exchanges go.
    traces: Option<SyncSender<Box<TraceRecord>>>,
    dropped_traces: Arc<AtomicU64>,
}

impl Events {
    /// A channel that takes lines above the threshold.
    pub(crate) fn new(threshold: LogThreshold) -> (Self, Receiver<Event>) {
        let (sender, receiver) = sync_channel(MAX_WAITING_EVENTS);
        let events =
            Self { sender, dropped: Arc::default(), threshold, traces: None, dropped_traces: Arc::default() };
        (events, receiver)
    }

    /// Tells; drops and counts when too many wait.
    pub(crate) fn send(&self, event: Event) {
        if self.sender.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same, with a channel for traced exchanges.
    pub(crate) fn with_traces(self) -> (Self, Option<Receiver<Box<TraceRecord>>>) {
        let (sender, receiver) = sync_channel(MAX_WAITING_TRACES);
        (Self { traces: Some(sender), ..self }, Some(receiver))
    }

    /// Tells of a traced exchange; drops and counts when too many wait.
    pub(crate) fn trace(&self, record: Box<TraceRecord>) {
        if self.traces.as_ref().is_some_and(|traces| traces.try_send(record).is_err()) {
            self.dropped_traces.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many traced exchanges were dropped.
    pub(crate) fn dropped_traces(&self) -> u64 {
        self.dropped_traces.load(Ordering::Relaxed)
    }

    /// How many events were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl LogSink for Events {
    fn log(&self, line: LogLine) {
        if self.threshold.takes(line.level) {
            self.send(Event::Log(line));
        }
    }
}
