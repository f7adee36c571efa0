//! `cargo xtask conform attacks`: what is known of attacks over HTTP/2, by clients that come back as soon as they are cut
//! off, while others are served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::bars::Bars;
use super::frames::{self, GOAWAY, RST_STREAM, Reader};
use super::neighbours::Neighbours;
use super::recipes::{Recipe, recipes, stall};
use super::subject::{Subject, stand_back, step_aside};
use super::{Binary, forwarding};
use crate::{Outcome, setup};

#[derive(Args)]
pub(in crate::conform) struct Options {
    /// Seconds of each attack.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections a second that attackers make, each of which is used until it is cut off.
    #[arg(long, default_value_t = 20)]
    rate: u64,
    /// Only attacks whose name holds this.
    filter: Option<String>,
    #[command(flatten)]
    binary: Binary,
}

/// Attackers that share the rate.
const ATTACKERS: u64 = 3;
/// How long those who behave are watched without those who do not.
const ALONE: Duration = Duration::from_secs(3);
/// How long one waits to be cut off.
const PATIENCE: Duration = Duration::from_secs(3);
/// The share of one core that the gateway may spend, its other clients included.
const MOST_CPU: f64 = 0.3;
/// How much its memory may grow, in KiB.
const MOST_GROWTH: u64 = 64 << 10;
/// When the last stream whose window stays shut is given up: `timeouts.write`, and a moment.
const GIVEN_UP: Duration = Duration::from_secs(32);

pub(in crate::conform) fn run(options: &Options) -> Outcome {
    if let Some(missing) = setup::missing(&[("taskset", "util-linux"), ("chrt", "util-linux")]) {
        return Err(missing);
    }
    let binary = options.binary.path()?;
    step_aside()?;
    let routes = forwarding()?;
    let files = [
        ("config/routes.oas.json", routes.as_str()),
        ("polygate.toml", "[log]\naccess = \"off\"\nxray-sample = 0\n"),
    ];
    let subject = Subject::start(&binary, "conform-attacks", &files, None)?;
    let time = Duration::from_secs(options.seconds);
    let mut bars = Bars::default();
    // Once to warm up.
    Neighbours::watch(subject.address, "/", Duration::from_secs(1))?;
    let chosen = |name: &str| options.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    for recipe in recipes().iter().filter(|recipe| chosen(recipe.name)) {
        attack(&subject, recipe, (options.rate, time), &mut bars)?;
    }
    if chosen(STALLED) {
        stalled_windows(&subject, &mut bars)?;
    }
    bars.conclude()
}

/// What attackers saw.
#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    cut_off: AtomicU64,
    calmed: AtomicU64,
}

fn attack(subject: &Subject, recipe: &Recipe, pace: (u64, Duration), bars: &mut Bars) -> Outcome {
    // Each time anew: how fast the machine is changes as well.
    let alone = Neighbours::watch(subject.address, "/", ALONE)?;
    let seen = Seen::default();
    let (before, memory) = (subject.cpu(), subject.memory_kib());
    let (over, peak) = (AtomicBool::new(false), Mutex::new(0));
    let began = Instant::now();
    let neighbours = std::thread::scope(|scope| {
        subject.watch(scope, &over, &peak);
        let neighbours = under_attack(subject, recipe, pace, &seen);
        over.store(true, Ordering::Relaxed);
        neighbours
    })?;
    let took = began.elapsed().as_secs_f64();
    let cpu = (subject.cpu() - before) / took;
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (made, cut) = (of(&seen.connections), of(&seen.cut_off));
    bars.about(&format!("{}: {:.0} connections/s, each of {}", recipe.name, made as f64 / took, recipe.what));
    let figure = format!("{cut} of {made}, {} told why", of(&seen.calmed));
    bars.hold("cut off", &figure, "all", cut == made && made > 0);
    let bar = format!("<= {:.0} %", MOST_CPU * 100.0);
    bars.hold("share of a core", &format!("{:.1} %", cpu * 100.0), &bar, cpu <= MOST_CPU);
    let peak = peak.into_inner().unwrap_or_default();
    grown(memory, peak, bars);
    neighbours.hold(bars, &alone);
    Ok(())
}

/// What others see while it is attacked: so many connections a second, for so long.
fn under_attack(
    subject: &Subject,
    recipe: &Recipe,
    (rate, time): (u64, Duration),
    seen: &Seen,
) -> Result<Neighbours, String> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for attacker in 0..ATTACKERS {
            let address = subject.address;
            scope.spawn(move || {
                // Without it they are in the way, which is seen.
                let _ = stand_back();
                let pause = Duration::from_secs_f64(1.0 / rate.max(1) as f64);
                for number in (attacker..).step_by(ATTACKERS as usize) {
                    let due = began + pause * number as u32;
                    if due >= began + time {
                        return;
                    }
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    once(address, recipe, seen);
                }
            });
        }
        Neighbours::watch(subject.address, "/", time)
    })
}

fn grown(before: u64, peak: u64, bars: &mut Bars) {
    let growth = peak.saturating_sub(before);
    let figure = format!("{:.1} MiB", growth as f64 / 1024.0);
    bars.hold("growth of memory", &figure, "< 64 MiB", growth < MOST_GROWTH && peak > 0);
}

/// Attacks on one connection until it is cut off.
fn once(address: SocketAddr, recipe: &Recipe, seen: &Seen) {
    seen.connections.fetch_add(1, Ordering::Relaxed);
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let patient = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
    if patient.is_err() {
        return;
    }
    // It may be cut off before it has sent all.
    let _ = stream.write_all(&recipe.bytes);
    let (mut reader, mut room) = (Reader::default(), [0; 16 << 10]);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match stream.read(&mut room) {
            Ok(0) => _ = seen.cut_off.fetch_add(1, Ordering::Relaxed),
            // Reset, which is as final; not so when nothing comes.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                seen.cut_off.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
            Ok(count) => {
                for (kind, _, payload) in reader.read(&room[..count]) {
                    let blamed =
                        kind == GOAWAY && frames::goaway_code(&payload).is_some_and(|code| code != 0);
                    seen.calmed.fetch_add(u64::from(blamed), Ordering::Relaxed);
                }
                continue;
            }
        }
        return;
    }
}

const STALLED: &str = "stalled windows";

/// Streams that ask for much and take nothing: each is given up in time, and until then costs little.
fn stalled_windows(subject: &Subject, bars: &mut Bars) -> Outcome {
    let alone = Neighbours::watch(subject.address, "/", ALONE)?;
    let (bytes, streams) = stall();
    let memory = subject.memory_kib();
    let (over, peak) = (AtomicBool::new(false), Mutex::new(0));
    let resets = Mutex::new((0, Duration::ZERO));
    let began = Instant::now();
    let neighbours = std::thread::scope(|scope| {
        subject.watch(scope, &over, &peak);
        for _ in 0..ATTACKERS {
            scope.spawn(|| -> std::io::Result<()> {
                // As above.
                let _ = stand_back();
                let mut stream = TcpStream::connect(subject.address)?;
                stream.set_read_timeout(Some(GIVEN_UP))?;
                stream.write_all(&bytes)?;
                let (mut reader, mut room, mut left) = (Reader::default(), [0; 16 << 10], streams);
                while left > 0 {
                    let count = stream.read(&mut room)?;
                    if count == 0 {
                        break;
                    }
                    for (kind, _, _) in reader.read(&room[..count]) {
                        if kind == RST_STREAM {
                            left -= 1;
                            if let Ok(mut resets) = resets.lock() {
                                *resets = (resets.0 + 1, began.elapsed());
                            }
                        }
                    }
                }
                Ok(())
            });
        }
        let neighbours = Neighbours::watch(subject.address, "/", GIVEN_UP);
        over.store(true, Ordering::Relaxed);
        neighbours
    })?;
    let peak = peak.into_inner().unwrap_or_default();
    let (reset, last) = resets.into_inner().unwrap_or_default();
    let all = streams * ATTACKERS as usize;
    bars.about(&format!("{STALLED}: {ATTACKERS} connections of {streams} streams that ask for 256 KiB each"));
    let figure = format!("{reset} of {all}, in {last:.1?}");
    bars.hold("given up", &figure, "all, in 32 s", reset == all && last <= GIVEN_UP);
    grown(memory, peak, bars);
    neighbours.hold(bars, &alone);
    Ok(())
}
