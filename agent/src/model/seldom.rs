//! Saying the same thing seldom.

use std::time::Duration;

use tokio::time::Instant;

/// The log says the same thing at most this often.
const INTERVAL: Duration = Duration::from_secs(10);

/// What a part of the agent has to say, each thing by itself: a frequent one must not hide a
/// rare one. An enumeration without values, so that there are few of them.
#[derive(Debug)]
pub struct Seldom<W>(Vec<(W, Instant)>);

impl<W> Default for Seldom<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W: Copy + PartialEq> Seldom<W> {
    /// Whether it is time to say this, which is taken as said then.
    pub fn is_due(&mut self, what: W, now: Instant) -> bool {
        let Some((_, last)) = self.0.iter_mut().find(|(said, _)| *said == what) else {
            self.0.push((what, now));
            return true;
        };
        let due = now.saturating_duration_since(*last) >= INTERVAL;
        if due {
            *last = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_has_its_own_time() {
        let (mut seldom, now) = (Seldom::default(), Instant::now());
        assert!(seldom.is_due('a', now));
        assert!(!seldom.is_due('a', now + INTERVAL / 2));
        assert!(seldom.is_due('b', now + INTERVAL / 2));
        assert!(seldom.is_due('a', now + INTERVAL));
        assert!(!seldom.is_due('a', now + INTERVAL * 3 / 2));
    }
}
