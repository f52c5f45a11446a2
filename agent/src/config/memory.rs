//! `memory_limit`: one ceiling for what is queued, batched and under way.

/// Smallest, default and largest limit, bytes.
pub const MEMORY_LIMIT: (u64, u64, u64) = (64 << 20, 128 << 20, 1 << 40);

/// What every part may hold at most, bytes. Together they are the limit. Beside it stand what
/// other settings ask for (`ring_bytes`, `max_connections`, `metrics_max_series`, profiles)
/// and the program itself.
///
/// Each part has a bound of its own, instead of all taking from one pool: a gateway that is
/// away must not leave too little for following requests, which are counted whether or not
/// their spans are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryShares {
    /// Encoded batches of all signals, those being sent included.
    pub queue: usize,
    /// The batch being put together.
    pub open: usize,
    /// Requests under way: their heads and header fields, tables, and places.
    pub pipeline: usize,
}

impl MemoryShares {
    /// Of a limit within [`MEMORY_LIMIT`].
    #[must_use]
    pub fn of(limit: u64) -> Self {
        let of_32 = |parts: u64| usize::try_from(limit / 32 * parts).unwrap_or(usize::MAX);
        Self {
            queue: of_32(7),
            open: of_32(1),
            pipeline: of_32(24),
        }
    }
}

impl Default for MemoryShares {
    fn default() -> Self {
        Self::of(MEMORY_LIMIT.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::export::sink::MAX_REQUEST_BYTES;

    #[test]
    fn shares_are_the_limit_and_hold_a_request_each() {
        let (min, default, max) = MEMORY_LIMIT;
        for limit in [min, default, max] {
            let shares = MemoryShares::of(limit);
            let sum = shares.queue + shares.open + shares.pipeline;
            assert_eq!(u64::try_from(sum).unwrap(), limit);
            assert!(shares.queue >= 2 * MAX_REQUEST_BYTES, "{shares:?}");
        }
    }
}
