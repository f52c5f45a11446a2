//! Requests that come to nothing are one span with an error, if they were in flight;
//! connections that end with nothing in flight are silent.

use std::time::Duration;

use crate::clients::curl;
use crate::harness::raw::{Raw, RawServer};
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::programs;

/// A span of a request that was not answered.
fn assert_unanswered(span: &Request, path: &str) {
    assert_eq!(
        (span.path(), span.status, span.ttfb_ns),
        (path, None, None),
        "{span:?}"
    );
    assert!(span.error.is_some(), "{span:?}");
    assert!(
        span.incomplete.iter().any(|why| why == "response_not_seen"),
        "{span:?}"
    );
    assert_eq!(span.response_body_bytes.unwrap_or(0), 0, "{span:?}");
}

/// A span of a response that broke off.
fn assert_broken_off(span: &Request, received: u64) {
    assert_eq!(span.facts(), ("GET", "/broken", 200, 0, received));
    assert!(span.error.is_some(), "{span:?}");
    assert_eq!(span.incomplete, ["response_incomplete"], "{span:?}");
}

/// A server that answers nothing, until its peer has gone.
fn mute() -> RawServer {
    RawServer::start(|mut peer| {
        peer.head();
        peer.rest();
    })
}

#[test]
fn client_gives_up() {
    require_privilege!();
    let server = mute();
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/abandoned", server.port);
    curl::one(&["--max-time", "0.3"], &url);
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    for span in [at_server, at_client] {
        assert_unanswered(span, "/abandoned");
        // It lasted as long as somebody waited.
        assert!(span.duration_ns > 200_000_000, "{span:?}");
        assert!(span.duration_ns < 2_000_000_000, "{span:?}");
    }
    server.join();
}

#[test]
fn client_resets() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send("GET /slow/reset HTTP/1.1\r\nHost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(50));
    client.reset();
    let report = trace.collect(node.port, 2).lossless();
    let (at_server, at_client) = report.pair(node.port);
    assert_unanswered(at_server, "/slow/reset");
    assert_unanswered(at_client, "/slow/reset");
}

#[test]
fn server_closes_without_answer() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        peer.head();
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    client.send("GET /closed HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.rest(), b"");
    drop(client);
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    assert_unanswered(at_server, "/closed");
    assert_unanswered(at_client, "/closed");
    server.join();
}

/// A server that stops in the middle of a download, with a reset or without.
fn breaks_off(reset: bool) {
    let server = RawServer::start(move |mut peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
        peer.send(vec![b'x'; 4000]);
        std::thread::sleep(Duration::from_millis(100));
        if reset {
            peer.reset();
        }
    });
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/broken", server.port);
    let (done, _) = curl::one(&[], &url);
    assert_eq!(done.received, 4000);
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    assert_broken_off(at_server, 4000);
    assert_broken_off(at_client, 4000);
    server.join();
}

#[test]
fn server_resets_mid_download() {
    require_privilege!();
    breaks_off(true);
}

#[test]
fn server_closes_mid_download() {
    require_privilege!();
    breaks_off(false);
}

/// A chunked response without its last chunk.
#[test]
fn server_closes_within_chunks() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    });
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/broken", server.port);
    curl::one(&[], &url);
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    assert_broken_off(at_server, 5);
    assert_broken_off(at_client, 5);
    server.join();
}

#[test]
fn request_breaks_off() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send("POST /upload/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    client.send(vec![b'x'; 500]);
    std::thread::sleep(Duration::from_millis(50));
    drop(client);
    let report = trace.collect(node.port, 2).lossless();
    let (at_server, at_client) = report.pair(node.port);
    // What the server made of it is its own affair (Node answers 400 or nothing).
    for span in [at_server, at_client] {
        assert_eq!(span.path(), "/upload/half");
        assert_eq!(span.request_body_bytes, Some(500), "{span:?}");
        assert!(
            span.incomplete
                .iter()
                .any(|why| why == "request_incomplete"),
            "{span:?}"
        );
    }
    assert_unanswered(at_client, "/upload/half");
}

/// Of three pipelined requests one is answered: the others were in flight.
#[test]
fn pipelined_requests_are_left_behind() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        for _ in 0..3 {
            peer.head();
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        std::thread::sleep(Duration::from_millis(50));
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    let requests: String = (0..3)
        .map(|number| format!("GET /left/{number} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    client.send(requests);
    client.rest();
    drop(client);
    let report = trace.collect(server.port, 6).lossless();
    let (at_server, at_client) = report.both(server.port, 3);
    for spans in [at_server, at_client] {
        assert_eq!(spans[0].facts(), ("GET", "/left/0", 200, 0, 2));
        assert_unanswered(spans[1], "/left/1");
        assert_unanswered(spans[2], "/left/2");
    }
    server.join();
}

/// Connections end in every way there is, with nothing in flight.
#[test]
fn idle_connections_end_in_silence() {
    require_privilege!();
    let nginx = Nginx::with("keepalive_timeout 1s;");
    let port = nginx.port();
    let trace = Trace::start(&[]);
    let connect = || {
        let mut client = Raw::connect(port);
        client.send("GET /hello/idle HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client
    };
    drop(connect());
    connect().reset();
    connect().finish();
    // The server ends this one.
    assert_eq!(connect().rest(), b"");
    // And nothing was ever said on these.
    drop(Raw::connect(port));
    Raw::connect(port).reset();
    let report = trace.collect(port, 8).lossless();
    let (at_server, at_client) = report.both(port, 4);
    for span in at_server.into_iter().chain(at_client) {
        assert_eq!(span.facts(), ("GET", "/hello/idle", 200, 0, 6));
        assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
        assert!(
            span.duration_ns < 900_000_000,
            "the idle time is not part of it: {span:?}"
        );
    }
}

/// The process that was asked dies.
#[test]
fn server_is_killed() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send("GET /slow/killed HTTP/1.1\r\nHost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(50));
    let (port, pid) = (node.port, node.process.pid());
    node.process.signal(libc::SIGKILL);
    client.rest();
    drop(client);
    let report = trace.collect(port, 2).lossless();
    let (at_server, at_client) = report.pair(port);
    assert_unanswered(at_server, "/slow/killed");
    assert_unanswered(at_client, "/slow/killed");
    assert_eq!(at_server.pid, pid);
}
