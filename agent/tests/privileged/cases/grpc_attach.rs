//! gRPC connections that are older than the agent, and others than TCP.

use std::os::unix::net::UnixStream;

use crate::grpc::expect::{assert_call, assert_calls, check_answers};
use crate::grpc::{Answered, Call, Peer, programs};
use crate::harness::report::Report;
use crate::harness::request::{Request, Side};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::harness::wait_until;

/// Calls after the agent has come.
const AFTER: usize = 30;

/// A client makes a thousand calls before the agent comes and some after, over one
/// connection; returns the port, the latter, and what the agent saw.
fn joined(
    server: Peer,
    client: Peer,
    arguments: &[&str],
) -> (u16, Vec<Call>, Vec<Answered>, Report) {
    let serving = server.serve_with(arguments);
    let port = serving.port();
    let before = (0..1000).map(|number| Call::unary(&format!("before-{number}")));
    let after: Vec<_> = (0..AFTER)
        .map(|number| {
            let call = Call::new(
                "Unary",
                &format!("after-{number}"),
                &[number],
                &[2 * number],
            );
            if number % 3 == 0 {
                call.failing(5, "not here")
            } else {
                call
            }
        })
        .collect();
    let phases = vec![before.collect(), after.clone()];
    let address = format!("127.0.0.1:{port}");
    let mut session = client.session_with(&address, phases, 20, arguments);
    assert_eq!(session.next().len(), 1000);
    let trace = Trace::start(&[]);
    let answered = session.next();
    check_answers(&after, &answered);
    let report = trace.collect(port, 2 * AFTER).lossless();
    report.both(port, AFTER);
    (port, after, answered, report)
}

/// Asserts that a span says nothing wrong about a call, and marks what it does not know.
fn assert_what_is_known(span: &Request, call: &Call, answered: &Answered) {
    assert_eq!(
        (span.method.as_deref(), span.status),
        (Some("POST"), Some(200)),
        "{span:?}"
    );
    let sent = call.sizes[0] as u64 + 5;
    let received = answered.received.iter().map(|size| size + 5).sum();
    assert_eq!(
        (span.request_body_bytes, span.response_body_bytes),
        (Some(sent), Some(received)),
        "{span:?}"
    );
    let marked = span
        .incomplete
        .iter()
        .any(|why| why == "hpack_table_unknown");
    assert!(span.incomplete.len() <= usize::from(marked), "{span:?}");
    match span.protocol.as_str() {
        "grpc" => assert_eq!(span.rpc_method.as_deref(), call.path.strip_prefix('/')),
        // Its content type is not known.
        "http/2" => assert!(marked, "{span:?}"),
        other => panic!("{other}: {span:?}"),
    }
    match span.grpc_status {
        Some(status) => assert_eq!(status, answered.status, "{span:?}"),
        None => assert!(marked, "{span:?}"),
    }
}

fn check(server: Peer, client: Peer) {
    let (port, calls, answered, report) = joined(server, client, &[]);
    for spans in [report.server(port), report.client(port)] {
        for call in &calls {
            let mut of_call = spans.iter().filter(|span| span.path() == call.path);
            let span = of_call
                .next()
                .unwrap_or_else(|| panic!("not seen: {call:?}"));
            assert!(of_call.next().is_none(), "twice: {span:?}");
            let answered = answered.iter().find(|a| a.path == call.path).unwrap();
            assert_what_is_known(span, call, answered);
        }
    }
}

#[test]
fn python_after_a_thousand_calls() {
    require_privilege!();
    check(Peer::Asyncio, Peer::Python);
}

#[test]
fn node_after_a_thousand_calls() {
    require_privilege!();
    check(Peer::Node, Peer::Node);
}

#[test]
fn go_after_a_thousand_calls() {
    require_privilege!();
    check(Peer::Go, Peer::Go);
}

#[test]
fn tonic_after_a_thousand_calls() {
    require_privilege!();
    check(Peer::Tonic, Peer::Tonic);
}

/// Without tables everything is known from the first call on.
#[test]
fn without_tables() {
    require_privilege!();
    let off = ["--option=grpc.http2.hpack_table_size.decoder=0"];
    let (port, calls, answered, report) = joined(Peer::Python, Peer::Asyncio, &off);
    for spans in [report.server(port), report.client(port)] {
        for call in &calls {
            let span = spans.iter().find(|span| span.path() == call.path).unwrap();
            let answered = answered.iter().find(|a| a.path == call.path).unwrap();
            assert_call(span, call, answered);
        }
    }
}

/// Over a Unix socket.
fn over_unix_socket(server: Peer, client: Peer) {
    let (_serving, dir) = programs::serve_unix(server);
    let socket = dir.path().join("socket").display().to_string();
    wait_until("the Unix socket", || UnixStream::connect(&socket).ok());
    let calls = super::grpc::plan("unix");
    let address = format!("unix:{socket}");
    let mut session = client.session(&address, vec![vec![Call::unary("warm")], calls.clone()], 4);
    session.next();
    let trace = Trace::start(&[]);
    let answered = session.next();
    check_answers(&calls, &answered);
    let here = |span: &Request| span.local() == socket || span.peer() == socket;
    trace.wait_for(2 * calls.len(), here);
    let report = trace.stop().lossless();
    for side in [Side::Server, Side::Client] {
        let spans = report
            .requests
            .iter()
            .filter(|span| here(span) && span.side == side);
        let spans: Vec<_> = spans.collect();
        assert_eq!(spans.len(), calls.len(), "{side:?}");
        assert!(
            spans.iter().all(|span| span.network == "unix"),
            "{spans:#?}"
        );
    }
}

#[test]
fn unix_python() {
    require_privilege!();
    over_unix_socket(Peer::Python, Peer::Asyncio);
}

#[test]
fn unix_go_and_node() {
    require_privilege!();
    over_unix_socket(Peer::Go, Peer::Node);
}

/// As above, with the connection seen from its beginning.
#[test]
fn unix_from_the_beginning() {
    require_privilege!();
    let (serving, dir) = programs::serve_unix(Peer::Node);
    let socket = dir.path().join("socket").display().to_string();
    wait_until("the Unix socket", || UnixStream::connect(&socket).ok());
    let calls = super::grpc::plan("unix");
    let trace = Trace::start(&[]);
    let mut session = Peer::Go.session(&format!("unix:{socket}"), vec![calls.clone()], 4);
    let pids = [serving.tree(), session.pids()];
    let answered = session.next();
    check_answers(&calls, &answered);
    let here = |span: &Request| span.local() == socket || span.peer() == socket;
    trace.wait_for(2 * calls.len(), here);
    let report = trace.stop().lossless();
    for (side, pids) in [Side::Server, Side::Client].into_iter().zip(&pids) {
        let spans = report
            .requests
            .iter()
            .filter(|span| here(span) && span.side == side);
        assert_calls(&spans.collect::<Vec<_>>(), &calls, &answered, pids);
    }
}
