//! Span and trace ids: a keyed mix of the connection and the index of the request on
//! it. The same record with the same seed gives the same ids, so a replay shows what
//! the live run showed, and no state has to be kept per span.

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};

/// The key of all ids of one run of the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seed(pub [u64; 2]);

impl Seed {
    /// A new random seed. The keys of the standard library's hasher come from the
    /// operating system's random source.
    #[must_use]
    pub fn random() -> Self {
        let word = |salt: u64| RandomState::new().hash_one(salt);
        Self([word(1), word(2)])
    }

    /// The span id of a request; never zero.
    #[must_use]
    #[inline]
    pub fn span_id(self, conn: u64, index: u32) -> [u8; 8] {
        self.word(conn, index, 1).max(1).to_be_bytes()
    }

    /// The id of a trace that begins with this request; never zero. All bits are
    /// uniform, as consistent sampling by the low 56 requires.
    #[must_use]
    #[inline]
    pub fn trace_id(self, conn: u64, index: u32) -> [u8; 16] {
        let high = u128::from(self.word(conn, index, 2));
        let low = u128::from(self.word(conn, index, 3));
        (high << 64 | low).max(1).to_be_bytes()
    }

    #[inline]
    fn word(self, conn: u64, index: u32, stream: u64) -> u64 {
        // A mix between any two inputs: else a bit of one could undo a bit of the other.
        let place = mix(mix(conn ^ self.0[0]) ^ (stream << 32 | u64::from(index)));
        mix(place ^ self.0[1])
    }
}

/// The finalizer of `SplitMix64` behind its increment (Steele, Lea, Flood: "Fast
/// splittable pseudorandom number generators", 2014): a bijection that flips every
/// output bit with probability one half for any input bit.
#[inline]
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_by_connection_index_and_seed() {
        let (a, b) = (Seed([1, 2]), Seed([1, 3]));
        let mut spans = HashSet::new();
        let mut traces = HashSet::new();
        for conn in 0..200 {
            for index in 0..200 {
                for seed in [a, b] {
                    assert!(spans.insert(seed.span_id(conn, index)));
                    assert!(traces.insert(seed.trace_id(conn, index)));
                }
            }
        }
        assert_ne!(Seed::random(), Seed::random());
    }

    #[test]
    fn ids_depend_on_nothing_else() {
        let seed = Seed([7, 11]);
        assert_eq!(seed.span_id(3, 4), Seed([7, 11]).span_id(3, 4));
        assert_eq!(seed.trace_id(3, 4), Seed([7, 11]).trace_id(3, 4));
    }

    #[test]
    fn each_bit_of_an_id_is_set_about_half_the_time() {
        let seed = Seed([5, 6]);
        let mut ones = [0u32; 128];
        for index in 0..4_000 {
            let id = u128::from_be_bytes(seed.trace_id(9, index));
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(id >> bit & 1 == 1);
            }
        }
        // Six standard deviations of a fair coin thrown 4,000 times.
        assert!(
            ones.iter().all(|count| (1_810..2_190).contains(count)),
            "{ones:?}"
        );
    }
}
