//! Kinds of sockets, and who holds them.

use std::collections::HashSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::clients::curl;
use crate::harness::process::run;
use crate::harness::raw::Raw;
use crate::harness::request::{Request, Side};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::harness::{tools, wait_until};
use crate::servers::nginx::Nginx;
use crate::servers::{Server, programs};

#[test]
fn ipv6() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let url = format!("http://[::1]:{}/hello/six", nginx.port());
    let (done, _) = curl::one(&[], &url);
    assert_eq!(done.status, 200);
    let report = trace.collect(nginx.port(), 2).lossless();
    let (at_server, at_client) = report.pair(nginx.port());
    for span in [at_server, at_client] {
        assert_eq!(span.facts(), ("GET", "/hello/six", 200, 0, 6));
        assert_eq!(span.network, "tcp");
    }
    let listening = format!("[::1]:{}", nginx.port());
    assert_eq!(
        (at_server.local(), at_client.peer()),
        (listening.as_str(), listening.as_str())
    );
    assert_eq!(at_server.peer, at_client.local);
    assert!(at_server.peer().starts_with("[::1]:"), "{at_server:?}");
}

/// An IPv4 client of a dual-stack server is shown with its IPv4 address, from both
/// ends; and of three processes that share a port each request has exactly one.
#[test]
fn shared_dual_stack_port() {
    require_privilege!();
    let server = Server::start(|port, dir| {
        let script = dir.join("reuse_port.py");
        fs::write(&script, include_str!("../programs/reuse_port.py")).unwrap();
        let mut python = Command::new(tools::python());
        python.arg(script).arg(port.to_string());
        python
    });
    let pids = wait_until("three processes", || {
        let tree = server.pids();
        (tree.len() == 3).then_some(tree)
    });
    let trace = Trace::start(&[]);
    let mut answered = HashSet::new();
    for number in 0..60 {
        let url = format!("http://127.0.0.1:{}/{number}", server.port);
        let pid: u32 = run(Command::new("curl").args(["-s", &url]))
            .parse()
            .unwrap();
        answered.insert((format!("/{number}"), pid));
    }
    let report = trace.collect(server.port, 120).lossless();
    let (at_server, at_client) = report.both(server.port, 60);
    let seen: HashSet<_> = at_server
        .iter()
        .map(|span| (span.path().to_owned(), span.pid))
        .collect();
    assert_eq!(seen, answered);
    assert!(at_server.iter().all(|span| pids.contains(&span.pid)));
    let listening = format!("127.0.0.1:{}", server.port);
    assert!(
        at_server.iter().all(|span| span.local() == listening),
        "{at_server:?}"
    );
    assert!(
        at_client.iter().all(|span| span.peer() == listening),
        "{at_client:?}"
    );
}

/// Spans of a Unix socket's path, by side.
fn of_path<'a>(requests: &'a [Request], side: Side, path: &str) -> Vec<&'a Request> {
    requests
        .iter()
        .filter(|request| request.side == side && request.network == "unix")
        .filter(|request| match side {
            Side::Server => request.local() == path,
            Side::Client => request.peer() == path,
        })
        .collect()
}

/// curl over a Unix socket.
fn over_unix_socket(server: &Server) {
    let socket = server.dir.path().join("socket").display().to_string();
    // Servers open one socket after the other.
    wait_until("the Unix socket", || UnixStream::connect(&socket).ok());
    let trace = Trace::start(&[]);
    let body = "x".repeat(1234);
    for number in 0..5 {
        let url = format!("http://unix.test/upload/{number}");
        let (done, _) = curl::one(&["--unix-socket", &socket, "-d", &body], &url);
        assert_eq!(done.status, 200);
    }
    trace.wait_for(10, |request| {
        request.network == "unix" && (request.local() == socket || request.peer() == socket)
    });
    let report = trace.stop().lossless();
    for side in [Side::Server, Side::Client] {
        let spans = of_path(&report.requests, side, &socket);
        assert_eq!(spans.len(), 5, "{side:?}: {:#?}", report.requests);
        for (number, span) in spans.iter().enumerate() {
            let (method, path, status, sent, _) = span.facts();
            let wanted = format!("/upload/{number}");
            assert_eq!(
                (method, path, status, sent),
                ("POST", wanted.as_str(), 200, 1234)
            );
        }
        let curl = spans.iter().all(|span| span.comm == "curl");
        assert_eq!(curl, side == Side::Client, "{spans:?}");
    }
}

#[test]
fn unix_nginx() {
    require_privilege!();
    over_unix_socket(&Nginx::start().server);
}

#[test]
fn unix_gunicorn() {
    require_privilege!();
    over_unix_socket(&programs::gunicorn("sync", &[]));
}

/// A server that gives its connections away, and the processes it named.
fn hand_over(mode: &str) -> Server {
    Server::start(|port, dir| {
        let script = dir.join("hand_over.py");
        fs::write(&script, include_str!("../programs/hand_over.py")).unwrap();
        let mut python = Command::new(tools::python());
        python.arg(script).args([mode, &port.to_string()]);
        python
    })
}

fn printed_pids(server: &Server) -> Vec<u32> {
    let log = fs::read_to_string(server.dir.path().join("log")).unwrap();
    log.lines().map(|line| line.parse().unwrap()).collect()
}

/// Three requests on each of two connections.
fn three_each(port: u16) {
    for connection in 0..2 {
        let mut client = Raw::connect(port);
        for number in 0..3 {
            client.send(format!(
                "GET /{connection}/{number} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            assert_eq!(client.answer().body, b"hello\n");
        }
    }
}

/// The process of each server span, in order of the requests.
fn serving(mode: &str) -> (Vec<u32>, Vec<u32>) {
    let server = hand_over(mode);
    let trace = Trace::start(&[]);
    three_each(server.port);
    let report = trace.collect(server.port, 12).lossless();
    let (at_server, at_client) = report.both(server.port, 6);
    for span in at_client {
        assert_eq!(span.pid, std::process::id());
    }
    let mut by_path: Vec<_> = at_server
        .iter()
        .map(|span| {
            assert_eq!(
                (span.status, span.response_body_bytes),
                (Some(200), Some(6))
            );
            (span.path(), span.pid)
        })
        .collect();
    by_path.sort_unstable();
    let pids = by_path.into_iter().map(|(_, pid)| pid).collect();
    (pids, printed_pids(&server))
}

/// A connection that was sent to another process belongs to that.
#[test]
fn passed_to_another_process() {
    require_privilege!();
    let (serving, known) = serving("passed");
    assert_eq!(serving, [known[1]; 6]);
}

/// The connection changes hands between two requests; it stays one connection.
#[test]
fn passed_between_requests() {
    require_privilege!();
    let (serving, known) = serving("between");
    let (acceptor, worker) = (known[0], known[1]);
    assert_eq!(
        serving,
        [acceptor, worker, worker, acceptor, worker, worker]
    );
}

#[test]
fn inherited() {
    require_privilege!();
    let (serving, known) = serving("inherited");
    // The first connection was the harness's own, to see whether the port is open.
    let [.., first, second] = known[..] else {
        panic!("{known:?}")
    };
    assert_eq!(serving, [first, first, first, second, second, second]);
}
