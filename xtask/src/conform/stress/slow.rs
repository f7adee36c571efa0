//! `cargo xtask conform slow`: thousands of clients that send or read as slowly as they may, by `slowhttptest`, while
//! others are served.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::bars::Bars;
use super::neighbours::Neighbours;
use super::subject::{Subject, step_aside};
use super::{Binary, forwarding, upstream};
use crate::process::program;
use crate::{Outcome, setup};

#[derive(Args)]
pub(in crate::conform) struct Options {
    /// Seconds of each kind.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Connections that are slow.
    #[arg(long, default_value_t = 4_000)]
    connections: u64,
    #[command(flatten)]
    binary: Binary,
}

/// One kind of slowness.
struct Kind {
    name: &'static str,
    /// Of `slowhttptest`.
    arguments: &'static [&'static str],
    path: &'static str,
    /// Connections that the gateway has for each that is slow: one to the upstream as well, where a request has begun.
    sides: u64,
}

const KINDS: [Kind; 3] = [
    Kind { name: "slow heads", arguments: &["-H", "-i", "5", "-x", "10"], path: upstream::QUICK, sides: 1 },
    Kind {
        name: "slow bodies",
        arguments: &["-B", "-i", "5", "-s", "65536", "-x", "10"],
        path: upstream::QUICK,
        sides: 2,
    },
    Kind {
        name: "slow reading",
        arguments: &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"],
        path: upstream::BIG,
        sides: 2,
    },
];
/// How many connect in a second: the first ones must still be there when the last ones come.
const RATE: &str = "1000";
/// What each may cost in memory.
const MOST_BYTES: f64 = 30.0 * 1024.0;

pub(in crate::conform) fn run(options: &Options) -> Outcome {
    let needed = [("slowhttptest", "slowhttptest"), ("taskset", "util-linux")];
    if let Some(missing) = setup::missing(&needed) {
        return Err(missing);
    }
    let binary = options.binary.path()?;
    step_aside()?;
    let routes = forwarding()?;
    let files = [
        ("config/routes.oas.json", routes.as_str()),
        ("polygate.toml", "[log]\naccess = \"off\"\nxray-sample = 0\n"),
    ];
    let mut bars = Bars::default();
    for kind in &KINDS {
        // Each has a process of its own, so that memory is that of its connections.
        let subject = Subject::start(&binary, "conform-slow", &files, None)?;
        suffer(&subject, kind, options, &mut bars)?;
    }
    bars.conclude()
}

fn suffer(subject: &Subject, kind: &Kind, options: &Options, bars: &mut Bars) -> Outcome {
    let time = Duration::from_secs(options.seconds);
    Neighbours::watch(subject.address, "/", Duration::from_secs(1))?;
    let alone = Neighbours::watch(subject.address, "/", Duration::from_secs(5))?;
    let (before, cpu) = (subject.memory_kib(), subject.cpu());
    let already = subject.metric("polygate_connections", "")?;
    let (over, peak) = (AtomicBool::new(false), Mutex::new(Peak::default()));
    let (connections, seconds) = (options.connections.to_string(), options.seconds.to_string());
    let url = format!("http://{}{}", subject.address, kind.path);
    let (neighbours, attack) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let now = (subject.metric("polygate_connections", ""), subject.memory_kib());
                if let (Ok(connections), memory) = now
                    && let Ok(mut peak) = peak.lock()
                {
                    peak.connections = peak.connections.max(connections);
                    peak.memory = peak.memory.max(memory);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        // It has what is left of the core that it shares with those who are to be served.
        let idle = ["--idle", "0", "slowhttptest"];
        let load = ["-c", &connections, "-r", RATE, "-l", &seconds, "-p", "5", "-u", &url];
        let attack = scope.spawn(move || program("chrt", &[&idle, kind.arguments, &load].concat()).output());
        let neighbours = Neighbours::watch(subject.address, "/", time);
        over.store(true, Ordering::Relaxed);
        (neighbours, attack.join())
    });
    let neighbours = neighbours?;
    attack.map_err(|_| "a thread failed".to_owned())??;
    let Peak { connections, memory } = peak.into_inner().unwrap_or_default();
    let slow = connections.saturating_sub(already);
    bars.about(&format!("{}: up to {} connections, for {time:?}", kind.name, options.connections));
    let figure = format!("{slow} of {}", options.connections);
    bars.hold("connections at a time", &figure, "95 %", slow * 20 >= options.connections * 19);
    let sockets = (slow * kind.sides).max(1) as f64;
    let each = memory.saturating_sub(before) as f64 * 1024.0 / sockets;
    bars.hold("memory of each", &format!("{each:.0} bytes"), "< 30,720 bytes", each < MOST_BYTES);
    if kind.sides > 1 {
        bars.note("with its connection to the upstream", &format!("{:.0} bytes", each * kind.sides as f64));
    }
    let spent = (subject.cpu() - cpu) / time.as_secs_f64();
    bars.note("share of a core", &format!("{:.1} %", spent * 100.0));
    neighbours.hold(bars, &alone);
    let left = subject.metric("polygate_connections", "")?;
    bars.note("connections afterwards", &format!("{left}"));
    Ok(())
}

/// The most there was.
#[derive(Default)]
struct Peak {
    connections: u64,
    memory: u64,
}
