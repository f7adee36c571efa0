//! Binary upgrades and reloads under load: no request may fail, no stream be lost, no connection be refused.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ADMIN, PORT, TLS_PORT, edit, get, http2, ready, streams};
use crate::Outcome;
use crate::certificate::Certificate;
use crate::process::program;

/// Seconds of load before the first change and after the last one.
const MARGIN: u64 = 2;
/// Seconds that one reload may take on average, and one upgrade beyond the time that the old process drains.
const EACH: u64 = 1;
/// Seconds that an old process drains, because it has WebSockets.
const DRAINS: u64 = 4;

/// Upgrades `upgrades` times, and reloads `reloads` times in between, while `wrk` keeps connections, `curl` opens new ones,
/// and others outlive many changes.
pub(super) fn run(
    binary: &Path,
    project: &Path,
    certificate: &Certificate,
    upgrades: usize,
    reloads: usize,
) -> Outcome {
    let tls = certificate.client(&["h2"])?;
    let socket = project.join("upgrade.sock");
    let (listen, admin) = (format!("127.0.0.1:{PORT}"), format!("127.0.0.1:{ADMIN}"));
    let (folder, path) = (project.to_string_lossy(), socket.to_string_lossy());
    let arguments = ["run", &folder, "--listen", &listen, "--admin", &admin, "--upgrade-socket", &path];
    let first = program(binary, &arguments).start()?;
    ready()?;
    // `run` starts no echo service: what is asked for is answered by the gateway itself.
    let url = format!("http://127.0.0.1:{PORT}/hello/Ada");
    let encrypted = format!("https://127.0.0.1:{TLS_PORT}/hello/Ada");
    let seconds = upgrades as u64 * (EACH + DRAINS) + reloads as u64 * EACH + 2 * MARGIN;
    let over = AtomicBool::new(false);
    let fresh = Fresh::default();
    let streaming = streams::Counts::default();
    let multiplexed = http2::Counts::default();
    let output = std::thread::scope(|scope| {
        let load = scope
            .spawn(|| program("wrk", &["-t1", "-c16", &format!("-d{seconds}s"), "--latency", &url]).output());
        for url in [&url, &encrypted] {
            scope.spawn(|| fresh.ask(url, certificate, &over));
        }
        streams::load(scope, &over, &streaming);
        scope.spawn(|| http2::load(&tls, &over, &multiplexed));
        let changed = change(binary, project, &socket, upgrades, reloads);
        // `wrk` ends by the clock; the others last as long.
        let output = load.join().map_err(|_| "the load generator's thread failed".to_owned());
        over.store(true, Ordering::Relaxed);
        let took = changed?;
        if took > Duration::from_secs(seconds - MARGIN) {
            return Err(format!("the changes took {took:?}, longer than the load"));
        }
        output?
    });
    let stopped = stop(first.id());
    let output = output?;
    println!("{}", output.trim_end());
    println!("{upgrades} upgrades and {reloads} reloads");
    // All of them say what they saw, also when one failed.
    let wrk = match output.contains("Non-2xx") || output.contains("Socket errors") {
        true => Err("requests of wrk failed during upgrades and reloads".to_owned()),
        false => Ok(()),
    };
    let (fresh, streaming, multiplexed) =
        (fresh.conclude(), streaming.conclude(), multiplexed.conclude(upgrades));
    wrk.and(fresh).and(streaming).and(multiplexed).and(stopped)
}

/// Requests on new connections.
#[derive(Default)]
struct Fresh {
    asked: AtomicU64,
    failed: AtomicU64,
}

impl Fresh {
    /// Has `curl` ask for `url` until `over`.
    fn ask(&self, url: &str, certificate: &Certificate, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--output", "/dev/null"]);
            let status = curl.arg("--cacert").arg(&certificate.cert).arg(url).status();
            self.asked.fetch_add(1, Ordering::Relaxed);
            let fine = status.is_ok_and(|status| status.success());
            self.failed.fetch_add(u64::from(!fine), Ordering::Relaxed);
        }
    }

    fn conclude(&self) -> Outcome {
        let (asked, failed) = (self.asked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        println!("curl: {asked} requests on new connections, plain and encrypted, {failed} failed");
        match failed > 0 || asked == 0 {
            true => Err("requests on new connections failed".to_owned()),
            false => Ok(()),
        }
    }
}

/// Spreads the upgrades over the reloads. Gives the time that all took.
fn change(
    binary: &Path,
    project: &Path,
    socket: &Path,
    upgrades: usize,
    reloads: usize,
) -> Result<Duration, String> {
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(MARGIN));
    let each = reloads / upgrades.max(1);
    let mut number = 0;
    for upgrade in 1..=upgrades {
        let last = if upgrade == upgrades { reloads } else { upgrade * each };
        while number < last {
            number += 1;
            edit(project, &format!("soak-{number}"))?;
            let reply = post(ADMIN, "/reload").map_err(|error| format!("reload {number}: {error}"))?;
            if !reply.starts_with("HTTP/1.1 200") || !reply.contains("deployed") {
                return Err(format!("reload {number} was refused: {reply}"));
            }
        }
        let before = process()?;
        program(binary, &["upgrade", &socket.to_string_lossy()]).output()?;
        // Until the old one is gone, which drains.
        let upgraded = Instant::now();
        while alive(before) {
            if upgraded.elapsed() > Duration::from_secs(60) {
                return Err(format!("upgrade {upgrade}: process {before} does not end"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let after = process()?;
        println!("upgrade {upgrade}: process {after} serves in place of {before}");
    }
    Ok(began.elapsed())
}

/// The id of the process that answers the admin API.
fn process() -> Result<u64, String> {
    let reply = get(ADMIN, "/status").map_err(|error| format!("the admin API: {error}"))?;
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status: Value = serde_json::from_str(body).map_err(|error| format!("the admin API: {error}"))?;
    status["process"].as_u64().ok_or_else(|| "the status has no process id".to_owned())
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn alive(id: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Ends the last process; the first one is ours to wait for.
fn stop(first: u32) -> Outcome {
    let last = process()?;
    if last != u64::from(first) {
        let _ = Command::new("kill").args(["-TERM", &last.to_string()]).status();
    }
    Ok(())
}

fn post(port: u16, path: &str) -> std::io::Result<String> {
    super::ask("POST", port, path)
}
