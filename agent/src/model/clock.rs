//! Kernel time to wall time.
//!
//! Records carry `CLOCK_MONOTONIC`. One offset maps all of them; it is measured again
//! now and then, because wall time is stepped and slewed, and never per event. It is
//! part of a recording, so that a replay shows the same times.

#![allow(unsafe_code, reason = "calls the C library")]

use std::time::{Duration, Instant};

/// How often the offset is worth measuring again.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Readings per measurement; the tightest one counts.
const READINGS: usize = 5;

/// What to add to a monotonic time to get the time since 1970, ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Offset(pub i64);

impl Offset {
    /// Measures the offset now. The error is at most half the time between two
    /// readings of the monotonic clock, usually below 100 ns.
    #[must_use]
    pub fn measure() -> Self {
        let reading = |_| {
            let before = now(libc::CLOCK_MONOTONIC);
            let wall = now(libc::CLOCK_REALTIME);
            let after = now(libc::CLOCK_MONOTONIC);
            let width = after.saturating_sub(before);
            (width, wall.saturating_sub(before.saturating_add(width / 2)))
        };
        let tightest = (0..READINGS).map(reading).min_by_key(|&(width, _)| width);
        Self(tightest.map_or(0, |(_, offset)| offset))
    }

    /// The wall time of a monotonic time, ns since 1970.
    #[must_use]
    #[inline]
    pub fn unix_ns(self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.0)
    }
}

/// Says when to measure again.
#[derive(Debug)]
pub struct Remeasure {
    last: Instant,
}

impl Remeasure {
    /// Counts from now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
        }
    }

    /// A new offset if [`INTERVAL`] has passed. Cheap enough to ask per batch.
    pub fn due(&mut self) -> Option<Offset> {
        let now = Instant::now();
        if now.duration_since(self.last) < INTERVAL {
            return None;
        }
        self.last = now;
        Some(Offset::measure())
    }
}

/// A clock's reading, ns. Both clocks used here exist on every Linux, so reading
/// them cannot fail; if it did, the reading would be 0.
fn now(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, writable timespec for the duration of the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn maps_monotonic_time_to_the_time_of_day() {
        let monotonic = u64::try_from(now(libc::CLOCK_MONOTONIC)).unwrap();
        let mapped = Offset::measure().unix_ns(monotonic);
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let wall = u64::try_from(wall.as_nanos()).unwrap();
        assert!(wall.abs_diff(mapped) < 1_000_000_000, "{wall} {mapped}");
    }

    #[test]
    fn never_overflows() {
        assert_eq!(Offset(-5).unix_ns(3), 0);
        assert_eq!(Offset(5).unix_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn is_not_measured_again_at_once() {
        assert_eq!(Remeasure::start().due(), None);
    }
}
