//! Signals of the operating system.
//!
//! SIGTERM and SIGINT stop gracefully, a second one at once; SIGHUP reloads in `run`, and in `dev`, whose terminal has
//! gone, stops.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::http::on_thread;
use crate::journal::Output;
use crate::state::{Cause, Command, Mode, State};

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Listens for as long as the process lives.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(state: Arc<State>, output: Arc<Output>) -> std::io::Result<()> {
    on_thread("polygate-signals", move || async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
            };
            let command = if name == "SIGHUP" && state.mode == Mode::Run {
                Command::Reload(Cause::Signal, None)
            } else if state.stop() {
                output.flush();
                std::process::exit(INTERRUPTED);
            } else {
                Command::Stop(name)
            };
            // The owner is gone only when the process is about to end.
            let _ = state.commands.send(command);
        }
    })
}
