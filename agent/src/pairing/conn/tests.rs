//! Every way in which messages meet, and in which they do not.

use super::*;
use crate::model::exchange::{Endpoint, Exchange, Protocol, Side};
use crate::model::processes::from_record;
use crate::stream::{self, END, GET, HEAD_END, OK, Part, START};
use remora_common::record::{close_reason, role};

mod aborts;
mod hostile;
mod http2;
mod loss;
mod pairs;

/// What tests look at of an exchange, owned.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Seen {
    start: u64,
    duration: u64,
    ttfb: Option<u64>,
    side: Side,
    protocol: Protocol,
    method: Option<String>,
    path: Option<String>,
    query: Option<String>,
    authority: Option<String>,
    user_agent: Option<String>,
    status: Option<u16>,
    rpc: Option<Call>,
    bodies: (Option<u64>, Option<u64>),
    comm: String,
    tgid: u32,
    tid: u32,
    conn: u64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    flags: u8,
    state: Option<String>,
    error: Option<String>,
    incomplete: Vec<&'static str>,
}

/// What tests look at of a call.
#[derive(Clone, PartialEq, Debug)]
struct Call {
    method: String,
    status: Option<u32>,
    message: Option<String>,
    messages: (u64, u64),
}

#[derive(Default)]
struct Collect(Vec<Seen>);

impl Sink for Collect {
    fn exchange(&mut self, e: &Exchange<'_>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        self.0.push(Seen {
            start: e.start_unix_ns,
            duration: e.duration_ns,
            ttfb: e.ttfb_ns,
            side: e.side,
            protocol: e.protocol,
            method: owned(e.method),
            path: owned(e.path),
            query: owned(e.query),
            authority: owned(e.authority),
            user_agent: owned(e.user_agent),
            status: e.status,
            rpc: e.rpc.map(|rpc| Call {
                method: rpc.method.to_owned(),
                status: rpc.status,
                message: owned(rpc.message),
                messages: (rpc.request_messages, rpc.response_messages),
            }),
            bodies: (e.request_body_bytes, e.response_body_bytes),
            comm: e.process.comm.clone(),
            tgid: e.process.tgid,
            tid: e.tid,
            conn: e.conn.id,
            trace_id: e.trace.trace_id,
            span_id: e.trace.span_id,
            parent: e.trace.parent_span_id,
            flags: e.trace.flags,
            state: owned(e.trace.state),
            error: owned(e.error),
            incomplete: e.incomplete.names().collect(),
        });
    }
}

struct FromRecord;

impl Processes for FromRecord {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        from_record(record)
    }
}

const OFFSET: i64 = 1_000_000;

fn pipeline(limits: Limits) -> Pipeline<FromRecord> {
    Pipeline::new(limits, Seed([1, 2]), Offset(OFFSET), FromRecord)
}

/// What a stream of records gives, and the ledger behind it.
fn run<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> (Vec<Seen>, Pipeline<FromRecord>) {
    let mut pipeline = pipeline(Limits::default());
    let mut sink = Collect::default();
    for record in records {
        pipeline.record(record.as_ref(), &mut sink);
    }
    assert_eq!(pipeline.ledger().exchanges, sink.0.len() as u64);
    (sink.0, pipeline)
}

/// The only exchange that a stream gives; everything must be accounted for.
fn only<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> Seen {
    let (mut seen, pipeline) = run(records);
    let ledger = pipeline.ledger();
    assert_eq!(
        (seen.len(), ledger.decode, ledger.evicted),
        (1, 0, 0),
        "{seen:?}"
    );
    seen.remove(0)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}
