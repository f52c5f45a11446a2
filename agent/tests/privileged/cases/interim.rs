//! Interim responses, and connections that become something else.

use std::time::Duration;

use crate::clients::curl;
use crate::harness::raw::Raw;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::{Server, apache, programs};

/// curl asks whether to go on before it sends a body.
fn expect_continue(server: &Server, path: &str) {
    let file = server.dir.path().join("posted");
    std::fs::write(&file, vec![b'x'; 200_000]).unwrap();
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}{path}", server.port);
    let body = format!("@{}", file.display());
    let options = ["-H", "Expect: 100-continue", "--data-binary", &body];
    let (done, _) = curl::one(&options, &url);
    assert_eq!((done.status, done.sent), (200, 200_000));
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    for span in [at_server, at_client] {
        assert_eq!(span.facts(), ("POST", path, 200, 200_000, done.received));
        assert_eq!(span.incomplete, [""; 0]);
    }
}

#[test]
fn continue_node() {
    require_privilege!();
    expect_continue(&programs::node(), "/upload/x");
}

#[test]
fn continue_nginx() {
    require_privilege!();
    expect_continue(&Nginx::start().server, "/upload/x");
}

#[test]
fn continue_python() {
    require_privilege!();
    expect_continue(&programs::python("HTTP/1.1"), "/upload/x");
}

/// 103 is not the response: the status and the time to the first byte are those of
/// what follows.
#[test]
fn early_hints() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send("GET /hints/x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 103"));
    assert_eq!(client.answer().body, b"after hints\n");
    let report = trace.collect(node.port, 2).lossless();
    let (at_server, at_client) = report.pair(node.port);
    for span in [at_server, at_client] {
        assert_eq!(span.facts(), ("GET", "/hints/x", 200, 0, 12));
        assert!(span.ttfb_ns.unwrap() > 45_000_000, "{span:?}");
    }
}

/// The span ends at the switch, and what comes then is nobody's business, whatever it
/// looks like.
#[test]
fn upgrade() {
    require_privilege!();
    let node = programs::node();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(node.port);
    client.send(
        "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(client.head().starts_with("HTTP/1.1 101"));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        let text = b"GET /fake HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(client.send(text).take(text.len()), text);
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(client.send(text).take(text.len()), text);
    }
    client.finish();
    client.rest();
    drop(client);
    let report = trace.collect(node.port, 2).lossless();
    let (at_server, at_client) = report.pair(node.port);
    for span in [at_server, at_client] {
        assert_eq!(span.facts(), ("GET", "/chat", 101, 0, 0));
        assert!(span.duration_ns < 150_000_000, "{span:?}");
        assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
    }
}

/// The same through nginx: four spans, all of which end at the switch.
#[test]
fn upgrade_through_a_proxy() {
    require_privilege!();
    let node = programs::node();
    let nginx = Nginx::with(&format!(
        "location /chat {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Upgrade $http_upgrade;
         proxy_set_header Connection upgrade; }}",
        node.port
    ));
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nginx.port());
    client.send("GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101"));
    let text = b"GET /fake HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(client.send(text).take(text.len()), text);
    drop(client);
    let report = trace.collect_all(&[nginx.port(), node.port], 4).lossless();
    for port in [nginx.port(), node.port] {
        let (at_server, at_client) = report.pair(port);
        for span in [at_server, at_client] {
            assert_eq!(span.facts(), ("GET", "/chat", 101, 0, 0));
        }
    }
}

/// A tunnel through Apache: CONNECT is one request, and the request inside is traced
/// at its own ends, not on the connection that has become a tunnel.
#[test]
fn connect() {
    require_privilege!();
    let nginx = Nginx::start();
    let extra = format!("ProxyRequests On\nAllowCONNECT {}", nginx.port());
    let proxy = apache::start("event", &extra);
    let trace = Trace::start(&[]);
    let via = format!("http://127.0.0.1:{}", proxy.port);
    let url = format!("http://127.0.0.1:{}/hello/tunnel", nginx.port());
    let (done, pid) = curl::one(&["-p", "-x", &via], &url);
    assert_eq!((done.status, done.received), (200, 6));
    let report = trace.collect_all(&[nginx.port(), proxy.port], 4).lossless();

    let (at_proxy, at_client) = report.pair(proxy.port);
    let target = format!("127.0.0.1:{}", nginx.port());
    for span in [at_proxy, at_client] {
        assert_eq!(span.facts(), ("CONNECT", target.as_str(), 200, 0, 0));
        assert_eq!(span.error, None, "{span:?}");
    }
    assert_eq!(at_client.pid, pid);
    let (inside, from_proxy) = report.pair(nginx.port());
    for span in [inside, from_proxy] {
        assert_eq!(span.facts(), ("GET", "/hello/tunnel", 200, 0, 6));
    }
    assert_eq!(
        (inside.comm.as_str(), from_proxy.comm.as_str()),
        ("nginx", "apache2")
    );
}
