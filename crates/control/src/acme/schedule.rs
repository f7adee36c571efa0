//! When a certificate is renewed, and how long a failure is waited out.

use std::time::{Duration, SystemTime};

/// Certificates that are valid for less long go by their lifetime alone: suggestions of authorities are as coarse as a
/// day.
const SHORT_LIVED: Duration = Duration::from_secs(2 * 86_400);

/// A certificate is not renewed again sooner than this after its beginning, whatever the authority suggests; many
/// are dated back by an hour.
const SETTLED: Duration = Duration::from_secs(2 * 3600);

/// The wait after the first failed order. Authorities limit how often validation may fail: Let's Encrypt to five times
/// an hour for a name; doubling, that is not reached.
const AFTER_REFUSAL: Duration = Duration::from_secs(120);

/// The wait after the authority could not be reached at all, which counts nowhere.
const AFTER_SILENCE: Duration = Duration::from_secs(5);

/// The longest wait after failures in a row.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    fn lifetime(self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    /// Whether the authority's suggestion is worth asking for.
    pub(super) fn takes_suggestions(self) -> bool {
        self.lifetime() >= SHORT_LIVED
    }

    /// When it is renewed unless the authority suggests another time: at two thirds of its lifetime, or up to a
    /// thirtieth of it earlier, so that certificates obtained together are not renewed together. `lot` is from 0 to 1.
    pub(super) fn due(self, lot: f64) -> SystemTime {
        self.not_before + self.lifetime().mul_f64(2.0 / 3.0 - lot / 30.0)
    }

    /// When it is renewed if the authority suggests to do so in this time (RFC 9773 4.2): at any moment of it, but never
    /// later than at nine tenths of the lifetime.
    pub(super) fn suggested(self, start: SystemTime, end: SystemTime, lot: f64) -> SystemTime {
        let window = end.duration_since(start).unwrap_or_default();
        let latest = self.not_before + self.lifetime().mul_f64(0.9);
        (start + window.mul_f64(lot)).max(self.not_before + SETTLED).min(latest)
    }
}

/// How long to wait after failures in a row: twice as long after each, a fifth more or less.
pub(super) fn backoff(failures: u32, silent: bool, lot: f64) -> Duration {
    let first = if silent { AFTER_SILENCE } else { AFTER_REFUSAL };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST).mul_f64(0.8 + 0.4 * lot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn validity(lifetime: Duration) -> Validity {
        let not_before = SystemTime::UNIX_EPOCH + 1000 * DAY;
        Validity { not_before, not_after: not_before + lifetime }
    }

    #[test]
    fn certificates_are_renewed_when_a_third_is_left() {
        let quarter = validity(90 * DAY);
        assert_eq!(quarter.due(0.0), quarter.not_before + 60 * DAY);
        assert_eq!(quarter.due(1.0), quarter.not_before + 57 * DAY);
        let short = validity(Duration::from_secs(12));
        assert!(short.due(0.5) > short.not_before && short.due(0.0) < short.not_after);
        assert!(!short.takes_suggestions() && quarter.takes_suggestions());
    }

    #[test]
    fn suggestions_are_followed_within_reason() {
        let quarter = validity(90 * DAY);
        let start = quarter.not_before + 30 * DAY;
        assert_eq!(quarter.suggested(start, start + 2 * DAY, 0.5), start + DAY);
        // A certificate that is to be revoked: at once, but not over and over.
        let past = quarter.not_before - DAY;
        assert_eq!(quarter.suggested(past, past, 0.5), quarter.not_before + SETTLED);
        let late = quarter.not_after + DAY;
        assert_eq!(quarter.suggested(late, late, 0.5), quarter.not_before + 81 * DAY);
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer() {
        let waits: Vec<u64> = (1..=20).map(|n| backoff(n, false, 0.5).as_secs()).collect();
        assert_eq!(waits[..4], [120, 240, 480, 960]);
        assert_eq!(*waits.last().unwrap(), LONGEST.as_secs());
        // Five failures in an hour are what Let's Encrypt takes.
        let hour: u64 = (1..=5).map(|n| backoff(n, false, 0.0).as_secs()).sum();
        assert!(hour + 96 < 3600 && waits[..5].iter().sum::<u64>() > 3600);
        assert_eq!(backoff(1, true, 0.5), Duration::from_secs(5));
        assert!(backoff(u32::MAX, true, 1.0) <= LONGEST.mul_f64(1.2));
    }
}
