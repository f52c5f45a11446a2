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
use remora::exchange::Sink;
use remora::export::exporter::{ExportSettings, Exporter};
use remora::export::otlp::Encoder;
use remora::export::resource::HostInfo;
use remora::span::attrs::SpanOptions;
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
        let mut encoder = Encoder::new(SpanOptions::default(), HostInfo::read(vec![]));
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
            bencher.iter_custom(|spans| {
                let (exporter, mut sink) = Exporter::start(settings(address, compression)).unwrap();
                let queue = exporter.queue();
                let begin = Instant::now();
                for (number, exchange) in (0..spans).zip(exchanges.iter().cycle()) {
                    sink.exchange(exchange);
                    if number % 4096 == 0 {
                        while queue.depth().bytes > 8 << 20 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                    }
                }
                drop(sink);
                let snapshot = exporter.shutdown(Duration::from_secs(60));
                assert_eq!(snapshot.delivered, spans, "{snapshot:?}");
                begin.elapsed()
            });
        });
    }
    group.finish();
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

criterion_group!(benches, encode, send);
criterion_main!(benches);
