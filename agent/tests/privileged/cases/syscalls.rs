//! Every system call that moves bytes, on both sides, with buffers cut in the worst
//! places.

use std::process::Command;

use crate::harness::process::run;
use crate::harness::require_privilege;
use crate::harness::tools;
use crate::harness::trace::Trace;
use crate::servers::Server;

const PROGRAM: &str = include_str!("../programs/calls.py");

/// Requests for each pair of calls.
const COUNT: usize = 3;

/// A server with these calls and a client with those.
fn check(pairs: &[[&str; 4]]) {
    let servers: Vec<_> = pairs
        .iter()
        .map(|[send, receive, ..]| {
            Server::start(|port, dir| {
                let script = dir.join("calls.py");
                std::fs::write(&script, PROGRAM).unwrap();
                let mut python = Command::new(tools::python());
                python
                    .arg(script)
                    .args(["serve", &port.to_string(), send, receive]);
                python
            })
        })
        .collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let trace = Trace::start(&[]);
    for (server, [.., send, receive]) in servers.iter().zip(pairs) {
        run(Command::new(tools::python())
            .arg(server.dir.path().join("calls.py"))
            .args(["ask", &server.port.to_string(), send, receive])
            .arg(COUNT.to_string()));
    }
    let spans = 2 * COUNT * pairs.len();
    let report = trace.collect_all(&ports, spans).lossless();
    for (port, pair) in ports.iter().zip(pairs) {
        let [.., send, receive] = pair;
        eprintln!("{pair:?}");
        let (at_server, at_client) = report.both(*port, COUNT);
        for spans in [at_server, at_client] {
            for (number, span) in spans.iter().enumerate() {
                let path = format!("/{send}/{receive}/{number}");
                assert_eq!(
                    span.facts(),
                    ("POST", path.as_str(), 200, 3000, 5000),
                    "{pair:?}"
                );
                assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
            }
        }
    }
}

#[test]
fn plain_calls() {
    require_privilege!();
    check(&[
        ["write", "read", "write", "read"],
        ["send", "recv", "send", "recv"],
        ["write", "recv", "send", "read"],
    ]);
}

#[test]
fn vectors() {
    require_privilege!();
    check(&[
        ["writev", "readv", "writev", "readv"],
        ["writev", "read", "send", "readv"],
        ["write", "readv", "writev", "recv"],
    ]);
}

#[test]
fn messages() {
    require_privilege!();
    check(&[
        ["sendmsg", "recvmsg", "sendmsg", "recvmsg"],
        ["sendmmsg", "recvmmsg", "sendmmsg", "recvmmsg"],
        ["sendmsg", "recvmmsg", "sendmmsg", "recvmsg"],
    ]);
}

#[test]
fn bodies_from_files_and_pipes() {
    require_privilege!();
    check(&[
        ["sendfile", "recv", "sendfile", "recv"],
        ["splice", "recv", "splice", "recv"],
    ]);
}

#[test]
fn peeking() {
    require_privilege!();
    check(&[
        ["send", "peek", "send", "peek"],
        ["sendmsg", "peek", "writev", "peek"],
    ]);
}

#[test]
fn partial_writes() {
    require_privilege!();
    check(&[["nonblocking", "recv", "nonblocking", "recv"]]);
}
