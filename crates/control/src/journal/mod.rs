//! The journal: what the gateway did, written to standard output by a thread of its own.
//!
//! Workers put events into a bounded channel and never wait; the journal writes what it gets, and flushes when it has
//! nothing more to write. `dev` gets lines for people, in which a policy's log lines stand beneath their exchange;
//! `run` gets one JSON object a line.

mod access;
mod json;
mod output;
mod pretty;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use polygate_gateway::{Event, ExchangeRecord};
use polygate_pipeline::{LogLevel, LogLine, RequestId};
use polygate_plan::{AccessFormat, LogFormat};
use serde_json::{Map, Value};

pub(crate) use output::Output;
#[cfg(test)]
pub(crate) use output::testing;

use crate::paint::Paint;
use crate::report::Report;

/// Log lines that wait for their exchange's end; beyond, the oldest are written on their own.
const MAX_HELD_LINES: usize = 4_096;

/// How long a log line waits for its exchange's end.
const HOLD: Duration = Duration::from_secs(2);

/// Exchanges whose end is remembered, so that what they say later is written at once.
const REMEMBERED: usize = 256;

/// Bytes that are gathered before they are handed to the output, also when more events wait.
const BATCH: usize = 64 << 10;

/// Lines of exchanges that look otherwise, or go elsewhere, than all others.
pub(crate) struct AccessLines {
    /// How they look.
    pub(crate) format: AccessFormat,
    /// The file that they go to.
    pub(crate) file: Option<Arc<Output>>,
}

/// Turns events into text.
pub(crate) struct Journal {
    format: LogFormat,
    access: Option<AccessLines>,
    /// What is to be written to the access log's file.
    file_text: String,
    paint: Paint,
    zone: TimeZone,
    held: HashMap<RequestId, Vec<LogLine>>,
    /// Held lines' exchanges and since when, oldest first.
    waiting: VecDeque<(Instant, RequestId)>,
    held_lines: usize,
    finished: VecDeque<RequestId>,
}

impl Journal {
    /// A journal in that format; `paint` matters to the one for people alone.
    pub(crate) fn new(format: LogFormat, paint: Paint, access: Option<AccessLines>) -> Self {
        Self {
            format,
            access,
            file_text: String::new(),
            paint,
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
            held: HashMap::new(),
            waiting: VecDeque::new(),
            held_lines: 0,
            finished: VecDeque::new(),
        }
    }

    /// Writes events until all senders are gone.
    pub(crate) fn run(mut self, events: &Receiver<Event>, output: &Output) {
        let mut text = String::new();
        loop {
            let event = match events.try_recv() {
                Ok(event) => Some(event),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    output.write(&text);
                    output.flush();
                    text.clear();
                    self.write_file(true);
                    match self.wait(events) {
                        Ok(event) => event,
                        Err(()) => break,
                    }
                }
            };
            let now = Instant::now();
            if let Some(event) = event {
                self.take(event, now, &mut text);
            }
            self.expire(now, &mut text);
            if text.len() >= BATCH {
                output.write(&text);
                text.clear();
            }
            if self.file_text.len() >= BATCH {
                self.write_file(false);
            }
        }
        while let Some((_, id)) = self.waiting.pop_front() {
            self.release(&id, &mut text);
        }
        output.write(&text);
        output.flush();
        self.write_file(true);
    }

    fn write_file(&mut self, flush: bool) {
        let Some(file) = self.access.as_ref().and_then(|access| access.file.as_ref()) else { return };
        file.write(&self.file_text);
        self.file_text.clear();
        if flush {
            file.flush();
        }
    }

    /// The next event; `None` when a held line is due first.
    fn wait(&self, events: &Receiver<Event>) -> Result<Option<Event>, ()> {
        let Some((since, _)) = self.waiting.front() else {
            return events.recv().map(Some).map_err(|_| ());
        };
        match events.recv_timeout(HOLD.saturating_sub(since.elapsed())) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    fn take(&mut self, event: Event, now: Instant, text: &mut String) {
        match event {
            Event::Exchange(record) => self.exchange(&record, text),
            Event::Log(line) => match line.request_id {
                // Only lines that stand beneath an exchange's own wait for it.
                Some(id)
                    if self.format == LogFormat::Pretty
                        && self.access.is_none()
                        && !self.finished.contains(&id) =>
                {
                    self.hold(id, line, now, text);
                }
                _ => self.line(&line, false, text),
            },
        }
    }

    fn exchange(&mut self, record: &ExchangeRecord, text: &mut String) {
        if let Some(AccessLines { format, file }) = &self.access {
            let to = if file.is_some() { &mut self.file_text } else { text };
            return access::exchange(record, format, &self.zone, to);
        }
        if self.format == LogFormat::Json {
            return json::exchange(record, text);
        }
        let lines = self.held.remove(&record.id).unwrap_or_default();
        self.held_lines -= lines.len();
        if !lines.is_empty() {
            self.waiting.retain(|(_, id)| *id != record.id);
        }
        if self.finished.len() >= REMEMBERED {
            self.finished.pop_front();
        }
        self.finished.push_back(record.id);
        pretty::exchange(record, self.paint, &self.zone, text);
        for line in &lines {
            self.line(line, true, text);
        }
        // What the failure says is not said twice.
        if let Some(error) = record.error.as_deref().filter(|error| !said(&lines, error)) {
            pretty::failure(record, error, self.paint, text);
        }
    }

    fn hold(&mut self, id: RequestId, line: LogLine, now: Instant, text: &mut String) {
        while self.held_lines >= MAX_HELD_LINES {
            let Some((_, oldest)) = self.waiting.pop_front() else { break };
            self.release(&oldest, text);
        }
        let lines = self.held.entry(id).or_default();
        if lines.is_empty() {
            self.waiting.push_back((now, id));
        }
        lines.push(line);
        self.held_lines += 1;
    }

    fn expire(&mut self, now: Instant, text: &mut String) {
        while let Some((since, id)) = self.waiting.front().copied() {
            if now.duration_since(since) < HOLD {
                break;
            }
            self.waiting.pop_front();
            self.release(&id, text);
        }
    }

    /// Writes an exchange's held lines on their own.
    fn release(&mut self, id: &RequestId, text: &mut String) {
        let lines = self.held.remove(id).unwrap_or_default();
        self.held_lines -= lines.len();
        for line in &lines {
            self.line(line, false, text);
        }
    }

    fn line(&self, line: &LogLine, beneath: bool, text: &mut String) {
        match self.format {
            LogFormat::Json => json::line(line, text),
            LogFormat::Pretty => pretty::line(line, beneath, self.paint, &self.zone, text),
        }
    }
}

/// Whether an error's first line was already logged.
fn said(lines: &[LogLine], error: &str) -> bool {
    let first = error.lines().next().unwrap_or("");
    lines.iter().any(|line| line.level == LogLevel::Error && line.message.contains(first))
}

/// What the gateway says about itself, in the journal's format.
#[derive(Clone)]
pub(crate) struct Voice {
    format: LogFormat,
    paint: Paint,
    output: Arc<Output>,
}

impl Voice {
    pub(crate) fn new(format: LogFormat, paint: Paint, output: Arc<Output>) -> Self {
        Self { format, paint, output }
    }

    /// One line.
    pub(crate) fn say(&self, level: LogLevel, message: impl Into<String>) {
        self.say_with(level, message, Map::new());
    }

    /// One line; people do not see its fields.
    pub(crate) fn say_with(&self, level: LogLevel, message: impl Into<String>, fields: Map<String, Value>) {
        let (time, message) = (SystemTime::now(), message.into());
        let line = LogLine { time, level, request_id: None, policy: None, message, fields };
        let mut text = String::new();
        match self.format {
            LogFormat::Json => json::gateway(&line, &mut text),
            LogFormat::Pretty => pretty::gateway(&line, self.paint, &mut text),
        }
        self.output.say(&text);
    }

    /// What is wrong with a project: excerpts for people, one line a diagnostic for machines.
    pub(crate) fn report(&self, report: &Report<'_>) {
        match self.format {
            LogFormat::Pretty => self.output.say(&report.text(self.paint)),
            LogFormat::Json => {
                for diagnostic in report.diagnostics() {
                    let level = if diagnostic.is_error() { LogLevel::Error } else { LogLevel::Warn };
                    let fields = serde_json::to_value(diagnostic).ok();
                    let fields = fields.and_then(|value| value.as_object().cloned()).unwrap_or_default();
                    self.say_with(level, &diagnostic.message, fields);
                }
            }
        }
    }

    /// Text for people; machines do not get it.
    pub(crate) fn show(&self, text: &str) {
        if self.format == LogFormat::Pretty {
            self.output.say(text);
        }
    }
}

#[cfg(test)]
mod tests;
