//! HTTP/2 connections that are older than the agent: what their header compression holds
//! is not known, what enters it from then on is.

use std::sync::mpsc;

use crate::clients::http2::{Ask, Node};
use crate::harness::expect::assert_spans;
use crate::harness::http2::{Block, await_end, flag, frame, get, kind, ok, opening, settings};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::http2 as servers;

/// Requests that are made before the agent comes.
const BEFORE: usize = 1000;

/// Requests after that.
const AFTER: usize = 30;

/// A connection of Node with Node makes a thousand requests before the agent comes and some
/// after; returns the spans of the latter.
fn joined(server: &[&str], client: &[&str], header: usize, settings: &[(&str, &str)]) -> Joined {
    let server = servers::node(server);
    let asks = |tag: &str, count| -> Vec<_> {
        let path = |number| format!("/headers/{header}/{tag}-{number}");
        (0..count)
            .map(|number| Ask {
                header,
                ..Ask::get(path(number))
            })
            .collect()
    };
    let phases = [asks("before", BEFORE), asks("after", AFTER)];
    let mut node = Node::start(server.port, &phases, 20, client);
    assert_eq!(node.next().len(), BEFORE);
    let trace = Trace::start_with(&[], settings);
    let done = node.next();
    let report = trace.collect(server.port, 2 * AFTER).lossless();
    report.both(server.port, AFTER);
    for done in &done {
        assert_eq!((done.status, done.received), (200, 6));
    }
    Joined {
        port: server.port,
        report,
        done,
    }
}

struct Joined {
    port: u16,
    report: Report,
    done: Vec<crate::harness::expect::Done>,
}

/// Asserts that what is not known is marked.
fn assert_marked(span: &Request) {
    assert_eq!(span.protocol, "http/2", "{span:?}");
    assert_eq!(span.error, None, "{span:?}");
    assert_eq!(
        (span.request_body_bytes, span.response_body_bytes),
        (Some(0), Some(6)),
        "{span:?}"
    );
    let unknown = span
        .incomplete
        .iter()
        .any(|why| why == "hpack_table_unknown");
    let missing = span.method.is_none() || span.path.is_none() || span.status.is_none();
    assert!(unknown || !missing, "{span:?}");
}

#[test]
fn after_a_thousand_calls() {
    require_privilege!();
    let joined = joined(&[], &[], 0, &[]);
    let Joined { port, report, done } = &joined;
    for spans in [report.server(*port), report.client(*port)] {
        // Paths are new, so that they are known: each once.
        let mut paths: Vec<_> = spans.iter().map(|span| span.path()).collect();
        let mut made: Vec<_> = done.iter().map(|done| done.path.as_str()).collect();
        paths.sort();
        made.sort();
        assert_eq!(paths, made);
        for span in spans {
            assert_marked(span);
            assert_eq!(
                (span.method.as_deref(), span.status),
                (Some("GET"), Some(200))
            );
        }
    }
}

/// Without a table nothing of the past is needed.
#[test]
fn without_tables() {
    require_privilege!();
    let off = ["headerTableSize=0"];
    let joined = joined(&off, &off, 0, &[]);
    let Joined { port, report, done } = &joined;
    assert_spans(&report.server(*port), done, &Default::default());
    assert_spans(&report.client(*port), done, &Default::default());
}

/// Blocks of several thousand bytes, which are captured if the agent is told to.
#[test]
fn huge_blocks() {
    require_privilege!();
    let joined = joined(&[], &[], 9000, &[("REMORA_CAPTURE_HEAD_BYTES", "16384")]);
    let Joined { port, report, .. } = &joined;
    for span in report.server(*port).into_iter().chain(report.client(*port)) {
        assert_marked(span);
    }
}

/// Blocks that are longer than what is captured.
#[test]
fn huge_blocks_cut() {
    require_privilege!();
    let joined = joined(&[], &[], 30_000, &[]);
    let Joined { port, report, .. } = &joined;
    for span in report.server(*port).into_iter().chain(report.client(*port)) {
        assert_eq!(span.protocol, "http/2", "{span:?}");
        assert_eq!(span.error, None, "{span:?}");
        assert!(!span.incomplete.is_empty(), "{span:?}");
        // Whatever of it is known is right.
        assert!(
            span.method.as_deref().is_none_or(|method| method == "GET"),
            "{span:?}"
        );
        assert!(
            span.path
                .as_deref()
                .is_none_or(|path| path.starts_with("/headers/30000/after-")),
            "{span:?}"
        );
        assert!(span.status.is_none_or(|status| status == 200), "{span:?}");
    }
}

/// A client and a server that exchange these requests and answers, in turn, on one
/// connection; the agent comes after as many of them as `before` says. Returns the spans
/// of the server and of the client.
fn turns(before: usize, turns: Vec<(Block, Block)>, count: usize) -> (u16, Report) {
    let stream = |turn: usize| u32::try_from(2 * turn + 1).unwrap();
    let request =
        move |turn: usize, block: &Block| frame(kind::HEADERS, flag::WHOLE, stream(turn), &block.0);
    let answers: Vec<_> = turns
        .iter()
        .enumerate()
        .map(|(turn, (asked, answer))| {
            let head = frame(kind::HEADERS, flag::END_HEADERS, stream(turn), &answer.0);
            let body = frame(kind::DATA, flag::END_STREAM, stream(turn), b"hello\n");
            (request(turn, asked).len(), [head, body].concat())
        })
        .collect();
    let server = RawServer::start(move |mut peer| {
        peer.take(opening().len());
        peer.send(settings());
        for (len, answer) in answers {
            peer.take(len);
            peer.send(answer);
        }
        peer.rest();
    });
    let mut client = Raw::connect(server.port);
    client.send(opening());
    let mut trace = None;
    for (turn, (asked, _)) in turns.iter().enumerate() {
        if turn == before {
            trace = Some(Trace::start(&[]));
        }
        client.send(request(turn, asked));
        await_end(&mut client);
    }
    drop(client);
    let port = server.port;
    server.join();
    let report = trace.unwrap().collect(port, 2 * count).lossless();
    report.both(port, count);
    (port, report)
}

/// A request whose path is at an index of the table.
fn by_index(index: usize) -> Block {
    Block::default()
        .index(2)
        .index(6)
        .index(index)
        .field_of(1, "test")
}

/// A request whose path enters the table.
fn inserting(path: &str) -> Block {
    Block::default()
        .index(2)
        .index(6)
        .insert_of(4, path)
        .field_of(1, "test")
}

fn ok_block() -> Block {
    Block::default().index(8)
}

#[test]
fn what_was_inserted_before_is_unknown() {
    require_privilege!();
    let asked = [
        inserting("/old"),
        inserting("/older/now"),
        // The agent comes here.
        by_index(62),
        inserting("/new"),
        by_index(62),
        by_index(63),
        by_index(64),
        inserting("/newer"),
        by_index(63),
        by_index(62),
    ];
    let known = [
        None,
        Some("/new"),
        Some("/new"),
        None,
        None,
        Some("/newer"),
        Some("/new"),
        Some("/newer"),
    ];
    let exchanges = asked.into_iter().map(|asked| (asked, ok_block())).collect();
    let (port, report) = turns(2, exchanges, known.len());
    for spans in [report.server(port), report.client(port)] {
        for (span, path) in spans.into_iter().zip(known) {
            assert_marked(span);
            assert_eq!(span.path.as_deref(), path, "{span:?}");
            assert_eq!(span.status, Some(200), "{span:?}");
            let why: &[&str] = if path.is_none() {
                &["hpack_table_unknown"]
            } else {
                &[]
            };
            assert_eq!(span.incomplete, why, "{span:?}");
        }
    }
}

/// A change of the table's size empties it: nothing of before is there any more.
#[test]
fn a_table_emptied_later() {
    require_privilege!();
    let mut emptied = inserting("/first");
    emptied.0 = [Block::default().size(0).size(4096).0, emptied.0].concat();
    let asked = [
        inserting("/old"),
        emptied,
        by_index(62),
        inserting("/second"),
        by_index(63),
    ];
    let exchanges = asked.into_iter().map(|asked| (asked, ok_block())).collect();
    let (port, report) = turns(1, exchanges, 4);
    for spans in [report.server(port), report.client(port)] {
        let paths: Vec<_> = spans.iter().map(|span| span.path()).collect();
        assert_eq!(paths, ["/first", "/first", "/second", "/first"]);
        assert!(
            spans.iter().all(|span| span.incomplete.is_empty()),
            "{spans:#?}"
        );
    }
}

/// Statuses that are in the server's table since before.
#[test]
fn an_unknown_status() {
    require_privilege!();
    let answers = [
        Block::default().insert_of(8, "299"),
        Block::default().index(62),
        Block::default().insert_of(8, "298"),
        Block::default().index(62),
    ];
    let exchanges = answers
        .into_iter()
        .enumerate()
        .map(|(turn, answer)| (Block::get(&format!("/status/{turn}")), answer))
        .collect();
    let (port, report) = turns(1, exchanges, 3);
    for spans in [report.server(port), report.client(port)] {
        let statuses: Vec<_> = spans.iter().map(|span| span.status).collect();
        assert_eq!(statuses, [None, Some(298), Some(298)], "{spans:#?}");
        assert!(
            spans[0]
                .incomplete
                .iter()
                .any(|why| why == "hpack_table_unknown")
        );
        assert!(spans.iter().all(|span| span.error.is_none()), "{spans:#?}");
    }
}

/// Streams that are open when the agent comes are marked or left out; those after them are
/// exact. The agent comes within a frame's payload.
#[test]
fn within_a_stream() {
    require_privilege!();
    let whole = ok(1, &[b'x'; 5000]);
    let (first, rest) = whole.split_at(3000);
    let (first, rest) = (first.to_vec(), rest.to_vec());
    let received = first.len();
    let (attached, wait) = mpsc::channel::<()>();
    let server = RawServer::start(move |mut peer| {
        peer.take(opening().len() + get(1, "/joined/0").len());
        peer.send([settings(), first].concat());
        wait.recv().unwrap();
        peer.send(rest);
        for turn in 1..5 {
            peer.take(get(1, "/joined/0").len());
            peer.send(ok(2 * turn + 1, b"hello\n"));
        }
        peer.rest();
    });
    let mut client = Raw::connect(server.port);
    client.send([opening(), get(1, "/joined/0")].concat());
    client.take(settings().len() + received);
    let trace = Trace::start(&[]);
    attached.send(()).unwrap();
    client.take(whole.len() - received);
    for turn in 1..5 {
        client.send(get(2 * turn + 1, &format!("/joined/{turn}")));
        await_end(&mut client);
    }
    drop(client);
    let report = trace.collect(server.port, 8).lossless();
    for spans in [report.server(server.port), report.client(server.port)] {
        let (after, within): (Vec<_>, Vec<_>) = spans
            .into_iter()
            .partition(|span| span.path().starts_with("/joined/") && span.path() != "/joined/0");
        assert!(within.len() <= 1, "{within:?}");
        for span in within {
            assert!(
                span.incomplete.iter().any(|why| why == "joined_midstream"),
                "{span:?}"
            );
        }
        assert_eq!(after.len(), 4, "{after:#?}");
        for (turn, span) in (1..5).zip(after) {
            let path = format!("/joined/{turn}");
            assert_eq!(span.facts(), ("GET", path.as_str(), 200, 0, 6));
            assert_eq!(span.incomplete, [""; 0], "{span:?}");
        }
    }
    server.join();
}
