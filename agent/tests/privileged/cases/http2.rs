//! Every cleartext HTTP/2 server with every client: N requests made are N server spans
//! and N client spans, with the right method, path, status and sizes, and no longer than
//! measured.

use crate::clients::{Work, curl, http2 as clients};
use crate::harness::expect::{Planned, assert_spans, plan};
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::{Server, http2 as servers, programs};

/// A client of the suite.
type Client = fn(u16, &[Planned]) -> Work;

/// The clients, with the tag of their paths.
const CLIENTS: [(&str, Client); 2] = [("curl", curl::http2), ("node", clients::node)];

/// Rounds of the plan for each client.
const ROUNDS: usize = 6;

/// Connections, and streams on each at a time, of h2load.
const LOADS: [(usize, usize); 4] = [(1, 1), (1, 10), (1, 100), (4, 10)];

/// Requests of h2load in each of its runs.
const OF_LOAD: usize = 200;

fn tagged<'a>(spans: &[&'a Request], tag: &str) -> Vec<&'a Request> {
    let tag = format!("/{tag}-");
    let tagged = |span: &&&Request| span.path().contains(&tag);
    spans.iter().filter(tagged).copied().collect()
}

/// What is asked of a server that has files: all plans, and h2load's path.
fn files() -> Vec<Planned> {
    let tags = CLIENTS.iter().map(|(tag, _)| *tag).chain(["upgrade"]);
    let mut files: Vec<_> = tags.flat_map(|tag| plan(tag, ROUNDS)).collect();
    files.push(Planned {
        method: "GET",
        path: "/hello/load".into(),
        body: 0,
    });
    files
}

/// Lets all clients loose on a server's port; returns what they did and how many requests
/// they made in all.
fn work(port: u16) -> (Vec<(&'static str, Work)>, usize) {
    let work: Vec<_> = CLIENTS
        .iter()
        .map(|(tag, client)| (*tag, client(port, &plan(tag, ROUNDS))))
        .collect();
    let url = format!("http://127.0.0.1:{port}/hello/load");
    for (connections, streams) in LOADS {
        clients::h2load(&url, OF_LOAD, connections, streams);
    }
    let planned: usize = work.iter().map(|(_, work)| work.done.len()).sum();
    (work, planned + LOADS.len() * OF_LOAD)
}

/// Lets all clients loose on a server and checks both sides.
fn check(server: &Server, port: u16) -> Report {
    let trace = Trace::start(&[]);
    let (work, made) = work(port);
    let pids = server.pids();
    let report = trace.collect(port, 2 * made).lossless();
    let (at_server, at_client) = report.both(port, made);
    for span in at_server.iter().chain(&at_client) {
        assert_eq!(span.protocol, "http/2", "{span:?}");
    }
    for (tag, work) in &work {
        assert_spans(&tagged(&at_server, tag), &work.done, &pids);
        assert_spans(&tagged(&at_client, tag), &work.done, &work.pids);
    }
    for (spans, comm) in [(&at_server, None), (&at_client, Some("h2load"))] {
        let of_load: Vec<_> = spans
            .iter()
            .filter(|span| span.path() == "/hello/load")
            .collect();
        assert_eq!(of_load.len(), LOADS.len() * OF_LOAD);
        for span in of_load {
            assert_eq!(span.facts(), ("GET", "/hello/load", 200, 0, 6));
            assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
            assert!(comm.is_none_or(|comm| comm == span.comm), "{span:?}");
        }
    }
    report
}

#[test]
fn nghttpd() {
    require_privilege!();
    let server = servers::nghttpd(&[&files()]);
    check(&server, server.port);
}

#[test]
fn nginx() {
    require_privilege!();
    let (nginx, port) = servers::nginx();
    let report = check(&nginx.server, port);
    // nginx counts as well, and it is another client of its upstream over HTTP/1.
    let uploads = CLIENTS.len() * ROUNDS;
    let made = report.server(port).len();
    assert_eq!(nginx.log(made).len(), made);
    let (upstream, proxy) = report.both(nginx.upstream, uploads);
    for span in upstream.iter().chain(&proxy) {
        assert_eq!(span.protocol, "http/1.1", "{span:?}");
    }
}

#[test]
fn apache() {
    require_privilege!();
    let upstream = programs::node();
    let server = servers::apache(upstream.port);
    let report = check(&server, server.port);
    // Uploads were passed on over HTTP/1.
    report.both(upstream.port, CLIENTS.len() * ROUNDS);
}

#[test]
fn node() {
    require_privilege!();
    let server = servers::node(&[]);
    check(&server, server.port);
}

#[test]
fn caddy() {
    require_privilege!();
    let upstream = servers::node(&[]);
    let caddy = servers::caddy(upstream.port);
    let report = check(&caddy, caddy.port);
    // Uploads were passed on.
    let (at_server, at_proxy) = report.both(upstream.port, CLIENTS.len() * ROUNDS);
    for span in at_server.iter().chain(&at_proxy) {
        assert_eq!(span.protocol, "http/2", "{span:?}");
        assert_eq!(
            (span.method.as_deref(), span.status),
            (Some("POST"), Some(200))
        );
        assert_eq!(span.incomplete, [""; 0], "{span:?}");
    }
    assert!(
        at_proxy.iter().all(|span| span.comm == "caddy"),
        "{at_proxy:?}"
    );
}

/// Every request is seen four times: at the client, twice at the proxy, at the server.
#[test]
fn nghttpx() {
    require_privilege!();
    let server = servers::nghttpd(&[&files()]);
    let proxy = servers::nghttpx(server.port);
    let report = check(&proxy, proxy.port);
    let made = report.server(proxy.port).len();
    let (behind, at_proxy) = report.both(server.port, made);
    for (outer, inner) in [
        (report.server(proxy.port), at_proxy),
        (report.client(proxy.port), behind),
    ] {
        let facts = |spans: &[&Request]| {
            let mut facts: Vec<_> = spans
                .iter()
                .map(|span| format!("{:?}", span.facts()))
                .collect();
            facts.sort();
            facts
        };
        assert_eq!(facts(&outer), facts(&inner));
    }
}

/// A client asks for HTTP/2 in its first request. That one is a span like the others: it
/// is answered on stream 1.
///
/// `further` requests are made by nghttp over one connection.
fn upgrades(server: &Server, further: &[&str]) {
    let get = |path: &str| Planned {
        method: "GET",
        path: path.into(),
        body: 0,
    };
    // curl 7.88 fails if more of the response than this comes along with the 101.
    let requests: Vec<_> = (0..4)
        .map(|n| get(&format!("/hello/upgrade-{n}")))
        .collect();
    let trace = Trace::start(&[]);
    let work = curl::upgrade_each(server.port, &requests);
    clients::nghttp_upgrade(server.port, further);
    let pids = server.pids();
    let made = requests.len() + further.len();
    let report = trace.collect(server.port, 2 * made).lossless();
    let (at_server, at_client) = report.both(server.port, made);
    for span in at_server.iter().chain(&at_client) {
        assert_eq!(span.protocol, "http/2", "{span:?}");
    }
    for (spans, pids) in [(at_server, &pids), (at_client, &work.pids)] {
        let (of_curl, of_nghttp): (Vec<&Request>, Vec<_>) = spans
            .into_iter()
            .partition(|span| span.path().starts_with("/hello/upgrade-"));
        assert_spans(&of_curl, &work.done, pids);
        for &path in further {
            let mut spans = of_nghttp.iter().filter(|span| span.path() == path);
            let span = spans.next().unwrap_or_else(|| panic!("not seen: {path}"));
            assert!(spans.next().is_none(), "twice: {span:?}");
            let received = if path.starts_with("/big/") {
                300_000
            } else {
                6
            };
            assert_eq!(span.facts(), ("GET", path, 200, 0, received));
            assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
        }
    }
}

#[test]
fn upgrade_of_apache() {
    require_privilege!();
    // It says GOAWAY to most of what comes behind an upgraded request.
    let upstream = programs::node();
    upgrades(&servers::apache(upstream.port), &["/hello/load"]);
}

#[test]
fn upgrade_of_nghttpx() {
    require_privilege!();
    let server = servers::nghttpd(&[&files()]);
    let further = ["/hello/load", "/big/upgrade-0", "/big/upgrade-1"];
    upgrades(&servers::nghttpx(server.port), &further);
}

/// A server that does not want to change goes on with HTTP/1.1.
#[test]
fn upgrade_declined() {
    require_privilege!();
    let nginx = crate::servers::nginx::Nginx::start();
    let requests = plan("declined", 2);
    let trace = Trace::start(&[]);
    let work = curl::upgrade(nginx.port(), &requests);
    let report = trace.collect(nginx.port(), 2 * requests.len()).lossless();
    let (at_server, at_client) = report.both(nginx.port(), requests.len());
    for span in at_server.iter().chain(&at_client) {
        assert_eq!(span.protocol, "http/1.1", "{span:?}");
    }
    assert_spans(&at_server, &work.done, &nginx.server.pids());
    assert_spans(&at_client, &work.done, &work.pids);
}

#[test]
fn every_client_is_answered() {
    require_privilege!();
    let files = files();
    let (_nginx, nginx) = servers::nginx();
    let upstream = programs::node();
    let apache = servers::apache(upstream.port);
    let node = servers::node(&[]);
    let caddy = servers::caddy(node.port);
    let nghttpd = servers::nghttpd(&[&files]);
    let nghttpx = servers::nghttpx(nghttpd.port);
    for port in [
        nginx,
        apache.port,
        node.port,
        caddy.port,
        nghttpd.port,
        nghttpx.port,
    ] {
        let start = std::time::Instant::now();
        let (_, made) = work(port);
        eprintln!("{port}: {made} in {:?}", start.elapsed());
    }
    for server in [&apache, &nghttpx] {
        let asked = Planned {
            method: "GET",
            path: "/hello/upgrade-0".into(),
            body: 0,
        };
        curl::upgrade_each(server.port, &[asked]);
        clients::nghttp_upgrade(server.port, &["/hello/load"]);
    }
}
