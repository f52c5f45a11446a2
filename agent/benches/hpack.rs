//! Header blocks per second through the HPACK decoder, on connections that are warm: as
//! gRPC clients and servers send them, and as a browser does.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use remora::pairing::proto::hpack::{Decoder, Field, MAX_TABLE};
use std::hint::black_box;

/// A name, what is in the table, and the block that is decoded.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>);

/// A literal with incremental indexing and a new name.
fn inserted(name: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0x40], string(name), string(value)].concat()
}

fn decode(decoder: &mut Decoder, block: &[u8]) {
    let _ = decoder.decode(block, MAX_TABLE, |field: Field<'_>| {
        black_box(field);
    });
}

/// A decoder that knows `entries`, the last one with index 62.
fn warm(entries: &[(&str, &str)]) -> Decoder {
    let mut decoder = Decoder::new();
    for (name, value) in entries {
        decode(&mut decoder, &inserted(name, value));
    }
    decoder
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hpack");
    group.throughput(Throughput::Elements(1));
    let call = [
        ("user-agent", "grpc-go/1.60.0"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        (":authority", "orders.shop.svc.cluster.local:50051"),
        (":path", "/shop.orders.v1.Orders/Get"),
    ];
    let request = b"\x83\x86\xbe\xbf\xc0\xc1\xc2";
    let cases: [Case<'_>; 5] = [
        ("grpc_request", &call, request.to_vec()),
        (
            // grpc-timeout: 4999123u, as literal without indexing, Huffman.
            "grpc_request_timeout",
            &[&call[..], &[("grpc-timeout", "5S")]].concat(),
            b"\x83\x86\xbf\xc0\xc1\xc2\xc3\x0f\x2f\x86\x69\xf7\xdf\x08\x99\xb7".to_vec(),
        ),
        (
            "grpc_response",
            &[("content-type", "application/grpc")],
            b"\x88\xbe".to_vec(),
        ),
        (
            "grpc_trailers",
            &[("grpc-status", "0"), ("grpc-message", "")],
            b"\xbe\xbf".to_vec(),
        ),
        (
            // A path that is inserted each time: 39 bytes, as 28 of Huffman code.
            "browser_get",
            &[
                ("accept-language", "en"),
                ("cookie", "session=0123456789abcdef"),
                ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"),
                (":authority", "www.example.com"),
            ],
            b"\x82\x86\xbe\xbf\xc0\xc1\x44\x9c\x61\x09\x1a\x4c\x46\x07\x5d\x6c\x52\x33\x54\xbb\x32\xbe\x30\x90\x0e\xaf\xd1\x1f\xe7\x78\x04\x01\x38\x00\x80\x5f".to_vec(),
        ),
    ];
    for (name, entries, block) in cases {
        let mut decoder = warm(entries);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(&mut decoder, black_box(&block)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = blocks
}
criterion_main!(benches);
