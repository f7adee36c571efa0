//! One round of load on one server.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::Protocol;
use super::servers::{LOAD_CORE, Server};
use crate::process::program;

/// What one round showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// CPU time of the server's processes for each request, in microseconds.
    pub cpu_micros: f64,
    /// How much of it was spent outside of the kernel.
    pub user_micros: f64,
    /// Requests in a second.
    pub rate: f64,
    /// Median latency in microseconds, as the load generator sees it.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Responses other than 2xx and socket errors.
    pub errors: u64,
    /// Resident memory after the round, in KiB.
    pub memory_kib: u64,
}

/// Clock ticks a second of `/proc/PID/stat`: 100 on every Linux that Rust supports.
const TICKS: f64 = 100.0;

/// Load as a round puts it on a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Keep-alive connections.
    pub connections: usize,
    /// How long.
    pub duration: Duration,
    /// Requests in a second, in all; `None`: as many as get answers.
    pub rate: Option<usize>,
    pub protocol: Protocol,
}

/// What a load generator said.
struct Answer {
    requests: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    errors: f64,
}

/// Puts load on the server and measures.
pub(super) fn load(server: &Server, load: &Load, busy: Option<&mut Busy>) -> Result<Sample, String> {
    let ids = server.process_ids();
    let before = cpu_ticks(&ids);
    let answer = match (busy, load.protocol, load.rate) {
        (Some(busy), ..) => busy.load(server, load)?,
        (None, Protocol::Handshakes, _) => handshakes(server, load)?,
        (None, Protocol::Http1, None) => wrk(server, load)?,
        (None, ..) => h2load(server, load)?,
    };
    let after = cpu_ticks(&ids);
    if answer.requests == 0.0 {
        return Err(format!("{} answered no request", server.name));
    }
    let micros = |before: u64, after: u64| (after - before) as f64 / TICKS * 1e6 / answer.requests;
    let user_micros = micros(before.0, after.0);
    Ok(Sample {
        cpu_micros: user_micros + micros(before.1, after.1),
        user_micros,
        rate: answer.rate,
        p50: answer.p50,
        p99: answer.p99,
        errors: answer.errors as u64,
        memory_kib: ids.iter().map(|id| memory_kib(*id)).sum(),
    })
}

/// The process of [`super::busy`], on the load's core.
pub(super) struct Busy {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    child: Child,
}

impl Busy {
    pub(super) fn start(port: u16, body: usize) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the busy load cannot be started: {error}");
        let own = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new("taskset")
            .args(["-c", LOAD_CORE])
            .arg(own)
            .args(["busy", &port.to_string(), &body.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(orders), Some(answers)) => Ok(Self { orders, answers: BufReader::new(answers), child }),
            _ => Err("the busy load has no pipes".to_owned()),
        }
    }

    fn load(&mut self, server: &Server, load: &Load) -> Result<Answer, String> {
        let lost = |error: std::io::Error| format!("the busy load is gone: {error}");
        let (port, path, connections) = (server.port, &server.path, load.connections);
        writeln!(self.orders, "{port} {path} {connections} {}", load.duration.as_millis()).map_err(lost)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(lost)?;
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let &[requests, errors, p50, p99] = numbers.as_slice() else {
            return Err(format!("the busy load said: {line:?}"));
        };
        Ok(Answer { requests, rate: requests / load.duration.as_secs_f64(), p50, p99, errors })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It ends by itself with its standard input; it holds nothing worth a goodbye.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As many requests as get answers.
fn wrk(server: &Server, load: &Load) -> Result<Answer, String> {
    let (connections, seconds) =
        (format!("-c{}", load.connections), format!("-d{}s", load.duration.as_secs()));
    let wrk = ["-c", LOAD_CORE, "wrk", "-t1", &connections, &seconds, "--latency", &server.url()];
    let output = program("taskset", &wrk).output()?;
    Ok(Answer {
        requests: number_before(&output, " requests in ").ok_or_else(|| format!("wrk said: {output}"))?,
        rate: number_after(&output, "Requests/sec:").unwrap_or(0.0),
        p50: latency(&output, "50%"),
        p99: latency(&output, "99%"),
        errors: number_after(&output, "Non-2xx or 3xx responses: ").unwrap_or(0.0) + socket_errors(&output),
    })
}

/// HTTP/2, or as many requests a second for every server: what the load's own core does meanwhile, and with it the price of
/// waking it, is the same for all then.
fn h2load(server: &Server, load: &Load) -> Result<Answer, String> {
    let (connections, seconds) = (load.connections.to_string(), load.duration.as_secs().to_string());
    let each = load.rate.map(|rate| (rate / load.connections.max(1)).max(1).to_string());
    let mut arguments = vec!["-c", LOAD_CORE, "h2load", "-c", &connections, "-D", &seconds];
    match load.protocol {
        Protocol::Http2 => arguments.extend(["-m", "10"]),
        _ => arguments.push("--h1"),
    }
    if let Some(each) = &each {
        arguments.extend(["--rps", each]);
    }
    let url = server.url();
    arguments.push(&url);
    let output = program("taskset", &arguments).output()?;
    let said = || format!("h2load said: {output}");
    let requests = number_before(&output, " done, ").ok_or_else(said)?;
    let good = number_before(&output, " 2xx").ok_or_else(said)?;
    Ok(Answer {
        requests,
        rate: number_before(&output, " req/s").unwrap_or(0.0),
        p50: f64::NAN,
        p99: f64::NAN,
        errors: requests - good,
    })
}

/// Full handshakes of TLS 1.3, one after the other.
fn handshakes(server: &Server, load: &Load) -> Result<Answer, String> {
    let (address, seconds) = (format!("127.0.0.1:{}", server.port), load.duration.as_secs().to_string());
    let time = ["openssl", "s_time", "-connect", &address, "-new", "-tls1_3", "-time", &seconds];
    let output = program("taskset", &[&["-c", LOAD_CORE], &time[..]].concat()).output()?;
    let made = number_before(&output, " connections in ");
    let requests = made.ok_or_else(|| format!("openssl said: {output}"))?;
    let rate = requests / load.duration.as_secs_f64();
    Ok(Answer { requests, rate, p50: f64::NAN, p99: f64::NAN, errors: 0.0 })
}

/// CPU time so far, in ticks: outside of the kernel, and in it.
pub(crate) fn cpu_ticks(ids: &[u32]) -> (u64, u64) {
    ids.iter().fold((0, 0), |(user, system), id| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // Fields after the name in parentheses: utime and stime are the 12th and 13th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0);
        (user + field(11), system + field(12))
    })
}

/// Resident memory of a process.
pub(crate) fn memory_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    number_after(&status, "VmRSS:").unwrap_or(0.0) as u64
}

fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = text.split_once(label)?.1.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())].parse().ok()
}

fn number_before(text: &str, label: &str) -> Option<f64> {
    text.split_once(label)?.0.split_whitespace().last()?.parse().ok()
}

fn socket_errors(output: &str) -> f64 {
    let Some((_, rest)) = output.split_once("Socket errors:") else { return 0.0 };
    let line = rest.lines().next().unwrap_or("");
    ["connect ", "read ", "write ", "timeout "].iter().filter_map(|label| number_after(line, label)).sum()
}

/// A percentile of wrk's latency distribution, in microseconds.
fn latency(output: &str, percentile: &str) -> f64 {
    let line = output.lines().find_map(|line| line.trim().strip_prefix(percentile)).unwrap_or("").trim();
    let split = line.find(|c: char| c.is_alphabetic()).unwrap_or(line.len());
    let number: f64 = line[..split].parse().unwrap_or(0.0);
    number
        * match &line[split..] {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => 0.0,
        }
}
