//! Reading in order, around whatever is damaged.

use std::io;
use std::sync::Arc;

use memchr::memmem;

use super::disk::DiskFile;
use super::format::{RECORD_HEADER, RECORD_MAGIC, RecordHeader, checksum};
use super::{FIRST, Lent, Next, Place, Record, Segment, Spool, body, segment_name};
use crate::delivery::export::batch::Batch;

/// Bytes read at once in search of the next record.
const SEARCH: usize = 64 << 10;

/// What is at some place of a segment.
enum At {
    Record(RecordHeader),
    Damage,
}

impl Spool {
    /// Lends out the next record, if its stored body has at most `room` bytes. What cannot
    /// be read is counted, and passed over.
    pub fn read_next(&mut self, room: usize) -> Next {
        loop {
            let Some(segment) = self.next_segment() else {
                // Nothing is behind this place: numbers that no record has are lost.
                self.pass(self.next);
                return Next::Empty;
            };
            let Some(file) = self.reader_file(&segment) else {
                self.reader.offset = segment.len;
                continue;
            };
            let offset = self.reader.offset;
            let header = match self.examine(&*file, &segment, offset) {
                At::Record(header) => header,
                At::Damage => {
                    self.damaged += 1;
                    self.reader.offset = self.search(&*file, &segment, offset + 1);
                    continue;
                }
            };
            let after = offset + header.record_len();
            if header.seq < self.reader.at.seq || self.is_known(header.seq) {
                self.reader.offset = after;
                let at = Place {
                    seq: header.seq + 1,
                    item: header.end_item(),
                };
                if at > self.reader.at {
                    self.pass_to(header, at);
                }
                continue;
            }
            if header.len as usize > room {
                return Next::NoRoom;
            }
            self.reader.offset = after;
            let body = self.body(&*file, offset, &header);
            let at = Place {
                seq: header.seq + 1,
                item: header.end_item(),
            };
            self.pass_to(header, at);
            match body {
                Ok(body) => {
                    let (item, items) = (header.first_item, u64::from(header.items));
                    self.lent.insert(header.seq, Lent { item, items });
                    let batch = Batch {
                        signal: header.signal,
                        items,
                        body,
                    };
                    return Next::Record(Record {
                        seq: header.seq,
                        batch,
                    });
                }
                Err(_) => {
                    self.damaged += 1;
                    self.losses.corrupt += u64::from(header.items);
                    self.lent.insert(
                        header.seq,
                        Lent {
                            item: header.first_item,
                            items: header.items.into(),
                        },
                    );
                    self.settle(header.seq);
                }
            }
        }
    }

    /// The segment to read from: the reader's, or the next one if that is at its end.
    fn next_segment(&mut self) -> Option<Segment> {
        loop {
            let at = self.reader.segment;
            let mut rest = self.segments.iter().filter(|it| it.index >= at).copied();
            let segment = rest.next()?;
            if segment.index == at && self.reader.offset < segment.len {
                return Some(segment);
            }
            let next = if segment.index == at {
                rest.next()?
            } else {
                segment
            };
            self.pass(next.first);
            self.reader.segment = next.index;
            self.reader.offset = FIRST;
            self.reader.file = None;
        }
    }

    fn reader_file(&mut self, segment: &Segment) -> Option<Arc<dyn DiskFile>> {
        if self.reader.file.is_none() {
            let opened = self.disk.open(&segment_name(segment.index), false);
            match opened {
                Ok(file) => self.reader.file = Some(file),
                Err(_) => {
                    self.io_errors += 1;
                    let end = self.segments.iter().find(|it| it.index > segment.index);
                    let end = end.map_or(self.next, |next| next.first);
                    let lost = self.give_up_to(end);
                    self.losses.missing += lost;
                }
            }
        }
        self.reader.file.clone()
    }

    fn is_known(&self, seq: u64) -> bool {
        self.settled.contains(seq) || self.lent.contains_key(&seq)
    }

    /// Goes on to a record and behind it.
    fn pass_to(&mut self, header: RecordHeader, behind: Place) {
        self.pass(Place {
            seq: header.seq,
            item: header.first_item,
        });
        self.reader.at = behind;
    }

    /// Goes on to a place; what was expected before it is lost.
    fn pass(&mut self, to: Place) {
        let lost = self.give_up_to(to);
        self.losses.corrupt += lost;
    }

    /// Items of the records that were expected before a place, which count as settled.
    fn give_up_to(&mut self, to: Place) -> u64 {
        if to.seq <= self.reader.at.seq {
            return 0;
        }
        let mut lost = 0u64;
        for hole in self.holes(self.reader.at, to) {
            lost = lost.saturating_add(hole.items());
            self.settled.add(hole);
        }
        self.reader.at = to;
        lost
    }

    /// The header at an offset of a segment, if there is one that makes sense there.
    fn examine(&mut self, file: &dyn DiskFile, segment: &Segment, offset: u64) -> At {
        let mut bytes = [0; RECORD_HEADER];
        match file.read_at(&mut bytes, offset) {
            Ok(RECORD_HEADER) => {}
            Ok(_) => return At::Damage,
            Err(_) => {
                self.io_errors += 1;
                return At::Damage;
            }
        }
        let header = RecordHeader::decode(&bytes, self.id);
        header
            .filter(|header| self.is_plausible(header, segment, offset))
            .map_or(At::Damage, At::Record)
    }

    fn is_plausible(&self, header: &RecordHeader, segment: &Segment, offset: u64) -> bool {
        let position = self
            .segments
            .iter()
            .position(|it| it.index == segment.index);
        let end = position.map_or(self.next, |position| self.end_of(position));
        header.seq >= segment.first.seq
            && header.seq < end.seq
            && header.first_item >= segment.first.item
            && header.end_item() <= end.item
            && offset + header.record_len() <= segment.len
    }

    /// The offset of the next record at or behind `from`, else the end of the segment.
    fn search(&mut self, file: &dyn DiskFile, segment: &Segment, from: u64) -> u64 {
        let mut from = from;
        while let Some(offset) = find_header(file, from, segment.len, &mut self.io_errors) {
            if let At::Record(_) = self.examine(file, segment, offset) {
                return offset;
            }
            from = offset + 1;
        }
        segment.len
    }

    fn body(
        &mut self,
        file: &dyn DiskFile,
        offset: u64,
        header: &RecordHeader,
    ) -> io::Result<bytes::Bytes> {
        let mut stored = vec![0; header.len as usize];
        let read = file.read_at(&mut stored, offset + RECORD_HEADER as u64);
        if read.inspect_err(|_| self.io_errors += 1)? != stored.len()
            || checksum(&stored) != header.crc
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        body::unpack(header.encoding, stored)
    }
}

/// The next place from `from` to `end` that begins like a record. Places that cannot be
/// read are passed over, block by block.
pub(super) fn find_header(
    file: &dyn DiskFile,
    mut from: u64,
    end: u64,
    io_errors: &mut u64,
) -> Option<u64> {
    let finder = memmem::Finder::new(&RECORD_MAGIC);
    let mut buffer = vec![0; SEARCH];
    while from + RECORD_HEADER as u64 <= end {
        let len = (end - from).min(SEARCH as u64) as usize;
        let bytes = match file.read_at(buffer.get_mut(..len)?, from) {
            // Shorter than it was: nothing is there any more.
            Ok(read) if read < RECORD_MAGIC.len() => return None,
            Ok(read) => buffer.get(..read)?,
            Err(_) => {
                *io_errors += 1;
                from = (from + BLOCK) / BLOCK * BLOCK;
                // The whole window may be unreadable for one block of it.
                buffer.truncate(BLOCK as usize);
                buffer.resize(BLOCK as usize, 0);
                continue;
            }
        };
        if let Some(found) = finder.find(bytes) {
            return Some(from + found as u64);
        }
        // The magic may lie across the windows.
        from += (bytes.len() - (RECORD_MAGIC.len() - 1)) as u64;
    }
    None
}

/// What disks lose at once.
const BLOCK: u64 = 4096;
