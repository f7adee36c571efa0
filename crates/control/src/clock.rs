//! Times as the log shows them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => format!("{time:.3}"),
        // Years that the format has no digits for.
        Err(_) => "invalid".to_owned(),
    }
}

/// The local time of day: `03:04:05`.
pub(crate) fn of_day(time: SystemTime, zone: &TimeZone) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => zone.to_datetime(time).strftime("%H:%M:%S").to_string(),
        Err(_) => "--:--:--".to_owned(),
    }
}

/// A duration in three digits or so: `87 us`, `3.2 ms`, `34 ms`, `1.25 s`.
pub fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
        assert_eq!(rfc3339(time), "2026-01-02T03:04:05.678Z");
        assert_eq!(of_day(time, &TimeZone::UTC), "03:04:05");
    }

    #[test]
    fn durations_are_short() {
        let shown: Vec<_> = [87, 3_210, 34_900, 1_250_000].map(|us| short(Duration::from_micros(us))).into();
        assert_eq!(shown, ["87 us", "3.2 ms", "34 ms", "1.25 s"]);
    }
}
