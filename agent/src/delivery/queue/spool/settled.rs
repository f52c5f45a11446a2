//! Which records beyond the cursor are settled.

use std::collections::BTreeMap;

use super::format::Range;

/// Ranges kept at most. Beyond it a record that is settled out of order is forgotten, and
/// sent once more.
pub const MAX_RANGES: usize = 1024;

/// A set of records, with the items in them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Settled {
    /// By first record; they neither touch nor overlap.
    ranges: BTreeMap<u64, Range>,
}

impl Settled {
    /// Adds records, none of which is in the set. False if there are too many ranges.
    pub fn add(&mut self, mut range: Range) -> bool {
        let left = self.ranges.range(..range.start).next_back();
        let left = left
            .map(|(_, it)| *it)
            .filter(|left| left.end == range.start);
        let right = self.ranges.get(&range.end).copied();
        if left.is_none() && right.is_none() && self.ranges.len() >= MAX_RANGES {
            return false;
        }
        if let Some(left) = left {
            self.ranges.remove(&left.start);
            (range.start, range.first_item) = (left.start, left.first_item);
        }
        if let Some(right) = right {
            self.ranges.remove(&right.start);
            (range.end, range.end_item) = (right.end, right.end_item);
        }
        self.ranges.insert(range.start, range);
        true
    }

    /// Whether a record is among them.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        let before = self.ranges.range(..=seq).next_back();
        before.is_some_and(|(_, range)| seq < range.end)
    }

    /// Forgets all records below `seq`, whose first item is `item`.
    pub fn forget_below(&mut self, seq: u64, item: u64) {
        while let Some(entry) = self.ranges.first_entry()
            && *entry.key() < seq
        {
            let range = entry.remove();
            if range.end > seq {
                let rest = Range {
                    start: seq,
                    first_item: item,
                    ..range
                };
                self.ranges.insert(seq, rest);
            }
        }
    }

    /// How many of the items `first..end` are settled.
    #[must_use]
    pub fn items_between(&self, first: u64, end: u64) -> u64 {
        let overlap = |range: &Range| {
            let overlap = range.end_item.min(end);
            overlap.saturating_sub(range.first_item.max(first))
        };
        self.ranges.values().map(overlap).sum()
    }

    /// How many records they are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).sum()
    }

    /// All ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        self.ranges.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of ten items each.
    fn range(start: u64, end: u64) -> Range {
        Range {
            start,
            end,
            first_item: start * 10,
            end_item: end * 10,
        }
    }

    #[test]
    fn neighbours_join_and_cuts_are_exact() {
        let mut settled = Settled::default();
        for (start, end) in [(10, 11), (12, 13), (11, 12), (20, 21)] {
            assert!(settled.add(range(start, end)));
        }
        let ranges: Vec<Range> = settled.ranges().collect();
        assert_eq!(ranges, [range(10, 13), range(20, 21)]);
        assert_eq!(
            (settled.records(), settled.items_between(115, 205)),
            (4, 20)
        );
        for (seq, inside) in [(9, false), (10, true), (12, true), (13, false), (20, true)] {
            assert_eq!(settled.contains(seq), inside, "{seq}");
        }
        settled.forget_below(11, 110);
        assert_eq!(settled.ranges().next(), Some(range(11, 13)));
        assert_eq!(settled.records(), 3);
        settled.forget_below(20, 200);
        assert_eq!((settled.records(), settled.ranges().count()), (1, 1));
    }

    #[test]
    fn is_bounded() {
        let mut settled = Settled::default();
        for n in 0..MAX_RANGES as u64 {
            assert!(settled.add(range(n * 2, n * 2 + 1)));
        }
        assert!(!settled.add(range(1 << 40, (1 << 40) + 1)));
        assert!(!settled.contains(1 << 40));
        // What joins needs no room.
        assert!(settled.add(range(1, 2)));
    }
}
