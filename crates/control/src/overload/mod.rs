//! Overload: a thread of its own samples memory, descriptors and the workers' event loops four times a second, and tells
//! the workers how far up the ladder they are. No worker measures anything.

mod ladder;
mod memory;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use polygate_gateway::{Cause, Level, Overload, Strain};
use polygate_pipeline::LogLevel;
use polygate_plan::Settings;

use self::ladder::{Ladder, Reading};
use self::memory::Memory;
use crate::descriptors;
use crate::state::State;

/// How often is looked.
const EVERY: Duration = Duration::from_millis(250);

/// Descriptors that are kept back from the ladder, beside one for each worker: the admin API, files and upstreams need some
/// however few there are.
const RESERVE: u64 = 32;

/// What was seen last, for views and metrics.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// What is done, by the workers themselves as well, and what the workers are told beyond that.
    pub(crate) overload: Overload,
    /// Since when it has been this level.
    pub(crate) since: SystemTime,
    /// One for each cause, in their order.
    pub(crate) readings: [Reading; Cause::ALL.len()],
}

/// Starts the watch over a process, for as long as it lives.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(state: Arc<State>, give_back: fn()) -> std::io::Result<()> {
    let mut watch =
        Watch { memory: Memory::new(), ladder: Ladder::default(), since: SystemTime::now(), give_back };
    std::thread::Builder::new().name("polygate-overload".to_owned()).spawn(move || {
        loop {
            watch.look(&state);
            std::thread::sleep(EVERY);
        }
    })?;
    Ok(())
}

struct Watch {
    memory: Memory,
    ladder: Ladder,
    since: SystemTime,
    /// Has the allocator give freed memory back.
    give_back: fn(),
}

impl Watch {
    fn look(&mut self, state: &State) {
        let Some(gateway) = state.gateway() else { return };
        let Some(running) = state.deployments().running else { return };
        let settings = &running.deployment.plan().settings;
        // Looked up each time: it can be changed from outside.
        let descriptors = descriptors::limit().map(|limit| usable(limit, gateway.workers()));
        let readings = self.readings(settings, gateway.strain(), descriptors);
        let before = self.ladder.level();
        let (level, cause) = self.ladder.step(&settings.overload, &readings);
        // Between two samples there is time for thousands of connections.
        let last_descriptor = descriptors
            .filter(|_| settings.overload.enabled)
            .and_then(|most| RawFd::try_from((most as f64 * settings.overload.pause_at) as u64).ok());
        let overload = Overload { level, cause, last_descriptor };
        if level != before {
            self.since = SystemTime::now();
            say(state, before, overload, &readings);
        }
        let (level, cause) = self.ladder.told(&readings);
        gateway.press(Overload { level, cause, last_descriptor });
        // What is freed stays with the process for a while, and would count as used.
        if self.ladder.of(Cause::Memory) > Level::Calm {
            (self.give_back)();
        }
        state.set_overload(Report { overload, since: self.since, readings });
    }

    fn readings(
        &mut self,
        settings: &Settings,
        strain: Strain,
        descriptors: Option<u64>,
    ) -> [Reading; Cause::ALL.len()] {
        Cause::ALL.map(|cause| {
            let (used, most) = match cause {
                Cause::Memory => {
                    let (used, most) = self.memory.read(settings.overload.memory);
                    (used as f64, most as f64)
                }
                Cause::Descriptors => match descriptors {
                    Some(most) => (descriptors::open().unwrap_or(0) as f64, most as f64),
                    None => (0.0, f64::INFINITY),
                },
                Cause::Lag => (strain.lag.as_secs_f64(), settings.overload.lag.as_secs_f64()),
                Cause::Exchanges => (strain.exchanges as f64, settings.limits.exchanges as f64),
            };
            Reading { cause, used, most }
        })
    }
}

/// Of so many descriptors those that the ladder gives away.
fn usable(limit: u64, workers: usize) -> u64 {
    limit.saturating_sub(RESERVE + workers as u64).max(limit / 2)
}

fn say(state: &State, before: Level, now: Overload, readings: &[Reading]) {
    let why = now.cause.and_then(|cause| readings.iter().find(|reading| reading.cause == cause));
    let why = why.map_or_else(String::new, |reading| format!(" ({reading})"));
    let what = match now.level {
        Level::Calm => "overload is over",
        Level::Close => "overload: connections are closed after their exchange, the oldest idle ones at once",
        Level::Shed => "overload: new exchanges are answered with 503",
        Level::Pause => "overload: no connections are accepted",
    };
    let level = if now.level > before { LogLevel::Warn } else { LogLevel::Info };
    state.say(level, format!("{what}{why}"));
}
