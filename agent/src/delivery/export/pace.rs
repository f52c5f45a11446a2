//! How much is sent at once.
//!
//! Three numbers follow what the gateway does, within bounds:
//!
//! - **Requests under way** begin at four. When batches wait and all that may be under way are,
//!   each round of answers adds one. A request that fails halves them, once for all that were
//!   under way together; one that took three times as long as the shortest of its size takes
//!   one off, because it waited at the gateway. When nothing waits they go back to four.
//! - **Bytes up to which waiting batches are joined** begin at 256 KiB, grow by as much with every
//!   answer while batches wait, and shrink by an eighth when nothing does: small and prompt when
//!   there is little to do, large when the gateway is slow or has been away.
//! - **Bytes that a request may have at all** begin at 4 MiB. A request without an answer in time
//!   halves them, and every answer to a large one that came within half of the time adds 256 KiB.
//!   A gateway that finds a request too large sets a ceiling below it; from then on growing halves
//!   the distance to the ceiling, so that its limit is found in a few steps and kept. After
//!   ten minutes the ceiling is forgotten: gateways are configured anew.

use std::time::Duration;

use tokio::time::Instant;

use super::counters::Pacing;
use super::sink::MAX_REQUEST_BYTES;
use crate::delivery::queue::Room;

/// Requests under way if nothing is known.
const IN_FLIGHT: f64 = 4.0;

/// What sizes begin with and grow by, bytes.
const STEP: usize = 256 << 10;

/// No request is cut below this for being slow, bytes.
const SMALLEST: usize = 64 << 10;

/// A ceiling is forgotten after this.
const CEILING_AGE: Duration = Duration::from_secs(600);

/// A request that takes so many times as long as the shortest of its size waited.
const WAITED: u32 = 3;

/// Differences below this say nothing.
const NOISE: Duration = Duration::from_millis(5);

/// Sizes are told apart by powers of two, from 64 KiB on.
const CLASSES: usize = 8;

/// What is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaceBounds {
    /// Requests under way at once, at least 1.
    pub in_flight: usize,
    /// Spans (or data points) in a request of several batches.
    pub items: u64,
    /// Time for one request.
    pub timeout: Option<Duration>,
}

/// How much is sent at once.
#[derive(Debug)]
pub struct Pace {
    bounds: PaceBounds,
    limit: f64,
    join: usize,
    cap: usize,
    /// Largest request that was taken since there is a ceiling, bytes.
    good: usize,
    /// A request of this size was too large, and when.
    ceiling: Option<(usize, Instant)>,
    shortest: [Option<Duration>; CLASSES],
    /// When there were fewer requests the last time.
    eased: Option<Instant>,
}

/// How busy the exporter is when an answer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Whether batches wait.
    pub waiting: bool,
    /// Whether as many requests are under way as may be.
    pub full: bool,
}

impl Pace {
    /// The beginning.
    #[must_use]
    pub fn new(bounds: PaceBounds) -> Self {
        let most = bounds.in_flight.max(1) as f64;
        Self {
            bounds,
            limit: IN_FLIGHT.min(most),
            join: STEP,
            cap: MAX_REQUEST_BYTES,
            good: 0,
            ceiling: None,
            shortest: [None; CLASSES],
            eased: None,
        }
    }

    /// Requests that may be under way.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Requests that may be under way or wait to be repeated.
    #[must_use]
    pub fn most(&self) -> usize {
        self.bounds.in_flight.max(1)
    }

    /// What waiting batches may be joined to.
    #[must_use]
    pub fn room(&self) -> Room {
        Room {
            items: self.bounds.items,
            bytes: self.join.min(self.cap),
        }
    }

    /// Bytes that a request may have, if it can be cut.
    #[must_use]
    pub const fn cap(&self) -> usize {
        self.cap
    }

    /// For self-telemetry.
    #[must_use]
    pub fn pacing(&self, in_flight: usize) -> Pacing {
        Pacing {
            in_flight: in_flight as u64,
            limit: self.limit() as u64,
            bytes: self.room().bytes as u64,
        }
    }

    /// A request of `bytes` that began at `began` was answered with success.
    pub fn delivered(&mut self, bytes: usize, began: Instant, now: Instant, load: Load) {
        let latency = now.saturating_duration_since(began);
        self.grow_cap(bytes, latency, now);
        if load.waiting {
            self.join = (self.join + STEP).min(MAX_REQUEST_BYTES);
        } else {
            self.join = (self.join - self.join / 8).max(STEP);
        }
        if self.waited(bytes, latency) {
            self.ease(began, now, |limit| limit - 1.0);
        } else if load.waiting && load.full {
            self.limit += 1.0 / self.limit;
        } else if !load.waiting {
            self.limit += (IN_FLIGHT - self.limit) / 16.0;
        }
        self.limit = self.limit.clamp(1.0, self.most() as f64);
    }

    /// A request that began at `began` may be sent again. `late` are its bytes, if the reason
    /// is that there was no answer in time.
    pub fn failed(&mut self, began: Instant, now: Instant, late: Option<usize>) {
        self.ease(began, now, |limit| limit / 2.0);
        if let Some(bytes) = late {
            self.cap = (bytes.min(self.cap) / 2).max(SMALLEST);
        }
    }

    /// A request of `bytes` was too large for the gateway.
    pub fn too_large(&mut self, bytes: usize, now: Instant) {
        if self.good >= bytes {
            self.good = 0;
        }
        self.ceiling = Some((bytes, now));
        self.cap = self.good.max(bytes / 2).max(SMALLEST).min(self.cap);
    }

    fn ease(&mut self, began: Instant, now: Instant, less: impl FnOnce(f64) -> f64) {
        // What was under way when there were more says nothing of what there is now.
        if self.eased.is_none_or(|eased| eased <= began) {
            self.limit = less(self.limit).max(1.0);
            self.eased = Some(now);
        }
    }

    fn grow_cap(&mut self, bytes: usize, latency: Duration, now: Instant) {
        if (self.ceiling)
            .is_some_and(|(_, since)| now.saturating_duration_since(since) >= CEILING_AGE)
        {
            (self.ceiling, self.good) = (None, 0);
        }
        self.good = self.good.max(bytes);
        let slow = (self.bounds.timeout).is_some_and(|timeout| latency > timeout / 2);
        // Small ones do not tell how large ones would have fared.
        if slow || bytes < self.cap / 2 {
            return;
        }
        let step = match self.ceiling {
            None => STEP,
            Some((ceiling, _)) => match ceiling.saturating_sub(self.cap) / 2 {
                // Near enough.
                ..SMALLEST => 0,
                half => half.min(STEP),
            },
        };
        self.cap = (self.cap + step).min(MAX_REQUEST_BYTES);
    }

    fn waited(&mut self, bytes: usize, latency: Duration) -> bool {
        let class = (bytes / SMALLEST).checked_ilog2().map_or(0, |it| it + 1) as usize;
        let Some(shortest) = self.shortest.get_mut(class.min(CLASSES - 1)) else {
            return false;
        };
        // Grows with each answer, but so slowly that a queue at the gateway is not taken for its
        // usual time soon: one that became slower for good is not held against its past for ever.
        let known = shortest.map_or(latency, |it| latency.min(it + it / 4096));
        *shortest = Some(known);
        latency > known * WAITED + NOISE
    }
}

#[cfg(test)]
#[path = "pace/tests.rs"]
mod tests;
