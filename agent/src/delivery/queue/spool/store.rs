//! Appending, dropping the oldest, and making durable.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::disk::DiskFile;
use super::format::{
    Cursor, MAX_BODY, MAX_RANGES, RECORD_HEADER, Range, RecordHeader, SLOT, SegmentHeader, checksum,
};
use super::{
    AppendError, CURSOR, FIRST, Lent, Place, Segment, Spool, SyncJob, Synced, body, segment_name,
};
use crate::delivery::export::batch::Batch;

impl Spool {
    /// Appends a batch and returns its record's number. If `lend`, it counts as read, and
    /// waits to be settled. Drops the oldest segments when the cap asks for it.
    ///
    /// # Errors
    /// It is too large, or the disk failed; then nothing was appended.
    pub fn append(&mut self, batch: &Batch, lend: bool) -> Result<u64, AppendError> {
        let (encoding, stored) = body::pack(&batch.body, self.limits.compress);
        let size = RECORD_HEADER as u64 + stored.len() as u64;
        let items = u32::try_from(batch.items).ok();
        let fits =
            batch.body.len() <= MAX_BODY && FIRST + size + cursor_bytes() <= self.limits.bytes;
        let Some(items) = items.filter(|_| fits) else {
            return Err(AppendError::TooLarge(batch.body.len()));
        };
        let full = |segment: &Segment, limit| segment.len > FIRST && segment.len + size > limit;
        if (self.segments.back()).is_some_and(|last| full(last, self.limits.segment_bytes)) {
            self.writer = None;
        }
        let head = if self.writer.is_some() { 0 } else { FIRST };
        while !self.segments.is_empty()
            && self.bytes + head + size + cursor_bytes() > self.limits.bytes
        {
            self.drop_oldest()?;
        }
        let (file, at) = self.open_writer()?;
        let header = RecordHeader {
            signal: batch.signal,
            encoding,
            len: stored.len() as u32,
            items,
            seq: self.next.seq,
            first_item: self.next.item,
            crc: checksum(&stored),
        };
        // The body first: a kill in between leaves no header that promises more than is there.
        let written = file
            .write_at(&stored, at + RECORD_HEADER as u64)
            .and_then(|()| file.write_at(&header.encode(self.id), at));
        if let Err(error) = written {
            self.io_errors += 1;
            // What remains beyond is not counted; if it cannot be cut, nothing is put behind it.
            if file.truncate(at).is_err() {
                self.writer = None;
            }
            return Err(error.into());
        }
        let seq = self.next.seq;
        if lend {
            let (item, items) = (self.next.item, batch.items);
            self.lent.insert(seq, Lent { item, items });
        }
        self.next = Place {
            seq: seq + 1,
            item: header.end_item(),
        };
        self.bytes += size;
        if let Some(segment) = self.segments.back_mut() {
            segment.len += size;
        }
        if !self.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, &file)) {
            self.dirty.push(file);
        }
        Ok(seq)
    }

    /// The file to append to, and its length.
    fn open_writer(&mut self) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        if let (Some(file), Some(segment)) = (&self.writer, self.segments.back()) {
            return Ok((Arc::clone(file), segment.len));
        }
        let index = self.next_index;
        let header = SegmentHeader {
            spool: self.id,
            index,
            first_seq: self.next.seq,
            first_item: self.next.item,
            created_ms: unix_ms(),
        };
        let name = segment_name(index);
        let made = self.disk.create(&name).and_then(|file| {
            let written = file.write_at(&header.encode(), 0);
            if written.is_err() {
                // An empty file is no use to anybody; if it stays, recovery removes it.
                let _ = self.disk.remove(&name);
            }
            written.map(|()| file)
        });
        // A name that is taken, or was half made, is not tried again.
        self.next_index += 1;
        let file = made.inspect_err(|_| self.io_errors += 1)?;
        self.dir_dirty = true;
        self.segments.push_back(Segment {
            index,
            first: self.next,
            len: FIRST,
        });
        self.bytes += FIRST;
        self.writer = Some(Arc::clone(&file));
        Ok((file, FIRST))
    }

    /// Gives up the oldest segment, with what in it was neither settled nor lent.
    pub(super) fn drop_oldest(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.front().copied() else {
            return Ok(());
        };
        let end = self.end_of(0);
        // Durable before the file goes: else a crash would find it missing, and count again.
        let after = self.cursor().max(end);
        if self.sync_cursor(after).is_err() {
            self.io_errors += 1;
        }
        let removed = self.disk.remove(&segment_name(segment.index));
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            self.io_errors += 1;
            return Err(error);
        }
        if self.reader.at.seq < end.seq {
            let lost = self.holes(self.reader.at, end);
            self.losses.full += lost.iter().map(Range::items).sum::<u64>();
            self.reader.at = end;
            self.reader.segment = segment.index + 1;
            self.reader.offset = FIRST;
            self.reader.file = None;
        }
        self.lent.retain(|seq, _| *seq >= end.seq);
        self.settled.forget_below(end.seq, end.item);
        self.segments.pop_front();
        self.bytes = self.bytes.saturating_sub(segment.len);
        self.dir_dirty = true;
        if self.segments.is_empty() {
            self.writer = None;
        }
        Ok(())
    }

    /// Prepares to make everything durable that was done so far. `None` if it is already.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        let cursor = self.cursor();
        self.settled.forget_below(cursor.seq, cursor.item);
        if cursor.seq == self.next.seq {
            // All is settled: the last segment goes as well.
            self.writer = None;
        }
        let now = (cursor.seq, cursor.item, self.settled.records());
        let moved = now != self.written;
        if self.dirty.is_empty() && !self.dir_dirty && !moved && !self.has_consumed() {
            return None;
        }
        let file = moved.then(|| self.write_cursor(cursor));
        let file = match file {
            None => None,
            Some(Ok(written)) => {
                self.written = now;
                Some(written)
            }
            Some(Err(_)) => {
                self.io_errors += 1;
                None
            }
        };
        // A cursor that could not be written keeps what it would release; one that never
        // was says nothing wrong, and a full disk needs the room.
        let known = self.written == now || !self.has_cursor;
        let consumed = if known { cursor.seq } else { 0 };
        let dir_dirty = std::mem::take(&mut self.dir_dirty);
        Some(SyncJob {
            files: std::mem::take(&mut self.dirty),
            cursor: file,
            dir: dir_dirty.then(|| self.disk.handle().ok()).flatten(),
            consumed,
        })
    }

    /// Takes note of what came of a sync, and removes what is consumed.
    ///
    /// # Errors
    /// The disk failed: what was appended since the last success may not survive a crash
    /// of the machine.
    pub fn end_sync(&mut self, synced: Synced) -> io::Result<()> {
        let Synced { result, job } = synced;
        if let Err(error) = result {
            self.io_errors += 1;
            // All of it is tried again, though the system may call clean what it could not
            // write. What comes next goes elsewhere.
            self.writer = None;
            self.written = (u64::MAX, 0, 0);
            self.dirty.extend(job.files);
            self.dir_dirty = true;
            return Err(error);
        }
        if let Some((_, slot)) = job.cursor {
            self.slot = slot;
        }
        while let Some(segment) = self.segments.front().copied()
            && self.end_of(0).seq <= job.consumed
            && (self.segments.len() > 1 || self.writer.is_none())
        {
            match self.disk.remove(&segment_name(segment.index)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.io_errors += 1;
                    return Err(error);
                }
                Ok(()) | Err(_) => {}
            }
            self.segments.pop_front();
            self.bytes = self.bytes.saturating_sub(segment.len);
            self.dir_dirty = true;
        }
        Ok(())
    }

    /// Makes everything durable, here and now.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&mut self) -> io::Result<()> {
        // The second round is for the directory, after segments were removed.
        for _ in 0..2 {
            if let Some(job) = self.begin_sync() {
                let synced = job.run();
                self.end_sync(synced)?;
            }
        }
        Ok(())
    }

    fn has_consumed(&self) -> bool {
        let first = self.segments.front();
        let removable = self.segments.len() > 1 || self.writer.is_none();
        first.is_some() && removable && self.end_of(0).seq <= self.cursor().seq
    }

    /// Writes the cursor and makes it durable.
    pub(super) fn sync_cursor(&mut self, at: Place) -> io::Result<()> {
        let (file, slot) = self.write_cursor(at)?;
        file.sync()?;
        self.slot = slot;
        Ok(())
    }

    fn write_cursor(&mut self, at: Place) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        let file = match &self.cursor_file {
            Some(file) => Arc::clone(file),
            None => {
                let file = self
                    .disk
                    .open(CURSOR, true)
                    .or_else(|_| self.disk.create(CURSOR))?;
                self.dir_dirty = true;
                self.cursor_file = Some(Arc::clone(&file));
                file
            }
        };
        self.generation += 1;
        let mut settled = self.settled.clone();
        settled.forget_below(at.seq, at.item);
        let cursor = Cursor {
            spool: self.id,
            generation: self.generation,
            seq: at.seq,
            item: at.item,
            end_seq: self.next.seq,
            end_item: self.next.item,
            next_index: self.next_index,
            settled: settled.ranges().take(MAX_RANGES).collect(),
        };
        let slot = 1 - self.slot;
        if let Err(error) = file.write_at(&cursor.encode(), slot * SLOT as u64) {
            self.cursor_file = None;
            return Err(error);
        }
        self.has_cursor = true;
        Ok((file, slot))
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

pub(super) const fn cursor_bytes() -> u64 {
    2 * SLOT as u64
}
