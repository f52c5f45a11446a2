//! Exchanges under way: half-known requests and responses, in slots that are used
//! again and again with the buffers they have grown.
//!
//! Each connection has its slots in a list, ordered by request index. Almost always
//! the list is empty or one long, with pipelining the request goes to its end and the
//! response to its start, so neither search is long.

use crate::model::exchange::ProcessInfo;
use crate::pairing::proto::http1::{self, STATUS_BYTES, Status};
use remora_common::config::HEAD_BYTES;
use remora_common::record::{Message, message_flags as flags};
use std::sync::Arc;

/// End of a list.
const NIL: u32 = u32::MAX;
/// Head bytes kept per request; the kernel captures no more.
pub(super) const MAX_HEAD: usize = HEAD_BYTES.2 as usize;

/// Memory of one exchange but for its head.
pub(super) const SLOT_BYTES: usize = size_of::<Pending>() + size_of::<u32>();

/// What has been seen of one message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Progress {
    #[default]
    Unseen,
    Begun,
    Ended,
}

/// One exchange under way.
#[derive(Default, Debug)]
pub(super) struct Pending {
    pub(super) index: u32,
    next: u32,
    prev: u32,
    pub(super) request: Progress,
    pub(super) response: Progress,
    /// Flags of all request records so far, and of all response records.
    pub(super) request_flags: u16,
    pub(super) response_flags: u16,
    pub(super) tid: u32,
    /// Whether another thread than `tid` had a part in it.
    pub(super) other_thread: bool,
    pub(super) process: Option<Arc<ProcessInfo>>,
    pub(super) request_first: u64,
    pub(super) request_body: u64,
    pub(super) response_first: u64,
    pub(super) response_last: u64,
    pub(super) response_body: u64,
    pub(super) head: Vec<u8>,
    /// Whether the head was longer than [`MAX_HEAD`].
    pub(super) head_cut: bool,
    status: [u8; STATUS_BYTES],
    status_len: u8,
    /// Whether it is counted in [`Exchanges::answered`].
    answered: bool,
}

impl Pending {
    /// The start of the status line, as far as it was seen.
    pub(super) fn status_line(&self) -> &[u8] {
        &self.status[..usize::from(self.status_len)]
    }

    /// Whether both messages are known to their ends. A connection that changes to
    /// another protocol has no more of the request to come.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.response == Progress::Ended
            && match self.request {
                Progress::Ended => true,
                Progress::Begun => {
                    self.response_flags & flags::SWITCHED != 0
                        && self.request_flags & flags::HEAD_END != 0
                }
                Progress::Unseen => false,
            }
    }

    /// Whether it may turn out to be no request: see [`flags::CANDIDATE`].
    pub(super) fn is_candidate(&self) -> bool {
        self.request_flags & flags::CANDIDATE != 0 && self.response == Progress::Unseen
    }

    /// Whether the request's head was longer than the capture limit, or than is kept.
    pub(super) fn head_is_cut(&self) -> bool {
        self.head_cut || self.request_flags & flags::HEAD_TRUNCATED != 0
    }

    /// Whether the connection goes on with HTTP/2, and with the answer to this request.
    #[inline]
    pub(super) fn upgrades_to_http2(&self) -> bool {
        self.response_flags & flags::SWITCHED != 0
            && Status::parse(self.status_line()).is_some_and(|status| status.code == 101)
            && http1::asks_for_http2(&self.head)
    }

    /// Takes in what a record says about the request.
    #[inline]
    pub(super) fn request_part(&mut self, message: &Message) {
        if message.flags & flags::START != 0 {
            (self.request_first, self.tid) = (message.first, message.tid);
        }
        self.other_thread |= message.tid != self.tid;
        // The last record says whether it is one by now.
        self.request_flags = self.request_flags & !flags::CANDIDATE | message.flags;
        self.request_body = message.body_bytes;
        if message.flags & flags::END != 0 {
            self.request = Progress::Ended;
        }
    }

    /// Takes in what a record says about the response.
    #[inline]
    pub(super) fn response_part(&mut self, message: &Message, head: &[u8]) {
        if message.flags & flags::START != 0 {
            self.response_first = message.first;
        }
        self.other_thread |= message.tid != self.tid;
        self.response_flags |= message.flags;
        self.response_last = message.last;
        self.response_body = message.body_bytes;
        self.push_status(head);
        if ends_response(message.flags) {
            self.response = Progress::Ended;
        }
    }

    /// Takes in more of the response head, of which only the first bytes matter.
    fn push_status(&mut self, bytes: &[u8]) {
        let have = usize::from(self.status_len);
        let take = bytes.len().min(STATUS_BYTES - have);
        self.status[have..have + take].copy_from_slice(&bytes[..take]);
        self.status_len += take as u8;
    }
}

/// Whether a response record is its last one: its end, or its head if the connection
/// then changes to another protocol.
#[inline]
pub(super) fn ends_response(of: u16) -> bool {
    const SWITCH: u16 = flags::SWITCHED | flags::HEAD_END;
    of & flags::END != 0 || of & SWITCH == SWITCH
}

/// The exchanges of one connection.
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
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// All exchanges under way.
#[derive(Debug)]
pub(super) struct Exchanges {
    slots: Vec<Pending>,
    free: Vec<u32>,
    max: usize,
    /// Capacity of all head buffers, bytes: in use, and waiting in free slots.
    used_bytes: usize,
    free_bytes: usize,
    max_bytes: usize,
    /// Exchanges answered before their request has ended.
    answered: usize,
}

impl Exchanges {
    /// At most `max` exchanges whose heads take at most about `max_bytes`.
    pub(super) fn new(max: usize, max_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            max: max.min(NIL as usize),
            used_bytes: 0,
            free_bytes: 0,
            max_bytes,
            answered: 0,
        }
    }

    /// Exchanges whose response has ended while their request has not: the kernel programs
    /// have counted them as finished already.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// The response in a slot has ended, the request has not.
    pub(super) fn answer(&mut self, slot: u32) {
        let pending = &mut self.slots[slot as usize];
        self.answered += usize::from(!pending.answered);
        pending.answered = true;
    }

    /// A request begins on a connection, so that those before it have ended: of any that was
    /// answered early, the end was lost, and counted by the kernel programs.
    pub(super) fn forget_answered(&mut self, list: &mut List, index: u32) {
        while let Some(slot) = self.first(list) {
            let pending = self.get(slot);
            if !pending.answered || pending.index >= index {
                break;
            }
            self.remove(list, slot);
        }
    }

    /// The exchange in a slot.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Pending {
        &self.slots[slot as usize]
    }

    /// The exchange in a slot.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Pending {
        &mut self.slots[slot as usize]
    }

    /// Exchanges under way.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes held for heads.
    pub(super) fn head_bytes(&self) -> usize {
        self.used_bytes + self.free_bytes
    }

    /// How much of the memory for heads is in use, 0 to 1.
    pub(super) fn fill(&self) -> f64 {
        self.used_bytes as f64 / self.max_bytes.max(1) as f64
    }

    /// The slot of the request with this index.
    #[inline]
    pub(super) fn find(&self, list: &List, index: u32) -> Option<u32> {
        let mut at = list.head;
        // Responses are looked for at the start, parts of a new request at the end.
        if list.tail != NIL && self.get(list.tail).index <= index {
            at = list.tail;
        }
        while at != NIL {
            let pending = self.get(at);
            if pending.index >= index {
                return (pending.index == index).then_some(at);
            }
            at = pending.next;
        }
        None
    }

    /// A slot for a new index on a connection; `None` if there is no room.
    #[inline]
    pub(super) fn insert(&mut self, list: &mut List, index: u32) -> Option<u32> {
        let slot = self.vacant()?;
        let mut prev = list.tail;
        while prev != NIL && self.get(prev).index > index {
            prev = self.get(prev).prev;
        }
        let next = if prev == NIL {
            list.head
        } else {
            self.get(prev).next
        };
        let pending = self.get_mut(slot);
        (pending.index, pending.prev, pending.next) = (index, prev, next);
        match prev {
            NIL => list.head = slot,
            prev => self.get_mut(prev).next = slot,
        }
        match next {
            NIL => list.tail = slot,
            next => self.get_mut(next).prev = slot,
        }
        list.len += 1;
        Some(slot)
    }

    fn vacant(&mut self) -> Option<u32> {
        if self.used_bytes > self.max_bytes {
            return None;
        }
        if let Some(slot) = self.free.pop() {
            let capacity = self.get(slot).head.capacity();
            self.free_bytes -= capacity;
            self.used_bytes += capacity;
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len())
            .ok()
            .filter(|&slot| (slot as usize) < self.max)?;
        self.slots.push(Pending::default());
        Some(slot)
    }

    /// Appends to the request head in a slot, up to [`MAX_HEAD`].
    #[inline]
    pub(super) fn push_head(&mut self, slot: u32, bytes: &[u8]) {
        let pending = &mut self.slots[slot as usize];
        let take = bytes.len().min(MAX_HEAD - pending.head.len());
        pending.head_cut |= take < bytes.len();
        let before = pending.head.capacity();
        if before - pending.head.len() < take {
            pending.head.reserve_exact(take);
        }
        pending.head.extend_from_slice(&bytes[..take]);
        self.used_bytes += pending.head.capacity() - before;
    }

    /// The first slot of a list.
    pub(super) fn first(&self, list: &List) -> Option<u32> {
        (list.head != NIL).then_some(list.head)
    }

    /// The slot that comes after.
    pub(super) fn next(&self, slot: u32) -> Option<u32> {
        let next = self.get(slot).next;
        (next != NIL).then_some(next)
    }

    /// Gives a slot of a list back.
    #[inline]
    pub(super) fn remove(&mut self, list: &mut List, slot: u32) {
        let pending = self.get_mut(slot);
        let (prev, next) = (pending.prev, pending.next);
        let mut head = std::mem::take(&mut pending.head);
        let answered = pending.answered;
        *pending = Pending::default();
        match prev {
            NIL => list.head = next,
            prev => self.get_mut(prev).next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.get_mut(next).prev = prev,
        }
        list.len -= 1;
        self.answered -= usize::from(answered);
        head.clear();
        self.used_bytes -= head.capacity();
        // After a burst of long heads, not all of that memory is kept for the next.
        if self.free_bytes + head.capacity() <= self.max_bytes / 4 {
            self.free_bytes += head.capacity();
            self.get_mut(slot).head = head;
        }
        self.free.push(slot);
    }

    /// Gives all slots of a list back.
    pub(super) fn clear(&mut self, list: &mut List) {
        while let Some(slot) = self.first(list) {
            self.remove(list, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(exchanges: &Exchanges, list: &List) -> Vec<u32> {
        let mut found = Vec::new();
        let mut at = list.head;
        while at != NIL {
            found.push(exchanges.get(at).index);
            at = exchanges.get(at).next;
        }
        found
    }

    #[test]
    fn lists_stay_ordered_whatever_the_order_of_insertion() {
        let mut exchanges = Exchanges::new(10, 1 << 20);
        let (mut a, mut b) = (List::default(), List::default());
        for index in [5, 2, 9, 7, 0] {
            exchanges.insert(&mut a, index).unwrap();
            exchanges.insert(&mut b, 100 - index).unwrap();
        }
        assert_eq!(indices(&exchanges, &a), [0, 2, 5, 7, 9]);
        assert_eq!(indices(&exchanges, &b), [91, 93, 95, 98, 100]);
        assert!(exchanges.insert(&mut a, 3).is_none(), "full");
        for index in [5, 0, 9] {
            let slot = exchanges.find(&a, index).unwrap();
            exchanges.remove(&mut a, slot);
            assert!(exchanges.find(&a, index).is_none());
        }
        assert_eq!(indices(&exchanges, &a), [2, 7]);
        assert_eq!((a.len(), exchanges.len()), (2, 7));
        exchanges.clear(&mut a);
        assert!(a.is_empty());
        assert_eq!(exchanges.len(), 5);
        assert_eq!(indices(&exchanges, &b), [91, 93, 95, 98, 100]);
    }

    #[test]
    fn heads_are_bounded_one_by_one_and_together() {
        let mut exchanges = Exchanges::new(1_000, 100_000);
        let mut list = List::default();
        let mut index = 0;
        while let Some(slot) = exchanges.insert(&mut list, index) {
            for _ in 0..3 {
                exchanges.push_head(slot, &[b'x'; 5_000]);
            }
            assert_eq!(exchanges.get(slot).head.len(), MAX_HEAD);
            assert!(exchanges.get(slot).head_cut);
            index += 1;
        }
        assert!(index < 20);
        assert!(
            exchanges.head_bytes() < 100_000 + 2 * MAX_HEAD,
            "{}",
            exchanges.head_bytes()
        );
        exchanges.clear(&mut list);
        assert!(
            exchanges.head_bytes() <= 25_000,
            "{}",
            exchanges.head_bytes()
        );
        assert!(exchanges.insert(&mut list, 0).is_some());
    }
}
