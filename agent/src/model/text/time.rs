//! Wall-clock times as text.

use std::fmt;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Nanoseconds since 1970, shown as RFC 3339 in UTC with nine digits of fraction.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.bytes()).unwrap_or_default())
    }
}

impl Rfc3339 {
    /// The 30 ASCII characters. All 64-bit times end before the year 2555, so four
    /// digits of year are enough.
    #[must_use]
    pub fn bytes(self) -> [u8; 30] {
        let (seconds, fraction) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (year, month, day) = civil(seconds / DAY);
        let of_day = seconds % DAY;
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        for (at, len, value) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, of_day / 3600),
            (14, 2, of_day / 60 % 60),
            (17, 2, of_day % 60),
            (20, 9, fraction),
        ] {
            digits(&mut text[at..at + len], value);
        }
        text
    }
}

/// Fills `out` with the last decimal digits of `value`, zeros in front.
fn digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970 in the Gregorian calendar, by counting
/// in eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Time of day with milliseconds, shifted by the offset of a time zone.
#[derive(Clone, Copy, Debug)]
pub struct TimeOfDay {
    /// Nanoseconds since 1970, UTC.
    pub unix_ns: u64,
    /// Seconds east of UTC.
    pub offset: i32,
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unix_ns / 1_000_000_000;
        let of_day = seconds.saturating_add_signed(i64::from(self.offset)) % DAY;
        let ms = self.unix_ns / 1_000_000 % 1_000;
        let (h, m, s) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{h:02}:{m:02}:{s:02}.{ms:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_767_323_045_123_456_789, "2026-01-02T03:04:05.123456789Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(Rfc3339(ns).to_string(), text);
        }
    }

    #[test]
    fn time_of_day_follows_the_zone() {
        let unix_ns = 1_767_323_045_123_456_789;
        assert_eq!(TimeOfDay { unix_ns, offset: 0 }.to_string(), "03:04:05.123");
        assert_eq!(
            TimeOfDay {
                unix_ns,
                offset: -4 * 3600
            }
            .to_string(),
            "23:04:05.123"
        );
        assert_eq!(
            TimeOfDay {
                unix_ns,
                offset: 19_800
            }
            .to_string(),
            "08:34:05.123"
        );
    }
}
