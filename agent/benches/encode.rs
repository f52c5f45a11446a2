//! What a span costs: encoding it, handing it to the queue, and sending it to a gateway on
//! the same host that reads and forgets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

#[path = "../tests/export/sample.rs"]
mod sample;

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use remora::config::otel::OtelSettings;
use remora::config::spool::SpoolSettings;
use remora::delivery::export::body::Parts;
use remora::delivery::export::exporter::{ExportSettings, Exporter};
use remora::delivery::export::otlp::Encoder;
use remora::delivery::queue::spool::body::pack;
use remora::delivery::queue::spool::disk::OsDisk;
use remora::delivery::queue::spool::{Limits, Next, Spool};
use remora::host::discovery::host::HostInfo;
use remora::model::exchange::{Exchange, Sink};
use remora::span::attrs::SpanOptions;
use remora::span::resource::HostResource;
use sample::{Sample, client, process, server};

/// Spans of a batch.
const BATCH: usize = 4096;

fn samples() -> Vec<Sample> {
    // Both ends of requests between eight processes, as on a busy node.
    (0..64u32)
        .map(|i| {
            let mut sample = if i % 2 == 0 { server() } else { client() };
            sample.process = process(i % 8);
            sample.path = Some(format!("/api/v1/users/{i}/orders"));
            sample.span_id = u64::from(i + 1).to_be_bytes();
            sample
        })
        .collect()
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, samples) in [
        ("server span", vec![server()]),
        ("client span", vec![client()]),
        ("eight processes, both sides", samples()),
    ] {
        let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();
        let mut encoder = Encoder::new(SpanOptions::default(), host());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for exchange in exchanges.iter().cycle().take(BATCH) {
                    encoder.push(black_box(exchange));
                }
                encoder.seal()
            });
        });
    }
    group.finish();
}

/// Encodes and sends as fast as the gateway takes it; slows down when the queue is half full,
/// so that nothing is dropped.
fn send(criterion: &mut Criterion) {
    let address = sink_server();
    let mut group = criterion.benchmark_group("send");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for compression in ["none", "gzip"] {
        let samples = samples();
        let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("http/protobuf, {compression}"), |bencher| {
            bencher.iter_custom(|spans| through(settings(address, compression), &exchanges, spans));
        });
    }
    group.finish();
}

fn host() -> HostResource {
    HostResource {
        host: HostInfo::read(),
        attributes: vec![],
    }
}

/// Sends so many spans, and how long that takes.
fn through(settings: ExportSettings, exchanges: &[Exchange<'_>], spans: u64) -> Duration {
    let (exporter, mut sink) = Exporter::start(settings).unwrap();
    let queue = exporter.queue();
    let counters = exporter.counters();
    let begin = Instant::now();
    for (number, exchange) in (0..spans).zip(exchanges.iter().cycle()) {
        sink.exchange(exchange);
        if number % 4096 == 0 {
            while queue.depth().bytes > 12 << 20 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
    drop(sink);
    while counters.snapshot().queued > 0 {
        std::thread::sleep(Duration::from_micros(200));
    }
    let elapsed = begin.elapsed();
    let snapshot = exporter.shutdown(Duration::from_secs(60));
    assert_eq!(snapshot.delivered, spans, "{snapshot:?}");
    elapsed
}

fn settings(address: SocketAddr, compression: &str) -> ExportSettings {
    let otel = OtelSettings::resolve(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(format!("http://{address}")),
        "OTEL_EXPORTER_OTLP_COMPRESSION" => Some(compression.to_owned()),
        _ => None,
    });
    ExportSettings::from_otel(&otel.unwrap()).unwrap()
}

/// Answers every request with success, as cheaply as can be: what is measured is the agent.
fn sink_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let mut filled = 0;
        let head = loop {
            let read = stream
                .read(buffer.get_mut(filled..)?)
                .ok()
                .filter(|read| *read > 0)?;
            filled += read;
            if let Some(end) = buffer[..filled]
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
            {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&buffer[..head])
            .ok()?
            .to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1)?.split('\r').next()?;
        let mut left = length.parse::<usize>().ok()?.checked_sub(filled - head)?;
        while left > 0 {
            left -= stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .ok()?;
    }
}

/// Appending to the spool, reading back, and everything through the disk to the gateway.
fn spool(criterion: &mut Criterion) {
    let samples = samples();
    let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();
    let mut encoder = Encoder::new(SpanOptions::default(), host());
    let exchanges = varied(&exchanges);
    exchanges.iter().for_each(|exchange| encoder.push(exchange));
    let batch = encoder.seal().unwrap();
    let mut group = criterion.benchmark_group("spool");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, compress) in [("plain", false), ("zstd", true)] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let limits = Limits::new(256 << 20, compress);
        let mut spool = Spool::open(Box::new(disk), limits, 1).unwrap();
        group.bench_function(format!("append, {name}"), |bencher| {
            bencher.iter(|| spool.append(black_box(&batch), false).unwrap());
        });
        group.bench_function(format!("append, read and settle, {name}"), |bencher| {
            bencher.iter(|| {
                spool.append(black_box(&batch), false).unwrap();
                if let Next::Record(record) = spool.read_next(usize::MAX) {
                    spool.settle(record.seq);
                }
            });
        });
    }
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(1));
    let address = sink_server();
    for (name, compress) in [("plain", false), ("zstd", true)] {
        group.bench_function(format!("encode, spool and send, {name}"), |bencher| {
            bencher.iter_custom(|spans| {
                let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
                let mut settings = settings(address, "none");
                settings.spool = Some(SpoolSettings {
                    bytes: 1 << 30,
                    // Nothing is sent that is not on disk.
                    sync: Duration::ZERO,
                    drain_bytes: 1 << 40,
                    compress,
                    ..SpoolSettings::new(dir.path().into())
                });
                through(settings, &exchanges, spans)
            });
        });
    }
    group.finish();
}

/// A batch of exchanges with ids and times of their own, as these do not compress.
fn varied<'a>(exchanges: &[Exchange<'a>]) -> Vec<Exchange<'a>> {
    let numbered = (1u64..).zip(exchanges.iter().cycle()).take(BATCH);
    let vary = |(number, exchange): (u64, &Exchange<'a>)| {
        let mut exchange = exchange.clone();
        exchange.trace.trace_id = u128::from(number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .to_be_bytes();
        exchange.trace.span_id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        exchange.start_unix_ns += number.wrapping_mul(0x9e37_79b9) % 1_000_000_000;
        exchange
    };
    numbered.map(vary).collect()
}

/// What compressing a batch costs, and what is left of it.
fn compression(criterion: &mut Criterion) {
    let samples = samples();
    let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();
    let mut encoder = Encoder::new(SpanOptions::default(), host());
    varied(&exchanges)
        .iter()
        .for_each(|exchange| encoder.push(exchange));
    let body = encoder.seal().unwrap().body;
    let mut group = criterion.benchmark_group("compression");
    group.throughput(Throughput::Elements(BATCH as u64));
    let parts = Parts::from(body.clone());
    let gzip = remora::delivery::export::compress::gzip(&parts)
        .unwrap()
        .len();
    let zstd = pack(&body, true).1.len();
    println!(
        "{} bytes a span; gzip {}, zstd {}",
        body.len() / BATCH,
        gzip / BATCH,
        zstd / BATCH
    );
    group.bench_function("gzip", |bencher| {
        bencher.iter(|| remora::delivery::export::compress::gzip(black_box(&parts)));
    });
    group.bench_function("zstd", |bencher| {
        bencher.iter(|| pack(black_box(&body), true).1.len());
    });
    group.finish();
}

criterion_group!(benches, encode, send, spool, compression);
criterion_main!(benches);
