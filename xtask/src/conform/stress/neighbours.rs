//! Clients that behave, beside those that do not: they must not notice.

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

    /// The latency that they may have, where this is what they have alone.
    fn allowed(&self) -> Duration {
        self.p99.mul_f64(SLOWER).max(ALLOWED)
    }

    /// Lines about them, held against what they see alone.
    pub(super) fn hold(&self, bars: &mut Bars, alone: &Self) {
        let figure = format!("{} of {}", self.failed, self.asked);
        bars.hold("requests of others that failed", &figure, "0", self.failed == 0 && self.asked > 0);
        if let Some(why) = &self.first_failure {
            bars.note("the first of them", why);
        }
        bars.note("latency of others, 99th, alone", &format!("{:.2?}", alone.p99));
        let allowed = alone.allowed();
        let (figure, bar) = (format!("{:.2?}", self.p99), format!("< {allowed:.2?}"));
        bars.hold("latency of others, 99th", &figure, &bar, self.p99 < allowed);
    }
}
