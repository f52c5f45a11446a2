//! Where messages end: keep-alive, pipelining, chunked, fixed-length and
//! close-delimited bodies, and messages without a body.

use std::io::{IoSlice, Write};
use std::time::Duration;

use crate::clients::curl;
use crate::harness::expect::assert_span;
use crate::harness::process::free_port;
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::{apache, haproxy, programs};

/// A GET with the least of a head.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Asserts that both sides saw `/hello/0`, `/hello/1` … in order.
fn assert_hellos(report: &Report, port: u16, count: usize) {
    let (server, client) = report.both(port, count);
    for spans in [server, client] {
        for (number, span) in spans.iter().enumerate() {
            let path = format!("/hello/{number}");
            assert_eq!(span.facts(), ("GET", path.as_str(), 200, 0, 6));
            assert_eq!(span.incomplete, [""; 0], "{span:?}");
        }
    }
}

#[test]
fn keep_alive() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nginx.port());
    for number in 0..100 {
        client.send(get(&format!("/hello/{number}")));
        assert_eq!(client.answer().body, b"hello\n");
    }
    let report = trace.collect(nginx.port(), 200).lossless();
    assert_hellos(&report, nginx.port(), 100);
}

/// Ten requests in one write.
fn pipelined(port: u16) {
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(port);
    let requests: String = (0..10)
        .map(|number| get(&format!("/hello/{number}")))
        .collect();
    client.send(requests);
    for _ in 0..10 {
        assert_eq!(client.answer().body, b"hello\n");
    }
    let report = trace.collect(port, 20).lossless();
    assert_hellos(&report, port, 10);
}

#[test]
fn pipelining_nginx() {
    require_privilege!();
    pipelined(Nginx::start().port());
}

#[test]
fn pipelining_node() {
    require_privilege!();
    pipelined(programs::node().port);
}

/// Requests cut anywhere: each write ends in the middle of the next request.
#[test]
fn pipelining_with_bodies_cut_anywhere() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut stream = Vec::new();
    for number in 0..12 {
        let body = vec![b'x'; number * 100];
        let head = format!(
            "POST /upload/{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.extend_from_slice(head.as_bytes());
        stream.extend_from_slice(&body);
    }
    let mut client = Raw::connect(node.port);
    for piece in stream.chunks(37) {
        client.send(piece);
    }
    for _ in 0..12 {
        assert_eq!(client.answer().status, 200);
    }
    let report = trace.collect(node.port, 24).lossless();
    let (server, client) = report.both(node.port, 12);
    for spans in [server, client] {
        for (number, span) in spans.iter().enumerate() {
            let answer = format!("got {}\n", number * 100).len() as u64;
            let path = format!("/upload/{number}");
            let sent = number as u64 * 100;
            assert_eq!(span.facts(), ("POST", path.as_str(), 200, sent, answer));
        }
    }
}

#[test]
fn chunked_response() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/chunked/x", node.port);
    let (mut done, _) = curl::one(&[], &url);
    done.path = "/chunked/x".into();
    assert_eq!(done.received, 10_000);
    let report = trace.collect(node.port, 2).lossless();
    let (server, client) = report.pair(node.port);
    for span in [server, client] {
        assert_span(span, &done);
        // Ten pieces 20 ms apart: the span does not end at the head.
        assert!(span.duration_ns > 180_000_000, "{span:?}");
        assert!(span.ttfb_ns.unwrap() < 100_000_000, "{span:?}");
    }
}

/// Many small chunks in one call: of a server that has a buffer for the digits of each, one for
/// the end of that line, and two more.
#[test]
fn many_chunks_in_one_call() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/burst/x", node.port);
    let (mut done, _) = curl::one(&[], &url);
    done.path = "/burst/x".into();
    assert_eq!(done.received, (0..240).map(|i| i % 50 + 1).sum::<u64>());
    let report = trace.collect(node.port, 2).lossless();
    let (server, client) = report.pair(node.port);
    for span in [server, client] {
        assert_span(span, &done);
    }
}

/// As many as one call may have and be followed, in one buffer.
#[test]
fn a_thousand_chunks_of_one_byte() {
    require_privilege!();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response = [head, &"1\r\nx\r\n".repeat(1200), "0\r\n\r\n"].concat();
    let len = response.len();
    let server = RawServer::start(move |mut peer| {
        peer.head();
        peer.send(response);
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    client.send(get("/chunks"));
    client.take(len);
    let port = server.port;
    server.join();
    let report = trace.collect(port, 2).lossless();
    let (server, client) = report.pair(port);
    for span in [server, client] {
        assert_eq!(span.facts(), ("GET", "/chunks", 200, 0, 1200));
        assert_eq!(span.incomplete, [""; 0], "{span:?}");
    }
}

#[test]
fn chunked_request() {
    require_privilege!();
    let node = programs::node();
    let file = node.dir.path().join("body");
    std::fs::write(&file, vec![b'x'; 70_001]).unwrap();
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/upload/x", node.port);
    let body = format!("@{}", file.display());
    let chunked = "Transfer-Encoding: chunked";
    let (mut done, _) = curl::one(&["-H", chunked, "--data-binary", &body], &url);
    // curl counts the body it read from the file.
    (done.path, done.sent) = ("/upload/x".into(), 70_001);
    assert_eq!(done.received, "got 70001\n".len() as u64);
    let report = trace.collect(node.port, 2).lossless();
    let (server, client) = report.pair(node.port);
    assert_span(server, &done);
    assert_span(client, &done);
}

/// A chunked body with extensions and trailers, in pieces of three bytes, and a
/// request behind it on the same connection.
#[test]
fn chunked_with_extensions_and_trailers() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    let request = b"POST /upload/0 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;name=value\r\nhello\r\n00B;q=\"a;b\"\r\n hello\r\n\r\nx\r\n0\r\nTrailer: yes\r\nOther: 1\r\n\r\n";
    for piece in request.chunks(3) {
        client.send(piece);
    }
    assert_eq!(client.answer().body, b"got 16\n");
    client.send(get("/hello/1"));
    assert_eq!(client.answer().body, b"hello\n");
    let report = trace.collect(node.port, 4).lossless();
    let (server, client) = report.both(node.port, 2);
    for spans in [server, client] {
        assert_eq!(spans[0].facts(), ("POST", "/upload/0", 200, 16, 7));
        assert_eq!(spans[1].facts(), ("GET", "/hello/1", 200, 0, 6));
    }
}

/// A proxy says whom a connection is from before its first request, in both versions of the
/// PROXY protocol. HAProxy sends and reads that by itself, nginx with the request behind it.
#[test]
fn requests_behind_a_proxy_header() {
    require_privilege!();
    for version in ["send-proxy", "send-proxy-v2"] {
        let port = free_port();
        let nginx = Nginx::with(&format!("listen 127.0.0.1:{port} proxy_protocol;"));
        let behind = haproxy::start_with("accept-proxy", port, version);
        let front = haproxy::start_with("", behind.port, version);
        let trace = Trace::start(&[]);
        // A connection for each of them.
        for number in 0..3 {
            let url = format!("http://127.0.0.1:{}/hello/{number}", front.port);
            curl::one(&["-H", "Connection: close"], &url);
        }
        let ports = [front.port, behind.port, port];
        let report = trace.collect_all(&ports, 18).lossless();
        for port in ports {
            assert_hellos(&report, port, 3);
        }
        drop(nginx);
    }
}

/// The header and what follows in one call, in one buffer or two, on both sides.
#[test]
fn a_proxy_header_in_the_same_call() {
    require_privilege!();
    let first = b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 80\r\n".as_slice();
    let second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\n\0\0\x01\n\0\0\x02\x30\x39\0\x50".as_slice();
    let request = get("/behind");
    let buffers = [first, second].map(|header| [header, request.as_bytes()]);
    let joined = buffers.map(|buffers| buffers.concat());
    let calls = buffers.map(|two| two.to_vec()).into_iter();
    for call in calls.chain(joined.iter().map(|one| vec![one.as_slice()])) {
        let server = RawServer::start(|mut peer| {
            while !peer.head().contains("GET ") {}
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
        });
        let trace = Trace::start(&[]);
        let mut client = Raw::connect(server.port);
        let slices: Vec<_> = call.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let len: usize = call.iter().map(|bytes| bytes.len()).sum();
        assert_eq!(client.stream.write_vectored(&slices).unwrap(), len);
        assert_eq!(client.answer().body, b"hello\n");
        let port = server.port;
        server.join();
        let report = trace.collect(port, 2).lossless();
        let (server, client) = report.pair(port);
        for span in [server, client] {
            assert_eq!(span.facts(), ("GET", "/behind", 200, 0, 6), "{call:?}");
            assert_eq!(span.incomplete, [""; 0], "{span:?}");
        }
    }
}

/// HTTP/2 behind it, and what is no HTTP at all.
#[test]
fn others_behind_a_proxy_header() {
    require_privilege!();
    let (port, tls) = (free_port(), free_port());
    let nginx = Nginx::with(&format!(
        "listen 127.0.0.1:{port} proxy_protocol http2; listen 127.0.0.1:{tls} proxy_protocol;"
    ));
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{port}/hello/0");
    let options = ["--haproxy-protocol", "--http2-prior-knowledge"];
    assert_eq!(curl::one(&options, &url).0.status, 200);
    let mut client = Raw::connect(tls);
    client
        .send(b"PROXY UNKNOWN\r\n\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 GET / HTTP/1.1\r\n\r\n");
    // nginx read it, and says that it is no request.
    assert!(client.rest().starts_with(b"HTTP/1.1 400 "));
    let report = trace.collect(port, 2).lossless();
    assert_hellos(&report, port, 1);
    report.silent(tls);
    drop(nginx);
}

#[test]
fn close_delimited() {
    require_privilege!();
    let server = programs::python("HTTP/1.0");
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}/endless/x", server.port);
    let (mut done, _) = curl::one(&["--http1.0"], &url);
    done.path = "/endless/x".into();
    assert_eq!(done.received, 5_000);
    let report = trace.collect(server.port, 2).lossless();
    let (server, client) = report.pair(server.port);
    for span in [server, client] {
        assert_span(span, &done);
        assert_eq!(span.protocol, "http/1.0");
    }
}

/// HTTP/1.0 keeps a connection only if both sides say so.
#[test]
fn keep_alive_of_1_0() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nginx.port());
    for number in 0..3 {
        client.send(format!(
            "GET /hello/{number} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        ));
        assert_eq!(client.answer().body, b"hello\n");
    }
    client.send("GET /hello/3 HTTP/1.0\r\n\r\n");
    client.rest();
    let report = trace.collect(nginx.port(), 8).lossless();
    assert_hellos(&report, nginx.port(), 4);
    let (server, client) = report.both(nginx.port(), 4);
    for span in server.into_iter().chain(client) {
        assert_eq!(span.protocol, "http/1.0");
    }
}

/// nginx passes a chunked response of its upstream on, chunked to a client that
/// speaks 1.1 and close-delimited to one that speaks 1.0.
#[test]
fn nginx_with_chunked_upstream() {
    require_privilege!();
    let node = programs::node();
    let pass = format!(
        "location /chunked/ {{ proxy_pass http://127.0.0.1:{}; }}",
        node.port
    );
    let nginx = Nginx::with(&pass);
    let trace = Trace::start(&[]);
    for (version, path) in [("--http1.1", "/chunked/1.1"), ("--http1.0", "/chunked/1.0")] {
        let url = format!("http://127.0.0.1:{}{path}", nginx.port());
        assert_eq!(curl::one(&[version], &url).0.received, 10_000);
    }
    let report = trace.collect_all(&[nginx.port(), node.port], 8).lossless();
    for port in [nginx.port(), node.port] {
        let (server, client) = report.both(port, 2);
        for spans in [server, client] {
            assert_eq!(spans[0].facts(), ("GET", "/chunked/1.1", 200, 0, 10_000));
            assert_eq!(spans[1].facts(), ("GET", "/chunked/1.0", 200, 0, 10_000));
            assert!(
                spans.iter().all(|span| span.incomplete.is_empty()),
                "{spans:?}"
            );
        }
    }
    let versions: Vec<_> = report
        .server(nginx.port())
        .iter()
        .map(|span| span.protocol.clone())
        .collect();
    assert_eq!(versions, ["http/1.1", "http/1.0"]);
}

/// HEAD, 204 and 304 have no body whatever their heads say, and the next request on
/// the connection is where it should be.
#[test]
fn messages_without_body() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send("HEAD /big/0 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(
        client
            .head()
            .to_lowercase()
            .contains("content-length: 300000")
    );
    client.send(get("/nothing/1"));
    assert!(client.head().starts_with("HTTP/1.1 204"));
    client.send(get("/same/2"));
    assert!(
        client
            .head()
            .to_lowercase()
            .contains("content-length: 5000")
    );
    client.send(get("/hello/3"));
    assert_eq!(client.answer().body, b"hello\n");
    let report = trace.collect(node.port, 8).lossless();
    let (server, client) = report.both(node.port, 4);
    for spans in [server, client] {
        assert_eq!(spans[0].facts(), ("HEAD", "/big/0", 200, 0, 0));
        assert_eq!(spans[1].facts(), ("GET", "/nothing/1", 204, 0, 0));
        assert_eq!(spans[2].facts(), ("GET", "/same/2", 304, 0, 0));
        assert_eq!(spans[3].facts(), ("GET", "/hello/3", 200, 0, 6));
    }
}

/// `*` and absolute targets.
#[test]
fn other_forms_of_target() {
    require_privilege!();
    let apache = apache::start("event", "");
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(apache.port);
    client.send("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send("GET http://localhost/hello/1?q=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let report = trace.collect(apache.port, 4).lossless();
    let (server, client) = report.both(apache.port, 2);
    for spans in [server, client] {
        assert_eq!(spans[0].facts(), ("OPTIONS", "*", 200, 0, 0));
        assert_eq!(spans[1].facts(), ("GET", "/hello/1", 200, 0, 6));
        assert_eq!(spans[1].query, None);
    }
}

/// A response that takes its time: the span does, too.
#[test]
fn slow_answers_have_long_spans() {
    require_privilege!();
    let servers = [
        programs::node(),
        programs::python("HTTP/1.1"),
        programs::gunicorn("sync", &[]),
        programs::go(),
    ];
    let trace = Trace::start(&[]);
    let done: Vec<_> = servers
        .iter()
        .map(|server| {
            let url = format!("http://127.0.0.1:{}/slow/x", server.port);
            let (mut done, _) = curl::one(&[], &url);
            done.path = "/slow/x".into();
            done
        })
        .collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let report = trace.collect_all(&ports, 8).lossless();
    for (port, done) in ports.iter().zip(&done) {
        let (server, client) = report.pair(*port);
        for span in [server, client] {
            assert_span(span, done);
            let asleep = Duration::from_millis(149);
            assert!(
                u128::from(span.duration_ns) >= asleep.as_nanos(),
                "{span:?}"
            );
            assert!(
                u128::from(span.ttfb_ns.unwrap()) >= asleep.as_nanos(),
                "{span:?}"
            );
        }
    }
}
