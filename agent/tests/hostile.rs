//! The fuzz targets on stable Rust, for a bounded time: random bytes, real bytes with
//! damage, and the inputs in `fuzz/corpus`, where what a fuzzer finds is kept.
//! `PROPTEST_CASES` makes it longer.

#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/stream.rs"]
mod stream;

use hostile::frames;
use proptest::prelude::*;
use std::path::Path;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 7] = [
    ("decode", hostile::decode),
    ("http1_head", hostile::http1_head),
    ("recording", hostile::recording),
    ("pipeline", hostile::pipeline),
    ("framing", hostile::framing),
    ("hpack", hostile::hpack),
    ("http2", hostile::http2),
];

/// The stream of records as the `pipeline` target reads it.
fn packed(records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let body = &record[8..record.len().min(8 + 255)];
        out.extend_from_slice(&[record[0], body.len() as u8, record[8]]);
        out.extend_from_slice(body);
    }
    out
}

/// Both kinds of messages, with every kind of body.
const CHUNKED: &[u8] =
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc\
    HTTP/1.1 204 No\r\n\r\nHTTP/1.0 200 OK\r\n\r\nuntil the end";

/// Header blocks as the `hpack` target reads them.
fn blocks() -> Vec<u8> {
    let literal = frames::literals(0x40, frames::CALL);
    let mut out = Vec::new();
    for (kind, block) in [
        (1, &literal[..]),
        (9, b"\x83\x86\xbe\xbf\xc0"),
        (8, b"\x82"),
        (255, b"\xbe\x7e\x01x\xbe"),
    ] {
        out.extend_from_slice(&[kind, block.len() as u8]);
        out.extend_from_slice(block);
    }
    out
}

/// Frames of calls as the `http2` target reads them: opened, answered, reset, cut and lost.
fn calls() -> Vec<u8> {
    const WHOLE: u8 = 3;
    const SERVER: u8 = 1 << 7;
    let call = frames::literals(0x40, frames::CALL);
    let answer = frames::literals(0x40, frames::ANSWER);
    let mut out = vec![0];
    let mut entry = |kind, flags, part, stream, payload: &[u8]| {
        out.extend_from_slice(&[kind, flags, part, stream, payload.len() as u8]);
        out.extend_from_slice(payload);
    };
    for stream in [1, 3, 5, 7] {
        entry(frames::HEADERS, 4, WHOLE | 8, stream, &call);
        entry(frames::DATA, 1, WHOLE, stream, b"");
    }
    entry(frames::HEADERS, 4, SERVER | WHOLE, 1, &answer);
    entry(
        frames::HEADERS,
        5,
        SERVER | WHOLE,
        1,
        b"\x00\x0bgrpc-status\x010",
    );
    entry(frames::RST_STREAM, 0, WHOLE, 3, &[0, 0, 0, 8]);
    entry(frames::HEADERS, 5, SERVER | 1, 5, &answer[..9]);
    entry(frames::HEADERS, 5, SERVER | 2, 5, &answer[9..]);
    entry(
        frames::GOAWAY,
        0x80,
        SERVER | 0x40 | WHOLE,
        0,
        &[0, 0, 0, 5, 0, 0, 0, 0],
    );
    entry(frames::CONTINUATION, 4, SERVER | WHOLE, 7, b"\xbe");
    out
}

fn damaged(real: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let hits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (Just(real), hits, any::<prop::sample::Index>()).prop_map(|(mut bytes, hits, cut)| {
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes
    })
}

#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}

proptest! {
    #[test]
    fn random_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..1_000)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }

    #[test]
    fn damaged_records_hold(bytes in damaged(stream::message(1, 0, stream::Part::request(stream::GET)))) {
        hostile::decode(&bytes);
    }

    #[test]
    fn damaged_heads_hold(bytes in damaged(stream::GET.to_vec())) {
        hostile::http1_head(&bytes);
    }

    #[test]
    fn damaged_streams_hold(bytes in damaged(packed(&stream::keep_alive(4, 6)))) {
        hostile::pipeline(&bytes);
    }

    #[test]
    fn damaged_blocks_hold(bytes in damaged(blocks())) {
        hostile::hpack(&bytes);
    }

    #[test]
    fn damaged_frames_hold(bytes in damaged(calls())) {
        hostile::http2(&bytes);
    }

    #[test]
    fn damaged_calls_hold(bytes in damaged(packed(&frames::unary_calls(2, 8)))) {
        hostile::pipeline(&bytes);
    }

    #[test]
    fn damaged_framing_holds(kind in any::<u8>(), cut in any::<u8>(), bytes in damaged(CHUNKED.to_vec())) {
        hostile::framing(&[&[kind, cut], &bytes[..]].concat());
    }
}

/// The inputs of the corpus that are made from real traffic: `REMORA_BLESS=1` writes them.
#[test]
fn real_blocks_and_frames_are_in_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (path, made) in [("hpack/call", blocks()), ("http2/calls", calls())] {
        let path = corpus.join(path);
        if std::env::var_os("REMORA_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &made).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), made, "{}", path.display());
    }
}
