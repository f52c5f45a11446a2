//! HTTP/2 frames in calls of every shape: what a message is does not depend on how its
//! bytes come.

use std::sync::mpsc;

use crate::harness::http2::{
    Block, await_end, flag, frame, frame_head, get, kind, ok, opening, settings,
};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::http2 as servers;

/// Asserts that a span is a whole answer to a request.
pub(super) fn assert_whole(span: &Request, facts: (&str, &str, u16, u64, u64)) {
    assert_eq!(span.facts(), facts, "{span:?}");
    assert_eq!(span.protocol, "http/2", "{span:?}");
    assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
    assert!(span.ttfb_ns.unwrap() <= span.duration_ns, "{span:?}");
}

/// Asserts that each side saw the GETs of these paths, each once and answered with
/// `body` bytes, and nothing else.
fn assert_gets(report: &Report, port: u16, paths: &[String], body: u64) {
    let (at_server, at_client) = report.both(port, paths.len());
    for mut spans in [at_server, at_client] {
        let mut paths: Vec<_> = paths.iter().collect();
        paths.sort();
        spans.sort_by_key(|span| span.path());
        for (span, path) in spans.into_iter().zip(paths) {
            assert_whole(span, ("GET", path, 200, 0, body));
        }
    }
}

/// Sends the pieces of a request and of its answer, each in a call of its own on both
/// sides; returns the server's port.
fn stepwise(request: &[Vec<u8>], answer: &[Vec<u8>]) -> u16 {
    let (sender, received) = mpsc::channel();
    let (next, asked) = mpsc::channel();
    let lens: Vec<_> = request.iter().map(Vec::len).collect();
    let pieces = answer.to_vec();
    let server = RawServer::start(move |mut peer| {
        for len in lens {
            peer.take(len);
            sender.send(()).unwrap();
        }
        for piece in pieces {
            asked.recv().unwrap();
            peer.send(piece);
        }
        peer.rest();
    });
    let port = server.port;
    let mut client = Raw::connect(port);
    for piece in request {
        client.send(piece);
        received.recv().unwrap();
    }
    for piece in answer {
        next.send(()).unwrap();
        client.take(piece.len());
    }
    drop(client);
    server.join();
    port
}

/// Cuts bytes in two; the halves may be empty.
fn cut(bytes: &[u8], at: usize) -> Vec<Vec<u8>> {
    [&bytes[..at], &bytes[at..]]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// A GET whose block is in three frames, with padding, priority and frames that mean
/// nothing around it.
fn adorned_get(path: &str) -> Vec<u8> {
    let block = Block::get(path).field("x-long", &"v".repeat(40)).0;
    let (first, rest) = block.split_at(5);
    let (second, third) = rest.split_at(30);
    let padded = [&[3, 0, 0, 0, 0, 16][..], first, &[0; 3]].concat();
    [
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        frame(
            kind::HEADERS,
            flag::END_STREAM | flag::PADDED | flag::PRIORITY,
            1,
            &padded,
        ),
        frame(kind::CONTINUATION, 0, 1, second),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, third),
        frame(kind::PING, 0, 0, b"pingpong"),
        frame(0x42, 0xff, 7, b"of the future"),
    ]
    .concat()
}

/// An answer of 11 bytes in three DATA frames, two of them padded, with trailers.
fn adorned_answer() -> Vec<u8> {
    let trailers = Block::default().field("x-sum", "1").0;
    [
        settings(),
        frame(kind::SETTINGS, 1, 0, &[]),
        frame(
            kind::HEADERS,
            flag::END_HEADERS,
            1,
            &Block::default().index(8).0,
        ),
        frame(kind::DATA, flag::PADDED, 1, b"\x05hello\0\0\0\0\0"),
        frame(kind::DATA, 0, 1, b""),
        frame(kind::PING, 1, 0, b"pingpong"),
        frame(kind::DATA, 0, 1, b" worl"),
        frame(kind::DATA, flag::PADDED, 1, b"\0d"),
        frame(kind::HEADERS, flag::WHOLE, 1, &trailers),
    ]
    .concat()
}

#[test]
fn one_byte_per_call() {
    require_privilege!();
    let bytes = |bytes: Vec<u8>| bytes.into_iter().map(|byte| vec![byte]).collect::<Vec<_>>();
    let trace = Trace::start(&[]);
    let request = [opening(), adorned_get("/bytewise")].concat();
    let port = stepwise(&bytes(request), &bytes(adorned_answer()));
    let report = trace.collect(port, 2).lossless();
    assert_gets(&report, port, &["/bytewise".to_owned()], 11);
}

/// To a server that reads frame by frame.
#[test]
fn one_byte_per_call_to_nghttpd() {
    require_privilege!();
    let path = |number: usize| format!("/hello/bytes-{number}");
    let files: Vec<_> = (0..5)
        .map(|number| crate::harness::expect::Planned {
            method: "GET",
            path: path(number),
            body: 0,
        })
        .collect();
    let nghttpd = servers::nghttpd(&[&files]);
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nghttpd.port);
    client.send_bytewise(&opening());
    for number in 0..5 {
        let stream = u32::try_from(2 * number + 1).unwrap();
        client.send_bytewise(&get(stream, &path(number)));
    }
    let paths: Vec<_> = (0..5).map(path).collect();
    for _ in &paths {
        await_end(&mut client);
    }
    drop(client);
    let report = trace.collect(nghttpd.port, 10).lossless();
    assert_gets(&report, nghttpd.port, &paths, 6);
}

/// Runs `split` for every position in steps over connections of their own, and checks
/// that each gave one whole span on each side.
fn everywhere(len: usize, body: u64, split: impl Fn(usize) -> (u16, String)) {
    let trace = Trace::start(&[]);
    let made: Vec<_> = (1..len).map(split).collect();
    trace.wait_for(2 * made.len(), |request| {
        made.iter()
            .any(|(port, path)| request.to_port(*port) && request.path() == path)
    });
    let report = trace.stop().lossless();
    for (port, path) in made {
        // Ports come round.
        for mut spans in [report.server(port), report.client(port)] {
            assert!(spans.iter().all(|it| !it.path().is_empty()), "{spans:#?}");
            spans.retain(|span| span.path() == path);
            assert_eq!(spans.len(), 1, "{path}: {spans:#?}");
            assert_whole(spans[0], ("GET", &path, 200, 0, body));
        }
    }
}

#[test]
fn request_split_everywhere() {
    require_privilege!();
    let whole = |at: usize| [opening(), adorned_get(&format!("/split/{at:04}"))].concat();
    everywhere(whole(0).len(), 11, |at| {
        let port = stepwise(&cut(&whole(at), at), &[adorned_answer()]);
        (port, format!("/split/{at:04}"))
    });
}

#[test]
fn answer_split_everywhere() {
    require_privilege!();
    everywhere(adorned_answer().len(), 11, |at| {
        let path = format!("/answer/{at:04}");
        let request = [opening(), adorned_get(&path)].concat();
        (stepwise(&[request], &cut(&adorned_answer(), at)), path)
    });
}

/// Hundreds of frames in one call, answered in the opposite order in one call.
#[test]
fn many_frames_in_one_call() {
    require_privilege!();
    const STREAMS: u32 = 300;
    let paths: Vec<_> = (0..STREAMS).map(|n| format!("/many/{n:03}")).collect();
    let mut request = opening();
    let mut answer = settings();
    for (number, path) in paths.iter().enumerate() {
        let stream = u32::try_from(2 * number + 1).unwrap();
        request.extend(frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 1]));
        request.extend(get(stream, path));
    }
    for number in (0..STREAMS).rev() {
        answer.extend(ok(2 * number + 1, b"hello\n"));
    }
    let trace = Trace::start(&[]);
    let port = stepwise(&[request], &[answer]);
    let report = trace.collect(port, 2 * paths.len()).lossless();
    assert_gets(&report, port, &paths, 6);
}

/// A DATA frame of a megabyte, and one of the largest size there is in 64 KiB calls.
#[test]
fn large_frames() {
    require_privilege!();
    let sizes = [1_000_000, (1 << 24) - 1];
    let len = move |at: usize| sizes[at];
    let answer = |stream: u32, len: usize| {
        let head = frame(
            kind::HEADERS,
            flag::END_HEADERS,
            stream,
            &Block::default().index(8).0,
        );
        let mut answer = [head, frame_head(kind::DATA, flag::END_STREAM, stream, len)].concat();
        answer.resize(answer.len() + len, b'l');
        answer
    };
    let server = RawServer::start(move |mut peer| {
        let request = get(1, "/large/0").len();
        peer.take(opening().len() + request);
        peer.send(answer(1, len(0)));
        peer.take(request);
        peer.send(answer(3, len(1)));
        peer.rest();
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    client.send(opening());
    client.send(get(1, "/large/0"));
    client.take(answer(1, len(0)).len());
    client.send(get(3, "/large/1"));
    client.take(answer(3, len(1)).len());
    drop(client);
    let report = trace.collect(server.port, 4).lossless();
    let (at_server, at_client) = report.both(server.port, 2);
    for spans in [at_server, at_client] {
        assert_whole(spans[0], ("GET", "/large/0", 200, 0, sizes[0] as u64));
        assert_whole(spans[1], ("GET", "/large/1", 200, 0, sizes[1] as u64));
    }
    server.join();
}

/// Interim responses are not the response, and trailers are the end of it.
#[test]
fn interim_responses() {
    require_privilege!();
    let interim = Block::default()
        .field(":status", "103")
        .field("link", "</x>")
        .0;
    let answer = [
        settings(),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &interim),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &interim),
        ok(1, b"done"),
    ]
    .concat();
    let trace = Trace::start(&[]);
    let request = [opening(), get(1, "/interim")].concat();
    let port = stepwise(&[request], &[answer]);
    let report = trace.collect(port, 2).lossless();
    assert_gets(&report, port, &["/interim".to_owned()], 4);
}

/// Uploads: the request's body in padded and empty frames, ended by trailers.
#[test]
fn request_bodies() {
    require_privilege!();
    let head = Block::request("POST", "/body").0;
    let request = [
        opening(),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &head),
        frame(kind::DATA, flag::PADDED, 1, b"\x03abc\0\0\0"),
        frame(kind::DATA, 0, 1, &[b'd'; 5000]),
        frame(kind::DATA, 0, 1, b""),
        frame(
            kind::HEADERS,
            flag::WHOLE,
            1,
            &Block::default().field("x-sum", "1").0,
        ),
    ]
    .concat();
    let trace = Trace::start(&[]);
    let port = stepwise(&[request], &[[settings(), ok(1, b"")].concat()]);
    let report = trace.collect(port, 2).lossless();
    let (at_server, at_client) = report.pair(port);
    for span in [at_server, at_client] {
        assert_whole(span, ("POST", "/body", 200, 5003, 0));
    }
}
