//! Every server with every client: N requests made are N server spans and N client
//! spans, with the right method, path, status and sizes, and no longer than measured.

use std::collections::HashSet;

use crate::clients::{self, Work, curl, wrk};
use crate::harness::expect::{Planned, assert_spans, plan};
use crate::harness::process::comm;
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::{Server, apache, programs};

/// A client of the suite.
type Client = fn(u16, &[Planned]) -> Work;

/// The clients, with the tag of their paths and the name of their processes.
const CLIENTS: [(&str, &str, Client); 5] = [
    ("curl-kept", "curl", curl::kept),
    ("curl-fresh", "curl", curl::fresh),
    ("node", "node", clients::node),
    ("python", "python3", clients::python),
    ("go", "client", clients::go),
];

/// Rounds of the plan for each client.
const ROUNDS: usize = 4;

fn tagged<'a>(spans: &[&'a Request], tag: &str) -> Vec<&'a Request> {
    let tag = format!("/{tag}-");
    let tagged = |span: &&&Request| span.path().contains(&tag);
    spans.iter().filter(tagged).copied().collect()
}

/// Lets all clients loose on a server and checks both sides. `more` makes further
/// requests while the agent is there and returns how many, of how many spans.
fn check(server: &Server, more: impl FnOnce() -> usize) -> Report {
    let port = server.port;
    // Compiling and installing is done before tracing begins.
    for (tag, _, client) in CLIENTS {
        client(port, &plan(&format!("warm-{tag}"), 1));
    }
    let trace = Trace::start(&[]);
    let work: Vec<_> = CLIENTS
        .iter()
        .map(|(tag, comm, client)| (*tag, *comm, client(port, &plan(tag, ROUNDS))))
        .collect();
    let further = more();
    let made: usize = work.iter().map(|(_, _, work)| work.done.len()).sum();
    let pids = server.pids();
    let name = comm(server.process.pid());
    let report = trace.collect(port, 2 * made + further).lossless();

    let (servers, clients) = (report.server(port), report.client(port));
    for span in &servers {
        assert_eq!(span.comm, name, "{span:?}");
    }
    for (tag, comm, work) in &work {
        assert_spans(&tagged(&servers, tag), &work.done, &pids);
        let spans = tagged(&clients, tag);
        assert_spans(&spans, &work.done, &work.pids);
        assert!(spans.iter().all(|span| span.comm == *comm), "{spans:#?}");
    }
    assert_eq!(servers.len() + clients.len(), 2 * made + further);
    report
}

#[test]
fn nginx() {
    require_privilege!();
    let nginx = Nginx::start();
    let url = format!("http://127.0.0.1:{}/hello/wrk", nginx.port());
    let report = check(&nginx.server, || {
        let load = wrk::exactly(&url, 500, nginx.server.dir.path());
        assert_eq!(load.requests, 500);
        1000
    });
    let wrk = |spans: Vec<&Request>| {
        let of_wrk = spans.iter().filter(|span| span.path() == "/hello/wrk");
        assert_eq!(
            of_wrk
                .map(|span| assert_eq!(span.facts(), ("GET", "/hello/wrk", 200, 0, 6)))
                .count(),
            500
        );
    };
    wrk(report.server(nginx.port()));
    wrk(report.client(nginx.port()));

    // Uploads were passed on: nginx is a client of its second server.
    let uploads = CLIENTS.len() * ROUNDS;
    let (upstream, proxy) = report.both(nginx.upstream, uploads);
    for span in upstream.iter().chain(&proxy) {
        assert_eq!(
            (span.method.as_deref(), span.status),
            (Some("POST"), Some(200))
        );
        assert_eq!(span.response_body_bytes, Some(14));
        assert_eq!(span.comm, "nginx");
    }
    let made: HashSet<&str> = proxy.iter().map(|span| span.path()).collect();
    assert_eq!(made.len(), uploads);
}

#[test]
fn apache_event() {
    require_privilege!();
    check(&apache::start("event", ""), || 0);
}

#[test]
fn apache_prefork() {
    require_privilege!();
    check(&apache::start("prefork", ""), || 0);
}

#[test]
fn node() {
    require_privilege!();
    check(&programs::node(), || 0);
}

#[test]
fn python_http_server() {
    require_privilege!();
    check(&programs::python("HTTP/1.1"), || 0);
}

#[test]
fn python_http_server_1_0() {
    require_privilege!();
    let server = programs::python("HTTP/1.0");
    let report = check(&server, || 0);
    // The version is the request's: the clients spoke 1.1.
    for span in report.server(server.port) {
        assert_eq!(span.protocol, "http/1.1");
    }
}

#[test]
fn gunicorn_threads() {
    require_privilege!();
    check(&programs::gunicorn("gthread", &["--threads", "4"]), || 0);
}

#[test]
fn gunicorn_forked_workers() {
    require_privilege!();
    check(&programs::gunicorn("sync", &[]), || 0);
}

#[test]
fn go() {
    require_privilege!();
    check(&programs::go(), || 0);
}

#[test]
fn java() {
    require_privilege!();
    check(&programs::java(), || 0);
}
