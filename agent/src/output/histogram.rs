//! Distribution of durations in a bounded amount of memory: exact as long as there are few.

/// Durations that are kept one by one, 4 KiB.
const EXACT: usize = 512;
/// Buckets per power of two: values are kept to 1/128, less than 0.8 %. As many again would
/// say what no reader of three digits sees.
const STEPS: usize = 1 << STEP_BITS;
const STEP_BITS: usize = 7;
/// Powers of two that are told apart: up to 2^45 ns, nearly ten hours.
const POWERS: usize = 45;
/// All buckets, 20 KiB. Those of values below [`STEPS`] hold one value each.
const BUCKETS: usize = STEPS * (POWERS - STEP_BITS + 1);

/// How far below a percentile that is a bound the exact one may be, percent.
pub const BOUND_PERCENT: f64 = 100.0 / STEPS as f64;

/// Durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    kept: Kept,
    max: u64,
}

#[derive(Clone, Debug)]
enum Kept {
    /// Every one, in no order.
    Each(Vec<u64>),
    /// Numbers of those in buckets whose width grows with the duration, and of all.
    Buckets(Box<[u32]>, u64),
}

/// The duration that so many of all do not exceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percentile {
    /// Nanoseconds.
    pub ns: u64,
    /// Whether it is one of the durations. Otherwise it is the bound of a bucket, at most
    /// [`BOUND_PERCENT`] too long.
    pub exact: bool,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            kept: Kept::Each(Vec::with_capacity(EXACT)),
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts a duration in ns. Allocates once, when there are too many to be kept.
    pub fn record(&mut self, ns: u64) {
        self.max = self.max.max(ns);
        match &mut self.kept {
            Kept::Each(all) if all.len() < EXACT => all.push(ns),
            Kept::Each(all) => {
                let mut buckets = vec![0; BUCKETS].into_boxed_slice();
                let count = all.len() as u64 + 1;
                for ns in all.drain(..).chain([ns]) {
                    buckets[bucket(ns)] += 1;
                }
                self.kept = Kept::Buckets(buckets, count);
            }
            Kept::Buckets(buckets, count) => {
                *count += 1;
                let bucket = &mut buckets[bucket(ns)];
                *bucket = bucket.saturating_add(1);
            }
        }
    }

    /// Durations counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.kept {
            Kept::Each(all) => all.len() as u64,
            Kept::Buckets(_, count) => *count,
        }
    }

    /// The longest duration, exactly.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The duration that `percent` (1 to 100) of all do not exceed, never above
    /// [`Self::max`]; 0 if there is none.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Percentile {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let exact = |ns| Percentile { ns, exact: true };
        match &self.kept {
            Kept::Each(all) => {
                let mut all = all.clone();
                all.sort_unstable();
                let at = usize::try_from(rank - 1).unwrap_or(usize::MAX);
                exact(all.get(at).copied().unwrap_or(self.max))
            }
            Kept::Buckets(buckets, _) => {
                let mut below = 0;
                let found = buckets.iter().position(|count| {
                    below += u64::from(*count);
                    below >= rank
                });
                // The last bucket has no bound but the longest duration.
                match found.filter(|at| at + 1 < BUCKETS).map(upper) {
                    Some(ns) if ns < self.max => Percentile {
                        ns,
                        exact: ns < STEPS as u64,
                    },
                    // What lies in the bucket of the longest one is at most that.
                    _ => Percentile {
                        ns: self.max,
                        exact: rank >= self.count(),
                    },
                }
            }
        }
    }
}

/// Index of the bucket of a value. Values below [`STEPS`] have one each.
fn bucket(ns: u64) -> usize {
    let power = ns.checked_ilog2().unwrap_or(0) as usize;
    if power < STEP_BITS {
        return ns as usize;
    }
    let step = (ns >> (power - STEP_BITS)) as usize & (STEPS - 1);
    ((power - STEP_BITS + 1) * STEPS + step).min(BUCKETS - 1)
}

/// Largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (power, step) = (bucket / STEPS - 1, bucket % STEPS);
    (((STEPS + step + 1) as u64) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: sort and take.
    fn exact(all: &[u64], percent: u64) -> u64 {
        let mut all = all.to_vec();
        all.sort_unstable();
        let rank = (all.len() as u64 * percent).div_ceil(100).max(1);
        all[usize::try_from(rank).unwrap() - 1]
    }

    #[test]
    fn few_are_exact_and_many_are_bounds() {
        let none = Histogram::default().percentile(50);
        assert_eq!((none.ns, none.exact), (0, true));
        for count in [1, 100, EXACT as u64, EXACT as u64 + 1, 10_000] {
            let mut histogram = Histogram::default();
            let all: Vec<u64> = (1..=count).map(|ms| ms * 1_000_003).collect();
            all.iter().for_each(|ns| histogram.record(*ns));
            assert_eq!(
                (histogram.count(), histogram.max()),
                (count, count * 1_000_003)
            );
            for percent in [50, 90, 99, 100] {
                let found = histogram.percentile(percent);
                let exact = exact(&all, percent);
                assert_eq!(
                    found.exact,
                    count <= EXACT as u64 || percent == 100,
                    "{count}"
                );
                if found.exact {
                    assert_eq!(found.ns, exact);
                }
                assert!(
                    exact <= found.ns && found.ns - exact <= exact / 128,
                    "{count}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn buckets_hold_what_they_say(ns in 0u64..1 << 45) {
            let at = bucket(ns);
            prop_assert!(ns <= upper(at));
            prop_assert!(at == 0 || ns > upper(at - 1));
            prop_assert!(upper(at) - ns <= ns / 128);
        }

        #[test]
        fn percentiles_are_exact_or_bounds(
            all in proptest::collection::vec(0u64..1 << 40, 1..1200),
            percent in 1u64..=100,
        ) {
            let mut histogram = Histogram::default();
            all.iter().for_each(|ns| histogram.record(*ns));
            let (found, exact) = (histogram.percentile(percent), exact(&all, percent));
            prop_assert!(exact <= found.ns && found.ns - exact <= exact / 128);
            prop_assert!(!found.exact || found.ns == exact);
        }

        #[test]
        fn any_value_has_a_bucket(ns in any::<u64>()) {
            let mut histogram = Histogram::default();
            (0..=EXACT).for_each(|_| histogram.record(ns));
            prop_assert_eq!(histogram.percentile(99).ns, ns.min(histogram.max()));
        }
    }
}
