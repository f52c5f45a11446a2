//! Frameworks over HTTP: a mix of requests of which every one is known, and a thousand
//! connections of wrk.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::collect;
use crate::harness::report::Report;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::programs::{self, Server, base, require_built};
use crate::truth::{self, Counts};
use crate::wrk;

/// Rounds of the mix, each of one request of every kind.
const ROUNDS: usize = 500;

/// Kinds of a round (programs/go/httpclient).
const KINDS: usize = 8;

/// What wrk opens: its twelve threads share out a thousand.
const CONNECTIONS: usize = 1000;
const THREADS: usize = 12;

/// How long wrk runs, s.
const SECONDS: u32 = 3;

#[test]
fn gin() {
    require_privilege!(alone);
    require_built!(gin, httpclient);
    mixed(programs::gin(gin), &httpclient, &["http1", "h2c"]);
}

#[test]
fn kratos() {
    require_privilege!(alone);
    require_built!(kratos, httpclient);
    mixed(programs::kratos(kratos), &httpclient, &["http1"]);
}

#[test]
fn gozero() {
    require_privilege!(alone);
    require_built!(gozero, httpclient);
    mixed(programs::gozero(gozero), &httpclient, &["http1"]);
}

#[test]
fn gin_under_wrk() {
    require_privilege!(alone);
    require_built!(gin);
    loaded(programs::gin(gin));
}

#[test]
fn kratos_under_wrk() {
    require_privilege!(alone);
    require_built!(kratos);
    loaded(programs::kratos(kratos));
}

#[test]
fn gozero_under_wrk() {
    require_privilege!(alone);
    require_built!(gozero);
    loaded(programs::gozero(gozero));
}

/// The mix: the server's counts, the client's, and the spans of each are the same.
pub(crate) fn mixed(server: Server, client: &PathBuf, protocols: &[&str]) {
    let trace = Trace::start(&[]);
    let mut asked = Counts::new();
    for protocol in protocols {
        let done = programs::httpclient(client, protocol, &base(server.port), ROUNDS, 50);
        assert_eq!(truth::total(&done), ROUNDS * KINDS, "{done:#?}");
        for (kind, count) in done {
            *asked.entry(kind).or_default() += count;
        }
    }
    let report = collect(trace, &[server.port], 2 * truth::total(&asked)).lossless();
    let pids = server.process.tree();
    let (at_server, at_client) = (report.server(server.port), report.client(server.port));
    assert_eq!(truth::of(&at_server), asked, "spans of the server");
    assert_eq!(truth::of(&at_client), asked, "spans of the client");
    assert!(at_server.iter().all(|span| pids.contains(&span.pid)));
    assert_eq!(server.counts(), asked, "what the server says");
}

/// A thousand connections: every request that the server handled is there once, and what the
/// client saw answered.
pub(crate) fn loaded(server: Server) {
    let trace = Trace::start(&[]);
    let load = wrk_users(server.port, server.dir.path());
    eprintln!("{} requests, {} a second", load.requests, load.rate);
    let report = collect(trace, &[server.port], 2 * load.requests).lossless();
    let port = server.port;
    let handled = server.counts();
    check_load(&report, port, &handled, &load);
}

/// wrk asks for users of many numbers.
fn wrk_users(port: u16, dir: &Path) -> wrk::Load {
    let script = dir.join("users.lua");
    let text = "request = function()
  return wrk.format('GET', '/api/v1/users/' .. math.random(1, 900000))
end";
    std::fs::write(&script, text).unwrap();
    // An answer may take its time: a server of a thousand connections is not quick.
    let arguments = ["--timeout", "30s", "-s", script.to_str().unwrap()];
    wrk::threads(&base(port), THREADS, CONNECTIONS, SECONDS, &arguments)
}

fn check_load(report: &Report, port: u16, handled: &Counts, load: &wrk::Load) {
    let (at_server, at_client) = (report.server(port), report.client(port));
    assert_eq!(
        at_server.len(),
        truth::total(handled),
        "{load:?}, {handled:?}"
    );
    // wrk ends in the middle of things: some of its requests have no answer, some answers
    // were read when it counted no more.
    let (whole, cut): (Vec<&Request>, Vec<&Request>) =
        at_client.into_iter().partition(|span| span.error.is_none());
    assert!(
        whole.len() >= load.requests && whole.len() + cut.len() <= load.requests + CONNECTIONS,
        "client spans: {} and {} cut off; {load:?}",
        whole.len(),
        cut.len()
    );
    let answered: Vec<&Request> = at_server
        .iter()
        .copied()
        .filter(|span| span.error.is_none())
        .collect();
    assert!(answered.len() >= whole.len());
    for counts in [truth::of(&whole), truth::of(&answered)] {
        assert_eq!(
            counts.keys().collect::<Vec<_>>(),
            handled.keys().collect::<Vec<_>>()
        );
    }
    let connections: HashSet<&str> = at_server.iter().map(|span| span.peer()).collect();
    assert_eq!(connections.len(), CONNECTIONS / THREADS * THREADS);
}
