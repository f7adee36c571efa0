//! Which log lines are written: one level for all, further ones for single modules. Both can be changed while running.

use std::sync::{PoisonError, RwLock};

use polygate_gateway::LogThreshold;
use polygate_pipeline::LogLevel;
use tracing::{Level, Metadata};

/// Modules that can have a level of their own.
pub(crate) const MAX_TARGETS: usize = 64;

/// Whose diagnostics are written without being asked for.
const OWN: &str = "polygate";

/// The levels of a process.
pub(crate) struct Levels {
    /// Of policies' lines and of Polygate's own diagnostics.
    pub(crate) all: LogThreshold,
    /// Of modules whose names begin so; the longest one counts.
    targets: RwLock<Vec<(String, LogLevel)>>,
}

impl Levels {
    pub(crate) fn new(level: LogLevel) -> Self {
        Self { all: LogThreshold::new(level), targets: RwLock::default() }
    }

    /// Changes what is given.
    pub(crate) fn set(&self, level: Option<LogLevel>, targets: Option<Vec<(String, LogLevel)>>) {
        if let Some(level) = level {
            self.all.set(level);
        }
        if let Some(targets) = targets {
            *self.targets.write().unwrap_or_else(PoisonError::into_inner) = targets;
        }
        // Places in the code remember whether anybody wants to hear of them.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Modules that have a level of their own.
    pub(crate) fn targets(&self) -> Vec<(String, LogLevel)> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a diagnostic is written.
    pub(crate) fn takes(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.is_event() {
            return false;
        }
        let level = of(metadata.level());
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let target = metadata.target();
        let own = targets.iter().filter(|(name, _)| target.starts_with(name.as_str()));
        match own.max_by_key(|(name, _)| name.len()) {
            Some((_, least)) => level >= *least,
            None => target.starts_with(OWN) && self.all.takes(level),
        }
    }
}

/// The nearest of our levels.
pub(crate) fn of(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

/// The level of this name.
pub(crate) fn named(name: &str) -> Option<LogLevel> {
    match name {
        "debug" => Some(LogLevel::Debug),
        "info" => Some(LogLevel::Info),
        "warn" => Some(LogLevel::Warn),
        "error" => Some(LogLevel::Error),
        _ => None,
    }
}
