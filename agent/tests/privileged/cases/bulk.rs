//! Bodies larger than any buffer: exact sizes, real durations, no memory.

use std::os::unix::fs::symlink;

use crate::clients::curl;
use crate::harness::process::resident_bytes;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::tools;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::{haproxy, programs};

/// nginx with a file of this length at `/huge/`.
fn nginx(len: u64) -> Nginx {
    let nginx = Nginx::start();
    let link = nginx.server.dir.path().join("huge.bin");
    symlink(tools::file_of(len), link).unwrap();
    nginx
}

fn assert_facts(span: &Request, facts: (&str, &str, u16, u64, u64)) {
    assert_eq!(span.facts(), facts);
    assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
}

#[test]
fn six_hundred_megabytes_down() {
    require_privilege!();
    const LEN: u64 = 600 << 20;
    let nginx = nginx(LEN);
    let url = format!("http://127.0.0.1:{}/huge/x", nginx.port());
    let trace = Trace::start(&[]);
    let before = resident_bytes(trace.pid());
    assert_eq!(curl::one(&[], &url).0.received, LEN);
    trace.wait_for(2, |request| request.to_port(nginx.port()));
    let grown = resident_bytes(trace.pid()).saturating_sub(before);
    let report = trace.collect(nginx.port(), 2).lossless();
    let (at_server, at_client) = report.pair(nginx.port());
    assert_facts(at_server, ("GET", "/huge/x", 200, 0, LEN));
    assert_facts(at_client, ("GET", "/huge/x", 200, 0, LEN));
    assert!(grown < 16 << 20, "the agent grew by {grown} bytes");
}

#[test]
fn three_hundred_megabytes_up() {
    require_privilege!();
    const LEN: u64 = 300 << 20;
    let node = programs::node();
    let file = tools::file_of(LEN).display().to_string();
    let url = format!("http://127.0.0.1:{}/upload/huge", node.port);
    let trace = Trace::start(&[]);
    for options in [
        &["-X", "POST", "-T", &file, "-H", "Expect:"][..],
        &[
            "-X",
            "POST",
            "-T",
            &file,
            "-H",
            "Expect:",
            "-H",
            "Transfer-Encoding: chunked",
        ],
    ] {
        let (done, _) = curl::one(options, &url);
        assert_eq!((done.status, done.received), (200, 14));
    }
    let report = trace.collect(node.port, 4).lossless();
    let (at_server, at_client) = report.both(node.port, 2);
    for span in at_server.into_iter().chain(at_client) {
        assert_facts(span, ("POST", "/upload/huge", 200, LEN, 14));
    }
}

/// The response is as long as the reader is slow, not as the head is quick.
#[test]
fn sendfile_to_a_slow_reader() {
    require_privilege!();
    const LEN: u64 = 50 << 20;
    let nginx = nginx(LEN);
    let url = format!("http://127.0.0.1:{}/huge/slow", nginx.port());
    let trace = Trace::start(&[]);
    let (done, _) = curl::one(&["--limit-rate", "20M"], &url);
    assert_eq!(done.received, LEN);
    let report = trace.collect(nginx.port(), 2).lossless();
    let (at_server, at_client) = report.pair(nginx.port());
    assert_facts(at_server, ("GET", "/huge/slow", 200, 0, LEN));
    assert_facts(at_client, ("GET", "/huge/slow", 200, 0, LEN));
    let seconds = |span: &Request| span.duration_ns as f64 / 1e9;
    assert!(done.seconds > 2.0, "curl was not slow: {done:?}");
    assert!(
        seconds(at_client) <= done.seconds + 0.001,
        "{done:?} {at_client:?}"
    );
    assert!(
        seconds(at_client) >= done.seconds - 0.2,
        "{done:?} {at_client:?}"
    );
    // The server has handed over its last byte when the socket buffers of both ends,
    // a few megabytes, still hold what the client has not read.
    assert!(
        seconds(at_server) <= done.seconds + 0.05,
        "{done:?} {at_server:?}"
    );
    assert!(
        seconds(at_server) >= done.seconds * 0.6,
        "{done:?} {at_server:?}"
    );
    assert!(at_server.ttfb_ns.unwrap() < 200_000_000, "{at_server:?}");
}

/// HAProxy moves bodies from socket to socket with splice(2).
#[test]
fn spliced_by_haproxy() {
    require_privilege!();
    const LEN: u64 = 50 << 20;
    let nginx = nginx(LEN);
    let haproxy = haproxy::start(nginx.port());
    let file = tools::file_of(LEN).display().to_string();
    let trace = Trace::start(&[]);
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", haproxy.port);
    assert_eq!(curl::one(&[], &url("/huge/down")).0.received, LEN);
    let up = ["-X", "POST", "-T", &file, "-H", "Expect:"];
    assert_eq!(curl::one(&up, &url("/upload/up")).0.status, 200);
    let ports = [haproxy.port, nginx.port()];
    let report = trace.collect_all(&ports, 8).lossless();
    for port in ports {
        let (at_server, at_client) = report.both(port, 2);
        for spans in [at_server, at_client] {
            assert_facts(spans[0], ("GET", "/huge/down", 200, 0, LEN));
            assert_facts(spans[1], ("POST", "/upload/up", 200, LEN, 14));
        }
    }
    let (front, _) = report.both(haproxy.port, 2);
    assert!(front.iter().all(|span| span.comm == "haproxy"), "{front:?}");
}

/// A response that runs on for seconds in small pieces has one span, at its end.
#[test]
fn long_stream_is_one_span() {
    require_privilege!();
    let node = programs::node();
    let url = format!("http://127.0.0.1:{}/chunked/stream", node.port);
    let trace = Trace::start(&[]);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(curl::one(&[], &url).0.received, 10_000));
        }
    });
    let report = trace.collect(node.port, 40).lossless();
    let (at_server, at_client) = report.both(node.port, 20);
    for span in at_server.into_iter().chain(at_client) {
        assert_facts(span, ("GET", "/chunked/stream", 200, 0, 10_000));
        assert!(span.duration_ns > 180_000_000, "{span:?}");
    }
}
