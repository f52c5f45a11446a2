//! When to look for connections whose end was in a record that the kernel could not send.
//!
//! Their requests would stay under way until the agent ends: they would be counted as lost
//! only then, and as in flight until then. No counter tells that such a record was lost.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Between two looks, at least. They read the kernel's table of connections, an entry at a
/// time.
const INTERVAL: Duration = Duration::from_secs(5);
/// At most one part in so many of a CPU goes into them.
const SHARE: u32 = 1000;

/// The state between looks.
#[derive(Debug)]
pub(super) struct Sweep {
    begun: Instant,
    next: Instant,
    /// Connections that were gone at the last look.
    suspects: HashSet<u64>,
}

impl Sweep {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            next: now + INTERVAL,
            suspects: HashSet::new(),
        }
    }

    /// Whether it is time for a look, which then begins.
    pub(super) fn begins(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.begun = now;
        }
        due
    }

    /// The look is over. Of the connections that are `gone`, returns those that were so at the
    /// last look: the record of an end may still be in the ring while the kernel has forgotten
    /// the connection, and a table that changes while it is read may seem to lack one. Neither
    /// lasts so long.
    pub(super) fn ends(&mut self, gone: Vec<u64>) -> Vec<u64> {
        let took = self.begun.elapsed();
        self.next = self.begun + INTERVAL.max(took.saturating_mul(SHARE));
        let (sure, new): (Vec<_>, Vec<_>) =
            (gone.into_iter()).partition(|id| self.suspects.contains(id));
        self.suspects = new.into_iter().collect();
        sure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_gone_at_two_looks_is_gone() {
        let mut sweep = Sweep::new();
        assert!(!sweep.begins(), "the first look has time");
        assert!(sweep.ends(vec![1, 2]).is_empty());
        assert_eq!(sweep.ends(vec![2, 3]), [2]);
        assert_eq!(sweep.ends(vec![3]), [3]);
        assert!(sweep.ends(vec![]).is_empty());
    }
}
