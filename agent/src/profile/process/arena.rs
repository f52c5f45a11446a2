//! Ranges in the array of all mappings, one for each process.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a range rests before it is used again: a kernel program that found it in the
/// map of processes may still be reading. Programs run for microseconds.
const REST: Duration = Duration::from_millis(500);

/// Hands out ranges.
#[derive(Debug)]
pub struct Arena {
    /// Free ranges: start and length. No two are neighbours.
    free: BTreeMap<u32, u32>,
    /// Ranges given back, with the time.
    resting: VecDeque<(Instant, u32, u32)>,
}

impl Arena {
    /// An arena of `len` places.
    #[must_use]
    pub fn new(len: u32) -> Self {
        Self {
            free: BTreeMap::from([(0, len)]),
            resting: VecDeque::new(),
        }
    }

    /// A range of `len` places; `None` if there is none.
    pub fn take(&mut self, len: u32, now: Instant) -> Option<u32> {
        if len == 0 {
            return Some(0);
        }
        while let Some((since, start, len)) = self.resting.front().copied()
            && now.duration_since(since) >= REST
        {
            self.resting.pop_front();
            self.join(start, len);
        }
        let (start, found) = self
            .free
            .iter()
            .find(|(_, found)| **found >= len)
            .map(|(start, found)| (*start, *found))?;
        self.free.remove(&start);
        if found > len {
            self.free.insert(start + len, found - len);
        }
        Some(start)
    }

    /// Gives a range back.
    pub fn give_back(&mut self, start: u32, len: u32, now: Instant) {
        if len > 0 {
            self.resting.push_back((now, start, len));
        }
    }

    fn join(&mut self, mut start: u32, mut len: u32) {
        if let Some(after) = self.free.remove(&(start + len)) {
            len += after;
        }
        if let Some((before, room)) = self.free.range(..start).next_back()
            && before + room == start
        {
            (start, len) = (*before, room + len);
        }
        self.free.insert(start, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_rest_and_join_again() {
        let mut arena = Arena::new(10);
        let start = Instant::now();
        let later = start + REST;
        assert_eq!(arena.take(4, start), Some(0));
        assert_eq!(arena.take(4, start), Some(4));
        assert_eq!(arena.take(4, start), None);
        arena.give_back(0, 4, start);
        arena.give_back(4, 4, start);
        assert_eq!(arena.take(3, start), None);
        assert_eq!(arena.take(10, later), Some(0));
        arena.give_back(0, 10, later);
        assert_eq!(arena.take(0, later), Some(0));
        assert_eq!(arena.take(10, later + REST), Some(0));
    }
}
