//! Records per second through the pairing stage, decoding and head parsing included.
//! The sink looks at every exchange, but writes nothing; at the end of the chain from a
//! recording it encodes OTLP.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

#[path = "../tests/support/frames.rs"]
mod frames;
#[path = "../tests/support/stream.rs"]
mod stream;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use remora::capture::recording::{Error, Frame, Header, Recorder, Recording};
use remora::config::otel::DEFAULT_BATCH_SPANS;
use remora::delivery::export::otlp::Encoder;
use remora::model::clock::Offset;
use remora::model::exchange::{Exchange, ProcessInfo, Sink};
use remora::model::ids::Seed;
use remora::model::processes::{Processes, from_record};
use remora::pairing::conn::{Limits, Pipeline};
use remora::pairing::proto::http1::Request;
use remora::pairing::replay::Replay;
use remora::span::attrs::SpanOptions;
use remora::span::resource::HostResource;
use remora_common::record;
use std::hint::black_box;
use std::path::Path;

struct Look;

impl Sink for Look {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        black_box(exchange);
    }
}

struct FromRecord;

impl Processes for FromRecord {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        from_record(record)
    }
}

/// A request as a browser sends it, with the context of an instrumented page.
const BROWSER: &[u8] = b"GET /static/app/main.3f9a.js?v=20260102 HTTP/1.1\r\n\
    Host: shop.example\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=all; exp=a:1,b:2,c:3\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
    tracestate: ot=th:8,vendor=opaque\r\n\r\n";

fn pairing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pairing");
    for conns in [1, 100, 10_000] {
        let records = stream::keep_alive(conns, (200_000 / conns) as u32);
        group.throughput(Throughput::Elements(records.len() as u64));
        group.bench_function(BenchmarkId::new("keep_alive", conns), |bencher| {
            bencher.iter_batched(
                || Pipeline::new(Limits::default(), Seed([1, 2]), Offset(0), FromRecord),
                |mut pipeline| {
                    for record in &records {
                        pipeline.record(record, &mut Look);
                    }
                    pipeline
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Unary calls: two records each, request and response.
fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("calls");
    for conns in [1, 100] {
        let per_conn = (100_000 / conns) as u32;
        let records = frames::unary_calls(conns, per_conn);
        group.throughput(Throughput::Elements(conns * u64::from(per_conn)));
        group.bench_function(BenchmarkId::new("unary", conns), |bencher| {
            bencher.iter_batched(
                || Pipeline::new(Limits::default(), Seed([1, 2]), Offset(0), FromRecord),
                |mut pipeline| {
                    for record in &records {
                        pipeline.record(record, &mut Look);
                    }
                    pipeline
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Encodes spans in batches as `remora run` does, and throws the batches away.
struct Encode(Encoder);

impl Sink for Encode {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.0.push(exchange);
        if self.0.len() == DEFAULT_BATCH_SPANS {
            black_box(self.0.seal());
        }
    }
}

/// Records as a recording in memory.
fn recorded(records: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let header = Header {
        agent: String::new(),
        seed: Seed([1, 2]),
        clock: Offset(0),
        host: Default::default(),
    };
    let mut recorder = Recorder::new(Vec::new(), Path::new("bench"), &header)?;
    for record in records {
        recorder.record(record, None)?;
    }
    recorder.finish(&Default::default())
}

/// Replays a recording into `sink`.
fn run(file: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
    let recording = Recording::new(file, Path::new("bench"))?;
    Replay::new(recording, Limits::default()).run(sink)
}

/// Records in a recording.
fn records(file: &[u8]) -> Result<u64, Error> {
    let mut recording = Recording::new(file, Path::new("bench"))?;
    let mut records = 0;
    while let Some(frame) = recording.next_frame()? {
        records += u64::from(matches!(frame, Frame::Record(_)));
    }
    Ok(records)
}

/// A recording in memory: frames, checksums and pairing; and the same with every exchange
/// encoded as a span in a sealed OTLP request.
fn replay(criterion: &mut Criterion) {
    let keep_alive = recorded(&stream::keep_alive(100, 2_000));
    let demo = include_bytes!("../demo/demo.rec").to_vec();
    for (name, file) in [("keep_alive/100", keep_alive), ("demo", Ok(demo))] {
        let counted = file.and_then(|file| Ok((records(&file)?, file)));
        let (records, file) = match counted {
            Ok(counted) => counted,
            Err(error) => return eprintln!("{name}: {error}"),
        };
        let mut group = criterion.benchmark_group("replay");
        group.throughput(Throughput::Elements(records));
        group.bench_function(name, |bencher| bencher.iter(|| run(&file, &mut Look)));
        group.bench_function(BenchmarkId::new("to OTLP", name), |bencher| {
            let encoder = Encoder::new(SpanOptions::default(), HostResource::default());
            let mut sink = Encode(encoder);
            bencher.iter(|| run(&file, &mut sink));
        });
        group.finish();
    }
}

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    for (name, head) in [("curl", stream::GET), ("browser", BROWSER)] {
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(Request::parse(black_box(head))))
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = pairing, calls, replay, heads
}
criterion_main!(benches);
