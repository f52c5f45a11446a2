//! The dynamic table (RFC 7541, section 2.3.2) as far as it is known.
//!
//! What is held is always the newest part of the peers' table, without gaps, so indices
//! count right from its newest entry. It may end before theirs does: the agent came
//! later, lost records, or keeps less than they do. Then [`Table::whole`] is false, and
//! what lies beyond is unknown. Holding more than the peers do harms nothing, because
//! they never refer to what they have evicted: sizes need not be exact where they are
//! not known.

use super::Name;
use std::collections::VecDeque;
use std::ops::Range;

/// What an entry counts beyond its name and value, bytes (section 4.1).
const OVERHEAD: usize = 32;
/// The size of a table before any update (RFC 9113, section 6.5.2), bytes.
const INITIAL: usize = 4_096;
/// Bytes of dead text that are not worth moving the living for.
const SMALL: usize = 256;

/// One header field in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// `None` if the name was that of an unknown entry.
    pub(super) name: Option<Name>,
    /// Whether the text is kept: not if it is longer than all that may be kept.
    kept: bool,
    /// Where the name is, counted over all text that was ever appended.
    at: u32,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    fn size(&self) -> usize {
        let text = if self.kept { self.text_len() } else { 0 };
        text + OVERHEAD
    }

    fn text_len(&self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

/// The known part of a dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Names and values in the order of the entries; text of dead ones before them.
    text: Vec<u8>,
    /// What was removed from the start of `text` so far, wrapping.
    removed: u32,
    /// At most the sum of the sizes that the peers count for these entries.
    size: usize,
    /// The table size that the peers use; `None` while it is not known.
    limit: Option<usize>,
    /// Whether the peers have no entries but these.
    whole: bool,
}

impl Table {
    /// The table of a connection that begins.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            text: Vec::new(),
            removed: 0,
            size: 0,
            limit: Some(INITIAL),
            whole: true,
        }
    }

    /// Nothing is known of the table any more.
    pub(super) fn forget(&mut self) {
        self.clear();
        (self.limit, self.whole) = (None, false);
    }

    /// As [`Self::new`], keeping at most `keep` bytes of memory.
    pub(super) fn reset(&mut self, keep: usize) {
        self.clear();
        (self.limit, self.whole) = (Some(INITIAL), true);
        if self.memory() > keep {
            self.text = Vec::new();
            self.entries = VecDeque::new();
        }
    }

    /// Whether the peers have no entries but those held.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The entry that is `age` insertions older than the newest.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<&Entry> {
        let newest = self.entries.len().checked_sub(1)?;
        self.entries.get(newest.checked_sub(age)?)
    }

    /// Name and value of an entry; `None` where they are not known.
    #[inline]
    pub(super) fn text_of(&self, entry: &Entry) -> (Option<&[u8]>, Option<&[u8]>) {
        if !entry.kept {
            return (None, None);
        }
        let (name, value) = self.ranges(entry);
        (
            entry.name.map(|_| &self.text[name]),
            Some(&self.text[value]),
        )
    }

    fn ranges(&self, entry: &Entry) -> (Range<usize>, Range<usize>) {
        let start = entry.at.wrapping_sub(self.removed) as usize;
        let middle = start + entry.name_len as usize;
        (start..middle, middle..middle + entry.value_len as usize)
    }

    /// Where text is appended for an entry in the making: `needed` bytes at most.
    #[inline]
    pub(super) fn text_for(&mut self, needed: usize) -> &mut Vec<u8> {
        if self.text.capacity() - self.text.len() < needed {
            self.compact();
        }
        &mut self.text
    }

    /// Moves the text of the living to the start, if that gains half of the space.
    fn compact(&mut self) {
        let dead = match self.entries.iter().find(|entry| entry.kept) {
            Some(oldest) => oldest.at.wrapping_sub(self.removed) as usize,
            None => self.text.len(),
        };
        if dead >= SMALL.max(self.text.len() / 2) {
            self.text.drain(..dead);
            self.removed = self.removed.wrapping_add(dead as u32);
        }
    }

    /// Where the next byte will be appended.
    pub(super) fn mark(&self) -> usize {
        self.text.len()
    }

    /// Appends the name of an entry to the text, for one in the making.
    pub(super) fn append_name_of(&mut self, entry: &Entry) {
        if entry.kept {
            let (name, _) = self.ranges(entry);
            self.text.extend_from_within(name);
        }
    }

    /// The text between two marks of an entry in the making.
    pub(super) fn made(&self, name: Range<usize>, value: usize) -> (&[u8], &[u8]) {
        (&self.text[name.clone()], &self.text[name.end..value])
    }

    /// Makes an entry of the text appended since `start`, of which the name goes up to
    /// `middle` (section 4.4). At most `cap` bytes are kept.
    #[inline]
    pub(super) fn insert(&mut self, name: Option<Name>, start: usize, middle: usize, cap: usize) {
        let mut entry = Entry {
            name,
            kept: true,
            at: self.removed.wrapping_add(start as u32),
            name_len: (middle - start) as u32,
            value_len: (self.text.len() - middle) as u32,
        };
        let size = entry.size();
        if self.limit.is_some_and(|limit| size > limit) {
            // Too long for the peers' table: it only empties it.
            self.text.truncate(start);
            self.clear();
            self.whole = true;
            return;
        }
        if let Some(limit) = self.limit {
            self.evict_to(limit - size, true);
        }
        if size > cap {
            // Its place must be held, or all others would be counted wrong.
            entry.kept = false;
            self.text.truncate(start);
        }
        self.evict_to(cap.saturating_sub(entry.size()), false);
        self.size += entry.size();
        self.entries.push_back(entry);
    }

    /// The peers' table has another size from now on (section 6.3).
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = Some(limit);
        self.evict_to(limit, true);
        self.whole |= limit < OVERHEAD;
    }

    /// Evicts until the rest has at most `size` bytes. What the peers evict as well tells
    /// that they have nothing older.
    #[inline]
    fn evict_to(&mut self, size: usize, peers: bool) {
        while self.size > size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
            self.whole = peers;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.size = 0;
    }
}

#[cfg(test)]
impl Table {
    /// Size as the peers count it, if everything is known (section 4.1), bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
