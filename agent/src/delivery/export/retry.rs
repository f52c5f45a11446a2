//! When to try again (OpenTelemetry protocol specification, "Failures").

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime};

/// Bounds of retrying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Ceiling of the first delay.
    pub initial: Duration,
    /// Ceiling of any delay.
    pub max: Duration,
    /// A batch is given up when its next attempt would start later than this after its first.
    pub max_elapsed: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(30),
            max_elapsed: Duration::from_secs(300),
        }
    }
}

/// What came of sending a batch once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The gateway took it, except for `rejected` spans. Rejected spans are never sent again.
    Delivered {
        /// `partial_success.rejected_spans`.
        rejected: u64,
        /// `partial_success.error_message`; may be there though nothing was rejected.
        message: String,
    },
    /// The gateway took it; whether all of it, its answer did not tell in a way that can be read.
    Unread {
        /// For the log.
        cause: String,
    },
    /// It may be sent again: the connection broke, or the gateway said so.
    Retry {
        /// The gateway's `Retry-After` or `RetryInfo`.
        after: Option<Duration>,
        /// For the log.
        cause: String,
    },
    /// It is, or may be, too large for the gateway: parts of it may be taken.
    TooLarge {
        /// How much is known about that.
        excess: Excess,
        /// For the log.
        cause: String,
    },
    /// The gateway refused it because of who sends it, or because that is not known.
    Unauthorized {
        /// For the log.
        cause: String,
    },
    /// The gateway refused it for good.
    Refused {
        /// For the log.
        cause: String,
    },
}

/// How sure it is that a request was refused for its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// The gateway said so.
    Size,
    /// That is one of the meanings of the answer; the others are final. The smallest part tells.
    Perhaps,
    /// Likewise, but the others may pass: the specification lets such a request be sent again.
    Passing,
}

/// Exponential backoff with full jitter: the delay before attempt `n + 1` is anywhere
/// between zero and `initial * 2^n`, so that agents which lost the same gateway at the
/// same moment do not come back at the same moment.
#[derive(Debug)]
pub struct Backoff {
    ceiling: Duration,
    max: Duration,
}

impl Backoff {
    /// A new series of delays.
    #[must_use]
    pub fn new(policy: &RetryPolicy) -> Self {
        Self {
            ceiling: policy.initial.min(policy.max),
            max: policy.max,
        }
    }

    /// The next delay: `random` is uniform in `0..=u64::MAX`. What the gateway asked for is
    /// a lower bound, to which the jitter is added.
    pub fn delay(&mut self, after: Option<Duration>, random: u64) -> Duration {
        let fraction = random as f64 / u64::MAX as f64;
        let jitter = self.ceiling.mul_f64(fraction);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        after.map_or(jitter, |after| after.saturating_add(jitter.min(after / 10)))
    }
}

/// A random number for jitter, from the keys of the standard library's hash maps.
#[must_use]
pub fn random() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. A date in the past
/// is no delay; nonsense is `None`.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let policy = RetryPolicy {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(5),
            ..RetryPolicy::default()
        };
        let mut backoff = Backoff::new(&policy);
        let delays: Vec<u64> = (0..5)
            .map(|_| backoff.delay(None, u64::MAX).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.delay(None, 0), Duration::ZERO);
        let half = backoff.delay(None, u64::MAX / 2);
        assert!(half > Duration::from_millis(2400) && half < Duration::from_millis(2600));
    }

    #[test]
    fn the_gateway_sets_a_lower_bound() {
        let mut backoff = Backoff::new(&RetryPolicy::default());
        for random in [0, u64::MAX] {
            let delay = backoff.delay(Some(Duration::from_secs(7)), random);
            assert!(delay >= Duration::from_secs(7) && delay < Duration::from_secs(8));
        }
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(" 0 ", now), Some(Duration::ZERO));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now),
            Some(Duration::from_secs(10))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:07 GMT", now),
            Some(Duration::ZERO)
        );
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(retry_after(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn jitter_differs() {
        assert_ne!(random(), random());
    }
}
