//! Running other programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often one that is to end is looked at.
const STEP: Duration = Duration::from_millis(20);

/// A program to run, with its name for messages.
pub(crate) struct Program {
    command: Command,
    shown: String,
}

/// Cargo, from the tree's root.
pub(crate) fn cargo(arguments: &[&str]) -> Program {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    program(cargo, arguments)
}

/// Any program, from the tree's root.
pub(crate) fn program(name: impl AsRef<OsStr>, arguments: &[&str]) -> Program {
    let mut command = Command::new(&name);
    command.args(arguments).current_dir(crate::root());
    let name = Path::new(name.as_ref()).file_name().unwrap_or(name.as_ref()).to_string_lossy().into_owned();
    Program {
        command,
        shown: std::iter::once(name.as_str()).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" "),
    }
}

impl Program {
    /// In another folder.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end, with our own output.
    pub(crate) fn run(mut self) -> Outcome {
        println!("$ {}", self.shown);
        match self.command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{}` ended with {status}", self.shown)),
            Err(error) => Err(format!("`{}` cannot be run: {error}", self.shown)),
        }
    }

    /// Runs it to its end and gives what it printed.
    pub(crate) fn output(mut self) -> Result<String, String> {
        match self.command.stderr(Stdio::inherit()).output() {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => Err(format!("`{}` ended with {}", self.shown, output.status)),
            Err(error) => Err(format!("`{}` cannot be run: {error}", self.shown)),
        }
    }

    /// Starts it; it is ended when the answer is dropped.
    pub(crate) fn start(mut self) -> Result<Running, String> {
        let child = self.command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Running).map_err(|error| format!("`{}` cannot be run: {error}", self.shown))
    }
}

/// Whether a program is on the path.
pub(crate) fn exists(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin".into(), "/sbin".into()];
    std::env::split_paths(&paths).chain(sbin).any(|folder| folder.join(name).is_file())
}

/// A program that runs beside us.
pub(crate) struct Running(Child);

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Has it end as it would by itself, which may take so long.
    pub(crate) fn end(mut self, patience: Duration) -> Outcome {
        self.terminate();
        let began = Instant::now();
        while began.elapsed() < patience {
            match self.0.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("process {} ended with {status}", self.id())),
                Ok(None) => std::thread::sleep(STEP),
                Err(error) => return Err(format!("process {}: {error}", self.id())),
            }
        }
        Err(format!("process {} did not end within {patience:?}", self.id()))
    }

    fn terminate(&self) {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // TERM first, so that it can end its own children.
        self.terminate();
        for _ in 0..50 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(STEP);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
