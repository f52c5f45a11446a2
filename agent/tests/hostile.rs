//! The fuzz targets on stable Rust, for a bounded time: random bytes, real bytes with
//! damage, and the inputs in `fuzz/corpus`, where what a fuzzer finds is kept.
//! `PROPTEST_CASES` makes it longer.

#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/stream.rs"]
mod stream;

use proptest::prelude::*;
use std::path::Path;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 5] = [
    ("decode", hostile::decode),
    ("http1_head", hostile::http1_head),
    ("recording", hostile::recording),
    ("pipeline", hostile::pipeline),
    ("framing", hostile::framing),
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
    fn damaged_framing_holds(kind in any::<u8>(), cut in any::<u8>(), bytes in damaged(CHUNKED.to_vec())) {
        hostile::framing(&[&[kind, cut], &bytes[..]].concat());
    }
}
