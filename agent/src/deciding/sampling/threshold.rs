//! Thresholds of consistent probability sampling (OpenTelemetry, "TraceState: Probability
//! Sampling"): a trace is kept if its randomness is not below the threshold, so that all
//! who use the same threshold keep the same traces.

/// One more than the largest randomness: 2^56.
const MAX: u64 = 1 << 56;
/// Thresholds made here have six hexadecimal digits: 2^-24 is the smallest probability.
const PRECISION: u64 = 1 << 32;
/// Digits of a randomness, and most of a threshold.
pub const DIGITS: usize = 14;

/// How much of 2^56 is rejected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Threshold(u64);

/// Fifty-six random bits of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Randomness(u64);

impl Threshold {
    /// Keeps everything.
    pub const ALWAYS: Self = Self(0);
    /// Keeps nothing, and is never written.
    pub const NEVER: Self = Self(MAX);

    /// The threshold of a probability, rounded to 2^-24; what is neither above 0 nor a
    /// number keeps nothing.
    #[must_use]
    pub fn of(probability: f64) -> Self {
        if probability >= 1.0 {
            return Self::ALWAYS;
        }
        if probability.is_nan() || probability <= 0.0 {
            return Self::NEVER;
        }
        let kept = (probability * (MAX / PRECISION) as f64).round().max(1.0) as u64;
        Self(MAX - kept.min(MAX / PRECISION) * PRECISION)
    }

    /// The probability with which a trace is kept.
    #[must_use]
    pub fn probability(self) -> f64 {
        (MAX - self.0) as f64 / MAX as f64
    }

    /// How many spans a kept one stands for; `None` if none is kept.
    #[must_use]
    pub fn adjusted_count(self) -> Option<f64> {
        (self != Self::NEVER).then(|| MAX as f64 / (MAX - self.0) as f64)
    }

    /// Whether a trace is kept.
    #[inline]
    #[must_use]
    pub const fn keeps(self, randomness: Randomness) -> bool {
        randomness.0 >= self.0
    }

    /// Reads the value of `th`: 1 to 14 digits, those left out are zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = hex(text)?;
        Some(Self(value << (4 * (DIGITS - text.len()))))
    }

    /// Appends the value of `th`: trailing zeros left out.
    pub fn write(self, out: &mut String) {
        let mut rest = self.0.min(MAX - 1);
        loop {
            let digit = (rest >> 52) as u32 & 15;
            out.push(char::from_digit(digit, 16).unwrap_or('0'));
            rest = rest << 4 & (MAX - 1);
            if rest == 0 {
                return;
            }
        }
    }
}

impl Randomness {
    /// The low 56 bits of a trace id.
    #[inline]
    #[must_use]
    pub const fn of(trace_id: &[u8; 16]) -> Self {
        Self(u128::from_be_bytes(*trace_id) as u64 & (MAX - 1))
    }

    /// Reads the value of `rv`: exactly 14 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == DIGITS).then(|| hex(text))?.map(Self)
    }
}

/// Up to 14 lower-case hexadecimal digits.
fn hex(text: &str) -> Option<u64> {
    let valid = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.is_empty() || text.len() > DIGITS || !text.bytes().all(valid) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_specification() {
        for (probability, text) in [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.01, "fd70a4")] {
            let mut out = String::new();
            Threshold::of(probability).write(&mut out);
            assert_eq!(out, text, "{probability}");
        }
        assert_eq!(
            Threshold::parse("c").and_then(Threshold::adjusted_count),
            Some(4.0)
        );
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128.to_be_bytes();
        assert_eq!(
            Randomness::of(&id),
            Randomness::parse("ce929d0e0e4736").unwrap()
        );
    }

    #[test]
    fn odd_probabilities() {
        for odd in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Threshold::of(odd), Threshold::NEVER);
            assert_eq!(Threshold::of(odd).adjusted_count(), None);
        }
        assert_eq!(Threshold::of(f64::INFINITY), Threshold::ALWAYS);
        assert!(Threshold::of(f64::MIN_POSITIVE).probability() > 0.0);
    }

    proptest! {
        #[test]
        fn a_threshold_reads_as_it_was_written(probability in 0.0f64..=1.0) {
            let threshold = Threshold::of(probability);
            prop_assume!(threshold != Threshold::NEVER);
            let mut text = String::new();
            threshold.write(&mut text);
            prop_assert!(text == "0" || !text.ends_with('0'));
            prop_assert_eq!(Threshold::parse(&text), Some(threshold));
            prop_assert!((threshold.probability() - probability).abs() <= 1.0 / f64::from(1 << 24));
        }

        #[test]
        fn any_written_threshold_round_trips(text in "[0-9a-f]{1,14}") {
            let threshold = Threshold::parse(&text).unwrap();
            let mut again = String::new();
            threshold.write(&mut again);
            prop_assert_eq!(Threshold::parse(&again), Some(threshold));
        }

        #[test]
        fn decisions_are_monotone(a in 0.0f64..1.0, b in 0.0f64..1.0, id in any::<u128>()) {
            let randomness = Randomness::of(&id.to_be_bytes());
            let (low, high) = (Threshold::of(a.min(b)), Threshold::of(a.max(b)));
            // Whoever keeps little keeps nothing that others drop.
            prop_assert!(!low.keeps(randomness) || high.keeps(randomness));
        }
    }
}
