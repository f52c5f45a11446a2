//! Heads: cut into pieces, long, too long, and of unusual methods.

use crate::clients::curl;
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::request::{Request, Side};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;

/// A path of `len` bytes in all whose every part differs from the others.
fn path(len: usize) -> String {
    let mut path = String::from("/hello/");
    let mut number = 0;
    while path.len() < len {
        path.push_str(&format!("{number}-"));
        number += 1;
    }
    path.truncate(len);
    path
}

/// nginx that takes heads of up to 32 KiB.
fn nginx() -> Nginx {
    Nginx::with("large_client_header_buffers 4 32k;")
}

/// One request each for paths of these lengths.
fn ask(port: u16, lengths: &[usize]) {
    for len in lengths {
        let url = format!("http://127.0.0.1:{port}{}", path(*len));
        assert_eq!(curl::one(&[], &url).0.status, 200);
    }
}

/// Splits the spans of both sides by whether their head was cut; everything but the
/// target must be right for all of them.
fn check(report: &Report, port: u16, lengths: &[usize], limit: usize) {
    let (server, client) = report.both(port, lengths.len());
    for spans in [server, client] {
        for (span, len) in spans.into_iter().zip(lengths) {
            check_one(span, &path(*len), limit);
        }
    }
}

fn check_one(span: &Request, wanted: &str, limit: usize) {
    assert_eq!(
        (span.method.as_deref(), span.status),
        (Some("GET"), Some(200))
    );
    assert_eq!(span.response_body_bytes, Some(6), "{span:?}");
    assert_eq!(span.error, None, "{span:?}");
    let head = "GET  HTTP/1.1\r\n".len() + wanted.len();
    let cut = span.incomplete == ["head_truncated"];
    assert!(cut || span.incomplete.is_empty(), "{span:?}");
    if head > limit {
        assert!(cut, "over the limit: {span:?}");
        // Never wrong: what is there is the beginning of what was asked for.
        assert!(wanted.starts_with(span.path()), "{span:?}");
    } else {
        assert_eq!(span.path(), wanted);
        // curl's other header lines take less than 150 bytes.
        assert!(!cut || head + 150 > limit, "within the limit: {span:?}");
    }
}

#[test]
fn targets_with_default_capture() {
    require_privilege!();
    let nginx = nginx();
    let trace = Trace::start(&[]);
    let lengths = [
        7, 300, 800, 1000, 1007, 1008, 1009, 1010, 1024, 1502, 5000, 20_000,
    ];
    ask(nginx.port(), &lengths);
    let report = trace.collect(nginx.port(), 2 * lengths.len()).lossless();
    check(&report, nginx.port(), &lengths, 1024);
}

#[test]
fn targets_with_largest_capture() {
    require_privilege!();
    let nginx = nginx();
    let trace = Trace::start_with(&[], &[("REMORA_CAPTURE_HEAD_BYTES", "8192")]);
    let lengths = [
        1008, 1024, 1502, 4095, 4096, 5000, 8000, 8176, 8177, 8192, 20_000,
    ];
    ask(nginx.port(), &lengths);
    let report = trace.collect(nginx.port(), 2 * lengths.len()).lossless();
    check(&report, nginx.port(), &lengths, 8192);
}

#[test]
fn bytewise_request() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nginx.port());
    for number in 0..3 {
        let head = format!("GET /hello/bytewise-{number} HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n");
        client.send_bytewise(head.as_bytes());
        assert_eq!(client.answer().status, 200);
    }
    let report = trace.collect(nginx.port(), 6).lossless();
    let (server, client) = report.both(nginx.port(), 3);
    for spans in [server, client] {
        for (number, span) in spans.iter().enumerate() {
            let path = format!("/hello/bytewise-{number}");
            assert_eq!(span.facts(), ("GET", path.as_str(), 200, 0, 6));
        }
    }
}

#[test]
fn bytewise_response() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        peer.head();
        peer.send_bytewise(b"HTTP/1.1 203 Other\r\nX: y\r\nContent-Length: 11\r\n\r\nhello world");
        peer.rest();
    });
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/bytewise", server.port);
    let (done, _) = curl::one(&[], &url);
    assert_eq!((done.status, done.received), (203, 11));
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    for span in [at_server, at_client] {
        assert_eq!(span.facts(), ("GET", "/bytewise", 203, 0, 11));
    }
    server.join();
}

/// A request with a head of one write, a pause and the rest; then the same cut right
/// before, within and after the empty line.
#[test]
fn heads_in_two_parts() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nginx.port());
    let head = b"GET /hello/parts HTTP/1.1\r\nHost: test\r\n\r\n";
    for cut in [
        1,
        3,
        5,
        20,
        head.len() - 4,
        head.len() - 3,
        head.len() - 2,
        head.len() - 1,
    ] {
        client.send(&head[..cut]);
        std::thread::sleep(std::time::Duration::from_millis(30));
        client.send(&head[cut..]);
        assert_eq!(client.answer().status, 200);
    }
    let report = trace.collect(nginx.port(), 16).lossless();
    let (server, client) = report.both(nginx.port(), 8);
    for span in server.into_iter().chain(client) {
        assert_eq!(span.facts(), ("GET", "/hello/parts", 200, 0, 6));
        // The request began with its first byte, before the pause; when the server
        // received that is for the scheduler to say.
        let pause = match span.side {
            Side::Client => 30_000_000,
            Side::Server => 10_000_000,
        };
        assert!(span.duration_ns >= pause, "{span:?}");
    }
}

#[test]
fn unusual_methods() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let methods = ["PURGE", "PROPFIND", "PATCH", "DELETE", "REPORT", "M-SEARCH"];
    for method in methods {
        let url = format!("http://127.0.0.1:{}/hello/method", nginx.port());
        curl::one(&["-X", method], &url);
    }
    let report = trace.collect(nginx.port(), 2 * methods.len()).lossless();
    let (server, client) = report.both(nginx.port(), methods.len());
    for spans in [server, client] {
        for (span, method) in spans.iter().zip(methods) {
            assert_eq!(span.method.as_deref(), Some(method));
            assert_eq!(span.path(), "/hello/method");
        }
    }
}

/// Framing does not depend on the capture limit: the length is behind 20 KB of
/// other header fields, and a second response follows.
#[test]
fn length_behind_the_capture_limit() {
    require_privilege!();
    let server = RawServer::start(|mut peer| {
        let filler = format!("X-Filler: {}\r\n", "f".repeat(1000)).repeat(20);
        for body in ["first", "GET /second HTTP/1.1\r\n\r\n"] {
            peer.head();
            let len = body.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\n{filler}Content-Length: {len}\r\n\r\n{body}"
            ));
        }
        peer.rest();
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    for path in ["/one", "/two"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client.answer();
    }
    drop(client);
    let report = trace.collect(server.port, 4).lossless();
    let (at_server, at_client) = report.both(server.port, 2);
    for spans in [at_server, at_client] {
        assert_eq!(spans[0].facts(), ("GET", "/one", 200, 0, 5));
        assert_eq!(spans[1].facts(), ("GET", "/two", 200, 0, 24));
    }
    server.join();
}
