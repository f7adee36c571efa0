//! How a call into JavaScript fails.

use std::fmt;
use std::time::Duration;

use polygate_pipeline::{Failure, Reason};

/// Longest stack, message or property that is kept of a thrown value, in bytes.
pub const MAX_ERROR_TEXT: usize = 16 * 1024;

/// How deep a chain of `cause` is followed.
pub const MAX_CAUSES: usize = 4;

/// A value that JavaScript threw and nobody caught.
#[derive(Debug, Clone, Default)]
pub struct ScriptError {
    /// The error's `name`, such as `TypeError`; empty when something other than an `Error` was thrown.
    pub name: String,
    /// The error's `message`, or the thrown value as text.
    pub message: String,
    /// One `at function (file:line:column)` a line, mapped to the source as written; empty when there is none.
    pub stack: String,
    /// Own enumerable properties of the error that JSON can express, other than name, message, stack and cause.
    pub properties: serde_json::Map<String, serde_json::Value>,
    /// The error's `cause`.
    pub cause: Option<Box<ScriptError>>,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            f.write_str(&self.message)?;
        } else if self.message.is_empty() {
            f.write_str(&self.name)?;
        } else {
            write!(f, "{}: {}", self.name, self.message)?;
        }
        if !self.stack.is_empty() {
            write!(f, "\n{}", self.stack)?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "\ncaused by {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ScriptError {}

/// Why a VM no longer runs anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It reached its memory limit.
    Memory,
    /// Its job queue could not be emptied after a call had spent its CPU time.
    JobStorm,
}

/// Why a call gave no result.
#[derive(Debug, Clone)]
pub enum CallError {
    /// It threw, or its promise was rejected.
    Script(Box<ScriptError>),
    /// It spent its CPU time and was stopped.
    CpuExceeded {
        /// CPU time spent.
        used: Duration,
        /// CPU time allowed.
        limit: Duration,
    },
    /// The VM reached its memory limit (bytes); it is dead.
    MemoryExceeded {
        /// The limit in bytes.
        limit: usize,
    },
    /// The scope was aborted.
    Aborted,
    /// The VM is dead, through another call.
    VmDead(Death),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(error) => error.fmt(f),
            Self::CpuExceeded { used, limit } => {
                write!(f, "CPU time exceeded: {used:.1?} of {limit:.1?}")
            }
            Self::MemoryExceeded { limit } => write!(f, "memory limit of {limit} bytes reached"),
            Self::Aborted => f.write_str("the call was aborted"),
            Self::VmDead(Death::Memory) => f.write_str("the VM ran out of memory"),
            Self::VmDead(Death::JobStorm) => {
                f.write_str("the VM was stopped: its job queue never became empty")
            }
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// The closed reason for this error.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Script(_) => Reason::PolicyError,
            Self::CpuExceeded { .. } => Reason::PolicyCpu,
            Self::MemoryExceeded { .. } => Reason::PolicyMemory,
            Self::Aborted => Reason::PolicyTimeout,
            Self::VmDead(_) => Reason::PolicyUnavailable,
        }
    }

    /// The failure to give to the pipeline; the stack is in its detail, which only the log sees.
    pub fn into_failure(self) -> Failure {
        Failure::new(self.reason()).detail(self.to_string())
    }
}
