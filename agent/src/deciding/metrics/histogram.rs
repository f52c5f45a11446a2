//! Histograms of one series: explicit buckets, or exponential ones (OpenTelemetry metrics
//! data model).
//!
//! Buckets count in 32 bits: a series is started anew long before one could be full.

/// Bounds of durations, seconds (semantic conventions of HTTP and RPC metrics).
pub const DURATION_BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Bounds of body sizes, bytes: the conventions give none; powers of four from 64.
pub const SIZE_BOUNDS: [f64; 12] = [
    0.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Most exponential buckets of durations: within a factor of 65,536 a bucket is 9 % wide.
pub const DURATION_BUCKETS: usize = 128;
/// Most exponential buckets of body sizes.
pub const SIZE_BUCKETS: usize = 48;
/// Buckets are added in steps of so many.
const STEP: usize = 32;
/// Finest scale: buckets grow by 1.1 % each.
const MAX_SCALE: i32 = 6;
/// Coarsest scale: all that a double can hold fits in 2 buckets.
const MIN_SCALE: i32 = -10;

/// Count, sum and extremes: exact.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Totals {
    /// Values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest; infinite if there are none.
    pub min: f64,
    /// The largest; minus infinity if there are none.
    pub max: f64,
}

/// A histogram.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// What is exact.
    pub totals: Totals,
    /// What is not.
    pub buckets: Buckets,
}

/// Buckets of either kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Buckets {
    /// Upper bounds, inclusive, and counts: one more than bounds.
    Explicit(&'static [f64], Box<[u32]>),
    /// Exponential buckets.
    Exponential(Exponential),
}

/// Exponential buckets of values above 0: bucket `i` holds those above `base^i`, up to
/// `base^(i + 1)`, where the base is `2^(2^-scale)`.
#[derive(Clone, PartialEq, Debug)]
pub struct Exponential {
    /// Resolution.
    pub scale: i32,
    /// Index of the first bucket.
    pub offset: i32,
    /// Counts.
    pub counts: Vec<u32>,
    /// Values that are 0.
    pub zeros: u32,
    most: usize,
}

const EMPTY: Totals = Totals {
    count: 0,
    sum: 0.0,
    min: f64::INFINITY,
    max: f64::NEG_INFINITY,
};

impl Histogram {
    /// An empty histogram with these bounds.
    #[must_use]
    pub fn explicit(bounds: &'static [f64]) -> Self {
        let counts = vec![0; bounds.len() + 1].into();
        Self {
            totals: EMPTY,
            buckets: Buckets::Explicit(bounds, counts),
        }
    }

    /// An empty histogram with at most so many buckets.
    #[must_use]
    pub fn exponential(most: usize) -> Self {
        Self {
            totals: EMPTY,
            buckets: Buckets::Exponential(Exponential {
                scale: MAX_SCALE,
                offset: 0,
                counts: Vec::new(),
                zeros: 0,
                most: most.max(2),
            }),
        }
    }

    /// Counts a value, which is not negative.
    #[inline]
    pub fn record(&mut self, value: f64) {
        let totals = &mut self.totals;
        totals.count += 1;
        totals.sum += value;
        totals.min = totals.min.min(value);
        totals.max = totals.max.max(value);
        match &mut self.buckets {
            Buckets::Explicit(bounds, counts) => {
                let at = bounds.partition_point(|bound| *bound < value);
                if let Some(count) = counts.get_mut(at) {
                    *count = count.saturating_add(1);
                }
            }
            Buckets::Exponential(exponential) => exponential.record(value),
        }
    }

    /// Forgets everything, and keeps the memory.
    pub fn reset(&mut self) {
        self.totals = EMPTY;
        match &mut self.buckets {
            Buckets::Explicit(_, counts) => counts.fill(0),
            Buckets::Exponential(exponential) => {
                exponential.counts.clear();
                (exponential.scale, exponential.zeros) = (MAX_SCALE, 0);
            }
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        4 * match &self.buckets {
            Buckets::Explicit(_, counts) => counts.len(),
            Buckets::Exponential(exponential) => exponential.counts.capacity(),
        }
    }
}

impl Exponential {
    #[inline]
    fn record(&mut self, value: f64) {
        if value <= 0.0 {
            self.zeros = self.zeros.saturating_add(1);
            return;
        }
        let index = index(value, self.scale);
        let at = i64::from(index) - i64::from(self.offset);
        match usize::try_from(at)
            .ok()
            .and_then(|at| self.counts.get_mut(at))
        {
            Some(count) => *count = count.saturating_add(1),
            None => self.grow(value),
        }
    }

    /// Makes room for a value outside of all buckets, and counts it.
    #[cold]
    fn grow(&mut self, value: f64) {
        if self.counts.is_empty() {
            self.offset = index(value, self.scale);
            self.counts.push(1);
            return;
        }
        loop {
            let index = i64::from(index(value, self.scale));
            let (first, len) = (i64::from(self.offset), self.counts.len() as i64);
            let low = index.min(first);
            let needed = (index + 1).max(first + len) - low;
            if needed <= self.most as i64 || self.scale == MIN_SCALE {
                let front = (first - low) as usize;
                // In steps: ten thousand series have one of these each, and doubling would
                // leave much of it unused.
                let needed = needed as usize;
                let room = needed.next_multiple_of(STEP).min(self.most.max(needed));
                self.counts
                    .reserve_exact(room.saturating_sub(self.counts.len()));
                self.counts.splice(..0, std::iter::repeat_n(0, front));
                self.counts.resize(needed, 0);
                self.offset = low as i32;
                if let Some(count) = self.counts.get_mut((index - low) as usize) {
                    *count = count.saturating_add(1);
                }
                return;
            }
            self.halve();
        }
    }

    /// Makes one bucket of two.
    fn halve(&mut self) {
        let first = self.offset >> 1;
        let mut end = 0;
        for at in 0..self.counts.len() {
            let to = (((self.offset + at as i32) >> 1) - first) as usize;
            let count = self.counts[at];
            if to == at {
                end = to + 1;
                continue;
            }
            self.counts[at] = 0;
            self.counts[to] = self.counts[to].saturating_add(count);
            end = to + 1;
        }
        self.counts.truncate(end);
        self.offset = first;
        self.scale -= 1;
    }
}

/// The bucket of a value above 0.
#[inline]
fn index(value: f64, scale: i32) -> i32 {
    (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn bounds(exponential: &Exponential, at: usize) -> (f64, f64) {
        let base = f64::from(-exponential.scale).exp2().exp2();
        let low = base.powi(exponential.offset + at as i32);
        (low, low * base)
    }

    #[test]
    fn bounds_are_inclusive_above() {
        let mut histogram = Histogram::explicit(&DURATION_BOUNDS);
        for value in [0.005, 0.0051, 10.0, 11.0] {
            histogram.record(value);
        }
        let Buckets::Explicit(_, counts) = &histogram.buckets else {
            panic!("explicit");
        };
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (1, 1, 1, 1));
        let mut powers = Histogram::exponential(DURATION_BUCKETS);
        powers.record(8.0);
        let Buckets::Exponential(exponential) = &powers.buckets else {
            panic!("exponential");
        };
        assert_eq!(bounds(exponential, 0).1.round(), 8.0);
    }

    proptest! {
        #[test]
        fn every_value_is_in_its_bucket(values in proptest::collection::vec(1e-7f64..1e5, 1..200)) {
            let mut histogram = Histogram::exponential(DURATION_BUCKETS);
            values.iter().for_each(|value| histogram.record(*value));
            let Buckets::Exponential(exponential) = &histogram.buckets else { unreachable!() };
            prop_assert!(exponential.counts.len() <= DURATION_BUCKETS);
            for at in 0..exponential.counts.len() {
                let (low, high) = bounds(exponential, at);
                let slack = 1e-9;
                let within = values.iter().filter(|v| **v > low * (1.0 + slack) && **v <= high * (1.0 - slack)).count();
                let around = values.iter().filter(|v| **v > low * (1.0 - slack) && **v <= high * (1.0 + slack)).count();
                let count = exponential.counts[at] as usize;
                prop_assert!((within..=around).contains(&count), "{} in {}..{}", count, low, high);
            }
            let total: u64 = exponential.counts.iter().map(|count| u64::from(*count)).sum();
            prop_assert_eq!(total, histogram.totals.count);
        }

        #[test]
        fn nothing_makes_it_panic(values in proptest::collection::vec(proptest::num::f64::POSITIVE | proptest::num::f64::ZERO, 0..50)) {
            let mut histogram = Histogram::exponential(SIZE_BUCKETS);
            values.iter().for_each(|value| histogram.record(*value));
            prop_assert_eq!(histogram.totals.count, values.len() as u64);
        }
    }
}
