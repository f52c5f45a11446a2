//! Frames that break the rules, and frames made to exhaust whoever keeps state for them:
//! the agent goes on, what it reports is right or marked, and other connections are as
//! exact as ever.

use crate::harness::http2::{
    Block, flag, frame, frame_head, get, goaway, kind, ok, opening, reset, settings,
};
use crate::harness::process::resident_bytes;
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;

/// What is sent in one call at most by those who send a lot: nghttp2 has a buffer of 16 KiB.
const CALL: usize = 16_384;

/// Bytes, in calls of a usual size.
fn in_calls(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.chunks(CALL).map(<[u8]>::to_vec)
}

/// Sends these bytes and receives those, in pieces of their own calls.
fn play(request: Vec<Vec<u8>>, answer: Vec<Vec<u8>>) -> u16 {
    let asked: usize = request.iter().map(Vec::len).sum();
    let answered: usize = answer.iter().map(Vec::len).sum();
    let server = RawServer::start(move |mut peer| {
        peer.take(asked);
        for piece in answer {
            peer.send(piece);
        }
        peer.rest_or_reset();
    });
    let mut client = Raw::connect(server.port);
    for piece in request {
        client.send(piece);
    }
    client.take(answered);
    drop(client);
    let port = server.port;
    server.join();
    port
}

/// A healthy connection: one GET on each side.
fn healthy() -> u16 {
    play(
        vec![[opening(), get(1, "/healthy")].concat()],
        vec![[settings(), ok(1, b"fine")].concat()],
    )
}

/// Runs what is hostile, and checks that the agent is as exact as before after it.
fn survives(hostile: impl FnOnce() -> Vec<u16>) -> (Vec<u16>, Report) {
    let trace = Trace::start(&[]);
    let ports = hostile();
    let port = healthy();
    // The healthy one comes last.
    trace.wait_for(2, |request| request.path() == "/healthy");
    let resident = resident_bytes(trace.pid());
    assert!(resident < 150 << 20, "the agent holds {resident} bytes");
    let report = trace.collect(port, 2).lossless();
    for spans in [report.server(port), report.client(port)] {
        assert_eq!(spans.len(), 1, "{spans:#?}");
        assert_eq!(spans[0].facts(), ("GET", "/healthy", 200, 0, 4));
        assert_eq!(spans[0].incomplete, [""; 0]);
    }
    (ports, report)
}

/// Each of these is behind a healthy request and in front of another one.
#[test]
fn malformed_frames() {
    require_privilege!();
    let block = Block::get("/x").0;
    let cases: Vec<Vec<u8>> = vec![
        frame(kind::HEADERS, flag::WHOLE, 0, &block),
        frame(kind::HEADERS, flag::WHOLE, 2, &block),
        frame(kind::HEADERS, flag::WHOLE, 3, b""),
        frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 3, b"\xff"),
        frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 3, b""),
        frame(kind::HEADERS, flag::WHOLE | flag::PRIORITY, 3, b"\0\0"),
        frame(kind::DATA, flag::END_STREAM, 0, b"data"),
        frame(kind::DATA, flag::END_STREAM, 9, b"idle"),
        frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\xffshort"),
        frame(kind::RST_STREAM, 0, 1, b"abc"),
        frame(kind::RST_STREAM, 0, 0, &[0; 4]),
        frame(kind::RST_STREAM, 0, 99, &[0; 4]),
        frame(kind::SETTINGS, 0, 0, &[0; 5]),
        frame(kind::SETTINGS, 1, 0, &[0; 6]),
        frame(kind::SETTINGS, 0, 3, &[]),
        frame(kind::PING, 0, 0, b"short"),
        frame(kind::GOAWAY, 0, 0, b"short"),
        frame(kind::GOAWAY, 0, 3, &[0; 8]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, &block),
        frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &block),
        [
            frame(kind::HEADERS, flag::END_STREAM, 3, &block),
            frame(kind::DATA, flag::END_STREAM, 1, b"in between"),
        ]
        .concat(),
        [
            frame(kind::HEADERS, flag::END_STREAM, 3, &block),
            frame(kind::CONTINUATION, flag::END_HEADERS, 5, &block),
        ]
        .concat(),
    ];
    let (ports, report) = survives(|| {
        cases
            .into_iter()
            .map(|malformed| {
                play(
                    vec![[opening(), get(1, "/bad/first")].concat(), malformed],
                    vec![[settings(), ok(1, b"fine")].concat(), goaway(1, 1)],
                )
            })
            .collect()
    });
    for port in ports {
        for spans in [report.server(port), report.client(port)] {
            let first = spans.iter().filter(|span| span.path() == "/bad/first");
            assert_eq!(first.count(), 1, "{spans:#?}");
            assert!(spans.len() <= 2, "{spans:#?}");
        }
    }
}

/// Header blocks that cannot be decoded.
#[test]
fn malformed_blocks() {
    require_privilege!();
    let cases: [&[u8]; 14] = [
        // Indices: none, one beyond the tables, one that never ends, a huge one.
        b"\x80",
        b"\xff\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\x0f",
        // Strings that are longer than the block, or than anything.
        b"\x00\x7f",
        b"\x00\x7f\xff\xff\xff\xff\x0f",
        b"\x40\x0aabc",
        // Huffman: padding of eight bits, of zeros, and the symbol that ends it all.
        b"\x00\x81\xff\x01x",
        b"\x00\x81\x00\x01x",
        b"\x00\x84\xff\xff\xff\xff\x01x",
        // Changes of the table's size: too large, not in front.
        b"\x3f\xff\xff\xff\x07",
        b"\x82\x20\x86",
        // A pseudo-header behind others, and one that is there twice.
        b"\x00\x01a\x01b\x82\x84\x86",
        b"\x82\x82\x82\x84\x84\x86\x86",
    ];
    let (ports, report) = survives(|| {
        cases
            .iter()
            .map(|block| {
                let request = [
                    opening(),
                    get(1, "/block/first"),
                    frame(kind::HEADERS, flag::WHOLE, 3, block),
                    get(5, "/block/last"),
                ];
                let answer = [settings(), ok(1, b""), ok(3, b""), ok(5, b"")];
                play(vec![request.concat()], vec![answer.concat()])
            })
            .collect()
    });
    for port in ports {
        for spans in [report.server(port), report.client(port)] {
            // Frames are whole: whatever the blocks hold, there are three streams.
            assert_eq!(spans.len(), 3, "{spans:#?}");
            assert_eq!(spans[0].facts(), ("GET", "/block/first", 200, 0, 0));
            // Literals are known whatever happened to the table.
            assert_eq!(spans[2].path(), "/block/last", "{spans:#?}");
        }
    }
}

/// CONTINUATION frames without end, with and without content: the request is known by what
/// came first, and marked as cut.
#[test]
fn floods() {
    require_privilege!();
    let begun = || frame(kind::HEADERS, flag::END_STREAM, 1, &Block::get("/flood").0);
    let empty = frame(kind::CONTINUATION, 0, 1, b"").repeat(20_000);
    let filler = Block::default().field("x", &"y".repeat(100)).0;
    let full = frame(kind::CONTINUATION, 0, 1, &filler).repeat(20_000);
    let tiny = frame(kind::CONTINUATION, 0, 1, &Block::default().index(2).0).repeat(20_000);
    let ended = frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"");
    let (ports, report) = survives(|| {
        let mut ports = Vec::new();
        for flood in [empty, full, tiny] {
            for end in [Vec::new(), ended.clone()] {
                ports.push(play(
                    vec![opening(), begun(), flood.clone(), end],
                    vec![[settings(), ok(1, b"")].concat()],
                ));
            }
        }
        ports
    });
    for port in ports {
        for spans in [report.server(port), report.client(port)] {
            assert_eq!(spans.len(), 1, "{spans:#?}");
            assert_eq!(spans[0].path(), "/flood", "{spans:?}");
            let marked = spans[0]
                .incomplete
                .iter()
                .any(|mark| mark == "head_truncated");
            assert!(marked, "{spans:?}");
        }
    }
}

/// Streams that are opened and reset at once (CVE-2023-44487): each is a span.
#[test]
fn rapid_resets() {
    require_privilege!();
    const STREAMS: u32 = 5000;
    let pairs: Vec<u8> = (0..STREAMS)
        .flat_map(|n| [get(2 * n + 1, &format!("/rapid/{n}")), reset(2 * n + 1, 8)].concat())
        .collect();
    let calls = [opening()].into_iter().chain(in_calls(&pairs)).collect();
    let (ports, report) = survives(|| vec![play(calls, vec![settings()])]);
    for spans in [report.server(ports[0]), report.client(ports[0])] {
        assert_eq!(spans.len(), usize::try_from(STREAMS).unwrap());
        for span in spans {
            assert_eq!(span.error.as_deref(), Some("CANCEL"), "{span:?}");
            assert_eq!(span.incomplete, ["response_not_seen"], "{span:?}");
        }
    }
}

/// More streams are opened than anybody allows, and none is ever answered.
#[test]
fn streams_without_end() {
    require_privilege!(alone);
    const STREAMS: u32 = 20_000;
    let opened: Vec<u8> = (0..STREAMS).flat_map(|n| get(2 * n + 1, "/open")).collect();
    let trace = Trace::start(&[]);
    let calls = [opening()].into_iter().chain(in_calls(&opened)).collect();
    let port = play(calls, vec![settings()]);
    let fine = healthy();
    trace.wait_for(2, |request| request.path() == "/healthy");
    let resident = resident_bytes(trace.pid());
    assert!(resident < 150 << 20, "the agent holds {resident} bytes");
    let report = trace.collect(fine, 2);
    // Whether they are shown or counted as lost: there were so many.
    let summary = &report.summary;
    assert_eq!(summary.seen, 2 * u64::from(STREAMS) + 2, "{summary:?}");
    for span in report.server(port).into_iter().chain(report.client(port)) {
        assert_eq!((span.path(), span.status), ("/open", None), "{span:?}");
        assert!(span.error.is_some(), "{span:?}");
    }
}

/// More frames in one call than are followed: what is seen of them is marked, and the
/// connection is found again by what comes after. The other side reads them in many calls.
#[test]
fn a_call_of_too_many_frames() {
    require_privilege!();
    const STREAMS: u32 = 10_000;
    let opened: Vec<u8> = (0..STREAMS)
        .flat_map(|n| get(2 * n + 1, &format!("/many/{n}")))
        .collect();
    let last = 2 * STREAMS + 1;
    let answers: Vec<u8> = (0..STREAMS).flat_map(|n| ok(2 * n + 1, b"")).collect();
    let (asked, after) = (opening().len() + opened.len(), get(last, "/after"));
    let trace = Trace::start(&[]);
    let server = RawServer::start({
        let after = after.len();
        move |mut peer| {
            peer.take(asked);
            for answers in in_calls(&answers) {
                peer.send(answers);
            }
            peer.take(after);
            peer.send(ok(last, b"fine"));
            peer.rest();
        }
    });
    let answered = STREAMS as usize * ok(1, b"").len();
    let mut client = Raw::connect(server.port);
    client.send([opening(), opened].concat());
    client.take(answered);
    client.send(after);
    client.take(ok(last, b"fine").len());
    drop(client);
    let port = server.port;
    server.join();
    trace.wait_for(2, |span| span.path() == "/after");
    let report = trace.stop().lossless();
    let (all, some) = (report.server(port), report.client(port));
    assert_eq!(all.len(), STREAMS as usize + 1);
    assert!(
        all.iter().all(|span| span.incomplete.is_empty()),
        "{all:#?}"
    );
    let (after, cut): (Vec<&Request>, Vec<&Request>) =
        some.into_iter().partition(|span| span.path() == "/after");
    assert_eq!(after.len(), 1, "{after:#?}");
    assert_eq!(after[0].facts(), ("GET", "/after", 200, 0, 4));
    assert!(
        (2000..STREAMS as usize).contains(&cut.len()),
        "{}",
        cut.len()
    );
    for span in cut {
        assert_eq!(span.incomplete, ["response_not_seen", "framing_lost"]);
        assert_eq!(span.error, None, "{span:?}");
    }
}

/// Bytes that are no frames, behind the preface and behind requests.
#[test]
fn garbage() {
    require_privilege!();
    let noise: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (ports, report) = survives(|| {
        vec![
            play(vec![opening(), noise.clone()], vec![noise.clone()]),
            play(
                vec![[opening(), get(1, "/garbage")].concat(), noise.clone()],
                vec![[settings(), ok(1, b"")].concat(), noise.clone()],
            ),
            // A frame whose length is a promise.
            play(
                vec![[opening(), get(1, "/garbage")].concat()],
                vec![
                    [settings(), frame_head(kind::HEADERS, 4, 1, 0xff_ffff)].concat(),
                    noise,
                ],
            ),
        ]
    });
    for port in ports {
        for spans in [report.server(port), report.client(port)] {
            for span in &spans {
                let known = span.path() == "/garbage" || !span.incomplete.is_empty();
                assert!(known, "{span:?}");
            }
            let known = spans.iter().filter(|span| span.path() == "/garbage");
            assert!(known.count() <= 1, "{spans:#?}");
        }
    }
}

/// A block that is longer than what is captured: its beginning is known. What entered the
/// table with the rest is not.
#[test]
fn blocks_beyond_the_capture_limit() {
    require_privilege!();
    let mut long = Block::get("/long").insert("x-a", "1");
    for number in 0..40 {
        long = long.insert("x-filler", &format!("{number}").repeat(200));
    }
    let of_table = |index| {
        Block::default()
            .index(2)
            .index(6)
            .index(index)
            .field_of(1, "t")
    };
    let (first, rest) = long.0.split_at(9000);
    let request = [
        opening(),
        frame(kind::HEADERS, flag::END_STREAM, 1, first),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, rest),
        get(3, "/behind"),
        frame(kind::HEADERS, flag::WHOLE, 5, &of_table(62).0),
        frame(
            kind::HEADERS,
            flag::WHOLE,
            7,
            &Block::default()
                .index(2)
                .index(6)
                .insert_of(4, "/known")
                .field_of(1, "t")
                .0,
        ),
        frame(kind::HEADERS, flag::WHOLE, 9, &of_table(62).0),
    ];
    let answer: Vec<u8> = [1, 3, 5, 7, 9]
        .into_iter()
        .flat_map(|stream| ok(stream, b""))
        .collect();
    let (ports, report) = survives(|| {
        vec![play(
            vec![request.concat()],
            vec![[settings(), answer].concat()],
        )]
    });
    for spans in [report.server(ports[0]), report.client(ports[0])] {
        let paths: Vec<_> = spans.iter().map(|span| span.path.as_deref()).collect();
        assert_eq!(
            paths,
            [
                Some("/long"),
                Some("/behind"),
                None,
                Some("/known"),
                Some("/known")
            ]
        );
        let why: Vec<_> = spans.iter().map(|span| span.incomplete.join(" ")).collect();
        assert_eq!(why, ["head_truncated", "", "hpack_table_unknown", "", ""]);
    }
}
