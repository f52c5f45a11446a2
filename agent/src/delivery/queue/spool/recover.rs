//! What a spool finds when it begins.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use super::disk::{Disk, DiskFile, LOCK};
use super::format::{
    Cursor, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SLOT, SegmentHeader, Unknown,
};
use super::read::find_header;
use super::store::cursor_bytes;
use super::{
    CURSOR, FIRST, Limits, Losses, Place, Reader, Segment, Settled, Spool, segment_index,
    segment_name,
};

impl Spool {
    /// Opens what is on a disk, and goes on where it was left. Damage is passed over, what
    /// is not a spool's is left alone; `random` becomes the id of a new spool.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn open(disk: Box<dyn Disk>, limits: Limits, random: u64) -> io::Result<Self> {
        let mut spool = Self::look(disk, limits, random)?;
        for index in std::mem::take(&mut spool.stillborn) {
            if spool.disk.remove(&segment_name(index)).is_err() {
                spool.io_errors += 1;
            }
        }
        // A process that was killed may not have synced what it wrote.
        for segment in &spool.segments {
            let file = spool.disk.open(&segment_name(segment.index), false);
            spool.dirty.extend(file);
        }
        // The cap may be lower than it was.
        while spool.bytes + cursor_bytes() > limits.bytes && spool.drop_oldest().is_ok() {}
        // Both slots at once: later writes need no room on a disk that may be full then.
        for _ in 0..2 {
            let at = spool.cursor();
            if spool.sync_cursor(at).is_err() {
                spool.io_errors += 1;
            }
        }
        Ok(spool)
    }

    /// The same without writing anything.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn look(disk: Box<dyn Disk>, limits: Limits, random: u64) -> io::Result<Self> {
        let files = disk.list()?;
        let cursor = read_cursor(&*disk);
        let mut spool = Self {
            disk,
            limits,
            id: cursor.as_ref().map_or(random, |(cursor, _)| cursor.spool),
            segments: VecDeque::new(),
            writer: None,
            dirty: Vec::new(),
            dir_dirty: true,
            cursor_file: None,
            has_cursor: cursor.is_some(),
            written: (u64::MAX, 0, 0),
            generation: cursor.as_ref().map_or(0, |(cursor, _)| cursor.generation),
            slot: cursor.as_ref().map_or(0, |(_, slot)| *slot),
            next: Place::default(),
            next_index: 0,
            reader: Reader {
                segment: 0,
                offset: FIRST,
                at: Place::default(),
                file: None,
            },
            lent: BTreeMap::new(),
            settled: Settled::default(),
            bytes: 0,
            losses: Losses::default(),
            stillborn: Vec::new(),
            foreign: 0,
            damaged: 0,
            io_errors: 0,
        };
        let mut found = Vec::new();
        for (name, len) in files {
            match segment_index(&name) {
                Some(index) => found.push((index, len)),
                None if name == LOCK || name == CURSOR => {}
                None => spool.foreign += 1,
            }
        }
        found.sort_unstable();
        // Names are never given twice, not even those of files that are not ours.
        let last = found.last().map_or(0, |(index, _)| index.saturating_add(1));
        let noted = cursor.as_ref().map_or(0, |(cursor, _)| cursor.next_index);
        spool.next_index = last.max(noted);
        spool.take_segments(&found, cursor.is_some());
        spool.take_numbers(cursor.map(|(cursor, _)| cursor));
        Ok(spool)
    }

    fn take_segments(&mut self, found: &[(u64, u64)], id_known: bool) {
        let headers: Vec<_> = found
            .iter()
            .map(|(index, len)| (*index, *len, self.segment_header(*index)))
            .collect();
        if !id_known {
            let first = headers
                .iter()
                .find_map(|(_, _, header)| header.as_ref().ok());
            self.id = first.map_or(self.id, |header| header.spool);
        }
        for (index, len, header) in headers {
            let first = match header {
                Ok(header) if header.spool == self.id && header.index == index => Some(Place {
                    seq: header.first_seq,
                    item: header.first_item,
                }),
                Ok(_) | Err(Unknown::Version(_)) => None,
                Err(Unknown::Short) => {
                    self.stillborn.push(index);
                    continue;
                }
                Err(Unknown::Blank | Unknown::Damaged) => {
                    self.damaged += 1;
                    self.first_record(index, len)
                }
            };
            let last = self.segments.back().map_or(Place::default(), |it| it.first);
            match first {
                Some(first) if first.seq >= last.seq && first.item >= last.item => {
                    self.bytes += len;
                    self.segments.push_back(Segment { index, first, len });
                }
                // Its header did not reach the disk, and neither did a record.
                None if header == Err(Unknown::Blank) => self.stillborn.push(index),
                _ => self.foreign += 1,
            }
        }
    }

    /// Sets what comes next, what is settled and where to read on.
    fn take_numbers(&mut self, cursor: Option<Cursor>) {
        let first = self.segments.front().map(|segment| segment.first);
        let mut next = self
            .segments
            .back()
            .copied()
            .map_or(Place::default(), |last| self.scan_end(&last));
        let at = match &cursor {
            Some(cursor) => {
                let mut end = (
                    cursor.end_seq.max(cursor.seq),
                    cursor.end_item.max(cursor.item),
                );
                for range in &cursor.settled {
                    end = (end.0.max(range.end), end.1.max(range.end_item));
                    if range.start < range.end && range.first_item <= range.end_item {
                        self.settled.add(*range);
                    }
                }
                next = Place {
                    seq: next.seq.max(end.0),
                    item: next.item.max(end.1),
                };
                Place {
                    seq: cursor.seq,
                    item: cursor.item,
                }
            }
            None => first.unwrap_or(next),
        };
        self.next = next;
        self.reader.at = at;
        if let Some(first) = first.filter(|first| first.seq > at.seq) {
            // Segments in front are gone, though the cursor had not passed them.
            let lost = self.holes(at, first);
            let items = lost.iter().map(super::format::Range::items);
            self.losses.missing = items.fold(0, u64::saturating_add);
            self.reader.at = first;
        }
        let at = self.reader.at;
        let holds = |segment: &&Segment| segment.first.seq <= at.seq;
        let segment = self
            .segments
            .iter()
            .rev()
            .find(holds)
            .or(self.segments.front());
        self.reader.segment = segment.map_or(self.next_index, |segment| segment.index);
        self.settled.forget_below(at.seq, at.item);
    }

    fn segment_header(&mut self, index: u64) -> Result<SegmentHeader, Unknown> {
        let mut bytes = [0; SEGMENT_HEADER];
        let read = self
            .disk
            .open(&segment_name(index), false)
            .and_then(|file| file.read_at(&mut bytes, 0));
        let len = read.unwrap_or_else(|_| {
            self.io_errors += 1;
            0
        });
        SegmentHeader::decode(bytes.get(..len).unwrap_or_default())
    }

    /// Where a segment without a readable header begins, if it holds records at all.
    fn first_record(&mut self, index: u64, len: u64) -> Option<Place> {
        let file = self.disk.open(&segment_name(index), false).ok()?;
        let (_, header) = self.find_record(&*file, FIRST, len)?;
        Some(Place {
            seq: header.seq,
            item: header.first_item,
        })
    }

    fn find_record(
        &mut self,
        file: &dyn DiskFile,
        from: u64,
        len: u64,
    ) -> Option<(u64, RecordHeader)> {
        let id = self.id;
        let header_at = |offset| {
            let mut bytes = [0; RECORD_HEADER];
            let read = file.read_at(&mut bytes, offset).unwrap_or_default();
            Some((offset, RecordHeader::decode(bytes.get(..read)?, id)?))
        };
        // Nearly always it is right there.
        let mut offset = from;
        while offset + RECORD_HEADER as u64 <= len {
            if let Some(found) = header_at(offset) {
                return Some(found);
            }
            offset = find_header(file, offset + 1, len, &mut self.io_errors)?;
        }
        None
    }

    /// What comes after the last record of the last segment, torn or not.
    fn scan_end(&mut self, last: &Segment) -> Place {
        let mut end = last.first;
        let Ok(file) = self.disk.open(&segment_name(last.index), false) else {
            return end;
        };
        let mut offset = FIRST;
        while let Some((at, header)) = self.find_record(&*file, offset, last.len) {
            end = end.max(Place {
                seq: header.seq.saturating_add(1),
                item: header.end_item(),
            });
            offset = at + header.record_len();
        }
        end
    }
}

/// The newer of the two slots, and which one it is.
fn read_cursor(disk: &dyn Disk) -> Option<(Cursor, u64)> {
    let file = disk.open(CURSOR, false).ok()?;
    let slot = |number: u64| {
        let mut bytes = vec![0; SLOT];
        let read = file.read_at(&mut bytes, number * SLOT as u64).ok()?;
        Some((Cursor::decode(bytes.get(..read)?)?, number))
    };
    slot(0)
        .into_iter()
        .chain(slot(1))
        .max_by_key(|(cursor, _)| cursor.generation)
}
