//! What must hold for any bytes, by entry point. The fuzz targets call these functions
//! with what the fuzzer finds, and a test calls them with random bytes and with the
//! committed corpus.
#![allow(dead_code, reason = "each fuzz target needs another function")]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "shared by crates of different roots, tests only"
)]
#![allow(clippy::expect_used, reason = "a fuzz target reports by panicking")]

#[path = "frames.rs"]
pub mod frames;

use remora::capture::ingest::decode::{self, Record};
use remora::capture::recording::{Header, Recorder, Recording};
use remora::model::clock::Offset;
use remora::model::exchange::{Exchange, ProcessInfo, Sink};
use remora::model::ids::Seed;
use remora::model::processes::{Processes, from_record};
use remora::pairing::conn::{Limits, Occupancy, Pipeline};
use remora::pairing::context::{self, Traceparent};
use remora::pairing::proto::hpack;
use remora::pairing::proto::http1::{self, Request, Status, Target};
use remora::pairing::replay::Replay;
use remora_common::http1::{Event, SLACK, Settled, Stream, WINDOW, WINDOW_MAX};
use remora_common::pod::Pod;
use remora_common::record::{self, Kind};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

const LIMITS: Limits = Limits {
    conns: 4,
    exchanges: 8,
    head_bytes: 20_000,
    table_bytes: 20_000,
    processes: 4,
};

/// Bytes as one record.
pub fn decode(data: &[u8]) {
    let decoded = decode::decode(data);
    match decoded {
        Ok(Record::Message(_, rest) | Record::Conn(_, rest)) => assert!(rest.len() < data.len()),
        Ok(Record::Counters(values)) => {
            let again = decode::encode_counters(&values);
            assert_eq!(decode::decode(&again), decoded);
        }
        Ok(_) | Err(_) => {}
    }
    if decoded.is_ok() {
        let len = decode::stated_len(data).expect("a record has a length");
        assert_eq!(decode::decode(&data[..len]), decoded);
    }
}

/// Bytes as the head of a message.
pub fn http1_head(data: &[u8]) {
    let request = Request::parse(data);
    let inside = |part: Option<&[u8]>| {
        if let Some(part) = part {
            assert!(data.as_ptr_range().contains(&part.as_ptr()) || part.is_empty());
        }
    };
    for part in [
        request.method,
        request.target,
        request.host,
        request.user_agent,
    ] {
        inside(part);
    }
    if let Some(target) = request.target {
        let parts = Target::parse(&request, target);
        assert!(parts.path.len() + parts.query.map_or(0, <[u8]>::len) <= target.len() + 1);
    }
    if let Some(parent) = request.traceparent.and_then(Traceparent::parse) {
        assert!(parent.trace_id != [0; 16] && parent.parent_id != [0; 8]);
    }
    let states = http1::tracestates(data).count();
    assert_eq!(states > 0, request.tracestate.is_some());
    assert_eq!(states > 1, request.more_tracestate);
    let _ = request.tracestate.and_then(context::tracestate);
    assert!(Status::parse(data).is_none_or(|status| (100..1_000).contains(&status.code)));
}

/// Bytes as a recording, and as what the frames of one hold, their checksums in order:
/// no fuzzer guesses those.
pub fn recording(data: &[u8]) {
    replayed(data);
    let header = br#"{"agent":"","seed":[1,2],"clock":3}"#;
    let mut file = b"\x89RMR\r\n\x1a\n\x01".to_vec();
    file.extend_from_slice(&[
        record::VERSION,
        u8::from(cfg!(target_endian = "big")) + 1,
        0,
    ]);
    let mut frame = |kind: u8, payload: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(&[kind]);
        crc.update(payload);
        file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        file.extend_from_slice(&crc.sum().to_le_bytes());
        file.push(kind);
        file.extend_from_slice(payload);
    };
    frame(1, header);
    let mut rest = data;
    while let Some((&[kind, len], more)) = rest.split_first_chunk::<2>() {
        let (payload, more) = more.split_at(more.len().min(usize::from(len)));
        frame(kind % 7, payload);
        rest = more;
    }
    assert!(replayed(&file), "the header is whole");
}

/// Replays a recording to its end or defect. Returns whether it could be opened.
fn replayed(file: &[u8]) -> bool {
    let Ok(recording) = Recording::new(file, Path::new("fuzz")) else {
        return false;
    };
    let mut replay = Replay::new(recording, LIMITS);
    let mut sink = Digest::default();
    let end = replay.run(&mut sink);
    assert_eq!(replay.ledger().exchanges, sink.exchanges);
    // After the end, or an error, there is nothing more.
    assert!(end.is_err() || !replay.step(&mut sink).expect("the end stays the end"));
    true
}

/// What a stage holds is bounded, whatever it was fed.
fn within_limits(held: &Occupancy) {
    assert!(held.conns <= LIMITS.conns && held.exchanges <= LIMITS.exchanges);
    assert!(held.head_bytes <= 4 * LIMITS.head_bytes + 2 * LIMITS.exchanges * 8_192);
    // Each connection may hold a block in each direction, and sessions in the pool a little.
    assert!(held.table_bytes <= LIMITS.table_bytes + 70 * 160_000);
}

/// Bytes as header blocks, each behind its length: what a decoder that lost a block says
/// is what the one that saw them all says, or unknown.
pub fn hpack(data: &[u8]) {
    let (mut all, mut some) = (hpack::Decoder::new(), hpack::Decoder::new());
    let mut rest = data;
    while let Some((&[kind, len], more)) = rest.split_first_chunk::<2>() {
        let (block, more) = more.split_at(more.len().min(usize::from(len)));
        rest = more;
        let mut seen = Vec::new();
        let whole = all.decode(block, hpack::MAX_TABLE, |field| {
            seen.push((
                field.name.map(<[u8]>::to_vec),
                field.value.map(<[u8]>::to_vec),
            ));
        });
        if whole.is_err() {
            // Peers end the connection here.
            return;
        }
        assert!(all.memory() <= 3 * hpack::MAX_TABLE + 3 * data.len() + 4_096);
        if kind % 8 == 0 {
            some.forget();
            continue;
        }
        let mut fields = seen.iter();
        let keep = usize::from(kind) * 64;
        let partly = some.decode(block, keep, |field| {
            // Unknown fields count for less, so there may be more of them.
            let Some((name, value)) = fields.next() else {
                return;
            };
            assert!(field.name.is_none() || field.name == name.as_deref());
            assert!(field.value.is_none() || field.value == value.as_deref());
        });
        assert!(partly.is_ok());
    }
}

/// Bytes as HTTP/2 frames of both directions of a connection: streams are resolved once,
/// and what is held is bounded.
pub fn http2(data: &[u8]) {
    let mut pipeline = Pipeline::new(LIMITS, Seed([1, 2]), Offset(3), FromRecord);
    let mut sink = Digest::default();
    let mut wire = frames::Wire::new(7);
    let joined = data.first().is_some_and(|first| first & 1 != 0);
    pipeline.record(&wire.conn(record::role::SERVER, joined), &mut sink);
    let mut rest = data.get(1..).unwrap_or_default();
    let mut time = 1_000;
    while let Some((&[kind, flags, part, stream, len], more)) = rest.split_first_chunk::<5>() {
        let (payload, more) = more.split_at(more.len().min(usize::from(len)));
        rest = more;
        time += 10;
        let side = part >> 7;
        if part >> 6 & 1 != 0 && flags >> 7 != 0 {
            wire.lost(side);
        }
        let mut entry = frames::Entry::block(u32::from(stream), payload);
        (entry.frame.kind, entry.frame.flags) = (kind % 10, flags & 0x7f);
        entry.frame.part = part & 15;
        pipeline.record(&wire.record(side, time, &[entry]), &mut sink);
        within_limits(&pipeline.occupancy());
    }
    pipeline.set_kernel_counters(Default::default());
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced(), "{summary:?}");
    let close = record::Close {
        header: record::Header::new(Kind::CLOSE, size_of::<record::Close>() as u32),
        conn: 7,
        time,
        request_body: 0,
        response_body: 0,
        response_last: 0,
        lost: 0,
        request_index: 0,
        response_index: 0,
        errno: 0,
        reason: record::close_reason::LOCAL,
        request_open: 0,
        response_open: 0,
        reserved: 0,
    };
    pipeline.record(close.as_bytes(), &mut sink);
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced() && summary.in_flight == 0, "{summary:?}");
    assert_eq!(
        (summary.emitted, pipeline.occupancy().exchanges),
        (sink.exchanges, 0)
    );
}

/// Bytes as a stream of records: live and replayed they must give the same.
pub fn pipeline(data: &[u8]) {
    let (seed, clock) = (Seed([1, 2]), Offset(3));
    let header = Header {
        agent: String::new(),
        seed,
        clock,
        host: Default::default(),
    };
    let mut recorder = Recorder::new(Vec::new(), Path::new("fuzz"), &header).expect("memory");
    let mut pipeline = Pipeline::new(LIMITS, seed, clock, FromRecord);
    let mut sink = Digest::default();
    for record in records(data) {
        let process = pipeline.record(&record, &mut sink);
        recorder.record(&record, process).expect("memory");
        let held = pipeline.occupancy();
        within_limits(&held);
    }
    let mut ledger = pipeline.ledger();
    assert_eq!(ledger.exchanges, sink.exchanges);
    let file = recorder.finish(&Default::default()).expect("memory");
    let recording = Recording::new(&file[..], Path::new("fuzz")).expect("made above");
    let mut replay = Replay::new(recording, LIMITS);
    let mut again = Digest::default();
    replay.run(&mut again).expect("made above");
    assert_eq!(again, sink);
    ledger.kernel = Some(Default::default());
    assert_eq!(replay.ledger(), ledger);
}

/// Bytes as one direction of a connection, split into calls as the first bytes say, the
/// way the kernel programs drive the framing: it moves on, stays inside its window,
/// and counts no body that was not there.
pub fn framing(data: &[u8]) {
    let Some((&[kind, cut], mut wire)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut stream = Stream {
        response: kind & 1,
        ..Stream::REQUESTS
    };
    let mut window = [0xaau8; WINDOW + SLACK];
    while !wire.is_empty() {
        let (mut call, rest) = wire.split_at(wire.len().min(usize::from(cut) * 8 + 1));
        wire = rest;
        while !call.is_empty() {
            if !stream.reads_lines() {
                let (taken, ended) = stream.skip(call.len() as u64);
                assert!(taken > 0 || ended, "no progress");
                assert!(stream.body <= data.len() as u64);
                call = &call[taken as usize..];
                if ended {
                    stream.reset_head();
                }
                continue;
            }
            // SAFETY: the window is longer than what is carried at most.
            let carried = unsafe { stream.restore_carry(window.as_mut_ptr()) };
            let fresh = call.len().min(WINDOW_MAX - carried);
            window[carried..carried + fresh].copy_from_slice(&call[..fresh]);
            // SAFETY: the window has `WINDOW + SLACK` bytes, `WINDOW_MAX` of them are used.
            let event = unsafe { stream.lines(window.as_ptr(), carried + fresh) };
            if event == Event::Stray {
                let taken = stream.stray(carried as u64, call.len() as u64) as usize;
                assert!(taken <= call.len());
                call = if taken == 0 { &[] } else { &call[taken..] };
                continue;
            }
            let consumed = (stream.at as usize)
                .checked_sub(carried)
                .expect("carried is consumed");
            assert!(consumed <= fresh && (consumed > 0 || event != Event::More));
            call = &call[consumed..];
            let ended = match event {
                Event::Bad | Event::Stray => return,
                Event::More | Event::Chunk => false,
                Event::TrailersEnd => true,
                Event::HeadEnd => match stream.settle(kind >> 1 & 3) {
                    Settled::Switched => return,
                    Settled::Body => false,
                    Settled::Complete | Settled::Interim => true,
                    Settled::Unframed => {
                        call = &[];
                        true
                    }
                },
            };
            if ended {
                stream.reset_head();
            }
        }
    }
}

/// Cuts `data` into records with headers that decode, of few connections.
fn records(data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&[kind, len, conn], more) = rest.split_first_chunk::<3>()?;
        let (body, more) = more.split_at(more.len().min(usize::from(len)));
        rest = more;
        let size = size_of::<record::Header>() + body.len();
        // COUNTERS come from the agent itself, at the end.
        let kind = if kind % 7 == 6 {
            Kind::FRAMES
        } else {
            Kind(u16::from(kind % 7))
        };
        let header = record::Header::new(kind, size as u32);
        let mut record = [header.as_bytes(), body].concat();
        if let Some(id) = record.get_mut(8..16) {
            id.copy_from_slice(&u64::from(conn % 8).to_ne_bytes());
        }
        Some(record)
    })
}

/// What exchanges said, in short.
#[derive(Default, PartialEq, Debug)]
struct Digest {
    exchanges: u64,
    hash: u64,
}

impl Sink for Digest {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        assert!(exchange.trace.trace_id != [0; 16] && exchange.trace.span_id != [0; 8]);
        self.exchanges += 1;
        let mut hasher = DefaultHasher::new();
        (self.hash, format!("{exchange:?}")).hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

struct FromRecord;

impl Processes for FromRecord {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        from_record(record)
    }
}
