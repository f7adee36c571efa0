//! The ladder: from how much of each thing is used to what is done about it. Up at once, down with a margin.

use std::fmt;

use polygate_gateway::{Cause, Level};
use polygate_plan::Overload;

/// A level is left again once the share has fallen so far below where it begins.
const MARGIN: f64 = 0.05;

/// When the lag has fallen to this share of its limit, it is over.
const LAG_OVER: f64 = 0.5;

/// How much of something is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// What.
    pub(crate) cause: Cause,
    /// Bytes, descriptors, seconds, exchanges.
    pub(crate) used: f64,
    /// How much of it there is; infinite where nothing limits it.
    pub(crate) most: f64,
}

impl Reading {
    /// The share that is used; above 1 when more is than should be.
    pub(crate) fn share(&self) -> f64 {
        if self.most > 0.0 { self.used / self.most } else { 0.0 }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, used, most } = self;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        match cause {
            Cause::Memory => write!(f, "memory: {:.0} of {:.0} MiB", mib(*used), mib(*most)),
            Cause::Descriptors => write!(f, "descriptors: {used} of {most}"),
            Cause::Lag => write!(f, "a worker's event loop is {used:.3} s late, of {most} s"),
            Cause::Exchanges => write!(f, "exchanges of a worker: {used} of {most}"),
        }
    }
}

/// Where each cause has got to.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    levels: [Level; Cause::ALL.len()],
}

impl Ladder {
    /// The highest of all.
    pub(crate) fn level(&self) -> Level {
        self.levels.into_iter().max().unwrap_or_default()
    }

    /// How far one cause has got.
    pub(crate) fn of(&self, cause: Cause) -> Level {
        self.levels[cause as usize]
    }

    /// Takes new readings. Gives the level, and what has brought it there.
    pub(crate) fn step(&mut self, settings: &Overload, readings: &[Reading]) -> (Level, Option<Cause>) {
        for reading in readings {
            let level = &mut self.levels[reading.cause as usize];
            *level = if settings.enabled { next(settings, *level, reading) } else { Level::Calm };
        }
        self.highest(readings.iter())
    }

    /// The same of what workers cannot see for themselves.
    pub(crate) fn told(&self, readings: &[Reading]) -> (Level, Option<Cause>) {
        self.highest(readings.iter().filter(|reading| reading.cause != Cause::Lag))
    }

    fn highest<'a>(&self, readings: impl Iterator<Item = &'a Reading>) -> (Level, Option<Cause>) {
        let worst = readings.max_by(|a, b| {
            self.of(a.cause).cmp(&self.of(b.cause)).then_with(|| a.share().total_cmp(&b.share()))
        });
        let level = worst.map_or(Level::Calm, |reading| self.of(reading.cause));
        (level, worst.filter(|_| level > Level::Calm).map(|reading| reading.cause))
    }
}

fn next(settings: &Overload, before: Level, reading: &Reading) -> Level {
    let share = reading.share();
    match reading.cause {
        Cause::Memory | Cause::Descriptors => {
            let reached = |level: &Level| {
                let at = match level {
                    Level::Calm => return true,
                    Level::Close => settings.close_at,
                    Level::Shed => settings.shed_at,
                    Level::Pause => settings.pause_at,
                };
                share >= if *level <= before { at - MARGIN } else { at }
            };
            Level::ALL.into_iter().rfind(reached).unwrap_or_default()
        }
        // Each worker sheds what it cannot do in time by itself, long before it is seen here. Closing connections, or letting
        // new ones wait, would only make more work.
        Cause::Lag => {
            let at = if before == Level::Shed { LAG_OVER } else { 1.0 };
            if share >= at { Level::Shed } else { Level::Calm }
        }
        // Each worker counts them itself, exactly.
        Cause::Exchanges => Level::Calm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of memory, descriptors, lag and exchanges.
    fn monitor(shares: [f64; 4]) -> [Reading; 4] {
        let mut shares = shares.into_iter();
        Cause::ALL.map(|cause| Reading { cause, used: shares.next().unwrap() * 1000.0, most: 1000.0 })
    }

    fn steps(shares: &[f64], cause: Cause) -> Vec<Level> {
        let mut ladder = Ladder::default();
        let of = |share: f64| Cause::ALL.map(|of| if of == cause { share } else { 0.0 });
        shares.iter().map(|share| ladder.step(&Overload::default(), &monitor(of(*share))).0).collect()
    }

    use Level::{Calm, Close, Pause, Shed};

    #[test]
    fn the_ladder_is_climbed_at_once_and_left_with_a_margin() {
        let shares = [0.84, 0.85, 0.81, 0.79, 0.93, 0.88, 0.86, 0.97, 0.93, 0.91, 0.5, 1.2, 0.0];
        let expected = [Calm, Close, Close, Calm, Shed, Shed, Close, Pause, Pause, Shed, Calm, Pause, Calm];
        for cause in [Cause::Memory, Cause::Descriptors] {
            assert_eq!(steps(&shares, cause), expected, "{cause:?}");
        }
    }

    #[test]
    fn lag_sheds_and_exchanges_are_counted_elsewhere() {
        let shares = [0.9, 1.0, 0.6, 0.4, 50.0, 0.0];
        assert_eq!(steps(&shares, Cause::Lag), [Calm, Shed, Shed, Calm, Shed, Calm]);
        assert_eq!(steps(&shares, Cause::Exchanges), [Calm; 6]);
    }

    #[test]
    fn the_worst_is_named_and_all_can_be_switched_off() {
        let mut ladder = Ladder::default();
        let mut settings = Overload::default();
        let readings = monitor([0.86, 0.95, 0.0, 1.0]);
        assert_eq!(ladder.step(&settings, &readings), (Shed, Some(Cause::Descriptors)));
        // A lower level's higher share does not count.
        assert_eq!(ladder.step(&settings, &monitor([0.93, 0.88, 1.1, 0.0])), (Shed, Some(Cause::Lag)));
        settings.enabled = false;
        assert_eq!(ladder.step(&settings, &readings), (Calm, None));
    }

    #[test]
    fn workers_are_not_told_what_they_see_for_themselves() {
        let mut ladder = Ladder::default();
        let readings = monitor([0.86, 0.0, 2.0, 0.0]);
        assert_eq!(ladder.step(&Overload::default(), &readings), (Shed, Some(Cause::Lag)));
        assert_eq!(ladder.told(&readings), (Close, Some(Cause::Memory)));
        let readings = monitor([0.0, 0.0, 2.0, 0.0]);
        ladder.step(&Overload::default(), &readings);
        assert_eq!(ladder.told(&readings), (Calm, None));
    }

    #[test]
    fn what_nothing_limits_is_never_short() {
        let reading = |most| Reading { cause: Cause::Descriptors, used: 9.0, most };
        assert_eq!((reading(f64::INFINITY).share(), reading(0.0).share()), (0.0, 0.0));
    }
}
