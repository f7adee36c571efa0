//! Services: all that a plugin may reach outside of itself. No world opens a socket by itself.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::LocalBoxFuture;

use crate::{Failure, Request, RequestId, Response};

/// How many background tasks of plugins one worker runs at a time.
pub const MAX_BACKGROUND_TASKS: usize = 10_000;

/// Outbound HTTP over the gateway's own client: pooled, timed, with an address policy.
pub trait Outbound {
    /// Sends a request to its target and gives the response once its head is there. Redirects are not followed.
    ///
    /// Dropping the future, or the response's body before its end, gives the connection up.
    fn send(
        &self,
        request: Request,
        options: OutboundOptions,
    ) -> LocalBoxFuture<'static, Result<Response, Failure>>;
}

/// How a request of a plugin is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutboundOptions {
    /// Until the response's head; `None` means the client's default.
    pub timeout: Option<Duration>,
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For whoever is searching for a fault.
    Debug,
    /// For the record.
    Info,
    /// Something may need care.
    Warn,
    /// Something failed.
    Error,
}

/// One line that a plugin, or the gateway about a plugin, has to say.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// When.
    pub time: SystemTime,
    /// How severe.
    pub level: LogLevel,
    /// The exchange it is about.
    pub request_id: Option<RequestId>,
    /// The policy that says it.
    pub policy: Option<Arc<str>>,
    /// What is said; a stack trace may follow on further lines.
    pub message: String,
    /// Structured members.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// Where log lines go. Never blocks: a full log drops and counts.
pub trait LogSink {
    /// Takes a line.
    fn log(&self, line: LogLine);
}

/// One worker's services for one deployment.
#[derive(Clone)]
pub struct Services(Rc<Inner>);

struct Inner {
    outbound: Rc<dyn Outbound>,
    log: Rc<dyn LogSink>,
    variables: Arc<BTreeMap<String, String>>,
    worker: usize,
    tasks: Rc<Cell<usize>>,
}

impl Services {
    /// Services of `worker` (counted from 0).
    pub fn new(
        outbound: Rc<dyn Outbound>,
        log: Rc<dyn LogSink>,
        variables: Arc<BTreeMap<String, String>>,
        worker: usize,
    ) -> Self {
        Self(Rc::new(Inner { outbound, log, variables, worker, tasks: Rc::default() }))
    }

    /// Outbound HTTP.
    pub fn outbound(&self) -> &Rc<dyn Outbound> {
        &self.0.outbound
    }

    /// Writes a log line.
    pub fn log(&self, line: LogLine) {
        self.0.log.log(line);
    }

    /// Environment variables and secrets of the project.
    pub fn variables(&self) -> &Arc<BTreeMap<String, String>> {
        &self.0.variables
    }

    /// The worker's number, from 0.
    pub fn worker(&self) -> usize {
        self.0.worker
    }

    /// Runs `task` on this worker beside the exchanges. False when [`MAX_BACKGROUND_TASKS`] are running already:
    /// the task is dropped then.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> bool {
        let tasks = self.0.tasks.clone();
        if tasks.get() >= MAX_BACKGROUND_TASKS {
            return false;
        }
        let running = Running::new(tasks);
        tokio::task::spawn_local(async move {
            let _running = running;
            task.await;
        });
        true
    }

    /// How many background tasks run.
    pub fn background_tasks(&self) -> usize {
        self.0.tasks.get()
    }
}

/// Counts a task for as long as it lives, also when it is dropped unfinished.
struct Running(Rc<Cell<usize>>);

impl Running {
    fn new(count: Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
