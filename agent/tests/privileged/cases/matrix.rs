//! Every server with every client: N requests made are N server spans and N client
//! spans, with the right method, path, status and sizes, and no longer than measured.

use std::collections::{HashMap, HashSet};

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

/// Requests of wrk, which can make only one kind. There is a delayed acknowledgement
/// of 40 ms in each response of servers that write head and body apart.
const OF_WRK: usize = 40;

fn tagged<'a>(spans: &[&'a Request], tag: &str) -> Vec<&'a Request> {
    let tag = format!("/{tag}-");
    let tagged = |span: &&&Request| span.path().contains(&tag);
    spans.iter().filter(tagged).copied().collect()
}

/// Lets all clients loose on a server and checks both sides.
fn check(server: &Server) -> Report {
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
    let url = format!("http://127.0.0.1:{port}/hello/wrk");
    let load = wrk::exactly(&url, OF_WRK, server.dir.path());
    assert_eq!(load.requests, OF_WRK);
    let planned: usize = work.iter().map(|(_, _, work)| work.done.len()).sum();
    let made = planned + OF_WRK;
    let pids = server.pids();
    let names: HashMap<u32, String> = pids.iter().map(|pid| (*pid, comm(*pid))).collect();
    let report = trace.collect(port, 2 * made).lossless();

    let (servers, clients) = report.both(port, made);
    for span in &servers {
        assert_eq!(Some(&span.comm), names.get(&span.pid), "{span:?}");
    }
    for (tag, comm, work) in &work {
        assert_spans(&tagged(&servers, tag), &work.done, &pids);
        let spans = tagged(&clients, tag);
        assert_spans(&spans, &work.done, &work.pids);
        assert!(spans.iter().all(|span| span.comm == *comm), "{spans:#?}");
    }
    for spans in [&servers, &clients] {
        let of_wrk = spans.iter().filter(|span| span.path() == "/hello/wrk");
        let facts = ("GET", "/hello/wrk", 200, 0, 6);
        assert_eq!(of_wrk.filter(|span| span.facts() == facts).count(), OF_WRK);
    }
    report
}

#[test]
fn nginx() {
    require_privilege!();
    let nginx = Nginx::start();
    let report = check(&nginx.server);

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
    check(&apache::start("event", ""));
}

#[test]
fn apache_prefork() {
    require_privilege!();
    check(&apache::start("prefork", ""));
}

#[test]
fn node() {
    require_privilege!();
    check(&programs::node());
}

#[test]
fn python_http_server() {
    require_privilege!();
    check(&programs::python("HTTP/1.1"));
}

#[test]
fn python_http_server_1_0() {
    require_privilege!();
    let server = programs::python("HTTP/1.0");
    let report = check(&server);
    // The version is the request's: the clients spoke 1.1.
    for span in report.server(server.port) {
        assert_eq!(span.protocol, "http/1.1");
    }
}

#[test]
fn gunicorn_threads() {
    require_privilege!();
    check(&programs::gunicorn("gthread", &["--threads", "4"]));
}

#[test]
fn gunicorn_forked_workers() {
    require_privilege!();
    check(&programs::gunicorn("sync", &[]));
}

#[test]
fn uvicorn_spawned_workers() {
    require_privilege!();
    check(&programs::uvicorn());
}

#[test]
fn go() {
    require_privilege!();
    check(&programs::go());
}

#[test]
fn java() {
    require_privilege!();
    check(&programs::java());
}
