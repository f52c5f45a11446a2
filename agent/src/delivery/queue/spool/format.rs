//! What the files of a spool hold. All numbers are little-endian.
//!
//! | segment header, 64 bytes | record header, 40 bytes | slot of the cursor, 4,096 bytes |
//! |---|---|---|
//! | magic, version, 4 bytes of zero | magic, signal, encoding, 2 bytes of zero | magic, version, count of ranges |
//! | spool id, index of the segment | bytes of the body, items in it | spool id, generation |
//! | first sequence number, first item | sequence number, first item | sequence number, item |
//! | time of creation, 4 bytes of zero | CRC of the body | end: sequence number, item, segment |
//! | CRC of the above | CRC of the above | ranges of settled records |
//! | | the body follows | CRC of the slot |
//!
//! Sequence numbers count records, item numbers count what is in them, both over the life
//! of the spool. That is what makes a loss countable to the unit: whoever finds record 17
//! with item 900 after record 14, which ended before item 700, knows that two records
//! with 200 items are gone, without having seen them.
//!
//! The CRC of a record header begins with the spool's random id. A body is made of bytes
//! from strangers (paths, header values); without the id, what they send could look like a
//! record to whoever searches for the next one behind a damaged one.

use crate::delivery::export::batch::Signal;

/// Version of all three structures.
pub const VERSION: u32 = 1;
/// Bytes before the first record of a segment.
pub const SEGMENT_HEADER: usize = 64;
/// Bytes before the body of a record.
pub const RECORD_HEADER: usize = 40;
/// Bytes of one of the two slots of the cursor: what disks write at once.
pub const SLOT: usize = 4096;
/// Largest body, bytes: four times what gateways take.
pub const MAX_BODY: usize = 16 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"RMRASPL\x01";
const CURSOR_MAGIC: [u8; 8] = *b"RMRACUR\x01";
/// First bytes of every record.
pub const RECORD_MAGIC: [u8; 4] = [0xa5, b'R', b'E', 0xc1];

const CURSOR_HEADER: usize = 72;
const RANGE: usize = 32;
/// Ranges that fit a slot.
pub const MAX_RANGES: usize = (SLOT - CURSOR_HEADER - 4) / RANGE;

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Random number of the spool it belongs to.
    pub spool: u64,
    /// Position among the segments, also its file name.
    pub index: u64,
    /// Sequence number of its first record.
    pub first_seq: u64,
    /// Number of its first item.
    pub first_item: u64,
    /// When it was made, Unix time in milliseconds; for people, nothing depends on it.
    pub created_ms: u64,
}

/// Why a file is not a segment of this spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// Shorter than a header.
    Short,
    /// Zeros: the header did not reach the disk.
    Blank,
    /// Something else, or damaged.
    Damaged,
    /// Written by a later version.
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = [
            self.spool,
            self.index,
            self.first_seq,
            self.first_item,
            self.created_ms,
        ];
        put(&mut out[16..56], &numbers);
        seal(&mut out, 0);
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unknown> {
        let bytes: &[u8; SEGMENT_HEADER] = bytes
            .get(..SEGMENT_HEADER)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Unknown::Short)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Unknown::Blank);
        }
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(Unknown::Damaged);
        }
        let version = u32_at(bytes, 8);
        if !is_sealed(bytes, 0) {
            return Err(Unknown::Damaged);
        }
        if version != VERSION {
            return Err(Unknown::Version(version));
        }
        Ok(Self {
            spool: u64_at(bytes, 16),
            index: u64_at(bytes, 24),
            first_seq: u64_at(bytes, 32),
            first_item: u64_at(bytes, 40),
            created_ms: u64_at(bytes, 48),
        })
    }
}

/// How a body is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Encoding {
    /// As it is sent.
    Plain = 0,
    /// Compressed with zstd.
    Zstd = 1,
}

/// What a record says of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Which request it is.
    pub signal: Signal,
    /// How the body is stored.
    pub encoding: Encoding,
    /// Bytes of the body as stored.
    pub len: u32,
    /// Spans (or data points, or samples) in it.
    pub items: u32,
    /// Number of the record.
    pub seq: u64,
    /// Number of its first item.
    pub first_item: u64,
    /// CRC of the body as stored.
    pub crc: u32,
}

impl RecordHeader {
    /// The header's bytes, for a spool.
    #[must_use]
    pub fn encode(&self, spool: u64) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[..4].copy_from_slice(&RECORD_MAGIC);
        out[4] = self.signal as u8;
        out[5] = self.encoding as u8;
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..16].copy_from_slice(&self.items.to_le_bytes());
        put(&mut out[16..32], &[self.seq, self.first_item]);
        out[32..36].copy_from_slice(&self.crc.to_le_bytes());
        seal(&mut out, spool);
        out
    }

    /// Reads a header of the spool; `None` if it is none, or not of this spool.
    #[must_use]
    pub fn decode(bytes: &[u8], spool: u64) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER] = bytes.get(..RECORD_HEADER)?.try_into().ok()?;
        if bytes[..4] != RECORD_MAGIC || !is_sealed(bytes, spool) {
            return None;
        }
        let encoding = match bytes[5] {
            0 => Encoding::Plain,
            1 => Encoding::Zstd,
            _ => return None,
        };
        let header = Self {
            signal: Signal::from_number(bytes[4])?,
            encoding,
            len: u32_at(bytes, 8),
            items: u32_at(bytes, 12),
            seq: u64_at(bytes, 16),
            first_item: u64_at(bytes, 24),
            crc: u32_at(bytes, 32),
        };
        (header.len as usize <= MAX_BODY).then_some(header)
    }

    /// Bytes of the whole record.
    #[must_use]
    pub const fn record_len(&self) -> u64 {
        RECORD_HEADER as u64 + self.len as u64
    }

    /// Number of the first item after it.
    #[must_use]
    pub const fn end_item(&self) -> u64 {
        self.first_item.saturating_add(self.items as u64)
    }
}

/// The CRC of a body.
#[must_use]
pub fn checksum(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}

/// Settled records behind the first one that is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First record.
    pub start: u64,
    /// First record after them.
    pub end: u64,
    /// First item.
    pub first_item: u64,
    /// First item after them.
    pub end_item: u64,
}

impl Range {
    /// Items in them.
    #[must_use]
    pub const fn items(&self) -> u64 {
        self.end_item.saturating_sub(self.first_item)
    }
}

/// How far the spool is consumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Random number of the spool.
    pub spool: u64,
    /// Counts the cursors written.
    pub generation: u64,
    /// First record that is not settled.
    pub seq: u64,
    /// Its first item.
    pub item: u64,
    /// First record not written when this was: numbers are never given twice.
    pub end_seq: u64,
    /// First item not written.
    pub end_item: u64,
    /// Index of the segment that is made next: names are never given twice either.
    pub next_index: u64,
    /// Settled records beyond `seq`, [`MAX_RANGES`] at most.
    pub settled: Vec<Range>,
}

impl Cursor {
    /// The slot's bytes. Ranges that do not fit are left out: their records are sent again.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SLOT];
        let count = self.settled.len().min(MAX_RANGES);
        out[..8].copy_from_slice(&CURSOR_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&(count as u32).to_le_bytes());
        let numbers = [
            self.spool,
            self.generation,
            self.seq,
            self.item,
            self.end_seq,
            self.end_item,
            self.next_index,
        ];
        put(&mut out[16..CURSOR_HEADER], &numbers);
        let slots = out[CURSOR_HEADER..].chunks_exact_mut(RANGE);
        for (slot, range) in slots.zip(self.settled.iter().take(count)) {
            let Range {
                start,
                end,
                first_item,
                end_item,
            } = *range;
            put(slot, &[start, end, first_item, end_item]);
        }
        seal(&mut out, 0);
        out
    }

    /// Reads a slot; `None` if it holds no cursor.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SLOT)?;
        if bytes[..8] != CURSOR_MAGIC || u32_at(bytes, 8) != VERSION || !is_sealed(bytes, 0) {
            return None;
        }
        let count = u32_at(bytes, 12) as usize;
        let ranges = bytes[CURSOR_HEADER..SLOT - 4].chunks_exact(RANGE);
        let settled: Vec<Range> = ranges
            .take(count)
            .map(|range| Range {
                start: u64_at(range, 0),
                end: u64_at(range, 8),
                first_item: u64_at(range, 16),
                end_item: u64_at(range, 24),
            })
            .collect();
        Some(Self {
            spool: u64_at(bytes, 16),
            generation: u64_at(bytes, 24),
            seq: u64_at(bytes, 32),
            item: u64_at(bytes, 40),
            end_seq: u64_at(bytes, 48),
            end_item: u64_at(bytes, 56),
            next_index: u64_at(bytes, 64),
            settled,
        })
    }
}

fn put(out: &mut [u8], numbers: &[u64]) {
    for (slot, number) in out.chunks_exact_mut(8).zip(numbers) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|it| it.try_into().ok());
    u32::from_le_bytes(word.unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|it| it.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
}

/// Puts the CRC of everything before its last four bytes there.
fn seal(out: &mut [u8], key: u64) {
    let at = out.len() - 4;
    let crc = keyed(&out[..at], key);
    out[at..].copy_from_slice(&crc.to_le_bytes());
}

fn is_sealed(bytes: &[u8], key: u64) -> bool {
    let at = bytes.len() - 4;
    keyed(&bytes[..at], key) == u32_at(bytes, at)
}

fn keyed(bytes: &[u8], key: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RecordHeader {
        RecordHeader {
            signal: Signal::Metrics,
            encoding: Encoding::Zstd,
            len: 1000,
            items: 7,
            seq: 1 << 40,
            first_item: 1 << 50,
            crc: 0xdead_beef,
        }
    }

    fn cursor() -> Cursor {
        let range = |n| Range {
            start: n * 10,
            end: n * 10 + 3,
            first_item: n * 100,
            end_item: n * 100 + 30,
        };
        Cursor {
            spool: 9,
            generation: 3,
            seq: 5,
            item: 50,
            end_seq: 5000,
            end_item: 50_000,
            next_index: 12,
            settled: (1..=MAX_RANGES as u64).map(range).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let segment = SegmentHeader {
            spool: u64::MAX,
            index: 2,
            first_seq: 3,
            first_item: 4,
            created_ms: 5,
        };
        assert_eq!(SegmentHeader::decode(&segment.encode()), Ok(segment));
        assert_eq!(
            RecordHeader::decode(&record().encode(77), 77),
            Some(record())
        );
        assert_eq!(Cursor::decode(&cursor().encode()), Some(cursor()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let noticed = |good: Vec<u8>, decodes: &dyn Fn(&[u8]) -> bool| {
            assert!(decodes(&good));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(!decodes(&bad), "bit {bit}");
            }
            for len in 0..good.len() {
                assert!(!decodes(&good[..len]), "cut at {len}");
            }
        };
        let segment = SegmentHeader {
            spool: 1,
            index: 2,
            first_seq: 3,
            first_item: 4,
            created_ms: 5,
        };
        noticed(segment.encode().to_vec(), &|it| {
            SegmentHeader::decode(it).is_ok()
        });
        noticed(record().encode(1).to_vec(), &|it| {
            RecordHeader::decode(it, 1).is_some()
        });
        noticed(cursor().encode(), &|it| Cursor::decode(it).is_some());
    }

    #[test]
    fn records_of_another_spool_are_none() {
        assert_eq!(RecordHeader::decode(&record().encode(1), 2), None);
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = SegmentHeader {
            spool: 1,
            index: 2,
            first_seq: 3,
            first_item: 4,
            created_ms: 5,
        }
        .encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(Unknown::Damaged));
        seal(&mut bytes, 0);
        assert_eq!(SegmentHeader::decode(&bytes), Err(Unknown::Version(2)));
    }
}
