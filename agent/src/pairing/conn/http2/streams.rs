//! Streams under way, in slots that are used again and again with the memory they have
//! grown. Each connection has its slots in a list, oldest first; a table finds them by
//! connection and stream, because thousands may be under way on one connection.

use super::fields::{Fields, Kept};
use crate::model::exchange::{Incomplete, ProcessInfo};
use crate::pairing::conn::exchanges::Progress;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// End of a list.
const NIL: u32 = u32::MAX;

/// One direction of a stream.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Half {
    pub(super) progress: Progress,
    /// Monotonic time of its first and last byte so far, ns.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Payload bytes of DATA, and how many of them are padding.
    pub(super) payload: u64,
    pub(super) padding: u64,
    /// Length-prefixed messages.
    pub(super) messages: u64,
}

impl Half {
    /// Bytes of content.
    pub(super) fn body(&self) -> u64 {
        self.payload.saturating_sub(self.padding)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.progress == Progress::Ended
    }
}

/// What a RST_STREAM frame said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reset {
    pub(super) code: u32,
    /// Monotonic time, ns.
    pub(super) time: u64,
}

/// One stream under way.
#[derive(Default, Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    conn: u64,
    next: u32,
    prev: u32,
    /// If its request is an HTTP/1 request that asked for the change to HTTP/2: monotonic
    /// times of the first and last byte of the 101 response, ns.
    pub(super) switched: Option<(u64, u64)>,
    /// Whether the header block that opens it is through.
    pub(super) headed: bool,
    pub(super) tid: u32,
    pub(super) process: Option<Arc<ProcessInfo>>,
    /// Not begun if a response is told of before its request.
    pub(super) request: Half,
    pub(super) response: Half,
    pub(super) reset: Option<Reset>,
    /// When a GOAWAY gave it up, monotonic ns.
    pub(super) given_up: Option<u64>,
    /// Records lost on the connection, by side, when the stream began.
    pub(super) gaps: [u32; 2],
    pub(super) incomplete: Incomplete,
    pub(super) fields: Fields,
}

impl Stream {
    pub(super) fn is_opened(&self) -> bool {
        self.request.progress != Progress::Unseen
    }

    /// Whether all content that the response announced is there, and only the end of the
    /// stream is not. (A call of gRPC has its status behind it.)
    pub(super) fn is_answered(&self) -> bool {
        self.response.progress == Progress::Begun
            && !self.fields.grpc
            && (self.fields.content_length == Some(self.response.body()) || self.has_no_content())
    }

    /// Whether the response has no content whatever its length is said to be (RFC 9110,
    /// section 6.4.1).
    fn has_no_content(&self) -> bool {
        match self.fields.status {
            Some(204 | 304) => true,
            Some(200..) => self.fields.get(Kept::Method) == Some(b"HEAD"),
            _ => false,
        }
    }
}

/// Memory of one stream but for its texts: its place, its entry in the table of ids, which is
/// half empty at worst, and its place among the free ones.
pub(in crate::pairing::conn) const SLOT_BYTES: usize =
    size_of::<Stream>() + 2 * size_of::<((u64, u32), u32)>() + size_of::<u32>();

/// The streams of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

/// All streams under way.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    by_id: FxHashMap<(u64, u32), u32>,
    /// Memory of all texts, bytes: in use, and waiting in free slots.
    used_bytes: usize,
    free_bytes: usize,
    max_bytes: usize,
    /// Streams whose request was seen.
    opened: usize,
}

impl Streams {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: FxHashMap::default(),
            used_bytes: 0,
            free_bytes: 0,
            max_bytes,
            opened: 0,
        }
    }

    /// Streams under way.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Streams under way whose request was seen.
    pub(super) fn opened(&self) -> usize {
        self.opened
    }

    /// Bytes held for texts.
    pub(super) fn text_bytes(&self) -> usize {
        self.used_bytes + self.free_bytes
    }

    /// How much of the memory for texts is in use, 0 to 1.
    pub(super) fn fill(&self) -> f64 {
        self.used_bytes as f64 / self.max_bytes.max(1) as f64
    }

    pub(super) fn has_room(&self, max: usize) -> bool {
        self.len() < max.min(NIL as usize) && self.used_bytes <= self.max_bytes
    }

    #[inline]
    pub(super) fn find(&self, conn: u64, id: u32) -> Option<u32> {
        self.by_id.get(&(conn, id)).copied()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Stream {
        &mut self.slots[slot as usize]
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Stream {
        &self.slots[slot as usize]
    }

    /// A slot for a stream that has none, at the end of the list.
    #[inline]
    pub(super) fn insert(&mut self, list: &mut List, conn: u64, id: u32, gaps: [u32; 2]) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                let memory = self.get(slot).fields.memory();
                self.free_bytes -= memory;
                self.used_bytes += memory;
                slot
            }
            None => {
                self.slots.push(Stream::default());
                (self.slots.len() - 1) as u32
            }
        };
        let prev = std::mem::replace(&mut list.tail, slot);
        match prev {
            NIL => list.head = slot,
            prev => self.get_mut(prev).next = slot,
        }
        list.len += 1;
        let stream = self.get_mut(slot);
        (stream.id, stream.conn, stream.gaps) = (id, conn, gaps);
        (stream.prev, stream.next) = (prev, NIL);
        self.by_id.insert((conn, id), slot);
        slot
    }

    /// The request of a stream begins.
    pub(super) fn open(&mut self, slot: u32) -> &mut Stream {
        self.opened += 1;
        let stream = self.get_mut(slot);
        stream.request.progress = Progress::Begun;
        stream
    }

    /// Lends the fields of a stream, and accounts for the memory they grow by.
    #[inline]
    pub(super) fn with_fields<R>(&mut self, slot: u32, with: impl FnOnce(&mut Fields) -> R) -> R {
        let fields = &mut self.slots[slot as usize].fields;
        let before = fields.memory();
        let result = with(fields);
        self.used_bytes += fields.memory() - before;
        result
    }

    /// Gives a slot of a list back.
    #[inline]
    pub(super) fn remove(&mut self, list: &mut List, slot: u32) {
        let stream = &mut self.slots[slot as usize];
        self.opened -= usize::from(stream.is_opened());
        let (prev, next) = (stream.prev, stream.next);
        self.by_id.remove(&(stream.conn, stream.id));
        let mut fields = std::mem::take(&mut stream.fields);
        *stream = Stream::default();
        self.used_bytes -= fields.memory();
        fields.reset();
        // After a burst of long texts, not all of that memory is kept for the next.
        if self.free_bytes + fields.memory() > self.max_bytes / 4 {
            fields.release();
        }
        self.free_bytes += fields.memory();
        self.get_mut(slot).fields = fields;
        match prev {
            NIL => list.head = next,
            prev => self.get_mut(prev).next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.get_mut(next).prev = prev,
        }
        list.len -= 1;
        self.free.push(slot);
    }

    /// The oldest stream of a list.
    pub(super) fn first(&self, list: &List) -> Option<u32> {
        (list.head != NIL).then_some(list.head)
    }

    /// The stream that came after.
    pub(super) fn next(&self, slot: u32) -> Option<u32> {
        let next = self.get(slot).next;
        (next != NIL).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(streams: &Streams, list: &List) -> Vec<u32> {
        std::iter::successors(streams.first(list), |&slot| streams.next(slot))
            .map(|slot| streams.get(slot).id)
            .collect()
    }

    #[test]
    fn lists_keep_their_order_and_slots_are_used_again() {
        let mut streams = Streams::new(1 << 20);
        let (mut a, mut b) = (List::default(), List::default());
        for id in [1, 3, 5, 7] {
            streams.insert(&mut a, 10, id, [0; 2]);
            let slot = streams.insert(&mut b, 11, id, [0; 2]);
            streams.open(slot);
        }
        for id in [3, 1, 7] {
            let slot = streams.find(10, id).unwrap();
            streams.remove(&mut a, slot);
            assert_eq!(streams.find(10, id), None);
        }
        assert_eq!(
            (ids(&streams, &a), ids(&streams, &b)),
            (vec![5], vec![1, 3, 5, 7])
        );
        assert_eq!((streams.len(), streams.opened()), (5, 4));
        streams.insert(&mut a, 10, 9, [0; 2]);
        assert_eq!(ids(&streams, &a), [5, 9]);
        assert_eq!(streams.slots.len(), 8);
    }

    #[test]
    fn texts_are_bounded_together() {
        let mut streams = Streams::new(100_000);
        let mut list = List::default();
        let mut id = 1;
        while streams.has_room(1_000) {
            let slot = streams.insert(&mut list, 1, id, [0; 2]);
            streams.with_fields(slot, |fields| {
                fields.keep(super::super::fields::Kept::Path, &[b'x'; 9_000]);
            });
            id += 2;
        }
        assert!(id < 40 && streams.text_bytes() < 120_000);
        while let Some(slot) = streams.first(&list) {
            streams.remove(&mut list, slot);
        }
        assert!(streams.text_bytes() <= 25_000);
        assert!(streams.has_room(1));
    }
}
