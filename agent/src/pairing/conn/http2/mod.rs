//! HTTP/2: frames become streams, each stream an exchange.
//!
//! The two directions of a connection are told of independently, each in order. A stream
//! begins with the HEADERS that open it; if its response is told of first, that waits. It
//! ends when both directions have ended, or with a reset, a GOAWAY that gives it up, or
//! its connection. Every stream that began is resolved once: shown, or counted as lost.
//!
//! Pushed streams are followed for the sake of the compression table only: nobody made
//! those requests.

mod build;
mod ends;
mod fields;
mod opening;
mod session;
mod streams;

use super::build::Emitter;
use super::exchanges::{Pending, Progress};
use super::processes;
use super::table::Conn;
use crate::capture::ingest::decode::Entries;
use crate::capture::ledger::Ledger;
use crate::model::exchange::{Incomplete, ProcessInfo, Side, Sink};
use crate::pairing::proto::hpack::{MAX_TABLE, Name};
use crate::pairing::proto::http1::{Request, Target};
use crate::pairing::proto::http2::{HeaderBlock, Pushed, flag, kind};
use fields::Kept;
use remora_common::record::{Frame, Frames, frame_part};
use session::{REQUEST, RESPONSE};
use streams::{Half, Streams};

pub(super) use session::Session;
pub(super) use streams::SLOT_BYTES;

/// Sessions kept for connections to come.
const POOL: usize = 64;

/// All HTTP/2 connections.
#[derive(Debug)]
pub(super) struct Http2 {
    streams: Streams,
    #[allow(
        clippy::vec_box,
        reason = "connections own boxes, and these are handed to them as they are"
    )]
    pool: Vec<Box<Session>>,
    /// Memory of all sessions for blocks and tables, bytes.
    table_bytes: usize,
    max_table_bytes: usize,
    /// Requests of HTTP/1 that became stream 1, under way: the kernel programs have
    /// counted them already.
    upgraded: u64,
}

/// What the rest of the stage lends.
pub(super) struct Lent<'a, S: ?Sized> {
    pub(super) processes: &'a mut processes::Table,
    pub(super) emitter: &'a mut Emitter,
    pub(super) ledger: &'a mut Ledger,
    pub(super) sink: &'a mut S,
    /// Most streams that there may be now.
    pub(super) max: usize,
}

/// One record, and whose it is.
#[derive(Clone, Copy)]
struct Call<'a> {
    conn: &'a Conn,
    record: &'a Frames,
    side: usize,
}

impl Http2 {
    pub(super) fn new(max_text_bytes: usize, max_table_bytes: usize) -> Self {
        Self {
            streams: Streams::new(max_text_bytes),
            pool: Vec::new(),
            table_bytes: 0,
            max_table_bytes,
            upgraded: 0,
        }
    }

    /// Streams under way.
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Streams under way whose request was seen.
    pub(super) fn opened(&self) -> u64 {
        self.streams.opened() as u64
    }

    /// Streams under way that the kernel programs have counted as HTTP/1 requests.
    pub(super) fn upgraded(&self) -> u64 {
        self.upgraded
    }

    /// Tells of the streams of a session that have begun and are not answered yet.
    pub(super) fn in_flight(
        &self,
        session: &Session,
        side: Side,
        each: &mut dyn FnMut(&ProcessInfo, Side, Option<&str>),
    ) {
        let mut slot = self.streams.first(&session.list);
        while let Some(at) = slot {
            let stream = self.streams.get(at);
            let open = stream.is_opened()
                && !stream.response.is_ended()
                && stream.reset.is_none()
                // Its end may have been in a record that was lost.
                && stream.gaps == session.gaps;
            if let Some(process) = stream.process.as_ref().filter(|_| open) {
                let method = stream.fields.get(Kept::Method);
                let method = method.and_then(|method| std::str::from_utf8(method).ok());
                each(process, side, method);
            }
            slot = self.streams.next(at);
        }
    }

    /// How much of the memory for header fields is in use, 0 to 1.
    pub(super) fn fill(&self) -> f64 {
        self.streams.fill()
    }

    /// Bytes held for header fields.
    pub(super) fn text_bytes(&self) -> usize {
        self.streams.text_bytes()
    }

    /// Bytes held for header blocks and compression tables.
    pub(super) fn table_bytes(&self) -> usize {
        self.table_bytes
    }

    /// Takes in a record; `None` if its side is neither.
    #[inline]
    pub(super) fn frames<S: Sink + ?Sized>(
        &mut self,
        conn: &mut Conn,
        record: &Frames,
        entries: Entries<'_>,
        lent: &mut Lent<'_, S>,
    ) -> Option<()> {
        let side = usize::from(record.side);
        if side > RESPONSE {
            return None;
        }
        let mut session = self.take_session(conn);
        if !session.begun {
            session.begun = true;
            if conn.joined_http2 {
                session.join();
            }
        }
        let call = Call { conn, record, side };
        if session.directions[side].next != record.sequence {
            self.gap(&mut session, call);
        }
        session.directions[side].next = record.sequence.wrapping_add(1);
        for (frame, payload) in entries {
            match frame.kind {
                kind::DATA => self.data(&mut session, call, &frame, lent),
                kind::HEADERS | kind::CONTINUATION | kind::PUSH_PROMISE => {
                    self.headers(&mut session, call, &frame, payload, lent);
                }
                kind::RST_STREAM => self.reset(&mut session, call, &frame, payload, lent),
                kind::GOAWAY => self.goaway(&mut session, call, &frame, payload, lent),
                _ => {}
            }
        }
        let held = session.memory();
        self.table_bytes = self.table_bytes + held - session.accounted;
        session.accounted = held;
        conn.session = Some(session);
        Some(())
    }

    /// An HTTP/1 request was answered with a change to HTTP/2: it is stream 1 from now on
    /// (RFC 7540, section 3.2). `false` if there is no room for it.
    pub(super) fn adopt<S: Sink + ?Sized>(
        &mut self,
        conn: &mut Conn,
        pending: &mut Pending,
        lent: &mut Lent<'_, S>,
    ) -> bool {
        let mut session = self.take_session(conn);
        let known = self.streams.find(conn.info.id, 1);
        if known.is_none() && !self.streams.has_room(lent.max) || session.highest > 0 {
            conn.session = Some(session);
            return false;
        }
        session.waiting -= u32::from(known.is_some());
        let slot = known.unwrap_or_else(|| {
            let gaps = session.gaps;
            self.streams
                .insert(&mut session.list, conn.info.id, 1, gaps)
        });
        session.highest = 1;
        self.upgraded += 1;
        let request = Request::parse(&pending.head);
        let target = request.target.map(|target| Target::parse(&request, target));
        self.streams.with_fields(slot, |fields| {
            let authority = (target.and_then(|target| target.authority)).or(request.host);
            for (kept, value) in [
                (Kept::Method, request.method),
                (Kept::Path, request.target),
                (Kept::Authority, authority),
                (Kept::UserAgent, request.user_agent),
            ] {
                if let Some(value) = value {
                    fields.keep(kept, value);
                }
            }
            let mut header = |meaning, value| {
                fields.request(crate::pairing::proto::hpack::Field {
                    meaning: Some(meaning),
                    name: None,
                    value: Some(value),
                });
            };
            if let Some(parent) = request.traceparent {
                header(Name::Traceparent, parent);
            }
            for state in crate::pairing::proto::http1::tracestates(&pending.head) {
                header(Name::Tracestate, state);
            }
            fields.truncated |= pending.head_is_cut();
            fields.path_cut |= !request.line_whole;
        });
        let stream = self.streams.open(slot);
        stream.switched = Some((pending.response_first, pending.response_last));
        stream.headed = true;
        (stream.tid, stream.process) = (pending.tid, pending.process.take());
        stream.request = Half {
            progress: Progress::Ended,
            first: pending.request_first,
            payload: pending.request_body,
            ..Half::default()
        };
        self.settle(&mut session, conn, slot, lent);
        conn.session = Some(session);
        true
    }

    fn take_session(&mut self, conn: &mut Conn) -> Box<Session> {
        (conn.session.take())
            .or_else(|| self.pool.pop())
            .unwrap_or_default()
    }

    fn put_back(&mut self, mut session: Box<Session>) {
        session.reset();
        let held = if self.pool.len() < POOL {
            session.memory()
        } else {
            0
        };
        self.table_bytes = self.table_bytes + held - session.accounted;
        session.accounted = held;
        if self.pool.len() < POOL {
            self.pool.push(session);
        }
    }

    /// Records were lost before this one.
    fn gap(&mut self, session: &mut Session, call: Call<'_>) {
        session.gaps[call.side] = session.gaps[call.side].wrapping_add(1);
        self.lose_block(session, call);
    }

    /// What the header block under way said, and did to the table, will not be known.
    fn lose_block(&mut self, session: &mut Session, call: Call<'_>) {
        let direction = &mut session.directions[call.side];
        direction.decoder.forget();
        let of = direction.assembler.stream();
        direction.assembler.clear();
        if let Some(id) = of {
            self.lose_head(call, id);
        }
    }

    fn headers<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        frame: &Frame,
        payload: &[u8],
        lent: &mut Lent<'_, S>,
    ) {
        let id = frame.stream;
        if frame.part & frame_part::FIRST != 0 && frame.kind == kind::HEADERS {
            session.directions[call.side].block_first = call.record.first;
            // Clients open streams with odd numbers (RFC 9113, section 5.1.1).
            if id % 2 == 1 && id > session.highest {
                if call.side == RESPONSE {
                    self.wait(session, call, id, lent);
                } else if frame.part & frame_part::OPENS != 0 {
                    self.open(session, call, id, lent);
                }
            }
        }
        // Kept while the block borrows from the direction.
        let under_way = session.directions[call.side].assembler.stream();
        let keep = self.table_limit(session, call.side);
        let direction = &mut session.directions[call.side];
        let block = match direction.assembler.push(frame, payload) {
            Pushed::More => return,
            Pushed::Block(block) => block,
            Pushed::Lost => {
                direction.decoder.forget();
                if let Some(id) = under_way {
                    self.lose_head(call, id);
                }
                return;
            }
        };
        let HeaderBlock { stream: id, .. } = block;
        let slot = (!block.promise)
            .then(|| self.streams.find(call.conn.info.id, id))
            .flatten()
            .filter(|_| call.side == RESPONSE || block.opens);
        let decoder = &mut direction.decoder;
        let result = match slot {
            Some(slot) if call.side == REQUEST => self.streams.with_fields(slot, |fields| {
                decoder.decode(block.bytes, keep, |field| fields.request(field))
            }),
            Some(slot) => self.streams.with_fields(slot, |fields| {
                decoder.decode(block.bytes, keep, |field| fields.response(field))
            }),
            None => decoder.decode(block.bytes, keep, |_| {}),
        };
        if block.cut {
            decoder.forget();
        }
        let (cut, end_stream) = (block.cut, block.end_stream);
        let truncated = cut || result.is_ok_and(|block| block.truncated);
        let malformed = result.is_err() && !cut;
        let first = direction.block_first;
        if let Some(slot) = slot {
            let stream = self.streams.get_mut(slot);
            if malformed {
                stream.incomplete.insert(Incomplete::FRAMING_LOST);
            }
            if call.side == REQUEST {
                stream.headed = true;
                stream.fields.truncated |= truncated;
                stream.fields.request_unknown |= malformed;
                let fields = &stream.fields;
                let no_request = fields.get(Kept::Method).is_none() && !fields.request_unknown;
                if session.joined && no_request && !truncated {
                    // Trailers of a request from before the agent came.
                    self.streams.remove(&mut session.list, slot);
                    return;
                }
            } else {
                stream.fields.response_unknown |= truncated || malformed;
                let interim = stream.fields.status.filter(|code| *code < 200);
                if interim.is_some() && !end_stream {
                    stream.fields.status = None;
                } else if stream.response.progress == Progress::Unseen {
                    stream.response.progress = Progress::Begun;
                    stream.response.first = first;
                }
            }
        }
        // Trailers of a request say nothing, but end it.
        if let Some(slot) = slot.or_else(|| self.streams.find(call.conn.info.id, id)) {
            self.passed(session, call, slot, end_stream, lent);
        }
    }

    /// A part of a header block of this stream is lost.
    fn lose_head(&mut self, call: Call<'_>, id: u32) {
        let Some(slot) = self.streams.find(call.conn.info.id, id) else {
            return;
        };
        let stream = self.streams.get_mut(slot);
        if call.side == RESPONSE {
            stream.fields.response_unknown = true;
        } else if !stream.headed {
            stream.headed = true;
            stream.fields.truncated = true;
        }
    }

    fn data<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        frame: &Frame,
        lent: &mut Lent<'_, S>,
    ) {
        let Some(slot) = self.streams.find(call.conn.info.id, frame.stream) else {
            return;
        };
        let stream = self.streams.get_mut(slot);
        let half = if call.side == REQUEST {
            &mut stream.request
        } else {
            if stream.response.progress == Progress::Unseen {
                // Its HEADERS were lost.
                stream.response.progress = Progress::Begun;
                stream.response.first = call.record.first;
                stream.fields.response_unknown = true;
            }
            &mut stream.response
        };
        half.payload = half.payload.saturating_add(u64::from(frame.len));
        half.messages = half.messages.saturating_add(u64::from(frame.messages));
        if frame.part & frame_part::FIRST != 0 && frame.flags & flag::PADDED != 0 {
            half.padding = (half.padding).saturating_add(u64::from(frame.padding) + 1);
        }
        let ends = frame.part & frame_part::LAST != 0 && frame.flags & flag::END_STREAM != 0;
        self.passed(session, call, slot, ends, lent);
    }

    /// A part of a stream passed.
    fn passed<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        slot: u32,
        ends: bool,
        lent: &mut Lent<'_, S>,
    ) {
        let stream = self.streams.get_mut(slot);
        let half = if call.side == REQUEST {
            &mut stream.request
        } else {
            &mut stream.response
        };
        if half.is_ended() {
            return;
        }
        half.last = call.record.last;
        if ends && half.progress == Progress::Begun {
            half.progress = Progress::Ended;
        }
        self.settle(session, call.conn, slot, lent);
    }

    /// What the table of a direction may hold. When memory is short it does not grow.
    fn table_limit(&self, session: &Session, side: usize) -> usize {
        if self.table_bytes <= self.max_table_bytes {
            MAX_TABLE
        } else {
            session.directions[side].decoder.memory() / 2
        }
    }
}
