//! When even what rules keep is too much.

use super::threshold::Threshold;

/// Overload begins when this share of the cap is asked for, or this share of the queue is
/// full, and is over below the other one …
pub const ENTER: f64 = 0.9;
/// See [`ENTER`].
pub const LEAVE: f64 = 0.75;
/// … for so many seconds on end.
pub const HOLD: u32 = 10;
/// The most that is kept while the queue is nearly full.
const QUEUE_FULL: f64 = 0.1;

/// A threshold for all spans, whatever rule keeps them, from one second to the next. It
/// depends on nothing but the rates of the seconds before, so that what is kept is
/// consistent, and its probability is known.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Overload {
    cap: f64,
    probability: f64,
    active: bool,
    calm: u32,
    /// Times it began.
    pub entered: u64,
}

impl Overload {
    /// Not overloaded. `cap` is in spans per second.
    #[must_use]
    pub const fn new(cap: f64) -> Self {
        Self {
            cap,
            probability: 1.0,
            active: false,
            calm: 0,
            entered: 0,
        }
    }

    /// Another cap from now on.
    pub const fn set_cap(&mut self, cap: f64) {
        self.cap = cap;
    }

    /// Spans per second that are never exceeded.
    #[must_use]
    pub const fn cap(&self) -> f64 {
        self.cap
    }

    /// Whether it is in force.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// The threshold in force.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        Threshold::of(self.probability)
    }

    /// A second is over: `wanted` spans per second would have been kept without this, and
    /// the queue is full to `queue` (0 to 1).
    pub fn second(&mut self, wanted: f64, queue: f64) {
        let target = LEAVE * self.cap / wanted.max(1.0);
        let target = if queue >= ENTER {
            target.min(QUEUE_FULL)
        } else {
            target
        };
        if wanted > ENTER * self.cap || queue >= ENTER {
            self.entered += u64::from(!self.active);
            self.active = true;
        }
        if !self.active {
            return;
        }
        // Down at once, up at most by half a second.
        self.probability = target.min(self.probability * 1.5).min(1.0);
        if wanted < LEAVE * self.cap && queue < LEAVE {
            self.calm += 1;
        } else {
            self.calm = 0;
        }
        if self.calm >= HOLD {
            self.active = false;
            self.calm = 0;
            self.probability = 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_once_and_ends_after_a_while() {
        let mut overload = Overload::new(1000.0);
        overload.second(890.0, 0.8);
        assert!(!overload.is_active());
        overload.second(10_000.0, 0.0);
        assert!(overload.is_active());
        assert!((overload.threshold().probability() - 0.075).abs() < 1e-6);
        // Between the two bounds it stays.
        for _ in 0..60 {
            overload.second(800.0, 0.0);
        }
        assert!(overload.is_active());
        for second in 0..HOLD {
            assert!(overload.is_active(), "{second}");
            overload.second(500.0, 0.0);
        }
        assert!(!overload.is_active());
        assert_eq!(overload.threshold(), Threshold::ALWAYS);
        assert_eq!(overload.entered, 1);
    }

    #[test]
    fn a_full_queue_is_overload_too() {
        let mut overload = Overload::new(1000.0);
        overload.second(10.0, 0.95);
        assert!(overload.is_active());
        assert!((overload.threshold().probability() - QUEUE_FULL).abs() < 1e-6);
    }
}
