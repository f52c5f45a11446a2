//! Every gRPC server with every client: N calls are N server spans and N client spans,
//! with the right method, status and sizes, and no longer than measured.

use crate::grpc::expect::{assert_calls, check_answers};
use crate::grpc::{Call, Peer};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;

/// Calls of all kinds, in sizes that take one frame and many.
pub(super) fn plan(tag: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    for round in 0..4 {
        let name = |what: &str| format!("{tag}-{round}-{what}");
        calls.extend([
            Call::new("Unary", &name("small"), &[10 + round], &[20 + round]),
            Call::new("Unary", &name("large"), &[200_000], &[300_000]),
            Call::new("Server", &name("many"), &[1], &[0, 1, 2, 70_000, 3]),
            Call::new("Server", &name("none"), &[1], &[]),
            Call::new("Client", &name("many"), &[0, 0, 5, 40_000], &[7]),
            Call::new("Client", &name("none"), &[], &[0]),
            echo("Bidi", &name("echo"), &[0, 100, 20_000, 0]),
            Call::new("Unary", &name("absent"), &[1], &[]).failing(5, "not here, ä 100%"),
            Call::new("Server", &name("denied"), &[1], &[]).failing(7, "no"),
            Call::new("Client", &name("broken"), &[1, 2], &[]).failing(13, "oh"),
            Call::new("Bidi", &name("late"), &[1, 2], &[]).failing(14, "later"),
        ]);
    }
    calls
}

fn echo(kind: &str, name: &str, sizes: &[usize]) -> Call {
    let mut call = Call::new(kind, name, sizes, &[]);
    call.command.echo = true;
    call
}

/// Lets all clients loose on a server and checks both sides.
fn check(server: Peer) {
    let serving = server.serve();
    let port = serving.port();
    // Compiling and installing is done before tracing begins.
    for client in Peer::ALL {
        client.call(port, &[Call::unary("warm")], 1);
    }
    let trace = Trace::start(&[]);
    let mut made = 0;
    let work: Vec<_> = Peer::ALL
        .iter()
        .map(|client| {
            let calls = plan(&format!("{client:?}"));
            let (answered, pids) = client.call(port, &calls, 4);
            check_answers(&calls, &answered);
            made += calls.len();
            (format!("/{client:?}-"), calls, answered, pids)
        })
        .collect();
    let server_pids = serving.pids();
    let report = trace.collect(port, 2 * made).lossless();
    let (at_server, at_client) = report.both(port, made);
    // Nobody but the C core answers before a request has ended.
    if !matches!(server, Peer::Python | Peer::Asyncio) {
        for span in at_server.iter().chain(&at_client) {
            assert!(span.incomplete.is_empty(), "{span:?}");
        }
    }
    for (tag, calls, answered, pids) in &work {
        for (spans, pids) in [(&at_server, &server_pids), (&at_client, pids)] {
            let tagged = spans.iter().filter(|span| span.path().contains(tag));
            let tagged: Vec<_> = tagged.copied().collect();
            assert_calls(&tagged, calls, answered, pids);
        }
    }
}

#[test]
fn python() {
    require_privilege!();
    check(Peer::Python);
}

#[test]
fn asyncio() {
    require_privilege!();
    check(Peer::Asyncio);
}

#[test]
fn node() {
    require_privilege!();
    check(Peer::Node);
}

#[test]
fn go() {
    require_privilege!();
    check(Peer::Go);
}

#[test]
fn tonic() {
    require_privilege!();
    check(Peer::Tonic);
}

#[test]
fn every_client_gets_its_answers() {
    require_privilege!();
    for server in Peer::ALL {
        let serving = server.serve();
        for client in Peer::ALL {
            let calls = plan("truth");
            let start = std::time::Instant::now();
            let (answered, _) = client.call(serving.port(), &calls, 4);
            eprintln!("{server:?} {client:?}: {:?}", start.elapsed());
            check_answers(&calls, &answered);
        }
    }
}
