//! The `Date` field (RFC 9110 6.6.1), made once a second for all connections of a worker.

use std::cell::{Cell, RefCell};
use std::time::UNIX_EPOCH;

use http::HeaderValue;
use polygate_pipeline::clock;

/// The date of the last second that was asked for.
pub(super) struct DateCache {
    second: Cell<u64>,
    text: Cell<[u8; 29]>,
    /// The same for HTTP/2, made when it is asked for.
    value: RefCell<Option<HeaderValue>>,
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: Cell::new(0), text: Cell::new(imf_fixdate(0)), value: RefCell::default() }
    }
}

impl DateCache {
    /// Now, in IMF-fixdate form.
    pub(super) fn now(&self) -> [u8; 29] {
        // A clock before 1970 shows 1970.
        let second = clock::wall(clock::now()).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second.get() {
            self.second.set(second);
            self.text.set(imf_fixdate(second));
            self.value.take();
        }
        self.text.get()
    }
}

impl DateCache {
    /// Now, as a field's value: all responses of a second share one.
    pub(super) fn value(&self) -> HeaderValue {
        let text = self.now();
        let mut value = self.value.borrow_mut();
        // Digits and letters are a valid value.
        let made = || HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.get_or_insert_with(made).clone()
    }
}

/// Such as `Sun, 06 Nov 1994 08:49:37 GMT`; years beyond 9999 are shown as 9999.
fn imf_fixdate(second: u64) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, rest) = (second / 86_400, second % 86_400);
    // Days to civil date, counting years from March (the usual proleptic Gregorian arithmetic).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = (era * 400 + year_of_era + u64::from(month < 2)).min(9999);

    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    let name = month as usize * 3;
    text[8..11].copy_from_slice(&MONTHS[name..name + 3]);
    for (at, number) in [
        (5, day),
        (17, rest / 3600),
        (20, rest / 60 % 60),
        (23, rest % 60),
        (12, year / 100),
        (14, year % 100),
    ] {
        text[at] = b'0' + (number / 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(second)), Ok(text));
        }
    }
}
