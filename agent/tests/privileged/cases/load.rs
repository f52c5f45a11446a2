//! Many requests, many connections, many processes: counts stay exact.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::clients::{curl, wrk};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;

/// wrk stops in the middle of things: it has this many connections open.
const CONNECTIONS: usize = 16;

/// Compares with what nginx logged and with what wrk counted.
fn check_load(nginx: &Nginx, report: &Report, load: &wrk::Load) {
    let logged = nginx.log(load.requests);
    let answered = |lines: &[String]| lines.iter().filter(|line| line.contains(" 200 ")).count();
    let (at_server, at_client) = (report.server(nginx.port()), report.client(nginx.port()));
    let whole = at_server.iter().filter(|span| span.error.is_none());
    assert_eq!(
        (at_server.len(), whole.count()),
        (logged.len(), answered(&logged)),
        "server spans and nginx's log; {load:?}"
    );
    let (whole, cut): (Vec<&Request>, Vec<&Request>) =
        at_client.into_iter().partition(|span| span.error.is_none());
    // A response that arrived when wrk had stopped is whole, but wrk did not count it.
    assert!(
        whole.len() >= load.requests && whole.len() + cut.len() <= load.requests + CONNECTIONS,
        "client spans: {} and {} cut off; {load:?}",
        whole.len(),
        cut.len()
    );
    for span in whole {
        assert_eq!(span.facts(), ("GET", "/hello/load", 200, 0, 6));
    }
    for span in cut {
        assert_eq!(span.path(), "/hello/load");
    }
}

#[test]
fn short_lived_connections() {
    require_privilege!(alone);
    let nginx = Nginx::start();
    let url = format!("http://127.0.0.1:{}/hello/load", nginx.port());
    let trace = Trace::start(&[]);
    let load = wrk::load(&url, CONNECTIONS, 4, &["Connection: close"]);
    assert!(load.rate > 2000.0, "too few to tell: {load:?}");
    let report = trace.collect(nginx.port(), 2 * load.requests).lossless();
    check_load(&nginx, &report, &load);
    // Four seconds do not use up the ports: every connection is told apart.
    let connections: HashSet<_> = report
        .server(nginx.port())
        .iter()
        .map(|span| (span.peer.clone(), span.start.clone()))
        .collect();
    assert_eq!(connections.len(), report.server(nginx.port()).len());
}

#[test]
fn saturated_server() {
    require_privilege!(alone);
    let nginx = Nginx::start();
    let url = format!("http://127.0.0.1:{}/hello/load", nginx.port());
    let trace = Trace::start(&[]);
    let load = wrk::load(&url, CONNECTIONS, 4, &[]);
    eprintln!("{load:?}");
    let report = trace.collect(nginx.port(), 2 * load.requests).lossless();
    check_load(&nginx, &report, &load);
}

/// A thousand connections with a request in flight on each, twice.
#[test]
fn many_connections_at_once() {
    require_privilege!();
    const AT_ONCE: usize = 1000;
    let nginx = Nginx::start();
    // Two ends and what else is open are more than the usual limit.
    raise_open_files(4096);
    let trace = Trace::start(&[]);
    let mut clients: Vec<_> = (0..AT_ONCE).map(|_| Raw::connect(nginx.port())).collect();
    for round in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!(
                "GET /hello/{round}-{number} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
        }
        for client in &mut clients {
            assert_eq!(client.answer().body, b"hello\n");
        }
    }
    let report = trace.collect(nginx.port(), 4 * AT_ONCE).lossless();
    let (at_server, at_client) = report.both(nginx.port(), 2 * AT_ONCE);
    for spans in [at_server, at_client] {
        let paths: HashSet<&str> = spans.iter().map(|span| span.path()).collect();
        assert_eq!(paths.len(), 2 * AT_ONCE);
    }
}

/// Raises this process's own limit of open files, as far as it may.
fn raise_open_files(wanted: u64) {
    // SAFETY: both calls get a pointer to a `rlimit` that outlives them.
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = wanted.max(limit.rlim_cur).min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// Hundreds of processes that live for one request.
#[test]
fn process_churn() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let made = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (made, port) = (&made, nginx.port());
            scope.spawn(move || {
                for number in 0..100 {
                    let path = format!("/hello/{thread}-{number}");
                    let (done, pid) = curl::one(&[], &format!("http://127.0.0.1:{port}{path}"));
                    assert_eq!(done.status, 200);
                    made.lock().unwrap().insert((path, pid));
                }
            });
        }
    });
    let report = trace.collect(nginx.port(), 800).lossless();
    let (_, at_client) = report.both(nginx.port(), 400);
    let seen: HashSet<_> = at_client
        .iter()
        .map(|span| {
            assert_eq!(span.comm, "curl", "{span:?}");
            assert_eq!(span.service, "curl", "{span:?}");
            (span.path().to_owned(), span.pid)
        })
        .collect();
    assert_eq!(seen, made.into_inner().unwrap());
}

/// The kernel gives a closed socket's memory to the next connection, in whatever
/// role. The one process here is server and client in turn, and in between the memory
/// holds connections that carry no HTTP.
#[test]
fn reused_sockets_change_roles() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let mut ports = HashSet::new();
    for number in 0..150 {
        let mut client = Raw::connect(nginx.port());
        client.send(format!("GET /hello/{number} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
        drop(client);

        let server = RawServer::start(|mut peer| {
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
        });
        let port = server.port;
        ports.insert(port);
        let mut client = Raw::connect(port);
        client.send(format!("GET /back/{number} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.answer().body, b"back");
        drop(client);
        server.join();

        let other = RawServer::start(|mut peer| {
            peer.take(6);
            peer.send("\0reply\0");
            peer.rest();
        });
        let mut client = Raw::connect(other.port);
        client.send("\0other").take(7);
        drop(client);
        other.join();
    }
    trace.wait_for(600, |request| {
        request.path().starts_with("/hello/") || request.path().starts_with("/back/")
    });
    let report = trace.collect(nginx.port(), 300).lossless();
    let (at_server, at_client) = report.both(nginx.port(), 150);
    for spans in [at_server, at_client] {
        for (number, span) in spans.iter().enumerate() {
            assert_eq!(span.path(), format!("/hello/{number}"));
        }
    }
    for port in ports {
        // Ports come round: a port may have served more than once.
        let (at_server, at_client) = (report.server(port), report.client(port));
        assert_eq!(at_server.len(), at_client.len());
        for span in at_server.iter().chain(&at_client) {
            assert_eq!(
                (span.status, span.response_body_bytes),
                (Some(200), Some(4))
            );
        }
    }
    let back = report
        .requests
        .iter()
        .filter(|span| span.path().starts_with("/back/"));
    assert_eq!(back.count(), 300);
}
