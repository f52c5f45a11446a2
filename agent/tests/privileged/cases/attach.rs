//! Connections that are older than the agent.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::harness::process::Spawned;
use crate::harness::raw::{Raw, RawServer};
use crate::harness::require_privilege;
use crate::harness::tools;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;

/// A client with one connection makes 50 requests before and 50 after.
#[test]
fn connection_in_use() {
    require_privilege!();
    let nginx = Nginx::start();
    let script = nginx.server.dir.path().join("session.py");
    std::fs::write(&script, include_str!("../programs/session.py")).unwrap();
    let mut session = Spawned::with_streams(
        Command::new(tools::python())
            .arg(script)
            .arg(format!("http://127.0.0.1:{}/hello", nginx.port()))
            .arg("50")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    let mut stdin = session.child().stdin.take().unwrap();
    let mut lines = BufReader::new(session.child().stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "before");

    let trace = Trace::start(&[]);
    stdin.write_all(b"go on\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "after");
    let report = trace.collect(nginx.port(), 100).lossless();
    let (at_server, at_client) = report.both(nginx.port(), 50);
    for spans in [at_server, at_client] {
        for (number, span) in spans.iter().enumerate() {
            let path = format!("/hello/after-{number}");
            assert_eq!(span.facts(), ("GET", path.as_str(), 200, 0, 6));
            assert_eq!(
                span.incomplete, [""; 0],
                "these were seen from their beginning"
            );
        }
    }
    drop(stdin);
}

/// Whether the request that was in flight is left out or marked, the next one on the
/// connection is exact.
fn joined(first_part: &'static [u8], rest: &'static [u8]) {
    let (attached, wait) = mpsc::channel::<()>();
    let server = RawServer::start(move |mut peer| {
        peer.head();
        peer.send(first_part);
        wait.recv().unwrap();
        peer.send(rest);
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
        peer.rest();
    });
    let mut client = Raw::connect(server.port);
    client.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    std::thread::sleep(Duration::from_millis(50));
    let trace = Trace::start(&[]);
    attached.send(()).unwrap();
    client.take(first_part.len() + rest.len());
    client.send("GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().body, b"second");
    drop(client);
    let report = trace.collect(server.port, 2).lossless();
    for spans in [report.server(server.port), report.client(server.port)] {
        let (second, first): (Vec<_>, Vec<_>) =
            spans.into_iter().partition(|span| span.path() == "/second");
        assert_eq!(second.len(), 1, "{second:?}");
        assert_eq!(second[0].facts(), ("GET", "/second", 200, 0, 6));
        assert_eq!(second[0].incomplete, [""; 0]);
        assert!(first.len() <= 1, "{first:?}");
        for span in first {
            assert!(
                span.incomplete.iter().any(|why| why == "joined_midstream"),
                "{span:?}"
            );
        }
    }
    server.join();
}

#[test]
fn request_in_flight() {
    require_privilege!();
    joined(b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
}

#[test]
fn response_half_sent() {
    require_privilege!();
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst";
    joined(body.as_bytes(), b"-half");
}

#[test]
fn response_head_half_sent() {
    require_privilege!();
    joined(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\n\r\nfirst");
}
