//! Why a gateway did not start, each in one line that says what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use polygate_pipeline::Diagnostic;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum ServeError {
    /// The project has errors.
    Refused(Vec<Diagnostic>),
    /// Anything else: one line.
    Failed(String),
}

impl ServeError {
    pub(super) fn listen(address: SocketAddr, error: &io::Error) -> Self {
        Self::address("the gateway", "--listen", address, error)
    }

    pub(super) fn admin(address: SocketAddr, error: &io::Error) -> Self {
        Self::address("the admin API", "--admin", address, error)
    }

    pub(super) fn echo(address: SocketAddr, error: &io::Error) -> Self {
        Self::address("the echo service", "[dev] echo in polygate.toml", address, error)
    }

    pub(super) fn telemetry(error: &io::Error) -> Self {
        Self::Failed(format!("traces cannot be exported as [telemetry] says: {error}"))
    }

    pub(super) fn access_log(path: &Path, error: &io::Error) -> Self {
        Self::Failed(format!("the access log {} cannot be written: {error}", path.display()))
    }

    pub(super) fn upgrade_socket(path: &Path, error: &io::Error) -> Self {
        Self::Failed(format!("the upgrade socket {} cannot be used: {error}", path.display()))
    }

    pub(super) fn thread(error: io::Error) -> Self {
        Self::Failed(format!("no thread could be started: {error}"))
    }

    fn address(who: &str, how: &str, address: SocketAddr, error: &io::Error) -> Self {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "is taken: stop the program that listens there, or choose another address".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "needs more privileges than this process has: choose a port from 1024 upwards".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "is no address of this machine: choose another one".to_owned(),
            _ => format!("cannot be listened on ({error}): choose another address"),
        };
        Self::Failed(format!("{who} cannot start: {address} {why} with {how}"))
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(diagnostics) => write!(f, "the project has {} problems", diagnostics.len()),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ServeError {}
