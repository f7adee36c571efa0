//! Binary upgrade: a new process takes the listening sockets of the one that runs, and lets it go once it serves.
//!
//! The running process listens on a unix socket. A new one asks there for the listening sockets, starts with them
//! (nothing waits in a backlog that nobody serves), says that it is ready, and the old one drains. If the new one ends
//! before it is ready, the old one has lost nothing and serves on.
//!
//! | who | says | means |
//! |---|---|---|
//! | new | `take` | give me your sockets |
//! | old | `sockets NAME ...` and as many descriptors | there they are |
//! | new | `ready PID` | I serve |
//! | old | `draining PID` | I accept no more |
//! | an operator's command | `upgrade` | start a new copy of your binary |
//! | old | `upgraded` | it serves, I drain |
//! | old | `no REASON` | in place of any of its answers |

mod wire;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polygate_gateway::Inherited;
use polygate_pipeline::LogLevel;

use self::wire::Wire;
use crate::state::{Command, State};

/// How long the other side may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a new process may take until it is ready, from when it got the sockets or was started.
const READY: Duration = Duration::from_secs(300);

/// How often it is looked whether a process that was started has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a process that is about to end does not take part.
pub(crate) const STOPPING: &str = "the process is stopping";

/// What systemd says to the process that it started, and to no other.
const OF_SYSTEMD: &[&str] = &["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The process that ran before, from when it gave its sockets until it is told to drain.
pub(crate) struct Predecessor(Wire);

impl Predecessor {
    /// Asks the process that listens on `path` for its sockets. `None` when there is no such process.
    ///
    /// # Errors
    /// When there is one and it does not give them.
    pub(crate) fn ask(path: &Path) -> io::Result<Option<(Self, Inherited)>> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut wire = Wire::new(stream, ANSWER)?;
        wire.say("take")?;
        let answer = wire.hear()?.unwrap_or_default();
        let Some(names) = answer.strip_prefix("sockets ") else {
            let why = answer.strip_prefix("no ").unwrap_or("it hung up");
            return Err(io::Error::other(format!("the running process refused: {why}")));
        };
        let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
        let sockets = wire.take(names.len())?;
        Ok(Some((Self(wire), Inherited::new(names.into_iter().zip(sockets).collect()))))
    }

    /// Says that this process serves: the other one drains and ends. Gives its process id; `None` when it has ended
    /// already.
    ///
    /// # Errors
    /// When it has lost patience and goes on: two processes must not both believe to be the one.
    pub(crate) fn relieve(mut self) -> Result<Option<u32>, String> {
        let said = self.0.say(&format!("ready {}", std::process::id()));
        match said.and_then(|()| self.0.hear()) {
            Ok(Some(answer)) => match answer.strip_prefix("draining ") {
                Some(process) => Ok(process.parse().ok()),
                None => Err(answer.strip_prefix("no ").unwrap_or(&answer).to_owned()),
            },
            // Whoever is gone needs no relief.
            _ => Ok(None),
        }
    }
}

/// Lets new processes take over, for as long as this one lives.
///
/// # Errors
/// When the path cannot be listened on.
pub(crate) fn listen(path: &Path, state: Arc<State>) -> io::Result<()> {
    // Readable to its owner before it can be seen, and in one step in place of the predecessor's.
    let beside = beside(path);
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
    fs::rename(&beside, path)?;
    std::thread::Builder::new().name("polygate-upgrade".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of file descriptors, most likely.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let state = state.clone();
            let answering = std::thread::Builder::new().name("polygate-upgrade".to_owned());
            // Without a thread to be had the stream is closed, which says enough.
            let _ = answering.spawn(move || {
                // An error is the other side's: it went away.
                let _ = Wire::new(stream, ANSWER).and_then(|mut wire| answer(&mut wire, &state));
            });
        }
    })?;
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

fn answer(wire: &mut Wire, state: &State) -> io::Result<()> {
    let _answering = state.answering();
    match wire.hear()?.as_deref() {
        Some("take") => match state.begin_upgrade() {
            Ok(_under_way) => give(wire, state),
            Err(why) => wire.say(&format!("no {why}")),
        },
        Some("upgrade") => match start_copy(state) {
            Ok(()) => wire.say("upgraded"),
            Err(why) => wire.say(&format!("no {}", why.replace('\n', " "))),
        },
        _ => wire.say("no such request"),
    }
}

fn give(wire: &mut Wire, state: &State) -> io::Result<()> {
    let sockets = match state.sockets() {
        Ok(sockets) => sockets,
        Err(error) => return wire.say(&format!("no {error}")),
    };
    let (names, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    wire.say(&format!("sockets {}", names.join(" ")))?;
    wire.give(&sockets)?;
    drop(sockets);
    wire.wait(READY)?;
    match wire.hear() {
        Ok(Some(line)) if line.starts_with("ready ") => {
            if state.is_stopping() {
                return wire.say(&format!("no {STOPPING}"));
            }
            let successor = line.trim_start_matches("ready ").parse().unwrap_or(0);
            // The successor answers the admin API now: who asks whether it is ready must not hear of this one.
            state.leave_admin();
            state.hand_over();
            let _ = state.commands.send(Command::HandedOver(successor));
            wire.say(&format!("draining {}", std::process::id()))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            let why = format!("the new process was not ready within {} s", READY.as_secs());
            state.say(LogLevel::Error, format!("upgrade failed: {why}; this one serves on"));
            wire.say(&format!("no {why}"))
        }
        _ => {
            let why = "the new process ended before it was ready";
            state.say(LogLevel::Error, format!("upgrade failed: {why}; this one serves on"));
            Ok(())
        }
    }
}

/// Starts a new copy of the binary, as it stands on disk now, with this process's arguments, and waits until it has
/// taken over.
///
/// # Errors
/// Why it has not; this process serves on then.
pub(crate) fn start_copy(state: &State) -> Result<(), String> {
    if !state.is_upgradable() {
        return Err("set --upgrade-socket, or [listen] upgrade-socket, and restart once".to_owned());
    }
    if state.is_stopping() {
        return Err(STOPPING.to_owned());
    }
    let binary = state.binary.as_ref().ok_or("it is not known where this program's file is")?;
    let mut program = Program::new(binary);
    program.args(std::env::args_os().skip(1));
    for variable in OF_SYSTEMD {
        program.env_remove(variable);
    }
    let mut copy = program.spawn().map_err(|error| format!("{} cannot be run: {error}", binary.display()))?;
    state.say(LogLevel::Info, format!("upgrade: started {} as process {}", binary.display(), copy.id()));
    let end = Instant::now() + READY;
    while !state.is_handed_over() {
        let why = match copy.try_wait() {
            Ok(Some(status)) => return Err(format!("the new process ended before it was ready ({status})")),
            _ if state.is_stopping() => STOPPING.to_owned(),
            Ok(None) if Instant::now() < end => {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            Ok(None) => format!("the new process was not ready within {} s", READY.as_secs()),
            Err(error) => format!("the new process cannot be watched: {error}"),
        };
        // It must not take over later, when nobody reckons with it any more.
        let _ = copy.kill();
        let _ = copy.wait();
        return Err(why);
    }
    Ok(())
}

/// Tells the process that listens on `path` to start a new copy of its binary, and waits until that one serves.
///
/// # Errors
/// One line: there is no such process, or the new one did not become ready.
pub fn upgrade(path: &Path) -> Result<(), String> {
    let end = Instant::now() + ANSWER;
    loop {
        match ask_for_upgrade(path)? {
            Ok(()) => return Ok(()),
            // An upgrade has just been made: its new process is about to listen here.
            Err(why) if why == STOPPING && Instant::now() < end => std::thread::sleep(LOOK_EVERY),
            Err(why) => return Err(format!("not upgraded, the running process serves on: {why}")),
        }
    }
}

/// What the process answers; an error when it does not.
fn ask_for_upgrade(path: &Path) -> Result<Result<(), String>, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let stream = UnixStream::connect(path)
        .map_err(|error| format!("no process can be reached at {}: {error}", path.display()))?;
    let mut wire = Wire::new(stream, READY + ANSWER).map_err(failed)?;
    wire.say("upgrade").map_err(failed)?;
    match wire.hear().map_err(failed)?.as_deref() {
        Some("upgraded") => Ok(Ok(())),
        Some(answer) => Ok(Err(answer.strip_prefix("no ").unwrap_or(answer).to_owned())),
        None => Err("the running process hung up: look at its log".to_owned()),
    }
}
