//! The pairing stage: records in, exchanges out.
//!
//! Requests and responses of a connection are matched by index, whatever the order
//! of their records. An exchange is lent to the sink as soon as both of its messages
//! are whole, or when its connection ends. The stage does no I/O but through
//! [`Processes`] and knows no clock, so live records and recorded ones run the same
//! code; in the steady state it allocates nothing.

mod build;
mod close;
mod exchanges;
mod http2;
mod processes;
mod table;

pub use close::{CLOSED, RESET, TIMEOUT};

use crate::capture::ingest::decode::{Counters, Entries, Record, decode, is_frames};
use crate::capture::ledger::Ledger;
use crate::model::clock::Offset;
use crate::model::exchange::{Incomplete, ProcessInfo, Side, Sink};
use crate::model::ids::Seed;
use crate::model::processes::Processes;
use crate::pairing::proto::http1::Request;
use build::{Emitter, End};
use exchanges::{Exchanges, Progress, ends_response};
use http2::{Http2, Lent};
use remora_common::record::{
    self, Close, Frame, Frames, Message, frame_part, message_flags as flags, side,
};
use table::Conn;

/// Most things kept at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections; should be above the kernel's own limit.
    pub conns: usize,
    /// Exchanges under way.
    pub exchanges: usize,
    /// Bytes of request heads of exchanges under way; as many of header fields of HTTP/2.
    pub head_bytes: usize,
    /// Bytes of the compression tables of HTTP/2 connections. Beyond, they do not grow,
    /// and what they cannot hold is unknown when it is referred to.
    pub table_bytes: usize,
    /// Processes.
    pub processes: usize,
}

impl Limits {
    /// Places for exchanges, their texts and tables in so many bytes; the rest as by default.
    #[must_use]
    pub fn within(bytes: usize) -> Self {
        let sixth = bytes / 6;
        Self {
            // Either kind of place may have been in use by all of them at some time.
            exchanges: 2 * sixth / (exchanges::SLOT_BYTES + http2::SLOT_BYTES),
            head_bytes: 3 * sixth / 2,
            table_bytes: sixth,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            conns: 1 << 15,
            exchanges: 1 << 16,
            head_bytes: 32 << 20,
            table_bytes: 32 << 20,
            processes: 1 << 14,
        }
    }
}

/// An index this far below a finished one can no longer be waited for: its records
/// were lost. Far above what reordering between threads explains.
const STALE: u32 = 64;

/// The pairing stage.
#[derive(Debug)]
pub struct Pipeline<P> {
    conns: table::Table,
    exchanges: Exchanges,
    http2: Http2,
    max_exchanges: usize,
    processes: processes::Table,
    resolver: P,
    emitter: Emitter,
    ledger: Ledger,
    conns_evicted: u64,
    refuses: bool,
}

impl<P: Processes> Pipeline<P> {
    /// An empty stage. Ids are derived from `seed`; `resolver` describes processes.
    pub fn new(limits: Limits, seed: Seed, clock: Offset, resolver: P) -> Self {
        Self {
            conns: table::Table::new(limits.conns),
            exchanges: Exchanges::new(limits.exchanges, limits.head_bytes),
            http2: Http2::new(limits.head_bytes, limits.table_bytes),
            max_exchanges: limits.exchanges,
            processes: processes::Table::new(limits.processes),
            resolver,
            emitter: Emitter::new(seed, clock),
            ledger: Ledger::default(),
            conns_evicted: 0,
            refuses: false,
        }
    }

    /// Takes in one record as it came off the ring, and lends the exchanges that it
    /// completes to `sink`. Returns the description of the process that the record
    /// announced, if it announced one: a recording keeps it beside the record.
    ///
    /// Bytes that are no record count as lost by [`Ledger::decode`].
    #[inline]
    pub fn record<S: Sink + ?Sized>(&mut self, bytes: &[u8], sink: &mut S) -> Option<&ProcessInfo> {
        match decode(bytes) {
            Ok(Record::Message(message, head)) => self.message(&message, head, sink),
            Ok(Record::Frames(record, entries)) => self.frames(&record, entries, sink),
            Ok(Record::Conn(record, path)) => self.conn(&record, path),
            Ok(Record::Close(close)) => self.close(&close, sink),
            Ok(Record::Process(record)) => {
                let mut info = self.resolver.resolve(&record);
                info.tgid = record.tgid;
                return Some(self.processes.announce(info));
            }
            Ok(Record::ProcessExit(record)) => self.processes.exit(record.tgid),
            Ok(Record::Counters(counters)) => self.ledger.kernel = Some(counters),
            Err(_) => {
                self.ledger.decode += 1;
                // The kernel programs count no stream that they could hand on.
                self.ledger.streams += u64::from(is_frames(bytes));
            }
        }
        None
    }

    /// Connections with requests under way: if one of them has ended, the record of its end
    /// was lost.
    pub fn under_way(&self) -> impl Iterator<Item = u64> {
        let under_way = |conn: &&Conn| {
            let streams = conn.session.as_ref().is_some_and(|of| !of.is_idle());
            streams || !conn.pending.is_empty()
        };
        self.conns.iter().filter(under_way).map(|conn| conn.info.id)
    }

    /// Tells of every request that has begun and is not answered yet: whose, on which side,
    /// and its method as sent, if that is known. What may have ended in a lost record is left
    /// out.
    pub fn in_flight(&self, each: &mut dyn FnMut(&ProcessInfo, Side, Option<&str>)) {
        for conn in self.conns.iter() {
            let mut slot = self.exchanges.first(&conn.pending);
            while let Some(at) = slot {
                let pending = self.exchanges.get(at);
                let open = pending.request != Progress::Unseen
                    && !pending.is_candidate()
                    && pending.response != Progress::Ended
                    // The answers of a connection come in order.
                    && u64::from(pending.index) >= conn.finished;
                if let Some(process) = pending.process.as_ref().filter(|_| open) {
                    let method = Request::parse(&pending.head).method;
                    let method = method.and_then(|method| std::str::from_utf8(method).ok());
                    each(process, conn.side, method);
                }
                slot = self.exchanges.next(at);
            }
            if let Some(session) = &conn.session {
                self.http2.in_flight(session, conn.side, each);
            }
        }
    }

    /// Maps times with a newly measured offset from now on.
    pub fn set_clock(&mut self, clock: Offset) {
        self.emitter.clock = clock;
    }

    /// Takes the kernel's counters into the ledger; read when no more records come.
    pub fn set_kernel_counters(&mut self, counters: Counters) {
        self.ledger.kernel = Some(counters);
    }

    /// The counts so far. What filters kept back is theirs to add.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            exchanges: self.emitter.emitted,
            streams_in_flight: self.http2.opened(),
            upgrades_in_flight: self.http2.upgraded(),
            answered_in_flight: self.exchanges.answered() as u64,
            ..self.ledger
        }
    }

    /// How full the places and texts of requests under way are, 0 to 1. Compression tables are
    /// left out: when they are full they stop growing, and connections that stay keep them so.
    #[must_use]
    pub fn fill(&self) -> f64 {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        share(self.exchanges.len() + self.http2.len(), self.max_exchanges)
            .max(self.exchanges.fill())
            .max(self.http2.fill())
    }

    /// Whether connections that appear from now on are taken up. The requests of others are
    /// counted as lost with them.
    pub fn set_refuses(&mut self, refuses: bool) {
        self.refuses = refuses;
    }

    /// The resolver given to [`Self::new`].
    pub fn resolver_mut(&mut self) -> &mut P {
        &mut self.resolver
    }

    /// What the stage holds now.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            conns: self.conns.len(),
            exchanges: self.exchanges.len() + self.http2.len(),
            head_bytes: self.exchanges.head_bytes() + self.http2.text_bytes(),
            table_bytes: self.http2.table_bytes(),
            conns_evicted: self.conns_evicted,
        }
    }

    fn conn(&mut self, record: &record::Conn, path: &[u8]) {
        let Some(conn) = Conn::new(record, path) else {
            self.ledger.decode += 1;
            return;
        };
        if let Some(known) = self.conns.get_mut(record.conn) {
            // Announced again; what is under way goes on.
            (known.info, known.side, known.tgid) = (conn.info, conn.side, conn.tgid);
        } else if self.refuses {
            self.conns_evicted += 1;
        } else if let Some(mut evicted) = self.conns.insert(conn) {
            self.conns_evicted += 1;
            self.exchanges.clear(&mut evicted.pending);
            if let Some(session) = evicted.session.take() {
                self.http2.give_up(session, &mut self.ledger);
            }
        }
    }

    #[inline]
    fn frames<S: Sink + ?Sized>(&mut self, record: &Frames, entries: Entries<'_>, sink: &mut S) {
        let Some(conn) = self.conns.get_mut(record.conn) else {
            let opens = |(frame, _): &(Frame, _)| frame.part & frame_part::OPENS != 0;
            let streams = entries.filter(opens).count() as u64;
            self.ledger.streams += streams;
            return self.lose_with_conn(streams);
        };
        let mut lent = Lent {
            processes: &mut self.processes,
            emitter: &mut self.emitter,
            ledger: &mut self.ledger,
            sink,
            max: self.max_exchanges - self.exchanges.len(),
        };
        let taken = self.http2.frames(conn, record, entries, &mut lent);
        if taken.is_none() {
            self.ledger.decode += 1;
            self.ledger.streams += 1;
        }
    }

    #[inline]
    fn message<S: Sink + ?Sized>(&mut self, message: &Message, head: &[u8], sink: &mut S) {
        let is_request = match message.side {
            side::REQUEST => true,
            side::RESPONSE if message.flags & flags::ORPHAN != 0 => {
                self.ledger.orphans += u64::from(message.flags & flags::START != 0);
                return;
            }
            side::RESPONSE => false,
            _ => {
                self.ledger.decode += 1;
                return;
            }
        };
        let Some(conn) = self.conns.get_mut(message.conn) else {
            let finished = !is_request && ends_response(message.flags);
            return self.lose_with_conn(u64::from(finished));
        };
        let begins = message.flags & flags::START != 0;
        let slot = match self.exchanges.find(&conn.pending, message.index) {
            Some(slot) => slot,
            // What it continues was given up here, or lost and counted by the kernel.
            None if !begins => return,
            None => {
                forget_stale(&mut self.exchanges, conn);
                if is_request {
                    self.exchanges
                        .forget_answered(&mut conn.pending, message.index);
                }
                let Some(slot) = self.exchanges.insert(&mut conn.pending, message.index) else {
                    self.ledger.evicted += u64::from(is_request);
                    return;
                };
                slot
            }
        };
        let pending = self.exchanges.get_mut(slot);
        let progress = if is_request {
            &mut pending.request
        } else {
            &mut pending.response
        };
        match (begins, *progress) {
            (true, Progress::Unseen) => *progress = Progress::Begun,
            (false, Progress::Begun) => {}
            (true, _) => {
                self.ledger.decode += 1;
                return;
            }
            (false, _) => return,
        }
        if is_request {
            if begins {
                let tgid = if message.tgid == 0 {
                    conn.tgid
                } else {
                    message.tgid
                };
                pending.process = Some(self.processes.get(tgid));
            }
            pending.request_part(message);
            self.exchanges.push_head(slot, head);
        } else {
            pending.response_part(message, head);
        }
        let pending = self.exchanges.get(slot);
        if pending.is_whole() {
            let end = End {
                last: pending.response_last,
                error: None,
                incomplete: Incomplete::NONE,
            };
            conn.finished = conn.finished.max(u64::from(message.index) + 1);
            let max = self.max_exchanges - self.exchanges.len();
            let pending = self.exchanges.get_mut(slot);
            let mut lent = Lent {
                processes: &mut self.processes,
                emitter: &mut self.emitter,
                ledger: &mut self.ledger,
                sink,
                max,
            };
            if !(pending.upgrades_to_http2() && self.http2.adopt(conn, pending, &mut lent)) {
                self.emitter
                    .emit(pending, conn, &mut self.processes, end, sink);
            }
            self.exchanges.remove(&mut conn.pending, slot);
        } else if pending.response == Progress::Ended {
            self.exchanges.answer(slot);
        }
    }

    fn close<S: Sink + ?Sized>(&mut self, close: &Close, sink: &mut S) {
        let Some(mut conn) = self.conns.remove(close.conn) else {
            // The kernel announces no connection whose requests it had to drop, and
            // has counted them. If the connection was lost here, so were they.
            if self.conns_evicted + self.ledger.decode > 0 {
                self.lose_with_conn(close::in_flight(close));
            }
            return;
        };
        let mut list = std::mem::take(&mut conn.pending);
        while let Some(slot) = self.exchanges.first(&list) {
            let pending = self.exchanges.get_mut(slot);
            if let Some(end) = close::resolve(pending, close, list.len() == 1) {
                self.emitter
                    .emit(pending, &conn, &mut self.processes, end, sink);
            }
            self.exchanges.remove(&mut list, slot);
        }
        if let Some(session) = conn.session.take() {
            let mut lent = Lent {
                processes: &mut self.processes,
                emitter: &mut self.emitter,
                ledger: &mut self.ledger,
                sink,
                max: self.max_exchanges - self.exchanges.len(),
            };
            self.http2.close(&conn, session, close, &mut lent);
        }
    }

    /// Requests of a connection that is not in the table, counted when they end, as
    /// the kernel counts them.
    fn lose_with_conn(&mut self, requests: u64) {
        if self.conns_evicted > 0 {
            self.ledger.evicted += requests;
        } else {
            self.ledger.decode += requests;
        }
    }
}

/// What the stage holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupancy {
    /// Connections.
    pub conns: usize,
    /// Exchanges under way.
    pub exchanges: usize,
    /// Bytes of memory for request heads and header fields, in use or kept for the next
    /// ones.
    pub head_bytes: usize,
    /// Bytes of memory for compression tables.
    pub table_bytes: usize,
    /// Connections given up or not taken up since the start because there was no room.
    pub conns_evicted: u64,
}

/// On a connection that lives long, what the kernel lost would pile up.
#[inline]
fn forget_stale(exchanges: &mut Exchanges, conn: &mut Conn) {
    if conn.pending.len() < STALE {
        return;
    }
    while let Some(slot) = exchanges.first(&conn.pending) {
        if u64::from(exchanges.get(slot).index) + u64::from(STALE) >= conn.finished {
            break;
        }
        exchanges.remove(&mut conn.pending, slot);
    }
}

#[cfg(test)]
mod tests;
