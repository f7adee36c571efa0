//! One round of load on one server.

use std::time::Duration;

use super::servers::{LOAD_CORE, Server};
use crate::process::program;

/// What one round showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// CPU time of the server's processes for each request, in microseconds.
    pub cpu_micros: f64,
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

/// Puts load on the server and measures.
pub(super) fn load(server: &Server, connections: usize, duration: Duration) -> Result<Sample, String> {
    let ids = server.process_ids();
    let before: u64 = ids.iter().map(|id| cpu_ticks(*id)).sum();
    let (connections, seconds) = (format!("-c{connections}"), format!("-d{}s", duration.as_secs()));
    let wrk = ["-c", LOAD_CORE, "wrk", "-t1", &connections, &seconds, "--latency", &server.url];
    let output = program("taskset", &wrk).output()?;
    let after: u64 = ids.iter().map(|id| cpu_ticks(*id)).sum();

    let requests = number_before(&output, " requests in ").ok_or_else(|| format!("wrk said: {output}"))?;
    if requests == 0.0 {
        return Err(format!("{} answered no request:\n{output}", server.name));
    }
    let errors = number_after(&output, "Non-2xx or 3xx responses: ").unwrap_or(0.0) + socket_errors(&output);
    Ok(Sample {
        cpu_micros: (after - before) as f64 / TICKS * 1e6 / requests,
        rate: number_after(&output, "Requests/sec:").unwrap_or(0.0),
        p50: latency(&output, "50%"),
        p99: latency(&output, "99%"),
        errors: errors as u64,
        memory_kib: ids.iter().map(|id| memory_kib(*id)).sum(),
    })
}

fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // Fields after the name in parentheses: utime and stime are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn memory_kib(id: u32) -> u64 {
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
