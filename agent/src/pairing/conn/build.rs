//! What was seen of an exchange becomes an [`Exchange`], lent to the sink.

use super::exchanges::{Pending, Progress};
use super::processes;
use super::table::Conn;
use crate::model::clock::Offset;
use crate::model::exchange::{Exchange, Incomplete, Protocol, Side, Sink, TraceContext};
use crate::model::ids::Seed;
use crate::pairing::context::{self, Traceparent};
use crate::pairing::proto::http1::{self, Request, Status, Target};
use remora_common::record::message_flags as flags;

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End {
    /// Monotonic time of the last thing that belongs to it, ns.
    pub(super) last: u64,
    /// Why it ended early.
    pub(super) error: Option<&'static str>,
    /// Reasons beyond those that show in the messages.
    pub(super) incomplete: Incomplete,
}

/// Text that had to be made, because what was sent is not UTF-8 or was in several
/// places. Used again for every exchange.
#[derive(Default, Debug)]
pub(super) struct Scratch {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) user_agent: String,
    pub(super) tracestate: Vec<u8>,
    /// A message of gRPC, and the bytes it is made of.
    pub(super) message: String,
    pub(super) bytes: Vec<u8>,
}

/// Makes exchanges of what was seen, and counts them.
#[derive(Debug)]
pub(super) struct Emitter {
    pub(super) seed: Seed,
    /// Maps the times of the exchanges to come.
    pub(super) clock: Offset,
    /// Exchanges lent to sinks so far.
    pub(super) emitted: u64,
    pub(super) scratch: Scratch,
}

impl Emitter {
    pub(super) fn new(seed: Seed, clock: Offset) -> Self {
        Self {
            seed,
            clock,
            emitted: 0,
            scratch: Scratch::default(),
        }
    }

    /// Lends an exchange whose request has begun to `sink`.
    #[inline]
    pub(super) fn emit<S: Sink + ?Sized>(
        &mut self,
        pending: &mut Pending,
        conn: &Conn,
        processes: &mut processes::Table,
        end: End,
        sink: &mut S,
    ) {
        let process = processes.settle(pending.process.take(), conn.tgid);
        let request = Request::parse(&pending.head);
        let target = request.target.map(|target| Target::parse(&request, target));
        let status = Status::parse(pending.status_line());
        let code = status.map(|status| status.code);
        let digits = code.map_or([b'0'; 3], decimal);
        let responded = pending.response != Progress::Unseen;
        let Scratch {
            path,
            query,
            user_agent,
            tracestate,
            ..
        } = &mut self.scratch;
        self.emitted += 1;
        sink.exchange(&Exchange {
            start_unix_ns: self.clock.unix_ns(pending.request_first),
            duration_ns: end.last.saturating_sub(pending.request_first),
            ttfb_ns: responded
                .then(|| pending.response_first.saturating_sub(pending.request_first)),
            side: conn.side,
            protocol: (request.version)
                .or(status.map(|status| status.version))
                .unwrap_or(Protocol::Http11),
            method: request.method.and_then(text),
            path: (target
                .map(|target| target.path)
                .filter(|path| !path.is_empty()))
            .map(|bytes| url_text(bytes, path)),
            query: target
                .and_then(|target| target.query)
                .map(|bytes| url_text(bytes, query)),
            authority: (target.and_then(|target| target.authority))
                .or(request.host)
                .and_then(text),
            user_agent: request.user_agent.map(|bytes| lossy(bytes, user_agent)),
            route: None,
            status: code,
            rpc: None,
            request_body_bytes: (pending.request_flags & flags::UNFRAMED == 0)
                .then_some(pending.request_body),
            response_body_bytes: (responded && pending.response_flags & flags::UNFRAMED == 0)
                .then_some(pending.response_body),
            process: &process,
            tid: pending.tid,
            request: pending.index,
            one_thread: responded && !pending.other_thread,
            conn: &conn.info,
            trace: trace(&request, pending, conn, self.seed, tracestate),
            error: match code {
                Some(code) if is_error(conn.side, code) => text(&digits),
                _ => end.error,
            },
            incomplete: incomplete(pending, end.incomplete),
        });
    }
}

/// The HTTP rule of the OpenTelemetry conventions: a client's error is every 4xx and
/// 5xx, a server's only what it is to blame for.
pub(super) fn is_error(side: Side, code: u16) -> bool {
    let first = if side == Side::Server { 500 } else { 400 };
    (first..600).contains(&code)
}

/// A response head cut off at the capture limit is no loss: only its first line is
/// used. So the request's head alone decides whether the head counts as truncated.
fn incomplete(pending: &Pending, mut incomplete: Incomplete) -> Incomplete {
    if pending.head_is_cut() {
        incomplete.insert(Incomplete::HEAD_TRUNCATED);
    }
    const LOST: u16 = flags::FRAMING_LOST | flags::UNFRAMED;
    if (pending.request_flags | pending.response_flags) & LOST != 0 {
        incomplete.insert(Incomplete::FRAMING_LOST);
    }
    incomplete
}

fn trace<'a>(
    request: &Request<'a>,
    pending: &'a Pending,
    conn: &Conn,
    seed: Seed,
    joined: &'a mut Vec<u8>,
) -> TraceContext<'a> {
    let span_id = seed.span_id(conn.info.id, pending.index);
    match request.traceparent.and_then(Traceparent::parse) {
        Some(parent) => TraceContext {
            trace_id: parent.trace_id,
            span_id,
            parent_span_id: Some(parent.parent_id),
            flags: parent.flags,
            state: tracestate(request, &pending.head, joined),
        },
        None => TraceContext {
            trace_id: seed.trace_id(conn.info.id, pending.index),
            span_id,
            parent_span_id: None,
            flags: TraceContext::NEW_FLAGS,
            state: None,
        },
    }
}

/// Several `tracestate` headers are one list (Trace Context, section 3.3).
fn tracestate<'a>(request: &Request<'a>, head: &[u8], joined: &'a mut Vec<u8>) -> Option<&'a str> {
    let first = request.tracestate?;
    if !request.more_tracestate {
        return context::tracestate(first);
    }
    joined.clear();
    for value in http1::tracestates(head) {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(value);
    }
    context::tracestate(joined)
}

pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub(super) fn decimal(code: u16) -> [u8; 3] {
    [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8)
}

/// Bytes that are not UTF-8 are shown percent-encoded, as they should have been sent.
pub(super) fn url_text<'a>(bytes: &'a [u8], made: &'a mut String) -> &'a str {
    made_text(bytes, made, |made, invalid| {
        for &byte in invalid {
            made.push('%');
            for nibble in [byte >> 4, byte & 15] {
                made.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    })
}

/// Bytes that are not UTF-8 are shown as U+FFFD.
pub(super) fn lossy<'a>(bytes: &'a [u8], made: &'a mut String) -> &'a str {
    made_text(bytes, made, |made, _| {
        made.push(char::REPLACEMENT_CHARACTER)
    })
}

fn made_text<'a>(
    bytes: &'a [u8],
    made: &'a mut String,
    mut replace: impl FnMut(&mut String, &[u8]),
) -> &'a str {
    if let Some(text) = text(bytes) {
        return text;
    }
    made.clear();
    for chunk in bytes.utf8_chunks() {
        made.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            replace(made, chunk.invalid());
        }
    }
    made
}
