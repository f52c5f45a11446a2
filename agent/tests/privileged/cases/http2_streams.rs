//! Many streams at a time on one connection: each is a span with its own times, and ends
//! as it ended.

use std::collections::HashMap;
use std::time::Duration;

use crate::clients::http2::{Ask, Node};
use crate::harness::expect::{Done, assert_span};
use crate::harness::http2::{Block, flag, frame, get, goaway, kind, ok, opening, reset, settings};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::http2 as servers;

/// Runs requests over one connection of Node with Node, all at the same time, and returns
/// what the client and the agent say about them.
fn at_once(asks: &[Ask]) -> (u16, Report, Vec<Done>) {
    let server = servers::node(&[]);
    let trace = Trace::start(&[]);
    let mut client = Node::start(server.port, &asks, asks.len(), &[]);
    let done = client.next();
    assert_eq!(done.len(), asks.len());
    let report = trace.collect(server.port, 2 * asks.len()).lossless();
    report.both(server.port, asks.len());
    (server.port, report, done)
}

/// The span of a path on each side.
fn sides<'a>(report: &'a Report, port: u16, path: &str) -> [&'a Request; 2] {
    [report.server(port), report.client(port)].map(|spans| {
        let mut spans = spans.into_iter().filter(|span| span.path() == path);
        let span = spans.next().unwrap_or_else(|| panic!("no span of {path}"));
        assert_eq!(spans.next(), None, "twice");
        span
    })
}

#[test]
fn slow_streams_finish_out_of_order() {
    require_privilege!();
    let asks: Vec<_> = (0..100)
        .map(|number| Ask::get(format!("/slow/{}/{number}", 1200 - 10 * number)))
        .collect();
    let (port, report, done) = at_once(&asks);
    let done: HashMap<_, _> = done
        .into_iter()
        .map(|done| (done.path.clone(), done))
        .collect();
    for (number, ask) in asks.iter().enumerate() {
        let wanted = Duration::from_millis(1200 - 10 * number as u64);
        for span in sides(&report, port, &ask.path) {
            assert_span(span, &done[&ask.path]);
            let took = Duration::from_nanos(span.duration_ns);
            // Node's timers may fire a millisecond early.
            assert!(took + Duration::from_millis(2) >= wanted, "{span:?}");
            assert!(took <= wanted + Duration::from_millis(400), "{span:?}");
        }
    }
    // They are reported as they end: the last one asked for is the first.
    let order: Vec<_> = report
        .server(port)
        .iter()
        .map(|span| span.duration_ns)
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_thousand_streams() {
    require_privilege!();
    let asks: Vec<_> = (0..1000)
        .map(|n| Ask::get(format!("/slow/1500/{n}")))
        .collect();
    let (port, report, done) = at_once(&asks);
    for done in done {
        for span in sides(&report, port, &done.path) {
            assert_span(span, &done);
            assert!(span.duration_ns > 1_490_000_000, "{span:?}");
        }
    }
}

/// What is left of a stream after RST_STREAM.
fn assert_reset(span: &Request, status: Option<u16>, received: u64, code: &str) {
    assert_eq!(span.protocol, "http/2", "{span:?}");
    assert_eq!(
        (span.status, span.response_body_bytes.unwrap_or(0)),
        (status, received),
        "{span:?}"
    );
    assert_eq!(span.error.as_deref(), Some(code), "{span:?}");
    let why = if status.is_some() {
        "response_incomplete"
    } else {
        "response_not_seen"
    };
    assert_eq!(span.incomplete, [why], "{span:?}");
}

#[test]
fn resets() {
    require_privilege!();
    let cancelled = Ask {
        cancel: 200,
        ..Ask::get("/never/a")
    };
    let asks = [
        Ask::get("/broken/a"),
        Ask::get("/refuse/7/a"),
        Ask::get("/refuse/11/a"),
        cancelled,
        Ask::get("/slow/400/fine"),
    ];
    let (port, report, done) = at_once(&asks);
    for (path, status, received, code) in [
        ("/broken/a", Some(200), 1000, "INTERNAL_ERROR"),
        ("/refuse/7/a", None, 0, "REFUSED_STREAM"),
        ("/refuse/11/a", None, 0, "ENHANCE_YOUR_CALM"),
        ("/never/a", None, 0, "CANCEL"),
    ] {
        for span in sides(&report, port, path) {
            assert_reset(span, status, received, code);
        }
    }
    for span in sides(&report, port, "/never/a") {
        assert!(
            (195..600).contains(&(span.duration_ns / 1_000_000)),
            "{span:?}"
        );
    }
    let fine = done
        .iter()
        .find(|done| done.path == "/slow/400/fine")
        .unwrap();
    for span in sides(&report, port, "/slow/400/fine") {
        assert_span(span, fine);
    }
}

/// Responses with trailers, interim responses, without bodies, and with error statuses.
#[test]
fn kinds_of_responses() {
    require_privilege!();
    let asks = [
        "/pieces/1",
        "/hints/1",
        "/nothing/1",
        "/failing/1",
        "/missing/1",
        "/big/1",
    ];
    let asks = asks.map(Ask::get);
    let (port, report, done) = at_once(&asks);
    for done in &done {
        for span in sides(&report, port, &done.path) {
            assert_span(span, done);
        }
    }
    for span in sides(&report, port, "/pieces/1") {
        // The end is that of the trailers, not that of the headers.
        assert!(span.duration_ns > 170_000_000, "{span:?}");
        // However long the head took: the pieces came in the 200 ms after it.
        let behind_the_head = span.duration_ns - span.ttfb_ns.unwrap();
        assert!(behind_the_head > 100_000_000, "{span:?}");
    }
}

/// A connection between two ends that do as they are told.
fn scripted(
    request: Vec<u8>,
    answer: Vec<u8>,
    end: impl FnOnce(Raw) + Send + 'static,
) -> (u16, Report) {
    let len = request.len();
    let answered = answer.len();
    let server = RawServer::start(move |mut peer| {
        peer.take(len);
        peer.send(answer);
        std::thread::sleep(Duration::from_millis(100));
        end(peer);
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    client.send(request);
    client.take(answered);
    client.rest_or_reset();
    drop(client);
    let port = server.port;
    server.join();
    let streams = 3;
    (port, trace.collect(port, 2 * streams).lossless())
}

fn three() -> Vec<u8> {
    [opening(), get(1, "/s/1"), get(3, "/s/3"), get(5, "/s/5")].concat()
}

/// The server will not answer streams behind the last it names, and answers the others.
#[test]
fn goaway_refuses_streams() {
    require_privilege!();
    let answer = [settings(), goaway(3, 0), ok(1, b"one"), ok(3, b"three")].concat();
    let (port, report) = scripted(three(), answer, drop);
    report.both(port, 3);
    for (path, received) in [("/s/1", 3), ("/s/3", 5)] {
        for span in sides(&report, port, path) {
            assert_eq!(span.facts(), ("GET", path, 200, 0, received));
            assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
        }
    }
    for span in sides(&report, port, "/s/5") {
        assert_eq!(span.status, None, "{span:?}");
        assert!(span.error.is_some(), "{span:?}");
        assert_eq!(span.incomplete, ["response_not_seen"], "{span:?}");
    }
}

/// The server gives the whole connection up.
#[test]
fn goaway_with_an_error() {
    require_privilege!();
    let answer = [settings(), ok(1, b"one"), goaway(1, 11)].concat();
    let (port, report) = scripted(three(), answer, drop);
    report.both(port, 3);
    for path in ["/s/3", "/s/5"] {
        for span in sides(&report, port, path) {
            assert_reset(span, None, 0, "ENHANCE_YOUR_CALM");
        }
    }
}

/// The connection ends with one stream answered, one half answered and one not.
fn breaks_off(end: impl FnOnce(Raw) + Send + 'static) {
    let half = [
        frame(
            kind::HEADERS,
            flag::END_HEADERS,
            3,
            &Block::default().index(8).0,
        ),
        frame(kind::DATA, 0, 3, b"half"),
    ];
    let answer = [settings(), ok(1, b"one"), half.concat()].concat();
    let (port, report) = scripted(three(), answer, end);
    report.both(port, 3);
    for span in sides(&report, port, "/s/1") {
        assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
    }
    for span in sides(&report, port, "/s/3") {
        assert_eq!(
            (span.status, span.response_body_bytes),
            (Some(200), Some(4))
        );
        assert!(span.error.is_some(), "{span:?}");
        assert_eq!(span.incomplete, ["response_incomplete"], "{span:?}");
    }
    for span in sides(&report, port, "/s/5") {
        assert_eq!((span.status, span.ttfb_ns), (None, None), "{span:?}");
        assert!(span.error.is_some(), "{span:?}");
        assert_eq!(span.incomplete, ["response_not_seen"], "{span:?}");
    }
}

#[test]
fn connection_closed_mid_stream() {
    require_privilege!();
    breaks_off(drop);
}

#[test]
fn connection_reset_mid_stream() {
    require_privilege!();
    breaks_off(Raw::reset);
}

/// The server resets a stream after its whole answer, because it does not want the rest
/// of the request (RFC 9113, section 8.1): nothing is wrong with it.
#[test]
fn answered_before_the_request_ended() {
    require_privilege!();
    let head = Block::request("POST", "/early").0;
    let request = [
        opening(),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &head),
        frame(kind::DATA, 0, 1, &[b'e'; 1000]),
        get(3, "/s/3"),
        get(5, "/s/5"),
    ]
    .concat();
    let early = [ok(1, b"enough"), reset(1, 0)].concat();
    let answer = [settings(), early, ok(3, b""), ok(5, b"")].concat();
    let (port, report) = scripted(request, answer, drop);
    report.both(port, 3);
    for span in sides(&report, port, "/early") {
        assert_eq!(span.facts(), ("POST", "/early", 200, 1000, 6), "{span:?}");
        assert_eq!(span.error, None, "{span:?}");
    }
}

/// Pushed responses are part of the request that they come with: nobody made a call.
#[test]
fn pushed_responses() {
    require_privilege!();
    let pushed = [
        frame(
            kind::PUSH_PROMISE,
            flag::END_HEADERS,
            1,
            &[&[0, 0, 0, 2][..], &Block::get("/pushed").0].concat(),
        ),
        ok(2, b"pushed"),
    ]
    .concat();
    let answer = [settings(), pushed, ok(1, b"one"), ok(3, b"3"), ok(5, b"5")].concat();
    let (port, report) = scripted(three(), answer, drop);
    report.both(port, 3);
    for span in sides(&report, port, "/s/1") {
        assert_eq!(span.facts(), ("GET", "/s/1", 200, 0, 3), "{span:?}");
        assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
    }
}
