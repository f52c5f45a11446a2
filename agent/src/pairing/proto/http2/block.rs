//! Header blocks, put together from the pieces of their frames (RFC 9113, section 4.3).

use super::{flag, kind};
use remora_common::record::{Frame, frame_part};
use std::ops::Range;

/// Most bytes of a block that are kept: more than the kernel programs ever send.
const MAX: usize = 24 << 10;
/// Memory that is kept for another connection, bytes.
const KEPT: usize = 4 << 10;

/// A header block, the fragments of its frames joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderBlock<'a> {
    /// Stream of the frame that began it.
    pub stream: u32,
    /// Whether it is the request of a pushed stream.
    pub promise: bool,
    /// Whether it opens its stream.
    pub opens: bool,
    /// Whether nothing follows in this direction of the stream.
    pub end_stream: bool,
    /// Whether its last bytes were not captured.
    pub cut: bool,
    /// What it says, compressed.
    pub bytes: &'a [u8],
}

/// What a piece of a frame gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed<'a> {
    /// More of the block follows.
    More,
    /// The block is whole, or its captured part is.
    Block(HeaderBlock<'a>),
    /// The start of what this piece belongs to is missing, or frames are in an order
    /// that is not allowed: what the block did to the table is not known.
    Lost,
}

/// The block that is under way in one direction of a connection. Its frames come
/// without others between them (section 6.2).
#[derive(Default, Debug)]
pub struct Assembler {
    /// Fragments of frames that ended, then the payload so far of the one that did not.
    bytes: Vec<u8>,
    /// Where that payload begins.
    frame: usize,
    /// Payload bytes of that frame so far, captured or not.
    passed: usize,
    /// The frame that began the block.
    open: Option<Frame>,
    /// Whether a frame has begun, but not ended.
    in_frame: bool,
    /// Whether bytes are missing. Nothing is added from then on.
    cut: bool,
}

impl Assembler {
    /// The stream whose block is under way, if one is.
    #[must_use]
    pub fn stream(&self) -> Option<u32> {
        self.open.map(|open| open.stream)
    }

    /// Ends the block under way, if any, with the fragments of its frames that are whole:
    /// nothing will follow.
    pub fn end(&mut self) -> Option<HeaderBlock<'_>> {
        let opened = self.open.take()?;
        let whole = if self.in_frame {
            self.frame
        } else {
            self.bytes.len()
        };
        (self.in_frame, self.cut) = (false, false);
        Some(block(&opened, true, &self.bytes[..whole]))
    }

    /// Gives up the block under way, if any.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.open, self.in_frame, self.cut) = (None, false, false);
    }

    /// For another connection, using memory again.
    pub fn reset(&mut self) {
        self.clear();
        self.bytes.shrink_to(KEPT);
        (self.frame, self.passed) = (0, 0);
    }

    /// Memory held, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes in an entry of HEADERS, PUSH_PROMISE or CONTINUATION and what was captured
    /// of its payload.
    #[inline]
    pub fn push<'a>(&'a mut self, entry: &Frame, payload: &'a [u8]) -> Pushed<'a> {
        const WHOLE: u8 = frame_part::FIRST | frame_part::LAST;
        let continues = entry.kind == kind::CONTINUATION;
        let ends = entry.flags & flag::END_HEADERS != 0;
        if !continues && self.open.is_none() && entry.part & WHOLE == WHOLE && ends {
            let fragment = fragment(entry, entry.len as usize, payload);
            let cut = entry.part & frame_part::CUT != 0;
            return Pushed::Block(block(entry, cut, &payload[fragment]));
        }
        if !self.begin(entry, continues) {
            self.clear();
            return Pushed::Lost;
        }
        self.passed = self.passed.saturating_add(entry.len as usize);
        if !self.cut {
            let take = payload.len().min(MAX - self.bytes.len());
            self.bytes.extend_from_slice(&payload[..take]);
            self.cut = take < payload.len() || entry.part & frame_part::CUT != 0;
        }
        if entry.part & frame_part::LAST == 0 {
            return Pushed::More;
        }
        self.in_frame = false;
        let part = fragment(entry, self.passed, &self.bytes[self.frame..]);
        let len = part.len();
        let part = self.frame + part.start..self.frame + part.end;
        self.bytes.copy_within(part, self.frame);
        self.bytes.truncate(self.frame + len);
        self.frame = self.bytes.len();
        if !ends {
            return Pushed::More;
        }
        let cut = std::mem::take(&mut self.cut);
        match self.open.take() {
            Some(opened) => Pushed::Block(block(&opened, cut, &self.bytes)),
            None => Pushed::Lost,
        }
    }

    /// Whether the entry may follow what came before.
    fn begin(&mut self, entry: &Frame, continues: bool) -> bool {
        let same = self.open.is_some_and(|open| open.stream == entry.stream);
        if entry.part & frame_part::FIRST == 0 {
            return self.in_frame && same;
        }
        if self.in_frame || continues != self.open.is_some() || continues && !same {
            return false;
        }
        if !continues {
            self.bytes.clear();
            self.cut = false;
            self.open = Some(*entry);
        }
        (self.in_frame, self.frame, self.passed) = (true, self.bytes.len(), 0);
        true
    }
}

fn block<'a>(opened: &Frame, cut: bool, bytes: &'a [u8]) -> HeaderBlock<'a> {
    let promise = opened.kind == kind::PUSH_PROMISE;
    HeaderBlock {
        stream: opened.stream,
        promise,
        opens: opened.part & frame_part::OPENS != 0,
        end_stream: !promise && opened.flags & flag::END_STREAM != 0,
        cut,
        bytes,
    }
}

/// The fragment within a payload of `len` bytes, of which `captured` are there: without
/// pad length, priority, promised stream and padding (sections 6.2 and 6.6).
fn fragment(frame: &Frame, len: usize, captured: &[u8]) -> Range<usize> {
    let (mut start, mut end) = (0, len);
    // CONTINUATION has none of these flags (section 6.10).
    if frame.kind != kind::CONTINUATION {
        if frame.flags & flag::PADDED != 0 {
            let padding = captured.first().map_or(0, |&padding| usize::from(padding));
            start = 1;
            end = len.saturating_sub(padding);
        }
        if frame.kind == kind::PUSH_PROMISE {
            start += 4;
        } else if frame.flags & flag::PRIORITY != 0 {
            start += 5;
        }
    }
    let start = start.min(captured.len());
    start..end.clamp(start, captured.len())
}

#[cfg(test)]
mod tests;
