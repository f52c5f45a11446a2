//! Responses that come before the request has ended.

use crate::clients::curl;
use crate::harness::raw::{Raw, RawServer};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::programs;

/// nginx refuses by the length that was announced.
#[test]
fn too_large_for_nginx() {
    require_privilege!();
    let nginx = Nginx::start();
    let body = nginx.server.dir.path().join("posted");
    std::fs::write(&body, vec![b'x'; 5_000_000]).unwrap();
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/limited/x", nginx.port());
    let body = format!("@{}", body.display());
    let (done, _) = curl::one(&["-H", "Expect:", "--data-binary", &body], &url);
    assert_eq!(done.status, 413);
    let report = trace.collect(nginx.port(), 2).lossless();
    let (at_server, at_client) = report.pair(nginx.port());
    for span in [at_server, at_client] {
        assert_eq!(
            (span.method.as_deref(), span.path()),
            (Some("POST"), "/limited/x")
        );
        assert_eq!(span.status, Some(413));
        assert!(span.request_body_bytes.unwrap() <= 5_000_000, "{span:?}");
        assert_eq!(span.response_body_bytes, Some(done.received));
    }
    assert_eq!(at_client.error.as_deref(), Some("413"));
}

/// Node refuses after a part of the body, and closes.
#[test]
fn refused_by_node() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send("POST /refuse/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n");
    client.send(vec![b'x'; 1000]);
    assert_eq!(client.answer().status, 413);
    client.rest();
    drop(client);
    let report = trace.collect(node.port, 2).lossless();
    let (at_server, at_client) = report.pair(node.port);
    for span in [at_server, at_client] {
        assert_eq!(span.status, Some(413));
        assert_eq!(span.response_body_bytes, Some(9));
        assert_eq!(span.incomplete, ["request_incomplete"], "{span:?}");
    }
    assert_eq!(at_client.request_body_bytes, Some(1000));
    assert!(at_server.request_body_bytes.unwrap() <= 1000);
}

/// The response is early, the rest of the request comes all the same, and the
/// connection goes on.
#[test]
fn both_go_on() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        peer.head();
        peer.take(500);
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        peer.take(500);
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
        peer.rest();
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    client.send("POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    client.send(vec![b'x'; 500]);
    assert_eq!(client.answer().body, b"early");
    client.send(vec![b'x'; 500]);
    client.send("GET /two HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().body, b"second");
    drop(client);
    let report = trace.collect(server.port, 4).lossless();
    let (at_server, at_client) = report.both(server.port, 2);
    for spans in [at_server, at_client] {
        assert_eq!(spans[0].facts(), ("POST", "/one", 200, 1000, 5));
        assert_eq!(spans[1].facts(), ("GET", "/two", 200, 0, 6));
        assert!(
            spans.iter().all(|span| span.incomplete.is_empty()),
            "{spans:?}"
        );
    }
    server.join();
}

/// The agent ends while a request is answered, but not sent to its end: it is in flight, and
/// the accounts balance, which is checked for every run.
#[test]
fn answered_but_not_ended_when_the_agent_ends() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole");
        peer.rest();
    });
    let trace = Trace::start(&[]);
    let mut before = Raw::connect(server.port);
    before.send("POST /half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    before.send(vec![b'x'; 500]);
    assert_eq!(before.answer().body, b"whole");
    // Nothing to wait for: no line may come.
    let report = trace.collect(server.port, 0).lossless();
    let (at_server, at_client) = report.both(server.port, 0);
    assert!(at_server.is_empty() && at_client.is_empty());
    drop(before);
    server.join();
}
