//! Distribution of durations in a fixed amount of memory.

/// Buckets per power of two: values are kept to 1/16, about 6 %.
const STEPS: usize = 16;
/// Powers of two that are told apart: up to 2^44 ns, nearly five hours.
const POWERS: usize = 45;

/// Counts of durations in buckets whose width grows with the duration.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Box<[u32; STEPS * POWERS]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; STEPS * POWERS]),
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts a duration in ns.
    pub fn record(&mut self, ns: u64) {
        self.count += 1;
        self.max = self.max.max(ns);
        let bucket = &mut self.buckets[bucket(ns)];
        *bucket = bucket.saturating_add(1);
    }

    /// Durations counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest duration, exactly.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The duration that `percent` of all do not exceed, at most 7 % too long and
    /// never above [`Self::max`]; 0 if there is none.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut below = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            below += u64::from(*count);
            if below >= rank {
                return upper(at).min(self.max);
            }
        }
        self.max
    }
}

/// Index of the bucket of a value. Values below [`STEPS`] have one each.
fn bucket(ns: u64) -> usize {
    let power = ns.checked_ilog2().unwrap_or(0) as usize;
    if power < 4 {
        return ns as usize;
    }
    let step = (ns >> (power - 4)) as usize & (STEPS - 1);
    ((power - 3) * STEPS + step).min(STEPS * POWERS - 1)
}

/// Largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (power, step) = (bucket / STEPS + 3, bucket % STEPS);
    (((STEPS + step + 1) as u64) << (power - 4)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), 0);
        for ms in 1..=1000u64 {
            histogram.record(ms * 1_000_000);
        }
        for (percent, exact) in [(50, 500u64), (90, 900), (99, 990), (100, 1000)] {
            let found = histogram.percentile(percent);
            let exact = exact * 1_000_000;
            assert!(
                found >= exact && found <= exact + exact / 14,
                "p{percent}: {found}"
            );
        }
        assert_eq!(histogram.max(), 1_000_000_000);
        assert_eq!(histogram.count(), 1000);
    }

    proptest! {
        #[test]
        fn buckets_hold_what_they_say(ns in 0u64..1 << 47) {
            let at = bucket(ns);
            prop_assert!(ns <= upper(at));
            prop_assert!(at == 0 || ns > upper(at - 1));
            prop_assert!(upper(at) - ns <= ns / 16);
        }

        #[test]
        fn any_value_has_a_bucket(ns in any::<u64>()) {
            let mut histogram = Histogram::default();
            histogram.record(ns);
            prop_assert!(histogram.percentile(99) <= ns);
        }
    }
}
