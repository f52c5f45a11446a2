//! A moving quantile in 8 bytes.

/// Requests before the estimate counts.
const WARM: u32 = 300;
/// Step once warm, in powers of two: an estimate doubles after 14 longer ones.
const STEP: f32 = 0.07;

/// The 99th percentile of a sequence, by stochastic approximation on a logarithmic scale:
/// a longer value moves it up by 99 small steps, any other one down by one.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct MovingP99 {
    log2: f32,
    seen: u32,
}

impl MovingP99 {
    /// Whether `ns` is above the estimate so far, which then takes it in. False until the
    /// estimate is good.
    #[inline]
    pub fn above(&mut self, ns: u64) -> bool {
        let value = (ns.max(1) as f32).log2();
        if self.seen == 0 {
            self.log2 = value;
        }
        let above = value > self.log2;
        let warm = self.seen >= WARM;
        let step = if warm { STEP } else { 8.0 * STEP };
        self.log2 += if above { 0.99 * step } else { -0.01 * step };
        self.seen = self.seen.saturating_add(1);
        above && warm
    }

    /// The estimate, ns, if it is good.
    #[must_use]
    pub fn ns(&self) -> Option<u64> {
        (self.seen >= WARM).then(|| self.log2.exp2() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_in_a_hundred_is_above_and_shifts_are_followed() {
        let mut p99 = MovingP99::default();
        let mut random = 7u64;
        let mut next = |scale: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            1_000_000 * scale + (random >> 33) % (9_000_000 * scale)
        };
        for scale in [1, 10, 2] {
            for _ in 0..30_000 {
                p99.above(next(scale));
            }
            let above = (0..50_000).filter(|_| p99.above(next(scale))).count();
            assert!((350..700).contains(&above), "scale {scale}: {above}");
            let exact = 9_910_000 * scale;
            let found = p99.ns().unwrap();
            assert!(
                found > exact * 9 / 10 && found < exact * 11 / 10,
                "{found} for {exact}"
            );
        }
    }
}
