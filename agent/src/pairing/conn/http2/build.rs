//! What was seen of a stream becomes an [`Exchange`], lent to the sink.

use super::fields::{Fields, Kept};
use super::streams::Stream;
use crate::model::exchange::{Exchange, Incomplete, Protocol, Rpc, Side, Sink, TraceContext};
use crate::pairing::conn::build::{Emitter, End, decimal, is_error, lossy, text, url_text};
use crate::pairing::conn::exchanges::Progress;
use crate::pairing::conn::processes;
use crate::pairing::conn::table::Conn;
use crate::pairing::context::{self, Traceparent};
use crate::pairing::proto::grpc;
use crate::pairing::proto::http1::{Request, Target};
use crate::pairing::proto::http2::{self, CANCEL};

/// Streams have 31 bits, so the highest keeps their ids apart from those of the HTTP/1
/// requests that a connection may have begun with.
const STREAM: u32 = 1 << 31;

/// `error.type` of streams that a graceful GOAWAY gave up.
pub(super) const GOAWAY: &str = "GOAWAY";

/// How a stream ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Time and reasons, as for any exchange.
    pub(super) end: End,
    /// The error code it was reset with.
    pub(super) reset: Option<u32>,
    /// Whether nothing came of the change to HTTP/2 that its request asked for.
    pub(super) not_upgraded: bool,
}

impl Emitter {
    /// Lends a stream whose request has begun to `sink`.
    #[inline]
    pub(super) fn emit_stream<S: Sink + ?Sized>(
        &mut self,
        stream: &mut Stream,
        conn: &Conn,
        processes: &mut processes::Table,
        ending: Ending,
        sink: &mut S,
    ) {
        let process = processes.settle(stream.process.take(), conn.tgid);
        let Stream {
            request,
            response,
            fields,
            ..
        } = &*stream;
        let end = ending.end;
        let method = fields.get(Kept::Method);
        let sent_authority = fields.get(Kept::Authority).or(fields.get(Kept::Host));
        let target = target(fields, method, sent_authority);
        let responded = response.progress != Progress::Unseen;
        let status = fields.status.or(ending.not_upgraded.then_some(101));
        let digits = status.map_or([b'0'; 3], decimal);
        let scratch = &mut self.scratch;
        let path = (target.map(|target| target.path))
            .filter(|path| !path.is_empty())
            .map(|bytes| url_text(bytes, &mut scratch.path));
        let message = fields.get(Kept::GrpcMessage).map(|value| {
            scratch.message.clear();
            grpc::decode_message(value, &mut scratch.bytes, &mut scratch.message);
            scratch.message.as_str()
        });
        let error = if fields.grpc {
            call_error(stream, conn.side, &ending)
                .or_else(|| http_error(conn.side, status, &digits))
        } else {
            let reset = ending.reset.map(http2::error_name);
            http_error(conn.side, status, &digits)
                .or(reset)
                .or(end.error)
        };
        self.emitted += 1;
        sink.exchange(&Exchange {
            start_unix_ns: self.clock.unix_ns(request.first),
            duration_ns: end.last.saturating_sub(request.first),
            ttfb_ns: responded.then(|| response.first.saturating_sub(request.first)),
            side: conn.side,
            protocol: match (fields.grpc, ending.not_upgraded) {
                (true, _) => Protocol::Grpc,
                (false, true) => Protocol::Http11,
                (false, false) => Protocol::Http2,
            },
            method: method.and_then(text),
            path,
            query: target
                .and_then(|target| target.query)
                .map(|bytes| url_text(bytes, &mut scratch.query)),
            authority: sent_authority.map(without_user).and_then(text),
            user_agent: fields
                .get(Kept::UserAgent)
                .map(|bytes| lossy(bytes, &mut scratch.user_agent)),
            route: None,
            status,
            rpc: fields.grpc.then(|| Rpc {
                method: path.map_or("", |path| path.strip_prefix('/').unwrap_or(path)),
                status: fields.grpc_status,
                message,
                request_messages: request.messages,
                response_messages: response.messages,
            }),
            request_body_bytes: Some(request.body()),
            response_body_bytes: responded.then(|| response.body()),
            process: &process,
            tid: stream.tid,
            request: stream.id,
            one_thread: false,
            conn: &conn.info,
            trace: trace(fields, self.seed, conn.info.id, stream.id | STREAM),
            error,
            incomplete: incomplete(stream, end.incomplete),
        });
    }
}

/// Path and query. A CONNECT request has none (RFC 9113, section 8.5): its authority
/// stands in, as in HTTP/1.
fn target<'a>(
    fields: &'a Fields,
    method: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
) -> Option<Target<'a>> {
    let path = fields.get(Kept::Path);
    let connects = path.is_none() && method == Some(b"CONNECT");
    let request = Request {
        method: method.filter(|_| connects),
        line_whole: !fields.path_cut,
        ..Request::default()
    };
    let target = if connects { authority } else { path };
    target.map(|target| Target::parse(&request, target))
}

/// `user:password@` is a secret and no part of the host's name.
fn without_user(authority: &[u8]) -> &[u8] {
    let at = authority.iter().rposition(|&byte| byte == b'@');
    &authority[at.map_or(0, |at| at + 1)..]
}

fn http_error(side: Side, status: Option<u16>, digits: &[u8; 3]) -> Option<&str> {
    status
        .filter(|&code| is_error(side, code))
        .and(text(digits))
}

/// The `error.type` of a call: by its status, or by what ended it without one.
fn call_error(stream: &Stream, side: Side, ending: &Ending) -> Option<&'static str> {
    let fields = &stream.fields;
    if let Some(status) = fields.grpc_status {
        return is_call_error(side, status).then(|| grpc::status_name(status))?;
    }
    let name = |status| grpc::status_name(status);
    match ending.reset {
        Some(CANCEL) if deadline_passed(stream, ending.end.last) => name(grpc::DEADLINE_EXCEEDED),
        Some(CANCEL) => name(grpc::CANCELLED),
        Some(code) => Some(http2::error_name(code)),
        None if ending.end.error.is_some() => ending.end.error,
        // A response without trailers failed, whatever it brought. With another HTTP
        // status than 200 it was no answer to the call, and that status says more.
        None if stream.response.is_ended()
            && (fields.has_grpc_status
                || !fields.response_unknown && fields.status == Some(200)) =>
        {
            name(grpc::UNKNOWN)
        }
        None => None,
    }
}

/// The gRPC rule of the OpenTelemetry conventions: to a client every status but OK is an
/// error, to a server what it is to blame for.
fn is_call_error(side: Side, status: u32) -> bool {
    match side {
        Side::Client => status != 0,
        Side::Server => matches!(status, 2 | 4 | 12 | 13 | 14 | 15),
    }
}

/// Whether a call ended when its time was over. Its sender's clock began earlier: some round the
/// time they send up by a hundredth, and where all CPUs are busy, milliseconds lie between
/// working it out and sending it.
fn deadline_passed(stream: &Stream, end: u64) -> bool {
    const SENDING_NS: u64 = 20_000_000;
    let elapsed = end.saturating_sub(stream.request.first);
    let slack = |timeout: u64| timeout / 50 + SENDING_NS.min(timeout / 10);
    (stream.fields.timeout).is_some_and(|timeout| elapsed >= timeout.saturating_sub(slack(timeout)))
}

fn incomplete(stream: &Stream, mut incomplete: Incomplete) -> Incomplete {
    let fields = &stream.fields;
    incomplete.insert(stream.incomplete);
    if fields.truncated {
        incomplete.insert(Incomplete::HEAD_TRUNCATED);
    }
    // Any header of a request may have been one that is shown; of a response, only the
    // statuses are.
    let no_status = fields.status.is_none()
        || fields.grpc && stream.response.is_ended() && !fields.has_grpc_status;
    if fields.request_unknown || fields.response_unknown && no_status {
        incomplete.insert(Incomplete::HPACK_TABLE_UNKNOWN);
    }
    incomplete
}

fn trace(
    fields: &Fields,
    seed: crate::model::ids::Seed,
    conn: u64,
    index: u32,
) -> TraceContext<'_> {
    let span_id = seed.span_id(conn, index);
    match fields.traceparent().and_then(Traceparent::parse) {
        Some(parent) => TraceContext {
            trace_id: parent.trace_id,
            span_id,
            parent_span_id: Some(parent.parent_id),
            flags: parent.flags,
            state: fields.get(Kept::Tracestate).and_then(context::tracestate),
        },
        None => TraceContext {
            trace_id: seed.trace_id(conn, index),
            span_id,
            parent_span_id: None,
            flags: TraceContext::NEW_FLAGS,
            state: None,
        },
    }
}
