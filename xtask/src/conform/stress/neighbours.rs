//! Clients that behave, beside those that do not: they must not notice.
//!
//! They share a core with attackers and upstreams, so that a part of what they notice is no doing of the gateway. How
//! much it is, a control says: the same attack, on a second gateway that has only what the first one leaves of its core.
//! That one's work in the kernel may delay the first one too, and is then taken for the harness's.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join3;

use super::bars::Bars;
use super::client::{Asks, Tally, on_runtime, steady};
use super::multiplexed;

/// Requests a second: on connections that are kept, on streams of one connection, on connections of their own.
const RATES: [f64; 3] = [200.0, 200.0, 20.0];
/// Later than this is as good as never.
const WITHIN: Duration = Duration::from_secs(1);
/// How much slower they may be than alone.
const SLOWER: f64 = 2.0;
/// Alone they are so fast that a turn of anything else on the machine makes a multiple of it. So much is allowed in any case.
const ALLOWED: Duration = Duration::from_millis(2);

/// What they see.
pub(super) struct Neighbours {
    pub(super) asked: u64,
    pub(super) failed: u64,
    /// The latency of 99 of 100.
    pub(super) p99: Duration,
    pub(super) first_failure: Option<String>,
}

impl Neighbours {
    /// Has them ask for `path` for so long.
    pub(super) fn watch(address: SocketAddr, path: &'static str, time: Duration) -> Result<Self, String> {
        let asks = |keeps| Asks { address, path, keeps, within: WITHIN };
        let [kept, streams, fresh] = RATES;
        let (mut all, streams, fresh) = on_runtime(join3(
            steady(asks(true), kept, time),
            multiplexed::steady(asks(true), streams, time),
            steady(asks(false), fresh, time),
        ))?;
        all.add(streams);
        all.add(fresh);
        let Tally { good, shed, late, failed, unsent, .. } = all;
        let failed = shed + late + failed + unsent;
        let p99 = all.percentile(0.99);
        Ok(Self { asked: good + failed, failed, p99, first_failure: all.first_failure })
    }

    /// The latency that they may have, where this is what they have alone, and `control` is what they have while somebody
    /// else is attacked: what the gateway adds to that must be less than what it may add to the former. A control that
    /// is faster than nobody at all is chance, and does not count.
    fn allowed(&self, control: Option<&Self>) -> Duration {
        let base = control.map_or(self.p99, |control| control.p99.max(self.p99));
        (base + self.p99.mul_f64(SLOWER - 1.0)).max(ALLOWED)
    }

    /// Lines about them, held against what they see alone, and while a second gateway is attacked in place of theirs.
    pub(super) fn hold(&self, bars: &mut Bars, alone: &Self, control: Option<&Self>) {
        let figure = format!("{} of {}", self.failed, self.asked);
        bars.hold("requests of others that failed", &figure, "0", self.failed == 0 && self.asked > 0);
        if let Some(why) = &self.first_failure {
            bars.note("the first of them", why);
        }
        bars.note("latency of others, 99th, without attack", &format!("{:.2?}", alone.p99));
        if let Some(control) = control {
            bars.note("the same, while another one is attacked", &format!("{:.2?}", control.p99));
        }
        let allowed = alone.allowed(control);
        let (figure, bar) = (format!("{:.2?}", self.p99), format!("< {allowed:.2?}"));
        bars.hold("latency of others, 99th", &figure, &bar, self.p99 < allowed);
    }
}

/// What the bar of latency is, in words, for whoever reads the figures.
pub(super) fn explain() {
    println!(
        "Others' latency is taken without an attack, while a second gateway is attacked (the control), and while theirs \
         is.\nWhat the attack adds to the control must be less than what they have without an attack, or {ALLOWED:?} in \
         all.\nThe control has the harness in it, and also what the second gateway's system calls take from the core \
         of the\nfirst one: what is ours may be more than the difference. A bar that is met by the control alone is no \
         proof."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(millis: u64) -> Neighbours {
        Neighbours { asked: 1, failed: 0, p99: Duration::from_millis(millis), first_failure: None }
    }

    #[test]
    fn what_the_control_shows_is_allowed_once_and_no_more() {
        let allowed =
            |alone, control: Option<u64>| seen(alone).allowed(control.map(seen).as_ref()).as_millis();
        assert_eq!(allowed(3, None), 6);
        assert_eq!(allowed(3, Some(8)), 11, "and not twice what the control has");
        assert_eq!(allowed(3, Some(1)), 6, "a fast control takes nothing away");
        assert_eq!(allowed(0, Some(0)), ALLOWED.as_millis());
    }
}
