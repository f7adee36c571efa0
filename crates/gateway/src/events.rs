//! Events: what the workers tell whoever writes the log. The channel is bounded and never blocks a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use polygate_pipeline::{LogLine, LogSink};

use crate::record::ExchangeRecord;

/// How many events may wait to be written before further ones are dropped and counted.
pub(crate) const MAX_WAITING_EVENTS: usize = 16_384;

/// What a worker has to say.
#[derive(Debug)]
pub enum Event {
    /// An exchange is over.
    Exchange(Box<ExchangeRecord>),
    /// A plugin, or the gateway about a plugin, says something.
    Log(LogLine),
}

/// The workers' end.
#[derive(Clone)]
pub(crate) struct Events {
    sender: SyncSender<Event>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// A channel.
    pub(crate) fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = sync_channel(MAX_WAITING_EVENTS);
        (Self { sender, dropped: Arc::default() }, receiver)
    }

    /// Tells; drops and counts when too many wait.
    pub(crate) fn send(&self, event: Event) {
        if self.sender.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl LogSink for Events {
    fn log(&self, line: LogLine) {
        self.send(Event::Log(line));
    }
}
