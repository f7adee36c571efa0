//! The gateway that is put under stress: one worker, on a core of its own where there are two.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use crate::Outcome;
use crate::bench::{cpu_ticks, memory_kib};
use crate::conform::{await_listener, free_port};
use crate::process::{Running, program};

/// The core of the gateway; load and attackers have the other one.
const OURS: &str = "0";
const OTHERS: &str = "1";

/// Ticks of the kernel's clock in a second, on every platform that we run on.
const TICKS: f64 = 100.0;

/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// A gateway that runs.
pub(super) struct Subject {
    process: Running,
    /// Where clients connect.
    pub(super) address: SocketAddr,
    admin: SocketAddr,
}

impl Subject {
    /// Runs a project of these files, which is written into a folder in `target`.
    pub(super) fn start(
        binary: &Path,
        name: &str,
        files: &[(&str, &str)],
        cgroup: Option<&Cgroup>,
    ) -> Result<Self, String> {
        let folder = crate::root().join("target").join(name);
        crate::project::write(&folder, files)?;
        let [address, admin] =
            [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (binary, folder) = (binary.to_string_lossy(), folder.to_string_lossy());
        let (listen, control) = (address.to_string(), admin.to_string());
        let procs = cgroup.map(|cgroup| cgroup.processes().to_string_lossy().into_owned());
        let mut arguments = Vec::new();
        if let Some(procs) = &procs {
            // It joins before it becomes the gateway.
            arguments.extend(["sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", procs]);
        }
        if has_two_cores() {
            arguments.extend(["taskset", "-c", OURS]);
        }
        let options = ["--workers", "1", "--listen", &listen, "--admin", &control];
        arguments.extend([&*binary, "run", &folder]);
        arguments.extend(options);
        let process = program(arguments[0], &arguments[1..]).start()?;
        await_listener(address.port())?;
        await_listener(admin.port())?;
        Ok(Self { process, address, admin })
    }

    /// The body of an answer of the admin API, and how long it took.
    pub(super) fn admin(&self, path: &str) -> Result<(String, Duration), String> {
        let asked = Instant::now();
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok::<_, std::io::Error>(reply)
        };
        let reply = ask().map_err(|error| format!("the admin API, {path}: {error}"))?;
        let took = asked.elapsed();
        match reply.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok((body.to_owned(), took)),
            _ => Err(format!("the admin API, {path}: {reply}")),
        }
    }

    /// The sum of a metric's samples whose labels hold `labels`.
    pub(super) fn metric(&self, name: &str, labels: &str) -> Result<u64, String> {
        let (text, _) = self.admin("/metrics")?;
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(labels))
        });
        Ok(samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64)
    }

    /// CPU time so far, in seconds.
    pub(super) fn cpu(&self) -> f64 {
        let (user, system) = cpu_ticks(&[self.process.id()]);
        (user + system) as f64 / TICKS
    }

    /// Resident memory in KiB; 0 when it does not live any more.
    pub(super) fn memory_kib(&self) -> u64 {
        memory_kib(self.process.id())
    }

    /// Watches memory until `over`, and keeps the most of it in `peak`.
    pub(super) fn watch<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        over: &'scope AtomicBool,
        peak: &'scope Mutex<u64>,
    ) {
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let now = self.memory_kib();
                if let Ok(mut peak) = peak.lock() {
                    *peak = now.max(*peak);
                }
                std::thread::sleep(EVERY);
            }
        });
    }
}

/// Keeps ourselves off the gateway's core.
pub(super) fn step_aside() -> Result<(), String> {
    if has_two_cores() {
        program("taskset", &["-a", "-c", "-p", OTHERS, &std::process::id().to_string()]).output()?;
    }
    Ok(())
}

/// Has the calling thread run only while nobody else wants its core. What attackers do to others must be done by the
/// gateway, and not by taking the core from them that they share.
pub(super) fn stand_back() -> Outcome {
    let own = fs::read_link("/proc/thread-self").map_err(|error| format!("/proc/thread-self: {error}"))?;
    let thread = own.file_name().unwrap_or_default().to_string_lossy();
    program("chrt", &["--idle", "--pid", "0", &thread]).output().map(drop)
}

fn has_two_cores() -> bool {
    std::thread::available_parallelism().is_ok_and(|count| count.get() > 1)
}
