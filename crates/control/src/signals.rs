//! Signals: TERM and INT stop, HUP reloads (`run`) or stops (`dev`), USR1 opens log files anew, USR2 starts a new copy of
//! the binary.

use std::sync::Arc;

use polygate_pipeline::LogLevel;
use tokio::signal::unix::{SignalKind, signal};

use crate::http::on_thread;
use crate::journal::Output;
use crate::state::{Cause, Command, Mode, State};
use crate::upgrade;

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
        let mut first_user = signal(SignalKind::user_defined1())?;
        let mut second_user = signal(SignalKind::user_defined2())?;
        let mut told = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
                _ = first_user.recv() => {
                    state.reopen_files();
                    continue;
                }
                _ = second_user.recv() => {
                    start_copy(&state);
                    continue;
                }
            };
            let command = if name == "SIGHUP" && state.mode == Mode::Run {
                state.reopen_files();
                Command::Reload(Cause::Signal, None)
            } else if std::mem::replace(&mut told, true) {
                let running = state.gateway().map_or(0, |gateway| gateway.metrics().running);
                state.say(LogLevel::Warn, format!("{name}: stopped at once; {}", cut_off(running)));
                output.flush();
                std::process::exit(INTERRUPTED);
            } else {
                state.stop();
                Command::Stop(name)
            };
            // The owner is gone only when the process is about to end.
            let _ = state.commands.send(command);
        }
    })
}

/// `3 exchanges were cut off`.
pub(crate) fn cut_off(exchanges: u64) -> String {
    match exchanges {
        0 => "no exchange was cut off".to_owned(),
        1 => "1 exchange was cut off".to_owned(),
        many => format!("{many} exchanges were cut off"),
    }
}

fn start_copy(state: &Arc<State>) {
    let copying = state.clone();
    let thread = std::thread::Builder::new().name("polygate-upgrade".to_owned());
    let started = thread.spawn(move || {
        if let Err(why) = upgrade::start_copy(&copying) {
            copying.say(LogLevel::Error, format!("SIGUSR2: not upgraded, this process serves on: {why}"));
        }
    });
    if let Err(error) = started {
        state.say(LogLevel::Error, format!("SIGUSR2: not upgraded: {error}"));
    }
}
