//! `cargo xtask conform overload`: three times the load that one worker can serve, and what is left of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::Binary;
use super::bars::Bars;
use super::cgroup::Cgroup;
use super::client::{Asks, Tally, busy, on_runtime, steady};
use super::subject::{Subject, step_aside};
use crate::{Outcome, setup};

#[derive(Args)]
pub(in crate::conform) struct Options {
    /// Seconds of overload.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    #[command(flatten)]
    binary: Binary,
}

/// What the process may have, in MiB.
const MEMORY: u64 = 512;
/// The load, as a multiple of what can be served.
const LOAD: f64 = 3.0;
/// Connections that find out how much that is, and for how long.
const BUSY: usize = 32;
const CALIBRATION: Duration = Duration::from_secs(5);
/// After the overload: a load that is easily served, and how long it is watched.
const AFTER: (f64, Duration) = (0.2, Duration::from_secs(4));
/// Answers that come later are worth nothing: during the overload, and after it.
const WITHIN: Duration = Duration::from_secs(2);
const WITHIN_AFTER: Duration = Duration::from_millis(100);
/// How often the admin API is asked while it lasts.
const ASKED_EVERY: Duration = Duration::from_millis(100);

const LEAST_GOODPUT: f64 = 0.9;
const SLOWEST_ADMIN: Duration = Duration::from_millis(100);
const LATEST_RECOVERY: Duration = Duration::from_secs(2);

const ROUTES: &str = r#"{ "openapi": "3.1.0", "info": { "title": "overload", "version": "1" },
  "paths": { "/work": { "get": { "x-polygate-route": {
    "handler": { "export": "work", "module": "$import(./modules/main)" } } } } } }"#;
/// About two milliseconds of computing.
const CODE: &str = "export async function work(): Promise<Response> {
  let sum = 0;
  for (let n = 0; n < 40_000; n++) sum = (sum * 31 + n) | 0;
  return new Response(`${sum}`);
}
";
const SETTINGS: &str = "[log]\naccess = \"off\"\nxray-sample = 0\n";

pub(in crate::conform) fn run(options: &Options) -> Outcome {
    if let Some(missing) = setup::missing(&[("taskset", "util-linux")]) {
        return Err(missing);
    }
    let binary = options.binary.path()?;
    step_aside()?;
    let cgroup = Cgroup::make(MEMORY << 20);
    if let Err(why) = &cgroup {
        println!("no control group can be made, so that memory is only watched ({why})");
    }
    let cgroup = cgroup.ok();
    let files = [("config/routes.oas.json", ROUTES), ("modules/main.ts", CODE), ("polygate.toml", SETTINGS)];
    let subject = Subject::start(&binary, "conform-overload", &files, cgroup.as_ref())?;
    let asks = Asks { address: subject.address, path: "/work", keeps: true, within: WITHIN };

    let calibrated = on_runtime(busy(&asks, BUSY, CALIBRATION))?;
    let peak = calibrated.good as f64 / CALIBRATION.as_secs_f64();
    if calibrated.failed + calibrated.shed > 0 || peak < 1.0 {
        return Err(format!("without overload there were failures: {:?}", calibrated.first_failure));
    }
    let time = Duration::from_secs(options.seconds);
    let (over, memory, admin) = (AtomicBool::new(false), Mutex::new(0), Mutex::new(Answers::default()));
    let (during, after) = std::thread::scope(|scope| {
        subject.watch(scope, &over, &memory);
        scope.spawn(|| admin_answers(&subject, &over, &admin));
        let after = scope.spawn(|| {
            // A thread of its own: the end of the overload is the end of its sending, not of its answers.
            std::thread::sleep(time);
            let asks = Asks { within: WITHIN_AFTER, ..asks.clone() };
            on_runtime(steady(asks, peak * AFTER.0, AFTER.1))
        });
        let during = on_runtime(steady(asks.clone(), peak * LOAD, time));
        let after = after.join().unwrap_or_else(|_| Err("a client's thread failed".to_owned()));
        over.store(true, Ordering::Relaxed);
        during.and_then(|during| Ok((during, after?)))
    })?;
    let memory = memory.into_inner().unwrap_or_default();
    let admin = admin.into_inner().unwrap_or_default();
    judge(&subject, cgroup.as_ref(), (peak, time), during, after, &admin, memory)
}

fn judge(
    subject: &Subject,
    cgroup: Option<&Cgroup>,
    (peak, time): (f64, Duration),
    mut during: Tally,
    mut after: Tally,
    admin: &Answers,
    memory: u64,
) -> Outcome {
    let mut bars = Bars::default();
    bars.about(&format!(
        "{peak:.0} requests/s can be served by one worker; {:.0}/s for {time:?}:",
        peak * LOAD
    ));
    let goodput = during.good as f64 / time.as_secs_f64() / peak;
    let bar = format!(">= {:.0} % of that", LEAST_GOODPUT * 100.0);
    bars.hold("answered within 2 s", &format!("{:.1} %", goodput * 100.0), &bar, goodput >= LEAST_GOODPUT);
    let (p50, p99) = (during.percentile(0.5), during.percentile(0.99));
    bars.note("their latency, median and 99th", &format!("{p50:.0?}, {p99:.0?}"));
    let lost = (1.0 - goodput).max(0.0) * time.as_secs_f64() / during.shed.max(1) as f64;
    bars.note("what is not reached, for each refusal", &format!("{:.0} us", lost * 1e6));
    bars.note("answered later", &format!("{}", during.late));
    let failed = during.failed;
    let why = during.first_failure.as_deref().unwrap_or("none");
    bars.hold("neither answered nor refused", &format!("{failed}"), "0", failed == 0);
    if failed > 0 {
        bars.note("the first of them", why);
    }
    bars.note("not sent: 4,000 are under way", &format!("{}", during.unsent));
    let counted = subject.metric("polygate_exchanges_shed_total", "cause=");
    let reasons = subject.metric("polygate_exchanges_total", "reason=\"overloaded\"");
    let seen = during.shed + after.shed;
    let (counted, reasons) = (counted?, reasons?);
    let all = counted == seen && reasons == seen;
    let figure = format!("{seen}, {counted}, {reasons}");
    bars.hold("refused; with cause, with reason in metrics", &figure, "the same", all && seen > 0);
    let slowest = admin.slowest;
    let figure = format!("{:.1?} of {}", slowest, admin.count);
    bars.hold("slowest answer of /health, /status", &figure, "< 100 ms", slowest < SLOWEST_ADMIN);
    bars.hold("of them failed", &format!("{}", admin.failed), "0", admin.failed == 0 && admin.count > 0);
    let mib = memory / 1024;
    bars.hold("most memory", &format!("{mib} MiB"), "< 512 MiB", mib < MEMORY && subject.memory_kib() > 0);
    if let Some(killed) = cgroup.and_then(Cgroup::killed) {
        bars.hold("killed in a control group of 512 MiB", &format!("{killed}"), "0", killed == 0);
    }
    let recovered = after.last_bad.unwrap_or_default();
    let figure = format!("{recovered:.2?}");
    bars.hold(
        "until all is well, within 100 ms, again",
        &figure,
        "< 2 s",
        recovered < LATEST_RECOVERY && after.good > 0,
    );
    bars.note("latency after it, 99th", &format!("{:.1?}", after.percentile(0.99)));
    bars.conclude()
}

/// What the admin API did.
#[derive(Default)]
struct Answers {
    count: u64,
    failed: u64,
    slowest: Duration,
}

fn admin_answers(subject: &Subject, over: &AtomicBool, answers: &Mutex<Answers>) {
    while !over.load(Ordering::Relaxed) {
        for path in ["/health/live", "/health/ready", "/status"] {
            let answer = subject.admin(path);
            let Ok(mut answers) = answers.lock() else { return };
            answers.count += 1;
            match answer {
                Ok((_, took)) => answers.slowest = answers.slowest.max(took),
                Err(why) => {
                    eprintln!("{why}");
                    answers.failed += 1;
                }
            }
        }
        std::thread::sleep(ASKED_EVERY);
    }
}
